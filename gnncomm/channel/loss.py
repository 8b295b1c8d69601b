"""Lost messages, one by one or in bursts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel.base import Channel
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Edges
from gnncomm.random import stream, uniform
from gnncomm.types import Moment


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
        _check_probability("Loss", self.p)

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.p == 0:
            return graph
        edges = Edges(graph, moment)
        return edges.keep(edges.draw("loss") >= self.p)


@dataclass(frozen=True)
class Burst(Channel):
    r"""Losses in bursts of ``length`` steps on average; ``p`` of all messages are lost, as with ``Loss(p)``.

    Each directed edge is good (messages arrive) or bad (they are lost), a Markov chain over the steps of an episode
    (Gilbert 1960, "Capacity of a burst-noise channel", with no loss when good and no arrival when bad; Elliott 1963):

    .. math::
        P(\text{bad} \to \text{good}) = r = \frac1{\text{length}}, \qquad
        P(\text{good} \to \text{bad}) = q = \frac{r p}{1 - p}

    It begins in its stationary distribution, so p holds at every step. With one uniform number u per edge and step the
    edge is bad if u < q, good if u >= 1 - r, and what it was otherwise (at step 0: bad if u < p). So the state of any
    step is found by looking back to the last step that decided, a pure function of (key, step, sender, receiver), and
    what is lost at p is lost at every larger p. All rounds of a step share it.

    Raises:
        ConfigError: ``p`` is no probability, or ``length`` < 1 / (1 - p), the length of bursts without memory
            (``p=1`` loses everything, at any length).
    """

    p: float
    length: float = 5.0

    def __post_init__(self) -> None:
        _check_probability("Burst", self.p)
        shortest = 1 / (1 - self.p) if self.p < 1 else 1.0
        if not shortest * (1 - 1e-9) <= self.length < float("inf"):
            raise ConfigError(
                f"Burst.length is the mean length of a burst in steps: expected at least 1 / (1 - p) = {shortest:g}, "
                f"which is that of Loss({self.p}), got {self.length}."
            )

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        if self.p == 0:
            return graph
        edges = Edges(graph, moment)
        if self.p == 1:
            return edges.keep(torch.zeros((), dtype=torch.bool, device=graph.device))
        return edges.keep(~self._bad(edges))

    def _bad(self, edges: Edges) -> Tensor:
        leave = 1 / self.length
        enter = leave * self.p / (1 - self.p)
        key = edges.of_env(stream(edges.moment.key, "burst"))
        counters = (key, edges.step, edges.sender, edges.receiver)
        key, step, sender, receiver = (value.expand(edges.shape).reshape(-1) for value in counters)
        bad = torch.zeros_like(key, dtype=torch.bool)
        undecided = torch.arange(len(key), device=key.device)
        while len(undecided):
            draw = uniform(key[undecided], step, sender[undecided], receiver[undecided], dtype=torch.float64)
            bad[undecided] = draw < torch.where(step == 0, self.p, enter)
            open_ = (draw >= enter) & (draw < 1 - leave) & (step > 0)
            undecided, step = undecided[open_], step[open_] - 1
        return bad.view(edges.shape)


def _check_probability(name: str, p: float) -> None:
    if not 0 <= p <= 1:
        raise ConfigError(f"{name}.p is a probability: expected 0 <= p <= 1, got {p}.")
