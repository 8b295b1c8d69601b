"""Lost messages."""

from __future__ import annotations

from dataclasses import dataclass

from gnncomm.channel.base import Channel
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.graph.checks import check_batch
from gnncomm.moment import Moment
from gnncomm.random import stream, uniform


@dataclass(frozen=True)
class Loss(Channel):
    """Each directed edge is lost with probability ``p``, independently at each step; all rounds of a step share it.

    The edge j -> i survives iff ``uniform(stream(key, "loss"), step, j, i) >= p``. So what is lost at p is lost at
    every larger p, and draws are equal in all layouts and batch sizes. An agent's message to itself is never lost.

    Raises:
        ConfigError: ``p`` is no probability.
    """

    p: float

    def __post_init__(self) -> None:
        if not 0 <= self.p <= 1:
            raise ConfigError(f"Loss.p is a probability: expected 0 <= p <= 1, got {self.p}.")

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.p == 0:
            return graph
        key, step = moment.key, moment.step
        check_batch("key", len(key), graph.num_graphs)
        if len(key) == 1:
            key, step = key.expand(graph.num_graphs), step.expand(graph.num_graphs)
        environment, sender, receiver = graph.endpoints(len(key))
        draw = uniform(stream(key, "loss")[environment], step[environment], sender, receiver)
        return graph.keep((draw >= self.p) | (sender == receiver))
