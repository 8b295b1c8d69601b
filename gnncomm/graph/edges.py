"""Edges one by one, in whatever layout a graph has: their ends, draws named by them, and which of them are kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph.checks import check_batch
from gnncomm.graph.commgraph import CommGraph, Layout
from gnncomm.random import stream, uniform
from gnncomm.types import Moment


class Edges:
    """The places of a graph's native layout for B environments at one moment: what is decided about, edge by edge.

    ``environment``, ``sender`` and ``receiver`` are integers that broadcast to ``shape``, the shape of a decision, and
    ``own`` marks what an agent says to itself. Places without an edge may hold anything; ``keep`` ignores them.
    Masks that are made of agents or of pairs of them need none of this: ``CommGraph.keep_where``.
    """

    def __init__(self, graph: CommGraph, moment: Moment) -> None:
        check_batch("key", len(moment.key), graph.num_graphs)
        self.graph, self.moment = graph, moment
        self.num_envs = max(len(moment.key), graph.num_graphs) if len(moment.key) == 1 else len(moment.key)
        self.environment, self.sender, self.receiver = graph.endpoints(self.num_envs)
        self.shape = graph.places(self.num_envs)
        self.own = self.sender == self.receiver

    def of_env(self, values: Tensor) -> Tensor:
        """``values[b]`` of every place, from ``[B, ...]``; one for all environments may be given once."""
        return values.expand(self.num_envs, *values.shape[1:])[self.environment]

    def of_sender(self, rows: Tensor) -> Tensor:
        """``rows[b, j]`` of every place, from ``[B, N, ...]``; broadcasts to ``[*shape, ...]``."""
        return rows[self.environment, self.sender]

    def of_receiver(self, rows: Tensor) -> Tensor:
        """``rows[b, i]`` of every place."""
        return rows[self.environment, self.receiver]

    def distance(self, name: str) -> Tensor:
        """Euclidean distance of both ends in float64, in units of the positions.

        Raises:
            GraphError: there are no positions; ``name`` is who needs them. ShapeError: positions of other agents.
        """
        pos = self.moment.pos
        if pos is None:
            raise GraphError(f"{name} needs positions: expected moment.pos [B, N, P], got None. Use an env with pos.")
        if pos.dim() != 3 or pos.shape[:2] != (self.num_envs, self.graph.num_agents):
            expected = f"[{self.num_envs}, {self.graph.num_agents}, P]"
            raise ShapeError(f"{name} needs a position per agent: expected pos {expected}, got {list(pos.shape)}.")
        square = torch.zeros((), dtype=torch.float64, device=pos.device)
        for place_BN in pos.double().unbind(-1):  # axis by axis: a vectorised sum rounds by the shape of the batch
            square = square + (self.of_sender(place_BN) - self.of_receiver(place_BN)).square()
        return square.sqrt()

    def draw(
        self,
        name: str,
        how: Callable[..., Tensor] = uniform,
        *,
        per: Literal["episode", "step", "round"] = "step",
        symmetric: bool = False,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """A draw for every place in the stream ``name``: a pure function of (episode, step, round, j, i).

        Args:
            name: of the stream; streams of other names are independent.
            how: ``uniform``, ``normal`` or ``gumbel`` of ``gnncomm.random``.
            per: what is drawn anew; all rounds of a step share what is drawn per step.
            symmetric: the same for j -> i and i -> j.
            dtype: float32 or float64.
        """
        ends = self.sender, self.receiver
        if symmetric:
            ends = torch.minimum(*ends), torch.maximum(*ends)
        when = {"episode": (), "step": (self.step,), "round": (self.step, self.moment.round)}[per]
        return how(self.of_env(stream(self.moment.key, name)), *when, *ends, dtype=dtype)

    @property
    def step(self) -> Tensor:
        """Steps since the episode of every place began."""
        return self.of_env(self.moment.step)

    def keep(self, chosen: Tensor, own: bool = True) -> CommGraph:
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
        values = torch.where(self.graph.mask & ~self.own, values, 0.0).expand(self.shape)
        num_agents = self.graph.num_agents
        node = (self.environment * num_agents + agent).expand(self.shape)
        total = values.new_zeros(self.num_envs * num_agents)
        return total.index_add(0, node.reshape(-1), values.reshape(-1)).view(self.num_envs, num_agents)


def talkers(graph: CommGraph) -> Tensor:
    """``[G, N]`` bool: has an edge to another agent."""
    if graph.layout is Layout.DENSE:
        own_NN = torch.eye(graph.num_agents, dtype=torch.bool, device=graph.device)
        return (graph.dense & ~own_NN).any(2)
    sender_E, receiver_E = graph.edge_index
    others_V = torch.bincount(sender_E[sender_E != receiver_E], minlength=graph.num_graphs * graph.num_agents)
    return others_V.view(graph.num_graphs, graph.num_agents) > 0
