"""All rounds of communication in one step: the only place of a policy that crosses rows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.layers import CommLayer, CommStack
from gnncomm.moment import Moment
from gnncomm.types import Batch
from gnncomm.wire import Wire


@dataclass(frozen=True)
class WireState(Batch):
    """What is carried from step to step between the agents, by sender and round; zeros when an episode begins."""

    schedule: Tensor  # [B, N, K, Z]
    flight: Tensor  # [B, N, K, Q]

    @classmethod
    def fresh(cls, wire: Wire, comm: CommStack, like: Tensor, num_envs: int, num_agents: int) -> WireState:
        layers = comm.rounds
        schedule = max(wire.scheduler.state_dim(layer.msg_channels) for layer in layers)
        flight = max(wire.channel.state_dim(layer.msg_channels) for layer in layers)
        return cls(
            like.new_zeros(num_envs, num_agents, len(layers), schedule),
            like.new_zeros(num_envs, num_agents, len(layers), flight),
        )

    @property
    def empty(self) -> bool:
        """Whether nothing is carried, so that steps do not depend on each other here."""
        return self.schedule.shape[-1] == 0 and self.flight.shape[-1] == 0


@dataclass(frozen=True)
class Talk(Batch):
    """What K rounds of communication left behind."""

    h: Tensor  # [B, N, H] after the last round
    state: WireState
    choice: Tensor  # [B, N, K * C] int64: decisions of the scheduler
    log_prob: Tensor  # [B, N] of them
    entropy: Tensor  # [B, N]
    cost: Tensor  # [B, N] terms of the training loss from scheduler and codec
    bits: Tensor  # [B, N] that each agent put on the wire
    rows: tuple[Tensor, ...]  # [B, N, H] before each round
    graphs: tuple[CommGraph, ...]  # over which messages arrived in each round


def talk(
    comm: CommStack,
    wire: Wire,
    h: Tensor,
    reachable: CommGraph,
    state: WireState,
    key: Tensor,
    step: Tensor,
    draw: int | Tensor | None = None,
    choice: Tensor | None = None,
) -> Talk:
    """Send, schedule, carry and receive, round after round.

    Args:
        comm: the layers.
        wire: scheduler, codec and channel.
        h: ``[B, N, H]``.
        reachable: who could hear whom.
        state: what the step before left.
        key, step: ``[B]``, the moment.
        draw: names the draws of the scheduler's decisions; None takes the most likely ones.
        choice: ``[B, N, K * C]`` recorded decisions to evaluate instead.
    """
    zero = h.new_zeros(h.shape[:-1])
    log_prob, entropy, cost, bits = zero, zero, zero, zero
    rows, graphs, choices, schedules, flights = [], [], [], [], []
    width = wire.scheduler.num_choices
    for number, layer in enumerate(comm.rounds):
        rows.append(h)
        moment = Moment(key, step, number)
        coded = wire.codec(layer.send(h), moment)
        recorded = None if choice is None else choice[..., number * width : (number + 1) * width]
        schedule = wire.scheduler(h, coded.msg, reachable, state.schedule[:, :, number], moment, draw, recorded)
        delivery = wire.channel.carry(schedule.msg, schedule.graph, state.flight[:, :, number], moment)
        h = comm.merge(h, _receive(layer, h, delivery.msg, delivery.graph))
        bits = bits + torch.where(schedule.graph.out_degree > 0, coded.bits, 0.0)
        log_prob, entropy = _add(log_prob, schedule.log_prob), _add(entropy, schedule.entropy)
        cost = _add(_add(cost, schedule.cost), coded.cost)
        choices.append(zero.new_zeros(*zero.shape, 0).long() if schedule.choice is None else schedule.choice)
        graphs.append(delivery.graph)
        schedules.append(schedule.state)
        flights.append(delivery.state)
    after = WireState(torch.stack(schedules, 2), torch.stack(flights, 2))
    return Talk(h, after, torch.cat(choices, -1), log_prob, entropy, cost, bits, tuple(rows), tuple(graphs))


def _receive(layer: CommLayer, h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
    """``layer.receive``, with rows of nobody for senders beyond the agents (see ``Delivery``)."""
    missing = msg.shape[1] - h.shape[1]
    if missing == 0:
        return layer.receive(h, msg, graph)
    padded = torch.cat([h, h.new_zeros(h.shape[0], missing, h.shape[2])], 1)
    return layer.receive(padded, msg, graph)[:, : h.shape[1]]


def _add(total: Tensor, term: Tensor | None) -> Tensor:
    return total if term is None else total + term
