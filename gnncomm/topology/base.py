"""What a topology is: who could hear whom, as a function of who lives, where agents are, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Bool, Float, Int

DENSE_UP_TO = 64
"""Graphs of at most this many agents are stored dense."""


@dataclass(frozen=True)
class Topology(ABC):
    """Who could hear whom. Frozen dataclasses: equal settings are equal topologies.

    ``topology(alive)`` gives the graph of B environments; ``a | b`` has the edges of either, ``a & b`` those of both,
    ``~a`` those that ``a`` lacks, ``a.every(k)`` those of ``a`` at every k-th step. A subclass in ``gnncomm.topology``
    has a name for the command line and for ``gnncomm.topology("knn:k=4")``: its class name in snake_case, or one of
    its ``aliases``.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        """The graph now.

        Args:
            alive: takes part; dead agents neither send nor receive.
            pos: positions, for geometric topologies (GraphError without).
            step: steps since the reset, for topologies that change with time.
            key: identity of each episode (``gnncomm.random``), for random topologies (GraphError without).
        """

    def __or__(self, other: Topology) -> Topology:
        return Union(self, other)

    def __and__(self, other: Topology) -> Topology:
        return Intersection(self, other)

    def __invert__(self) -> Topology:
        return Complement(self)

    def every(self, k: int) -> Topology:
        """These edges at the steps 0, k, 2 k, ...; silence between them."""
        return Every(self, k)


@dataclass(frozen=True)
class Union(Topology):
    """The edges of either topology, ``left | right``."""

    left: Topology
    right: Topology

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        return self.left(alive, pos, step, key) | self.right(alive, pos, step, key)


@dataclass(frozen=True)
class Intersection(Topology):
    """The edges of both topologies, ``left & right``."""

    left: Topology
    right: Topology

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        return self.left(alive, pos, step, key) & self.right(alive, pos, step, key)


@dataclass(frozen=True)
class Complement(Topology):
    """The edges between two different living agents that ``inner`` lacks, ``~inner``. Dense, O(N^2)."""

    inner: Topology

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        return (~self.inner(alive, pos, step, key)).among(alive)


@dataclass(frozen=True)
class Every(Topology):
    """The edges of ``inner`` at the steps 0, k, 2 k, ..., and none between them, ``inner.every(k)``."""

    inner: Topology
    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"every(k) counts steps: expected k >= 1, got {self.k}. Use Empty() for never.")

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        on_B = (steps_of(step, alive) % self.k) == 0
        return self.inner(alive, pos, step, key).only(on_B)


def steps_of(step: int | Int[Tensor, " B"], alive: Bool[Tensor, "B N"]) -> Int[Tensor, " S"]:
    """``step`` as a tensor: ``[1]`` when it is one number for all environments, else ``[B]``."""
    return step if isinstance(step, Tensor) else alive.new_full((1,), step, dtype=torch.int64)
