"""What a topology is: who could hear whom, as a function of who lives, where agents are, and when."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from numbers import Integral, Real
from typing import Any, ClassVar, TypeAlias

import numpy as np
import torch
from torch import Tensor

from gnncomm.errors import ConfigError, DtypeError, ShapeError
from gnncomm.graph import CommGraph, checks
from gnncomm.shapes import Bool, Float, Int

Alive: TypeAlias = Bool[Tensor, "B N"]
Places: TypeAlias = Float[Tensor, "B N P"] | None
Steps: TypeAlias = int | Int[Tensor, " B"]
Keys: TypeAlias = Int[Tensor, " B"] | None

DENSE_UP_TO = 64
"""Graphs of at most this many agents are stored dense."""


@dataclass(frozen=True)
class Topology(ABC):
    """Who could hear whom. Frozen dataclasses: equal settings are equal topologies.

    ``topology(alive)`` gives the graph of B environments; ``a | b`` has the edges of either, ``a & b`` those of both,
    ``~a`` those that ``a`` lacks, ``a.every(k)`` those of ``a`` at every k-th step. A subclass in ``gnncomm.topology``
    has a name, ``gnncomm.topology.resolve("knn:k=4")``: its class name in snake_case, or one of its ``aliases``; one of
    your own gets its name from ``gnncomm.register``.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        """The graph now.

        Args:
            alive: takes part; dead agents neither send nor receive.
            pos: positions, for geometric topologies (GraphError without).
            step: steps since the reset, for topologies that change with time.
            key: identity of each episode (``gnncomm.random``), for random topologies (GraphError without).
        """

    def __init_subclass__(cls, **settings: Any) -> None:
        """Whatever a subclass does, what it is given is judged first."""
        super().__init_subclass__(**settings)
        if "__call__" in vars(cls):
            _require_arguments(cls)
            cls.__call__ = _judged(vars(cls)["__call__"])  # type: ignore[method-assign]
        if "__post_init__" in vars(cls):
            cls.__post_init__ = _typed(vars(cls)["__post_init__"])  # type: ignore[method-assign, assignment]

    def __post_init__(self) -> None:
        check_types(self)

    def __or__(self, other: Topology) -> Topology:
        return Union(self, _other(other))

    def __and__(self, other: Topology) -> Topology:
        return Intersection(self, _other(other))

    def __invert__(self) -> Topology:
        return Complement(self)

    def every(self, k: int) -> Topology:
        """These edges at the steps 0, k, 2 k, ...; silence between them."""
        return Every(self, k)


def _require_arguments(cls: type[Topology]) -> None:
    """Each of them is given, whatever a topology reads."""
    try:
        inspect.signature(vars(cls)["__call__"]).bind(None, alive=None, pos=None, step=0, key=None)
        inspect.signature(vars(cls)["__call__"]).bind(None, None, None, 0, None)
    except TypeError as error:
        raise ConfigError(
            f"{cls.__name__}: expected __call__(self, alive, pos=None, step=0, key=None), got another: {error}."
        ) from error


def _judged(call: Callable[..., CommGraph]) -> Callable[..., CommGraph]:
    @wraps(call)
    def judged(
        topology: Topology,
        alive: Tensor,
        pos: Tensor | None = None,
        step: int | Tensor = 0,
        key: Tensor | None = None,
    ) -> CommGraph:
        checks.check_values("alive", checks.as_tensor("alive", alive))
        if alive.dtype != torch.bool or alive.dim() != 2:
            raise ShapeError(
                f"alive marks agents: expected bool [B, N], got {str(alive.dtype).removeprefix('torch.')} "
                f"{checks.shape_of(alive)}."
            )
        checks.as_tensors(pos=pos, key=key)
        for name, value in (("key", key), ("step", step)):
            if isinstance(value, Tensor):
                checks.as_tensor(name, value)
                if value.is_floating_point() or value.dtype == torch.bool:
                    raise DtypeError(f"{name} counts: expected integers, got {value.dtype}. Use {name}.long().")
        if isinstance(step, bool) or not isinstance(step, (Tensor, int, np.integer, torch.SymInt)):
            raise DtypeError(f"step counts: expected an int or a tensor [B], got {type(step).__name__} {step!r}.")
        return call(topology, alive, pos, step, key)

    return judged


def _typed(after: Callable[[Topology], None]) -> Callable[[Topology], None]:
    @wraps(after)
    def typed(topology: Topology) -> None:
        check_types(topology)
        after(topology)

    return typed


def check_types(topology: Topology) -> None:
    """Numbers are numbers of the kind that the class says, those of numpy included; a bool is none.

    Raises:
        ConfigError: names the setting.
    """
    for field in (each for each in fields(topology) if each.init):
        value, kind = getattr(topology, field.name), str(field.type).removesuffix(" | None")
        if value is None or kind not in ("int", "float", "bool"):
            continue
        number = Integral if kind == "int" else Real
        fits = isinstance(value, bool) if kind == "bool" else isinstance(value, number) and not isinstance(value, bool)
        if not fits:
            raise ConfigError(f"{type(topology).__name__}.{field.name}: expected {kind}, got {value!r}.")
        if kind == "int":
            object.__setattr__(topology, field.name, int(value))


def _other(value: object) -> Topology:
    if isinstance(value, Topology):
        return value
    raise ConfigError(
        f"Topologies combine with topologies: expected one, got {type(value).__name__} {value!r}. "
        "Use gnncomm.topology.resolve('ring') for a name."
    )


@dataclass(frozen=True)
class Union(Topology):
    """The edges of either topology, ``left | right``."""

    left: Topology
    right: Topology

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return self.left(alive, pos, step, key) | self.right(alive, pos, step, key)


@dataclass(frozen=True)
class Intersection(Topology):
    """The edges of both topologies, ``left & right``."""

    left: Topology
    right: Topology

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return self.left(alive, pos, step, key) & self.right(alive, pos, step, key)


@dataclass(frozen=True)
class Complement(Topology):
    """The edges between two different living agents that ``inner`` lacks, ``~inner``. Dense, O(N^2)."""

    inner: Topology

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return (~self.inner(alive, pos, step, key)).among(alive)


@dataclass(frozen=True)
class Every(Topology):
    """The edges of ``inner`` at the steps 0, k, 2 k, ..., and none between them, ``inner.every(k)``."""

    inner: Topology
    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"every(k) counts steps: expected k >= 1, got {self.k}. Use Empty() for never.")

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        on_B = (steps_of(step, alive) % self.k) == 0
        return self.inner(alive, pos, step, key).only(on_B)


def steps_of(step: int | Int[Tensor, " B"], alive: Bool[Tensor, "B N"]) -> Int[Tensor, " S"]:
    """``step`` as a tensor: ``[1]`` when it is one number for all environments, else ``[B]``."""
    return step if isinstance(step, Tensor) else alive.new_full((1,), step, dtype=torch.int64)
