"""Messages that arrive later."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel.base import Arrival, Channel, Delivery
from gnncomm.errors import ConfigError, GraphError
from gnncomm.graph import CommGraph, Edges, Layout
from gnncomm.random import stream, uniform
from gnncomm.types import Moment

MOST_STEPS = 1024
"""A file may not ask for the memory of a million steps."""


@dataclass(frozen=True)
class Delay(Channel):
    """Every message arrives ``steps`` steps after it was sent, in the same round; until then it is no edge.

    It goes to those whom its sender talked to when it was sent, with the weights of then. What is in flight when an
    episode ends is gone. What an agent says to itself is not delayed.

    Raises:
        ConfigError: not 0 <= ``steps`` <= 1024. GraphError (when it is used): edges with ``attr``, which has no rule.
    """

    steps: int

    def __post_init__(self) -> None:
        _check_steps("Delay.steps", self.steps)

    @property
    def max_age(self) -> int:
        return self.steps

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        return self.steps * _width(msg_channels, num_agents)

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        if self.steps == 0:
            return Delivery((Arrival(msg, graph),), state)
        flight = _Flight(msg, graph, state, self.steps)
        everyone = torch.ones((), dtype=torch.bool, device=msg.device)
        return Delivery((flight.arrival(self.steps, everyone),), flight.after())


@dataclass(frozen=True)
class Jitter(Channel):
    """Every message takes 0 to ``max`` steps, equally likely, drawn for each edge when it is sent.

    So messages may overtake each other, and several of one sender, or none, may arrive together: all of them are
    delivered. Sent at step t over j -> i, a message takes ``floor((max + 1) * u)`` steps with
    ``u = uniform(stream(key, "jitter"), t, j, i)``; so a larger ``max`` makes no message faster, and the messages of
    all rounds of a step take the same time (``PerRound`` draws for each). For the rest see ``Delay``.

    Raises:
        ConfigError: not 0 <= ``max`` <= 1024. GraphError (when it is used): the edges carry ``attr``; there is no rule.
    """

    max: int

    def __post_init__(self) -> None:
        _check_steps("Jitter.max", self.max)

    @property
    def copies(self) -> int:
        return self.max + 1

    @property
    def max_age(self) -> int:
        return self.max

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        return self.max * _width(msg_channels, num_agents)

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        if self.max == 0:
            return Delivery((Arrival(msg, graph),), state)
        flight = _Flight(msg, graph, state, self.max)
        edges = Edges(graph, moment)
        at_once = edges.keep(self._steps(edges.draw("jitter")) == 0)
        agent = torch.arange(msg.shape[1], device=msg.device)
        key_B11, step_B11 = stream(moment.key, "jitter").view(-1, 1, 1), moment.step.view(-1, 1, 1)
        arrivals = [Arrival(msg, at_once)]
        for age in range(1, self.max + 1):
            draw_BNN = uniform(key_B11, step_B11 - age, agent.unsqueeze(-1), agent)
            arrivals.append(flight.arrival(age, self._steps(draw_BNN) == age))
        return Delivery(tuple(arrivals), flight.after())

    def _steps(self, draw: Tensor) -> Tensor:
        return (draw * (self.max + 1)).long()


def _check_steps(name: str, steps: int) -> None:
    if not 0 <= steps <= MOST_STEPS:
        raise ConfigError(
            f"{name}: expected a whole number from 0 to {MOST_STEPS}, got {steps}. All messages of so many steps are "
            "carried along; what arrives later than an episode lasts is not sent: use Loss(1)."
        )


def _width(msg_channels: int, num_agents: int) -> int:
    """A message in flight: its numbers, whom it is for, and the weight for each."""
    return msg_channels + 2 * num_agents


class _Flight:
    """The messages of the last ``steps`` steps, the newest first: ``[B, N, steps, M + 2N]``."""

    def __init__(self, msg: Tensor, graph: CommGraph, state: Tensor, steps: int) -> None:
        if graph.attr is not None:
            raise GraphError("A message in flight takes no edge attr along: expected none. Use weights, or no delay.")
        self.msg, self.graph = msg, graph
        self.channels, self.num_agents = msg.shape[-1], msg.shape[-2]
        self.old = state.unflatten(-1, (steps, _width(self.channels, self.num_agents)))

    def arrival(self, age: int, lands: Tensor) -> Arrival:
        """What was sent ``age`` steps ago, over the edges where ``lands [B, N, N]``."""
        msg, to, weight = self.old[:, :, age - 1].split([self.channels, self.num_agents, self.num_agents], -1)
        weighted = self.graph.weight is not None
        # Without weights none is 0, unless a learner's step before kept candidates that were not used.
        sent = (to > 0.5) & lands if weighted else (to > 0.5) & lands & (weight != 0)
        graph = CommGraph.from_dense(sent, weight=weight if weighted else None, validate=False)
        return Arrival(msg, graph, fresh=False, age=age)

    def after(self) -> Tensor:
        """What the next step finds."""
        dense = self.graph.to_layout(Layout.DENSE).expand(len(self.msg))
        to_BNN = dense.dense.to(self.msg.dtype)
        weight_BNN = to_BNN if dense.weight is None else dense.weight.to(self.msg.dtype)
        sent = torch.cat([self.msg, to_BNN, weight_BNN], -1).unsqueeze(2)
        return torch.cat([sent, self.old[:, :, :-1]], 2).flatten(2)
