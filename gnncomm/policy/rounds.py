"""All rounds of communication in one step: the only place of a policy that crosses rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gnncomm.channel import Arrival, Delivery
from gnncomm.channel.base import delivered
from gnncomm.codec.base import coded
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, given, talkers
from gnncomm.layers import CommLayer, CommStack
from gnncomm.policy.credit import Offer, credited
from gnncomm.schedule.base import Situation, Trades, scheduled
from gnncomm.types import Batch, Moment
from gnncomm.wire import Wire


@dataclass(frozen=True)
class WireState(Batch):
    """What is carried from step to step between the agents, by sender and round; zeros when an episode begins."""

    schedule: Tensor  # [B, N, K, Z]
    flight: Tensor  # [B, N, K, Q]

    @classmethod
    def fresh(cls, wire: Wire, comm: CommStack, like: Tensor, num_envs: int, num_agents: int) -> WireState:
        return cls(*(like.new_zeros(shape) for shape in cls.shapes(wire, comm, num_envs, num_agents)))

    @staticmethod
    def shapes(wire: Wire, comm: CommStack, num_envs: int, num_agents: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """``[B, N, K, Z]`` of ``schedule`` and ``[B, N, K, Q]`` of ``flight``."""
        widths, scheduler, channel = [layer.msg_channels for layer in comm.rounds], wire.scheduler, wire.channel
        own = [given.require_width(scheduler, "carried_dim", scheduler.carried_dim(width)) for width in widths]
        flight = max(
            given.require_width(channel, "carried_dim", channel.carried_dim(width, num_agents)) for width in widths
        )
        schedule, rows = max(own) + _remembered(wire), (num_envs, num_agents, len(widths))
        return (*rows, schedule), (*rows, flight)

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
    log_prob: Tensor  # [B, N, K] of them in each round; [B, N, 0] where the scheduler samples nothing
    entropy: Tensor  # [B, N] over all rounds
    cost: Tensor  # [B, N] terms of the training loss from scheduler and codec
    round_bits: Tensor  # [B, N, K] that each agent put on the wire, control traffic of the scheduler included
    rows: tuple[Tensor, ...]  # [B, N, H] before each round
    scheduled: tuple[CommGraph, ...]  # the edges that the channel was given in each round
    said: tuple[Tensor, ...]  # [B, N, M] as it enters the channel in each round
    symbols: tuple[Tensor, ...]  # [B, N, S] of what each agent says in each round; S = 0 where it is no symbols
    delivered: tuple[tuple[Arrival, ...], ...]  # what arrived in each round, also at those who do not listen
    arrivals: tuple[tuple[Arrival, ...], ...]  # what was read in each round
    spoke: tuple[Tensor, ...]  # [B, N] bool: put a message on the wire in each round, instead of having an old one read

    @property
    def bits(self) -> Tensor:
        """``[B, N]``: of all rounds."""
        return self.round_bits.sum(-1)

    @property
    def graphs(self) -> tuple[CommGraph, ...]:
        """Over which edges messages arrived in each round, whenever they were sent."""
        return tuple(_union([arrival.graph for arrival in arrivals]) for arrivals in self.arrivals)

    @property
    def fresh(self) -> tuple[CommGraph, ...]:
        """Over which edges messages arrived in each round that were made of what was said in it."""
        return tuple(
            _union([item.graph.keep_where(sender=spoke) if item.fresh else _cut(item.graph) for item in arrivals])
            for arrivals, spoke in zip(self.arrivals, self.spoke, strict=True)
        )


def talk(
    comm: CommStack,
    wire: Wire,
    h: Tensor,
    reachable: CommGraph,
    state: WireState,
    now: Moment,
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
        now: the moment; its ``round`` is counted here.
        draw: names the draws of the scheduler's decisions; None takes the most likely ones.
        choice: ``[B, N, K * C]`` recorded decisions to evaluate instead.
    """
    zero = h.new_zeros(h.shape[:-1])
    entropy, cost, nothing = zero, zero, zero.new_zeros(*zero.shape, 0, dtype=torch.int64)
    rows, arrivals, spoke, choices, log_probs, schedules, flights = [], [], [], [], [], [], []
    bits, graphs, messages, symbols, deliveries = [], [], [], [], []
    width, own = wire.scheduler.num_choices, state.schedule.shape[-1] - _remembered(wire)
    if not any(layer.reads_features for layer in comm.rounds):
        comm.rounds[0].check_read(reachable.attr)
    for number, layer in enumerate(comm.rounds):
        rows.append(h)
        moment = replace(now, round=number)
        said = coded(wire.codec, layer.sent(h), moment)
        recorded = None if choice is None else choice[..., number * width : (number + 1) * width]
        before, past = state.schedule[:, :, number].tensor_split([own], -1)
        schedule = scheduled(wire.scheduler, Situation(h, said.msg, reachable, before, moment, draw, recorded))
        trades, past = _trades(schedule.trades, past)
        carried = schedule.graph if schedule.candidates is None else schedule.candidates
        delivery = _carried(wire, schedule.msg, carried, state.flight[:, :, number], moment)
        arrived = tuple(_read_by(arrival, schedule.deaf) for arrival in delivery.arrivals)
        receive = partial(_receive, comm, layer)
        if schedule.candidates is None:
            h = receive(h, arrived)
        else:
            offer = Offer(arrived, reachable.weight is not None, tuple(_of_then(trades, item) for item in arrived))
            h, arrived = credited(receive, h, offer), offer.used
        sent = (talkers(schedule.graph) if schedule.sent is None else schedule.sent).expand(zero.shape)
        bits.append(_add(torch.where(sent, said.bits, 0.0), schedule.bits))
        entropy = _add(entropy, schedule.entropy)
        cost = _add(_add(cost, schedule.cost), said.cost)
        if schedule.choice is not None:
            choices.append(schedule.choice)
            log_probs.append(_add(zero, schedule.log_prob))
        graphs.append(schedule.graph)
        messages.append(schedule.msg)
        symbols.append(nothing if said.symbols is None else said.symbols)
        deliveries.append(delivery.arrivals)
        arrivals.append(arrived)
        spoke.append(sent)
        schedules.append(torch.cat([schedule.state, past], -1))
        flights.append(delivery.state)
    after = WireState(torch.stack(schedules, 2), torch.stack(flights, 2))
    chosen = torch.cat(choices, -1) if choices else nothing
    log_prob = torch.stack(log_probs, -1) if log_probs else zero.new_zeros(*zero.shape, 0)
    seen: tuple[list[Any], ...] = (rows, graphs, messages, symbols, deliveries, arrivals, spoke)
    return Talk(h, after, chosen, log_prob, entropy, cost, torch.stack(bits, -1), *(tuple(each) for each in seen))


