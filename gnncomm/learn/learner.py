"""What a learner is: a value that improves a policy, and that can be saved between any two updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from gnncomm.learn.rollout import Rollout
from gnncomm.policy import CommPolicy
from gnncomm.types import TimeStep

Groups = dict[str, dict[str, Tensor]]
"""Tensors by name, in groups: one file of a checkpoint each."""


@dataclass(frozen=True)
class Experience:
    """What a learner asks for before each update."""

    length: int
    """T: steps of every environment between two updates."""
    kind: Literal["rollout"] = "rollout"
    """``rollout``: these steps as the policy played them, once, as a ``Rollout``."""
    chunk: int = 0
    """Say what was remembered before every so many steps, see ``Rollout.chunks``; 0: before the first alone."""
    fresh: bool = False
    """Begin new episodes in all environments with each rollout."""
    after: bool = False
    """Whether the rollout shows what came after each step, too (``Rollout.after``)."""


@runtime_checkable
class Learner(Protocol):
    """Improves ``policy``, in place, by the experience that it asks for.

    ``state`` gives all that the next updates depend on beside the weights of the policy, and ``restore`` takes it back;
    a fresh learner's has the same groups, names, shapes and types, so that a checkpoint can be checked before it is
    taken. So whoever trains, saves and resumes knows nothing of optimisers.
    """

    policy: CommPolicy
    updates: int
    """How many were made."""

    @property
    def experience(self) -> Experience:
        """What ``update`` takes; the same in every update."""
        ...

    def update(self, experience: Rollout) -> dict[str, float]:
        """Learn from it, and say how it went.

        Raises:
            NonFiniteError: NaN or infinity; policy and learner are then those from before the update.
        """
        ...

    def state(self) -> tuple[Groups, dict[str, Any]]:
        """``(tensors by group, counters)``; the counters are JSON, and ``updates`` is one of them."""
        ...

    def restore(self, groups: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]) -> None:
        """Continue from what ``state`` gave, among other groups and counters.

        Raises:
            CheckpointMismatchError: numbers that no such learner can have.
        """
        ...


@runtime_checkable
class Prepares(Protocol):
    """A learner that has to know what will be shown before the first update, to make room for it."""

    def prepare(self, shown: TimeStep, max_steps: int) -> None:
        """``shown [B, ...]``: the first time step, and how long an episode is at most."""
        ...
