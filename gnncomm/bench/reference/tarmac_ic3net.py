"""TarMAC with IC3Net's gates as released."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from gnncomm.bench.reference.commnet_ic3net import IC3NetNetwork
from gnncomm.errors import ConfigError


class TarMACNetwork(IC3NetNetwork):
    r"""TarMAC on IC3Net's frame, as released beside MAGIC.

    Das et al. 2019, `arXiv:1810.11187 <https://arxiv.org/abs/1810.11187>`_, section 3.2. With queries and keys of 16
    numbers, values of H numbers (the paper: 32), and :math:`M_{ij} = a_j g_j`, for every pass p

    .. math::
        \alpha_{ij} = M_{ij} \, \mathrm{softmax}_j (q_i^\top k_j / \sqrt{H}), \qquad
        c_i = C_p \, a_i \sum_j \alpha_{ij} v_j + b_p

    with scores of :math:`-10^9` where :math:`M_{ij} = 0`; all else as in ``IC3NetNetwork``.

    Args:
        obs_dim: D.
        hidden: H.
        heads: actions of each head; the second is the gate of the next step.
        passes: rounds in one step.
        recurrent: LSTM or none.
        average: True; there is nothing to divide here.
        shared: one C, and without memory one F, for all passes.
        silent: nobody says anything about its state (``comm_mask_zero``).
        without_quirks: names of quirks to leave out.

    Shapes:
        As in ``IC3NetNetwork``; of every pass ``mid/query_p``, ``mid/key_p [B, N, 16]``, ``mid/value_p`` and
        ``mid/agg_p [B, N, H]``, ``mid/scores_p`` and ``mid/softmax_p [B, N, N]`` (receiver, sender).
    """

    title: ClassVar[str] = "TarMAC + IC3Net"
    source: ClassVar[str] = "https://github.com/CORE-Robotics-Lab/MAGIC at 0ad3a6126f, baselines"
    quirks: ClassVar[Mapping[str, str]] = {
        "scale": "scores are divided by the root of the hidden size; keys have 16 numbers, so 4 would be expected",
        "own": "an agent attends to its own message (as in the paper); other methods hear others only",
        "own_gate": "an agent that is silent, or dead, does not attend to itself; what it knows needs no wire",
        "hears": "a silent agent still hears (as in the paper); the code it is built on makes it deaf",
        "bias": "where nobody says anything the bias of the values still arrives; nothing would be expected",
        "dead": IC3NetNetwork.quirks["dead"],
        "passes": IC3NetNetwork.quirks["passes"],
    }
    key_channels: ClassVar[int] = 16

    def __init__(
        self,
        obs_dim: int,
        hidden: int,
        heads: Sequence[int],
        passes: int = 1,
        recurrent: bool = True,
        average: bool = True,
        shared: bool = False,
        silent: bool = False,
        without_quirks: Collection[str] = (),
    ) -> None:
        if not average:
            raise ConfigError("TarMACNetwork weighs by attention: expected average=True (comm_mode avg), got False.")
        super().__init__(
            obs_dim, hidden, heads, passes, recurrent, shared=shared, silent=silent, without_quirks=without_quirks
        )
        self.state2query = nn.Linear(hidden, self.key_channels)
        self.state2key = nn.Linear(hidden, self.key_channels)
        self.state2value = nn.Linear(hidden, hidden)

    def hear(self, h: Tensor, alive: Tensor, gate: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        said = torch.zeros_like(h) if self.silent else h
        query, key, value = self.state2query(said), self.state2key(said), self.state2value(said)
        open_BNN = self._open(alive, gate)
        channels = h.shape[-1] if self.has("scale") else self.key_channels
        scores = torch.where(open_BNN, query @ key.transpose(1, 2) / math.sqrt(channels), -1e9)
        softmax = scores.softmax(-1)
        hears_BN1 = (alive if self.has("hears") else alive * gate).unsqueeze(-1)
        heard = hears_BN1 * (torch.where(open_BNN, softmax, 0.0) @ value)
        if self.silent and not self.has("bias"):
            heard = torch.zeros_like(heard)
        between = {"query": query, "key": key, "value": value, "scores": scores, "softmax": softmax, "agg": heard}
        return heard, between

    def _open(self, alive: Tensor, gate: Tensor) -> Tensor:
        """``[B, N, N]`` bool: the receiver (row) may attend to the sender (column)."""
        own_NN = torch.eye(alive.shape[1], dtype=torch.bool, device=alive.device)
        sends_BNN = (alive * gate > 0).unsqueeze(1).expand(-1, alive.shape[1], -1)
        if not self.has("own"):
            return sends_BNN & ~own_NN
        return sends_BNN if self.has("own_gate") else sends_BNN | own_NN
