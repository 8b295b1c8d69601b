"""What a codec is: the form a message takes on the wire, and how many bits that is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from gnncomm.moment import Moment
from gnncomm.registry import Remembers
from gnncomm.types import Passed


@dataclass(frozen=True)
class Coded(Passed):
    """Messages as the receivers read them, and what they cost."""

    msg: Tensor  # [B, N, M]
    bits: Tensor  # [B, N] on the wire, for each message
    cost: Tensor | None = None  # [B, N] term of the training loss, as in a bottleneck or a price per bit


class Codec(Remembers, nn.Module, ABC):
    """Encoder of the sender and decoder of the receiver in one: each message on its own, row by row.

    Gradients flow through (straight-through or by the codec's own estimator). Noise is drawn with
    ``gnncomm.random`` from the moment and the sender, so that a learner meets the noise that the rollout met. Where
    training and execution differ, ``self.training`` decides.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def forward(self, msg: Tensor, moment: Moment) -> Coded:
        """``[B, N, M]`` as sent -> as read."""
