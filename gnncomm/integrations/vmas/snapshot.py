"""The tensors and numbers of a simulated world, by where they are in it: what saving it needs to know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableSequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from gnncomm.errors import CheckpointMismatchError

_DEEPEST = 24


def _holders(root: Any) -> dict[str, Any]:
    """Path -> object, list or dict of the world, each once, by the first way that leads there."""
    found: dict[str, Any] = {}
    known: set[int] = set()
    waiting: list[tuple[str, Any]] = [("world", root)]
    while waiting:
        path, one = waiting.pop(0)
        if id(one) in known or path.count(".") > _DEEPEST:
            continue
        known.add(id(one))
        found[path] = one
        waiting += [(f"{path}.{name}", value) for name, value in _items(one) if _holds(value)]
    return found


def _holds(value: Any) -> bool:
    return isinstance(value, dict | list | tuple | Distribution) or (
        type(value).__module__.partition(".")[0] in ("vmas", "") and hasattr(value, "__dict__")
    )


def _items(one: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(one, dict):
        return ((str(number), value) for number, value in enumerate(one.values()))
    if isinstance(one, list | tuple):
        return ((str(number), value) for number, value in enumerate(one))
    return iter(vars(one).items())


def read(root: Any) -> dict[str, Tensor]:
    """A copy of every tensor, and every number as one of float64, under its path."""
    return {
        f"{path}.{name}": value.detach().clone()
        if isinstance(value, Tensor)
        else torch.tensor(value, dtype=torch.float64)
        for path, one in _holders(root).items()
        for name, value in _items(one)
        if isinstance(value, Tensor) or _is_number(value)
    }


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def write(root: Any, tensors: Mapping[str, Tensor], id: str) -> None:
    """Put ``tensors`` where they were, after all of them were found to have a place.

    Raises:
        CheckpointMismatchError: one has none, or is of another type than what is there.
    """
    holders, placed = _holders(root), []
    for path, value in tensors.items():
        place, _, name = path.rpartition(".")
        there = dict(_items(holders[place])).get(name) if place in holders else False
        fits = isinstance(there, Tensor) and there.dtype == value.dtype  # some begin as one number for all worlds
        fits |= _is_number(there) and value.dim() == 0 and value.dtype == torch.float64
        new = there is None and place in holders and _is_open(holders[place], name)
        if not (fits or new):
            raise CheckpointMismatchError(
                f"load_state_dict: expected the state of {id!r}, got {path!r} {list(value.shape)}, for which there is "
                "no place. Build the environment with the num_envs and settings it was saved with."
            )
        placed.append((holders[place], name, there, value))
    for holder, name, there, value in placed:
        _put(holder, name, there, value)


def _is_open(holder: Any, name: str) -> bool:
    """Whether an attribute that the world makes later may be put there: none that means something else."""
    return not isinstance(holder, dict | list | tuple) and not hasattr(type(holder), name)


def _put(holder: Any, name: str, there: Any, value: Tensor) -> None:
    new = type(there)(value.item()) if _is_number(there) else value.clone()
    if isinstance(holder, dict):
        holder[list(holder)[int(name)]] = new
    elif isinstance(holder, MutableSequence):
        holder[int(name)] = new
    elif not isinstance(holder, tuple):
        vars(holder)[name] = new
    elif isinstance(there, Tensor):
        there.copy_(value)
