"""What a learner is: a value that improves a policy, and that can be saved between any two updates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer

from gnncomm.errors import CheckpointMismatchError
from gnncomm.learn.rollout import Rollout
from gnncomm.policy import CommPolicy

Groups = dict[str, dict[str, Tensor]]
"""Tensors by name, in groups: one file of a checkpoint each."""


@dataclass(frozen=True)
class Experience:
    """What a learner asks for before each update."""

    length: int
    """T: steps of every environment between two updates."""
    kind: Literal["rollout"] = "rollout"
    """``rollout``: these steps as the policy played them, once, as a ``Rollout``."""


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


def adam_slots(optimizer: Optimizer) -> dict[str, Tensor]:
    """What Adam keeps of every parameter, by its number; zeros for one without a gradient so far, as Adam begins.

    So a checkpoint always has the same tensors, and one that is missing is missed.
    """
    slots: dict[str, Tensor] = {}
    for index, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"]):
        kept = optimizer.state.get(parameter) or {
            "step": torch.zeros((), device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
        slots |= {f"{index}.{name}": value for name, value in kept.items()}
    return slots


def restore_adam(optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
    """The inverse of ``adam_slots``.

    Raises:
        CheckpointMismatchError: a square or a count below 0, or a count that counts nothing.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in slots.items():
        index, _, slot = name.partition(".")
        if slot in ("exp_avg_sq", "step") and bool((value < 0).any()):
            raise CheckpointMismatchError(f"Expected {name} of the optimiser of at least 0, got {float(value.min())}.")
        if slot == "step" and bool(((value > 2**53) | (value != value.round())).any()):
            raise CheckpointMismatchError(
                f"Expected {name} of the optimiser to count updates, got {float(value.max()):g}."
            )
        state.setdefault(int(index), {})[slot] = value.clone()
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
