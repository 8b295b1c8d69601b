"""Any networkx graph."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

import networkx as nx
import torch
from torch import Tensor

from gnncomm.errors import GraphError
from gnncomm.graph import CommGraph
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class FromNetworkx(StaticTopology):
    """The edges of a networkx Graph (both directions) or DiGraph, as they are when the topology is made.

    Node ``agents[i]`` is agent i; without ``agents`` the nodes must be 0 .. N-1 in this order
    (``CommGraph.from_networkx``). Edge attributes are not read.

    Raises:
        GraphError: the order of agents is unclear, or the number of agents is another one.
    """

    graph: nx.Graph = field(repr=False, compare=False)
    agents: Sequence[Hashable] | None = field(default=None, repr=False, compare=False)
    num_agents: int = field(init=False)
    pairs: tuple[tuple[int, int], ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        graph = CommGraph.from_networkx(self.graph, self.agents)
        object.__setattr__(self, "num_agents", graph.num_agents)
        object.__setattr__(self, "pairs", tuple(map(tuple, graph.edge_index.t().tolist())))

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        if num_agents != self.num_agents:
            raise GraphError(f"The networkx graph has {self.num_agents} nodes: expected {num_agents} agents.")
        sender_E, receiver_E = torch.tensor(self.pairs, dtype=torch.int64).reshape(-1, 2).unbind(1)
        return sender_E, receiver_E
