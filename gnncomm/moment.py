"""When something is on the wire: what all draws of the wire are named by."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.types import Batch


@dataclass(frozen=True)
class Moment(Batch):
    """One round of communication, in each of B environments."""

    key: Tensor  # [B] int64: identity of the episode
    step: Tensor  # [B] int64: steps since the episode began
    round: int = 0
