"""What a medium is: which messages arrive, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.shapes import Float, Int


@dataclass(frozen=True)
class Channel:
    """What the medium does to messages. This base does nothing; a subclass overrides one or both verbs.

    A channel's randomness is a pure function of (episode key, step, sender, receiver), so a learner recomputes the
    wire that the rollout saw. A message that does not arrive is no edge, never a zero vector.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    def deliver(self, graph: CommGraph, key: Int[Tensor, " B"], step: Int[Tensor, " B"]) -> CommGraph:
        """The edges of ``graph`` over which messages arrive at this ``step`` of the episodes ``key``."""
        return graph

    def transmit(
        self,
        msg: Float[Tensor, "B N M"],
        key: Int[Tensor, " B"],
        step: Int[Tensor, " B"],
        round: int,
    ) -> Float[Tensor, "B N M"]:
        """What is left of the messages ``msg`` that are sent in communication round ``round`` of this ``step``."""
        return msg
