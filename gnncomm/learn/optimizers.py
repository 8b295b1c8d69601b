"""Optimisers by name, and what they remember as named tensors."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer, RAdam, RMSprop

from gnncomm.errors import CheckpointMismatchError
from gnncomm.host import may_ask
from gnncomm.learn.settings import OptimizerName

_SQUARES = ("exp_avg_sq", "square_avg")


def optimizer_of(
    name: OptimizerName, groups: Sequence[dict[str, Any]], lr: float, eps: float, alpha: float
) -> Optimizer:
    """Adam (Kingma and Ba 2015), RAdam (Liu et al. 2020), or RMSprop with the decay ``alpha``, of parameters.

    On a GPU its steps can be recorded, and learning rates are tensors there, to be filled and never replaced.
    """
    device = groups[0]["params"][0].device
    there: dict[str, Any] = {}
    fused = device.type in ("cpu", "cuda")
    if fused and not may_ask(device):
        groups = [{**group, "lr": torch.full((), lr, device=device)} for group in groups]
        there = {"capturable": device.type == "cuda"}
    made: Optimizer
    if name == "rmsprop":
        made = RMSprop(groups, lr=lr, alpha=alpha, eps=eps, **there)
    elif name == "radam":
        made = RAdam(groups, lr=lr, eps=eps, **there)
    else:
        made = Adam(groups, lr=lr, eps=eps, fused=fused, **there)
    return _silent(made)


def _silent(made: Optimizer) -> Optimizer:
    """Steps outside a graph are meant, too."""
    made._warned_capturable_if_run_uncaptured = True  # torch has no public name for it
    return made


def optimizer_slots(optimizer: Optimizer) -> dict[str, Tensor]:
    """What an optimiser keeps of every parameter, by its number; zeros for one without a gradient so far, as it begins.

    So a checkpoint always has the same tensors, and one that is missing is missed.
    """
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    kept: Sequence[Mapping[str, Any]] = [optimizer.state.get(parameter) or {} for parameter in parameters]
    if not all(kept):
        kept = [own or fresh for own, fresh in zip(kept, _fresh(optimizer), strict=True)]
    return {
        f"{index}.{name}": value
        for index, slots in enumerate(kept)
        for name, value in slots.items()
        if isinstance(value, Tensor)
    }


def restore_optimizer(optimizer: Optimizer, slots: Mapping[str, Tensor]) -> None:
    """The inverse of ``optimizer_slots``.

    Raises:
        CheckpointMismatchError: a square or a count below 0, or a count that counts nothing.
    """
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in slots.items():
        index, _, slot = name.partition(".")
        if slot in (*_SQUARES, "step") and bool((value < 0).any()):
            raise CheckpointMismatchError(f"Expected {name} of the optimiser of at least 0, got {float(value.min())}.")
        if slot == "step" and bool(((value > 2**53) | (value != value.round())).any()):
            raise CheckpointMismatchError(
                f"Expected {name} of the optimiser to count updates, got {float(value.max()):g}."
            )
        state.setdefault(int(index), {})[slot] = value.clone()
    optimizer.load_state_dict(optimizer.state_dict() | {"state": state})


def _fresh(optimizer: Optimizer) -> list[dict[str, Tensor]]:
    """Zeros for each parameter, as many as a step leaves behind: a twin takes one."""
    twin = _silent(copy.deepcopy(optimizer))
    parameters = [p for group in twin.param_groups for p in group["params"]]
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    twin.step()
    return [
        {name: torch.zeros_like(value) for name, value in twin.state[parameter].items() if isinstance(value, Tensor)}
        for parameter in parameters
    ]