def _remembered(wire: Wire) -> int:
    """Numbers of each agent that say who traded places when what is under way was sent."""
    return 3 * wire.channel.max_age if wire.scheduler.trades else 0


def _trades(now: Trades | None, past: Tensor) -> tuple[list[Trades | None], Tensor]:
    """The trades of this step and of those before it, the newest first; and what the next step finds of them."""
    steps = past.shape[-1] // 3
    if now is None:  # nobody learns
        return [None] * (steps + 1), torch.zeros_like(past)
    if not steps:
        return [now], past
    own = torch.zeros_like(past[..., 0]) if now.own is None else now.own.to(past.dtype)
    kept = torch.stack([now.last.to(past.dtype), now.first.to(past.dtype), own], -1)
    found: list[Trades | None] = [now]
    for last, first, weight in (each.unbind(-1) for each in past.split(3, -1)):
        found.append(Trades(last.long(), first.long(), None if now.own is None else weight))
    return found, torch.cat([kept, past[..., :-3]], -1)


def _of_then(trades: list[Trades | None], arrival: Arrival) -> Trades | None:
    """Those that were made when it was sent."""
    if trades[0] is not None and arrival.age >= len(trades):
        raise ConfigError(
            f"A channel delivered a message of age {arrival.age}: expected max_age={len(trades) - 1} at most, as it "
            "says itself. Override Channel.max_age beside pass_on."
        )
    return trades[arrival.age] if trades[0] is not None else None


def _carried(wire: Wire, msg: Tensor, graph: CommGraph, flight: Tensor, moment: Moment) -> Delivery:
    """What the channel delivers; rounds of unequal width share a state as wide as the widest."""
    width = wire.channel.carried_dim(msg.shape[-1], msg.shape[-2])
    delivery = delivered(wire.channel, msg, graph, flight[..., :width], moment)
    return replace(delivery, state=torch.cat([delivery.state, flight[..., width:]], -1))


def _receive(comm: CommStack, layer: CommLayer, h: Tensor, arrivals: tuple[Arrival, ...]) -> Tensor:
    """The rows after ``layer``, where one sender may be heard with several messages at once."""
    if len(arrivals) > 1:
        arrivals = tuple(arrival for arrival in arrivals if arrival.graph.num_edges) or arrivals[:1]
    if len(arrivals) == 1:
        (one,) = arrivals
        return comm.merge(h, layer.receive(h, one.msg, one.graph))
    num_envs, num_agents = h.shape[:2]
    graphs = [arrival.graph.expand(num_envs) for arrival in arrivals]
    sender_E = torch.cat([graph.edge_index[0] + d * num_envs * num_agents for d, graph in enumerate(graphs)])
    receiver_E, order_E = torch.cat([graph.edge_index[1] for graph in graphs]).sort(stable=True)

    def joined(features: list[Tensor | None]) -> Tensor | None:
        given = [value for value in features if value is not None]
        return torch.cat(given)[order_E].to(h.dtype) if given else None

    inbox = layer.edge_inbox(
        torch.cat([arrival.msg for arrival in arrivals]).flatten(0, 1),
        layer.asked(h).flatten(0, 1),
        torch.stack([sender_E[order_E], receiver_E]),
        joined([graph.edge_attr for graph in graphs]),
        joined([graph.edge_weight for graph in graphs]),
    )
    return comm.merge(h, layer.new_row(h, inbox.view(num_envs, num_agents, -1)))


def _read_by(arrival: Arrival, deaf: Tensor | None) -> Arrival:
    """The edges over which a message is read; what an agent says to itself always is."""
    if deaf is None:
        return arrival
    return replace(arrival, graph=arrival.graph.keep_where(receiver=~deaf))


def _union(graphs: list[CommGraph]) -> CommGraph:
    """Edges of any of them; without features where there are several."""
    if len(graphs) == 1:
        return graphs[0]
    num_graphs = max(graph.num_graphs for graph in graphs)
    edges = torch.cat([graph.expand(num_graphs).edge_index for graph in graphs], 1)
    return CommGraph.from_edge_index(edges, graphs[0].num_agents, num_graphs, coalesce=True, validate=False)


def _cut(graph: CommGraph) -> CommGraph:
    return graph.only(torch.zeros(1, dtype=torch.bool, device=graph.device))


def _add(total: Tensor, term: Tensor | None) -> Tensor:
    return total if term is None else total + term
