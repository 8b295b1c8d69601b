"""What a team would do if it had read something else: the interventions of the probe."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from gnncomm.channel import Arrival, Channel, Delivery, Ideal
from gnncomm.channel.base import Around
from gnncomm.evaluation.shuffle import before, latest
from gnncomm.graph import CommGraph, talkers
from gnncomm.policy import Talk
from gnncomm.shapes import Bool, Int
from gnncomm.types import Moment


class Trial:
    """What happens to what arrives in the rounds of one step: nothing, silence, or an exchange between episodes.

    An exchanged message is the one that the same sender is read with at the same step, in the same round and at the
    same age, in another of the episodes that are played side by side; so it is of the right kind, and says nothing of
    the episode at hand.
    """

    def __init__(self) -> None:
        self._whose: Bool[Tensor, "B N"] | None = None
        self._instead: list[list[Arrival]] | None = None
        self._from: list[list[Int[Tensor, "B N"]]] = []

    @staticmethod
    def arriving(talk: Talk, counted: Bool[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        """Whose message arrives at somebody else in some round, in counted episodes."""
        every = [_read(arrival.graph, counted) for arrivals in talk.delivered for arrival in arrivals]
        return torch.stack(every).any(0)

    def silence(self, whose: Bool[Tensor, "B N"]) -> None:
        """From now on what these senders say arrives nowhere."""
        self._whose, self._instead = whose, None

    def exchange(self, talk: Talk, whose: Bool[Tensor, "B N"], counted: Bool[Tensor, " B"]) -> Bool[Tensor, "B N"]:
        """From now on what these senders say is what they say in another counted episode, by ``talk``.

        Returns:
            ``[B, N]``: for whom there is another message.
        """
        self._whose, self._from = whose, []
        self._instead = [list(arrivals) for arrivals in talk.delivered]
        found = torch.zeros_like(whose)
        for arrivals in self._instead:
            partners = [_next(_read(arrival.graph, counted)) for arrival in arrivals]
            own = torch.arange(len(whose), device=whose.device).unsqueeze(-1)
            for partner in partners:
                found |= partner != own
            self._from.append(partners)
        return found & whose

    def applied(self, delivery: Delivery, number: int) -> Delivery:
        """What arrives in round ``number``, changed."""
        whose = self._whose
        if whose is None:
            return delivery
        if self._instead is None:
            return replace(delivery, arrivals=tuple(_silenced(arrival, whose) for arrival in delivery.arrivals))
        changed = []
        for place, arrival in enumerate(delivery.arrivals):
            true, partner = self._instead[number][place].msg, self._from[number][place]
            agent = torch.arange(true.shape[1], device=true.device)
            changed.append(replace(arrival, msg=torch.where(whose.unsqueeze(-1), true[partner, agent], arrival.msg)))
        return replace(delivery, arrivals=tuple(changed))


@dataclass(frozen=True)
class Tried(Around):
    """``inner``, whose deliveries a trial changes. What an agent says to itself does not come here."""

    trial: Trial
    inner: Channel = field(default_factory=Ideal)

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return self.trial.applied(self.inner.pass_on(msg, graph, state, moment), moment.round)


def _silenced(arrival: Arrival, whose: Tensor) -> Arrival:
    return replace(arrival, graph=arrival.graph.keep_where(sender=~whose))


def _read(graph: CommGraph, counted: Tensor) -> Bool[Tensor, "B N"]:
    """Whose message arrives at somebody else, in counted episodes."""
    return talkers(graph).expand(len(counted), graph.num_agents) & counted.unsqueeze(-1)


def _next(reads: Bool[Tensor, "B N"]) -> Int[Tensor, "B N"]:
    """For each episode and sender the nearest episode before it in which the sender is read, round in a circle."""
    own = torch.arange(len(reads), device=reads.device).unsqueeze(-1).expand(reads.shape)
    up_to = latest(reads)
    earlier = before(up_to)
    found = torch.where(earlier >= 0, earlier, up_to[-1])
    return torch.where(reads & (found >= 0), found, own)
