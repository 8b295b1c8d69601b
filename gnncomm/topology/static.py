"""Topologies that depend on the number of agents only: built once, shared by all environments."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.host import apart
from gnncomm.topology.base import DENSE_UP_TO, Alive, Keys, Places, Steps, Topology


@dataclass(frozen=True)
class StaticTopology(Topology):
    """A topology that depends on the number of agents only. A subclass says ``edges``; the graph is built once."""

    @abstractmethod
    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        """Senders and receivers, int64 ``[E]`` each; repeated edges count once."""

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        return static_graph(self, alive.shape[1], alive.device).among(alive)


@lru_cache(maxsize=256)
def static_graph(topology: StaticTopology, num_agents: int, device: torch.device) -> CommGraph:
    """The graph of all agents alive, one for all environments, built once per (topology, N, device).

    Layout: dense for N <= 64 or when a quarter of all pairs are edges; else regular when at most half of the slots
    would be empty; else sparse.
    """
    # The cached graph outlives the caller's mode; tensors made in inference mode could not be used in training.
    with apart():
        edges_2E = torch.stack(topology.edges(num_agents))
        graph = CommGraph.from_edge_index(edges_2E.to(device), num_agents, coalesce=True)
        if not bool((edges_2E[0] == edges_2E[1]).any()):
            graph = graph.without_loops()
        if num_agents <= DENSE_UP_TO or 4 * graph.num_edges >= num_agents**2:
            return graph.to_layout(Layout.DENSE)
        if int(graph.in_degree.max()) * num_agents <= 2 * graph.num_edges:
            return graph.to_layout(Layout.REGULAR)
        return graph
