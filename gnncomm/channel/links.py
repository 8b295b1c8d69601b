"""Faults of edges and of agents, in whatever layout a graph has."""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.graph.checks import check_batch
from gnncomm.moment import Moment
from gnncomm.random import stream, uniform


class Links:
    """The places of a graph's native layout for B environments: who sends, who receives, and the moment of each.

    ``key``, ``step``, ``sender`` and ``receiver`` are integers that broadcast to ``shape``.
    """

    def __init__(self, graph: CommGraph, moment: Moment) -> None:
        key, step = moment.key, moment.step
        check_batch("key", len(key), graph.num_graphs)
        if len(key) == 1:
            key, step = key.expand(graph.num_graphs), step.expand(graph.num_graphs)
        self.graph = graph
        self.environment, self.sender, self.receiver = graph.endpoints(len(key))
        self.key, self.step = key[self.environment], step[self.environment]
        self.own = self.sender == self.receiver
        self.shape = torch.broadcast_shapes(self.environment.shape, self.sender.shape, self.receiver.shape)

    def uniform(self, name: str) -> Tensor:
        """A draw in [0, 1) for each edge and step, in the stream ``name``."""
        return uniform(stream(self.key, name), self.step, self.sender, self.receiver)

    def keep(self, arrives: Tensor) -> CommGraph:
        """The edges over which messages arrive; an agent always hears itself."""
        return self.graph.keep((arrives | self.own).expand(self.shape))


def check_failing(name: str, agents: int | float, at: int) -> None:
    """ConfigError where ``agents`` is no count and no share, or ``at`` is no step."""
    if isinstance(agents, float) and not 0 <= agents <= 1:
        raise ConfigError(f"{name}.agents: expected a count such as 1 or a share from 0.0 to 1.0, got {agents}.")
    if agents < 0:
        raise ConfigError(f"{name}.agents: expected a count of at least 0, got {agents}.")
    if at < 0:
        raise ConfigError(f"{name}.at is a step of the episode: expected at >= 0, got {at}.")


def failing(agents: int | float, at: int, num_agents: int, moment: Moment) -> Tensor:
    """``[B, N]`` bool: agents that fail in this episode and have begun to.

    They come first in an order of the agents that is drawn with the episode's key. So more ``agents`` fail as well,
    and all kinds of failure strike the same ones. A share (float) is rounded to the nearest count.
    """
    count = round(agents * num_agents) if isinstance(agents, float) else agents
    score_BN = uniform(
        stream(moment.key, "failing").unsqueeze(-1),
        torch.arange(num_agents, device=moment.key.device),
        dtype=torch.float64,
    )
    rank_BN = score_BN.argsort(dim=-1, stable=True).argsort(-1)
    return (rank_BN < count) & (moment.step >= at).unsqueeze(-1)
