"""What a medium is: which messages arrive, when, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from gnncomm import deprecated
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph, given
from gnncomm.random import bits, stream
from gnncomm.types import Batch, Moment


@dataclass(frozen=True)
class Arrival(Batch):
    """Messages that arrive together: one of each sender, over the edges of ``graph``."""

    msg: Tensor  # [B, N, M]; rows without an edge mean nothing
    graph: CommGraph
    fresh: bool = True  # whether ``msg`` is made of what its sender said in this round, and not earlier or never
    age: int = 0  # steps since it was sent; 0 too where nobody knows


@dataclass(frozen=True)
class Delivery(Batch):
    """What arrives in one round: of one sender there may be several messages, of different ages."""

    arrivals: tuple[Arrival, ...]
    state: Tensor  # [B, N, Q] what is in flight, by sender


@dataclass(frozen=True)
class Channel:
    """What the medium does to messages. This base does nothing; a subclass overrides what it changes.

    A channel's randomness is a pure function of (episode key, step, sender, receiver), so a learner recomputes the
    wire that the rollout saw, and what a mild fault does a severe one does, too. A message that does not arrive, or not
    yet, is no edge, never a zero vector. What an agent says to itself does not pass the medium.

    Channels combine: ``a + b`` is first a, then b. Most draw once for all rounds of a step, and channels of one kind
    share their draws: ``a.per_round()`` and ``a.apart()`` draw independently.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    @property
    def copies(self) -> int:
        """How many arrivals ``pass_on`` gives."""
        return 1

    @property
    def max_age(self) -> int:
        """How many steps a message is under way at most: the largest ``age`` that ``pass_on`` gives."""
        return 0

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        deprecated.overridden(cls, state_dim="carried_dim")

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        """Q, numbers in flight for each sender and round; zeros at the beginning of an episode."""
        return 0

    state_dim = deprecated.method("state_dim", "carried_dim")

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        """The edges of ``graph`` over which messages arrive at once."""
        return graph

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        """What is left of the messages ``[B, N, M]``."""
        return msg

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        """Both, and what is in flight: a channel with memory overrides this one. ``graph`` has no self-loops."""
        arrival = Arrival(self.transmit(msg, moment), self.deliver(graph, moment))
        return Delivery((arrival,), state)

    def carry(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        """One round: what is sent by B teams arrives.

        Args:
            msg: ``[B, N, M]``.
            graph: the edges over which agents talk.
            state: ``[B, N, Q]`` that the same round of the step before left.
            moment: episode, step and round.
        """
        own, others = _split(graph)
        delivery = self.pass_on(msg, others, state, moment)
        if own is None:
            return delivery
        return replace(delivery, arrivals=(*delivery.arrivals, Arrival(msg, own)))

    def __add__(self, other: Channel) -> Channel:
        return Series(self, other)

    def per_round(self) -> PerRound:
        """This channel with draws that are independent from round to round."""
        return PerRound(self)

    def apart(self, number: int = 1) -> Apart:
        """This channel with draws that no channel of another number has."""
        return Apart(self, number)


@dataclass(frozen=True)
class Series(Channel):
    """First one medium, then the other: ``left + right``.

    Channels of the same kind share their draws: of two losses in series the larger decides, unless one is ``Apart``.
    """

    left: Channel
    right: Channel

    @property
    def copies(self) -> int:
        return self.left.copies * self.right.copies

    @property
    def max_age(self) -> int:
        return self.left.max_age + self.right.max_age

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        first, then = (part.carried_dim(msg_channels, num_agents) for part in (self.left, self.right))
        return first + self.left.copies * then

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        size = msg.shape[-1], msg.shape[-2]
        first, then = self.left.carried_dim(*size), self.right.carried_dim(*size)
        mine, *theirs = state.split([first, *[then] * self.left.copies], -1)
        delivery = _kept(self.left, self.left.pass_on(msg, graph, mine, moment), msg, mine)
        arrivals, states = [], [delivery.state]
        for arrival, flight in zip(delivery.arrivals, theirs, strict=True):
            late = self.right.pass_on(arrival.msg, arrival.graph, flight, moment)
            late = _kept(self.right, late, msg, flight)
            for item in late.arrivals:
                arrivals.append(replace(item, fresh=item.fresh and arrival.fresh, age=item.age + arrival.age))
            states.append(late.state)
        return Delivery(tuple(arrivals), torch.cat(states, -1))


class Around(Channel):
    """Base of what stands around another channel, ``inner``, and has its copies, its ages and its room in flight."""

    inner: Channel

    @property
    def copies(self) -> int:
        return self.inner.copies

    @property
    def max_age(self) -> int:
        return self.inner.max_age

    def carried_dim(self, msg_channels: int, num_agents: int) -> int:
        return self.inner.carried_dim(msg_channels, num_agents)


@dataclass(frozen=True)
class _Redrawn(Around):
    """``inner`` in an episode of another key."""

    inner: Channel

    def key(self, moment: Moment) -> Tensor:
        """``[B]``: what the draws of ``inner`` are named by."""
        raise NotImplementedError

    def _moment(self, moment: Moment) -> Moment:
        return replace(moment, key=self.key(moment))

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        return self.inner.deliver(graph, self._moment(moment))

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        return self.inner.transmit(msg, self._moment(moment))

    def pass_on(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return self.inner.pass_on(msg, graph, state, self._moment(moment))

    def carry(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return self.inner.carry(msg, graph, state, self._moment(moment))


@dataclass(frozen=True)
class PerRound(_Redrawn):
    """``inner`` with draws that are independent from round to round: ``loss:p=0.2.per_round()``.

    Plain channels lose the same edges in all rounds of a step, as if the rounds were one burst on the air. With this
    each transmission has a fate of its own: a loss is drawn for (episode, step, round, sender, receiver), the bursts of
    an edge run in each round apart, a message takes a time of its own, and other agents fail in the second round than
    in the first. All promises of ``inner`` hold: within a round its draws are nested in severity.
    """

    def key(self, moment: Moment) -> Tensor:
        return bits(stream(moment.key, "per_round"), moment.round)


@dataclass(frozen=True)
class Apart(_Redrawn):
    """``inner`` with draws that no other channel has: ``loss:p=0.3 + loss:p=0.3.apart(1)`` passes 0.49 of all.

    Plain channels of one kind share their draws, so of two losses in series the larger decides (0.7 of all pass here),
    two noises are the same noise, and the agents that fall silent are those that would lie. Channels set apart by one
    ``number`` share theirs with each other.

    Raises:
        ConfigError: ``number`` < 1.
    """

    number: int = 1

    def __post_init__(self) -> None:
        if self.number < 1:
            raise ConfigError(
                f"apart(number) names draws of their own: expected a whole number >= 1, got {self.number}. Leave it "
                "out for the draws that all channels share."
            )

    def key(self, moment: Moment) -> Tensor:
        return bits(stream(moment.key, "apart"), self.number)


def delivered(channel: Channel, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
    """``channel.carry(msg, graph, state, moment)``, if it is what it must be.

    Raises:
        ShapeError, DtypeError, GraphError: a channel of a user's gave something else; names it.
    """
    return _kept(channel, channel.carry(msg, graph, state, moment), msg, state)


def _kept(channel: Channel, delivery: Delivery, msg: Tensor, state: Tensor) -> Delivery:
    given.require_kind(channel, "what pass_on gives", delivery, Delivery)
    given.require_made(channel, "state", "[B, N, Q] (carried_dim)", delivery.state, state.shape, state.dtype)
    if not isinstance(delivery.arrivals, tuple) or not delivery.arrivals:
        raise ShapeError(
            f"{type(channel).__name__}.pass_on: expected a tuple of arrivals, one at least, got "
            f"{type(delivery.arrivals).__name__}{'' if delivery.arrivals else ', empty'}. Where nothing arrives, give "
            "one over a graph without edges."
        )
    for arrival in delivery.arrivals:
        given.require_kind(channel, "each of the arrivals", arrival, Arrival)
        given.require_made(channel, "messages that arrive", "[B, N, M]", arrival.msg, msg.shape, msg.dtype)
        given.require_graph(channel, "the graph over which they arrive", arrival.graph, *msg.shape[:-1])
    return delivery


def _split(graph: CommGraph) -> tuple[CommGraph | None, CommGraph]:
    """The self-loops of ``graph`` (None if there are none) and its other edges."""
    if not graph.loops:
        return None, graph
    _, sender, receiver = graph.endpoints()
    own = sender == receiver
    if not bool((own & graph.mask).any()):
        return None, graph
    own = own.expand(graph.shape)
    return graph.keep(own), graph.keep(~own)
