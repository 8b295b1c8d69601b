"""Any function."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from gnncomm.errors import GraphError
from gnncomm.graph import CommGraph
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology

EdgeRule = Callable[[Tensor, Tensor | None, int | Tensor, Tensor | None], CommGraph | Tensor]


@dataclass(frozen=True)
class FromFunction(Topology):
    """What ``fn(alive, pos, step, key)`` returns: a CommGraph, or an adjacency (sender, receiver).

    The adjacency is ``[B, N, N]``, or ``[N, N]`` for all environments. Dead agents leave it. ``fn`` is to be pure: the
    learner calls it again for what the rollout saw.

    Raises:
        GraphError: something else comes back, or a graph of other agents.
    """

    fn: EdgeRule

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        found = self.fn(alive, pos, step, key)
        graph = CommGraph.from_dense(found) if isinstance(found, Tensor) else found
        if not isinstance(graph, CommGraph):
            raise GraphError(
                f"FromFunction.fn says who hears whom: expected a CommGraph or an adjacency [B, N, N], "
                f"got {type(found).__name__}."
            )
        num_envs, num_agents = alive.shape
        if graph.num_agents != num_agents or graph.num_graphs not in (1, num_envs):
            raise GraphError(
                f"FromFunction.fn says who hears whom: expected {num_envs} graphs (or 1) of {num_agents} agents, "
                f"got {graph.num_graphs} of {graph.num_agents}."
            )
        return graph.among(alive)
