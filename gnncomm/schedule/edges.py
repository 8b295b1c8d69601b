"""Decisions about edges, in whatever layout a graph has."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.moment import Moment
from gnncomm.random import stream, uniform


class Candidates:
    """The places of a graph's native layout, for B environments: what is decided about, edge by edge.

    ``sender`` and ``receiver`` broadcast to ``shape``, the shape of a decision. Places without an edge may hold
    anything; ``kept`` ignores them.
    """

    def __init__(self, graph: CommGraph, num_envs: int) -> None:
        self.graph, self.num_envs = graph, num_envs
        self.environment, self.sender, self.receiver = graph.endpoints(num_envs)
        self.shape = torch.broadcast_shapes(self.environment.shape, self.sender.shape, self.receiver.shape)
        self.own = self.sender == self.receiver

    def of_sender(self, rows: Tensor) -> Tensor:
        """``rows[b, j]`` of every place, from ``[B, N, ...]``; broadcasts to ``[*shape, ...]``."""
        return rows[self.environment, self.sender]

    def of_receiver(self, rows: Tensor) -> Tensor:
        """``rows[b, i]`` of every place."""
        return rows[self.environment, self.receiver]

    def uniform(self, moment: Moment, name: str, dtype: torch.dtype, symmetric: bool = False) -> Tensor:
        """A draw in [0, 1) for every place: a pure function of (episode, step, round, j, i), or of ``{i, j}``."""
        key, step = stream(moment.key, name)[self.environment], moment.step[self.environment]
        ends = self.sender, self.receiver
        if symmetric:
            ends = torch.minimum(*ends), torch.maximum(*ends)
        return uniform(key, step, moment.round, *ends, dtype=dtype).expand(self.shape)

    def kept(self, chosen: Tensor, own: bool = True) -> CommGraph:
        """The edges where ``chosen`` is True; with ``own``, those of an agent to itself as they are."""
        return self.graph.keep((chosen | self.own if own else chosen).expand(self.shape))

    def weighed(self, weight: Tensor, own: bool = True) -> CommGraph:
        """All edges, times ``weight``; with ``own``, those of an agent to itself as they are.

        The weights that the graph had multiply.
        """
        every = torch.ones(self.shape, dtype=torch.bool, device=self.graph.device)
        graph = self.graph.keep(every)
        weight = (torch.where(self.own, 1.0, weight) if own else weight).expand(self.shape)
        weight = weight[every] if graph.layout is Layout.SPARSE else weight
        return graph.with_features(graph.attr, weight if graph.weight is None else graph.weight * weight)

    def sum_to_receiver(self, values: Tensor) -> Tensor:
        """``[B, N]``: the sum of ``values`` (of ``shape``) over the edges from others that each agent could hear."""
        return self._sum(values, self.receiver)

    def sum_to_sender(self, values: Tensor) -> Tensor:
        """``[B, N]``: the sum of ``values`` over the edges to others that each agent could use."""
        return self._sum(values, self.sender)

    def _sum(self, values: Tensor, agent: Tensor) -> Tensor:
        values = torch.where(self._present() & ~self.own, values, 0.0).expand(self.shape)
        num_agents = self.graph.num_agents
        node = (self.environment * num_agents + agent).expand(self.shape)
        total = values.new_zeros(self.num_envs * num_agents)
        return total.index_add(0, node.reshape(-1), values.reshape(-1)).view(self.num_envs, num_agents)

    def _present(self) -> Tensor:
        if self.graph.layout is Layout.DENSE:
            return self.graph.dense
        if self.graph.layout is Layout.REGULAR:
            return self.graph.present
        return torch.ones((), dtype=torch.bool, device=self.graph.device)


def talkers(graph: CommGraph) -> Tensor:
    """``[G, N]`` bool: has an edge to another agent."""
    if graph.layout is Layout.DENSE:
        own_NN = torch.eye(graph.num_agents, dtype=torch.bool, device=graph.device)
        return (graph.dense & ~own_NN).any(2)
    sender_E, receiver_E = graph.edge_index
    others_V = torch.bincount(sender_E[sender_E != receiver_E], minlength=graph.num_graphs * graph.num_agents)
    return others_V.view(graph.num_graphs, graph.num_agents) > 0
