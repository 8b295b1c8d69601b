"""What a scheduler is: who does talk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from gnncomm.graph import CommGraph
from gnncomm.shapes import Float, Int


class Scheduler(nn.Module, ABC):
    """Who does talk, of those who could. A module, because gates and learned edges have weights.

    A gate of agent j may look at row j of ``h`` only, so that a deployed agent can decide alone.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def forward(
        self, h: Float[Tensor, "B N F"], graph: CommGraph, key: Int[Tensor, " B"], step: Int[Tensor, " B"]
    ) -> CommGraph:
        """The edges of ``graph`` that are used, with a differentiable ``weight`` where the choice is learned.

        Args:
            h: states of the agents.
            key: identity of each episode, the only source of randomness.
            step: steps since the reset.
        """
