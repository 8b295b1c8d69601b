"""What parts of a user's give, looked at where they are called: shapes and types only, so no device is asked.

Torch would spread another shape over rows that it is not of, or fail far from the part that gave it.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, DtypeError, GraphError, ShapeError
from gnncomm.graph.commgraph import CommGraph
from gnncomm.registry.table import STRANGERS_FAULTS

T = TypeVar("T")


def require_made(
    who: object, name: str, axes: str, value: object, shape: Sequence[int | None], dtype: torch.dtype | None = None
) -> None:
    """Refuse what is no tensor of ``shape``, or of another type than ``dtype`` (None: any).

    Args:
        who: the part, or what it is called.
        name, axes: what it gave, and what the axes mean.
        value, shape, dtype: of it; an axis of None may have any length.

    Raises:
        DtypeError: no tensor, or of another type. ShapeError: of another shape.
    """
    fits = isinstance(value, Tensor) and (value.shape == shape or _of_any_length(value, shape))
    if isinstance(value, Tensor) and fits and (dtype in (None, value.dtype) or _autocast(value, dtype)):
        return
    wanted = f"{_name_of(who)}: expected {name} {axes} = {_said(shape)}{f' of {dtype}' if dtype else ''}, got"
    if not isinstance(value, Tensor):
        raise DtypeError(f"{wanted} {type(value).__name__}. Give a tensor.")
    kind = DtypeError if fits else ShapeError
    raise kind(f"{wanted} {list(value.shape)} of {value.dtype}. Nothing is repeated or cast to fit: give it so.")


def _of_any_length(value: Tensor, shape: Sequence[int | None]) -> bool:
    pairs = zip(value.shape, shape, strict=False)
    return value.dim() == len(shape) and all(wanted is None or size == wanted for size, wanted in pairs)


def _said(shape: Sequence[int | None]) -> str:
    return f"[{', '.join('any' if size is None else str(size) for size in shape)}]"


def _autocast(value: Tensor, dtype: torch.dtype | None) -> bool:
    """Whether torch chooses the precision."""
    floats = value.is_floating_point() and dtype is not None and dtype.is_floating_point
    return floats and torch.is_autocast_enabled(value.device.type)


def require_kind(who: object, name: str, value: object, kind: type) -> None:
    """Refuse what is no ``kind``.

    Raises:
        DtypeError: something else.
    """
    if not isinstance(value, kind):
        raise DtypeError(
            f"{_name_of(who)}: expected {name} as a {kind.__name__}, got {type(value).__name__}. Give one."
        )


def require_width(who: object, name: str, value: object) -> int:
    """``value``, if it is a number of numbers.

    Raises:
        ConfigError: something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ConfigError(f"{_name_of(who)}.{name}: expected a whole number >= 0, got {value!r}. Say 0 for none.")
    return value


def require_graph(who: object, name: str, value: object, num_envs: int, num_agents: int) -> None:
    """Refuse what are no graphs of these teams.

    Raises:
        DtypeError: no CommGraph. GraphError: of other teams.
    """
    require_kind(who, name, value, CommGraph)
    assert isinstance(value, CommGraph)
    if value.num_agents != num_agents or value.num_graphs not in (1, num_envs):
        raise GraphError(
            f"{_name_of(who)}: expected {name} of {num_agents} agents, for each of {num_envs} teams or one for all, "
            f"got {value.num_graphs} of {value.num_agents} agents. Make it of the agents that it was asked about."
        )


def copied(who: str, thing: T) -> T:
    """A deep copy, where ``who`` needs one of a user's modules.

    Raises:
        ConfigError: something in it cannot be copied.
    """
    try:
        return copy.deepcopy(thing)
    except KeyboardInterrupt:
        raise
    except STRANGERS_FAULTS as error:
        raise ConfigError(
            f"{who} works on a copy of its parts: expected parts that copy.deepcopy can copy, got "
            f"{type(error).__name__}: {str(error)[:200]}. Keep locks, files and generators outside of modules, or "
            "write __deepcopy__."
        ) from error


def _name_of(who: object) -> str:
    return who if isinstance(who, str) else type(who).__name__
