"""DIAL's discretise / regularise unit as released."""

from __future__ import annotations

from collections.abc import Collection
from typing import ClassVar, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from gnncomm.bench.reference.base import RecordedCase, Reference


class DRUNetwork(Reference):
    r"""The DRU of a released code of DIAL; it has no weights.

    Foerster, Assael, de Freitas and Whiteson 2016, `Learning to Communicate with Deep Multi-Agent Reinforcement
    Learning <https://arxiv.org/abs/1605.06676>`_, section 5.2:

    .. math::
        \text{training: } \hat m = \sigma(m + s \epsilon), \qquad
        \text{execution: } \hat m = \sigma(40 (\mathbb 1[m > 0.5] - 0.5)) \ \text{ or hard } \pm 1

    The wide form puts a softmax in place of the sigmoid, and softmax(40 m) or the one-hot argmax in execution.

    Args:
        sigma: s.
        narrow: one bit a number; else one symbol a message.
        hard: exact bits or symbols in execution.

    Shapes:
        m and standard normal eps ``[R, M]`` (None: execution).
    """

    title: ClassVar[str] = "DIAL"
    source: ClassVar[str] = "https://github.com/minqi/learning-to-communicate-pytorch at b9432fa05e"
    quirks: ClassVar[dict[str, str]] = {
        "threshold": "a bit is whether m > 0.5; expected: whether sigmoid(m) > 0.5, which is m > 0",
        "sign": "hard bits are -1 and 1 while all others lie between 0 and 1; expected: 0 and 1",
        "batch_softmax": "the softmax of the wide form in training runs over the batch; expected: over the message",
    }

    def __init__(
        self, sigma: float = 2.0, narrow: bool = True, hard: bool = False, without_quirks: Collection[str] = ()
    ) -> None:
        super().__init__(without_quirks)
        self.sigma, self.narrow, self.hard = sigma, narrow, hard

    def forward(self, m: Tensor, eps: Tensor | None = None) -> Tensor:
        if eps is not None:
            noisy = m + self.sigma * eps
            return noisy.sigmoid() if self.narrow else noisy.softmax(0 if self.has("batch_softmax") else -1)
        if not self.narrow:
            return one_hot(m.argmax(-1), m.shape[-1]).to(m.dtype) if self.hard else (40 * m).softmax(-1)
        bit = (m > (0.5 if self.has("threshold") else 0.0)).to(m.dtype)
        if self.hard:
            return 2 * bit - 1 if self.has("sign") else bit
        return (40 * (bit - 0.5)).sigmoid()

    @classmethod
    def of_size(
        cls, obs_dim: int, num_actions: int, num_agents: int, hidden: int, without_quirks: Collection[str] = ()
    ) -> Self:
        return cls(without_quirks=without_quirks)

    @classmethod
    def of_case(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> Self:
        about = case.config
        return cls(about["sigma"], about["comm_narrow"], about["hard"], without_quirks).eval()

    @classmethod
    def replay(cls, case: RecordedCase, without_quirks: Collection[str] = ()) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"out/m_hat": cls.of_case(case, without_quirks)(case.arrays["in/m"], case.arrays.get("in/eps"))}
