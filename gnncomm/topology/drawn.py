"""Random graphs that are drawn once per episode, or once for all."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Bool, Float, Int
from gnncomm.topology.base import DENSE_UP_TO, Topology


@dataclass(frozen=True)
class DrawnTopology(Topology):
    """A random graph that is a pure function of the episode's key (or of ``seed``) and the number of agents.

    Without ``seed`` every episode has its own graph, fixed from its first step to its last. With ``seed`` one graph
    serves all environments and episodes, as a static topology does. Who dies later does not change the draw: dead
    agents leave it. Dense for N <= 64, else sparse; drawing takes O(N^2) memory per episode.
    """

    seed: int | None = field(default=None, kw_only=True)

    @abstractmethod
    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        """The adjacency (sender, receiver) of all agents alive, for each key."""

    def __call__(
        self,
        alive: Bool[Tensor, "B N"],
        pos: Float[Tensor, "B N P"] | None = None,
        step: int | Int[Tensor, " B"] = 0,
        key: Int[Tensor, " B"] | None = None,
    ) -> CommGraph:
        num_agents = alive.shape[1]
        if self.seed is not None:
            return _seeded(self, num_agents, alive.device).among(alive)
        key_U, row_B = keys_of(self, alive, key).unique(return_inverse=True)  # a rollout repeats each key many times
        return _graph(self.draw(key_U, num_agents)).select(row_B).expand(len(alive)).among(alive)


def keys_of(topology: Topology, alive: Bool[Tensor, "B N"], key: Int[Tensor, " B"] | None) -> Int[Tensor, " B"]:
    """``key``, or a refusal.

    Raises:
        GraphError: there is no key.
        ShapeError: keys of other environments.
    """
    name = type(topology).__name__
    if key is None:
        hint = " or fix the graph with seed=" if isinstance(topology, DrawnTopology) else ""
        raise GraphError(f"{name} is random: expected key [B], got None. Pass the key of each episode{hint}.")
    if key.shape != alive.shape[:1]:
        raise ShapeError(f"{name} is random: expected a key per environment [{len(alive)}], got {list(key.shape)}.")
    return key


def _graph(adjacency_UNN: Tensor) -> CommGraph:
    graph = CommGraph.from_dense(adjacency_UNN, validate=False)
    return graph if graph.num_agents <= DENSE_UP_TO else graph.to_layout("sparse")


@lru_cache(maxsize=256)
def _seeded(topology: DrawnTopology, num_agents: int, device: torch.device) -> CommGraph:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return _graph(topology.draw(torch.tensor([topology.seed], device=device), num_agents))
