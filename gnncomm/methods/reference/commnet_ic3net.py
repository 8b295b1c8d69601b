"""CommNet and IC3Net as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from gnncomm.methods.reference.base import Case, Reference


class IC3NetNetwork(Reference):
    r"""The network of IC3Net's released code, which is CommNet's where all gates are open.

    Singh, Jain and Sukhbaatar 2019, `arXiv:1812.09755 <https://arxiv.org/abs/1812.09755>`_; with a living mask
    :math:`a`, gates :math:`g` of the step before, and for every pass p

    .. math::
        c_i = C_p \sum_{j \ne i} \frac{a_i a_j g_i g_j h_j}{D} + b_p, \qquad
        (h_i, s_i) \leftarrow \mathrm{LSTM}(W o_i + c_i, (h_i, s_i))

    Without memory: :math:`h_i \leftarrow \tanh(x_i + F_p h_i + c_i)` from :math:`x_i = h_i = \tanh(W o_i)`.

    Args:
        obs_dim: D.
        hidden: H.
        heads: actions of each head; IC3Net's second head is the gate of the next step.
        passes: rounds in one step.
        recurrent: LSTM or none.
        average: divide the sum, or not (D = 1).
        shared: one set of weights for all passes.
        silent: nobody sends anything (``comm_mask_zero``).

    Shapes:
        obs ``[B, N, D]``, h and cell ``[B, N, H]``, alive and gate ``[B, N]`` -> log-probabilities of each head
        ``[B, N, A]``, value ``[B, N, 1]``, h and cell.
    """

    title: ClassVar[str] = "CommNet, IC3Net"
    source: ClassVar[str] = "https://github.com/IC3Net/IC3Net at 69b7e0ce51"
    quirks: ClassVar[dict[str, str]] = {
        "divisor": "the sum is divided by the number of living others; a mean divides by those who talk",
        "deaf": "who is silent hears nothing either; the paper gates the sender only",
    }

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        heads: Collection[int],
        passes: int = 1,
        recurrent: bool = True,
        average: bool = True,
        shared: bool = False,
        silent: bool = False,
        mended: Collection[str] = (),
    ) -> None:
        super().__init__(mended)
        self.hidden, self.passes, self.recurrent, self.average, self.silent = hidden, passes, recurrent, average, silent
        self.encoder = nn.Linear(obs_dim, hidden)
