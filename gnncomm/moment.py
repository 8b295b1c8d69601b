"""When and where something is on the wire: what all draws of the wire are named by, and what a medium may depend on."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.types import Batch


@dataclass(frozen=True)
class Moment(Batch):
    """One round of communication, in each of B environments.

    A medium may read the positions and the life of the two ends of an edge, and of nobody else
    (``gnncomm.testing.check_channel``). A deployed agent knows its own row only: the positions of others are NaN to it.
    """

    key: Tensor  # [B] int64: identity of the episode
    step: Tensor  # [B] int64: steps since the episode began
    round: int = 0
    pos: Tensor | None = None  # [B, N, P] where agents are; None where an environment has no places
    alive: Tensor | None = None  # [B, N] bool: who takes part; None where nobody said
