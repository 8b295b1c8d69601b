"""What a topology is: who could hear whom, as a function of who lives, where agents are, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import torch
from torch import Tensor

from gnncomm.errors import GraphError, NonFiniteError, ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.shapes import Bool, Float, Int

DENSE_UP_TO = 64
"""Graphs of at most this many agents are stored dense."""


@dataclass(frozen=True)
class Topology(ABC):
    """Who could hear whom. Frozen dataclasses: equal settings are equal topologies.

    ``topology(alive)`` gives the graph of B environments; ``a | b`` has the edges of either, ``a & b`` those of both.
    A subclass in ``gnncomm.topology`` has a name for the command line and for ``gnncomm.topology("knn:k=4")``: its
    class name in snake_case, or one of its ``aliases``.
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
            key: identity of each episode (``gnncomm.random``), for random topologies.
        """

    def __or__(self, other: Topology) -> Topology:
        return Union(self, other)

    def __and__(self, other: Topology) -> Topology:
        return Intersection(self, other)


@dataclass(frozen=True)
class StaticTopology(Topology):
    """A topology that depends on the number of agents only. A subclass says ``edges``; the graph is built once."""

    @abstractmethod
    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        """Senders and receivers, int64 ``[E]`` each; repeated edges count once."""

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        return static_graph(self, alive.shape[1], alive.device).among(alive)


@lru_cache(maxsize=256)
def static_graph(topology: StaticTopology, num_agents: int, device: torch.device) -> CommGraph:
    """The graph of all agents alive, one for all environments, built once per (topology, N, device).

    Layout: dense for N <= 64 or when a quarter of all pairs are edges; else regular when at most half of the slots
    would be empty; else sparse.
    """
    # The cached graph outlives the caller's mode; tensors made in inference mode could not be used in training.
    with torch.inference_mode(False):
        edges_2E = torch.stack(topology.edges(num_agents))
        graph = CommGraph.from_edge_index(edges_2E.to(device), num_agents, coalesce=True)
        if num_agents <= DENSE_UP_TO or 4 * graph.num_edges >= num_agents**2:
            return graph.to_layout(Layout.DENSE)
        if int(graph.in_degree.max()) * num_agents <= 2 * graph.num_edges:
            return graph.to_layout(Layout.REGULAR)
        return graph


@dataclass(frozen=True)
class GeometricTopology(Topology):
    """A topology that depends on distances between living agents. A subclass says ``near``."""

    @abstractmethod
    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        """The graph of these Euclidean distances; infinite means: no edge (dead, or an agent and itself)."""

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        return self.near(distances(type(self).__name__, alive, pos))


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


def distances(name: str, alive: Bool[Tensor, "B N"], pos: Float[Tensor, "B N P"] | None) -> Float[Tensor, "B N N"]:
    """Euclidean distances (float32) between living agents; infinite for dead agents and from an agent to itself.

    Raises:
        GraphError: there are no positions.
        ShapeError: positions of other agents.
        NonFiniteError: a living agent is nowhere.
    """
    if pos is None:
        raise GraphError(f"{name} needs positions: expected pos [B, N, P], got None. Use an env with pos, or Full().")
    if pos.dim() != 3 or pos.shape[:2] != alive.shape:
        raise ShapeError(
            f"{name} needs a position per agent: expected pos {[*alive.shape, 'P']}, got {list(pos.shape)}."
        )
    lost = (alive.unsqueeze(-1) & ~pos.isfinite()).nonzero()
    if len(lost):
        env, agent, axis = lost[0].tolist()
        raise NonFiniteError(
            f"{name} needs positions: expected finite pos for living agents, got {pos[env, agent, axis].item()} "
            f"in environment {env}, agent {agent}, axis {axis}."
        )
    # Squares one by one: the matrix-product shortcut of cdist rounds, and equal distances would no longer be equal.
    place_BNP = pos.to(torch.float32)
    distance_BNN = torch.cdist(place_BNP, place_BNP, compute_mode="donot_use_mm_for_euclid_dist")
    own_NN = torch.eye(pos.shape[1], dtype=torch.bool, device=pos.device)
    pair_BNN = alive.unsqueeze(-1) & alive.unsqueeze(-2) & ~own_NN
    return torch.where(pair_BNN, distance_BNN, torch.inf)
