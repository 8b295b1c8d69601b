"""The wire between deployed agents: the only thing that crosses from one to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel import Arrival, Channel, Ideal
from gnncomm.channel.base import delivered
from gnncomm.errors import GraphError, ShapeError, StateError
from gnncomm.graph import CommGraph, Layout
from gnncomm.shapes import Float
from gnncomm.types import Moment


@dataclass(frozen=True)
class Inbox:
    """What reached one agent in one round, in ascending order of senders; S = 0 where nothing did.

    One sender may be there more than once, with messages of several steps (``Jitter``).
    """

    senders: Tensor  # [S] int64
    msg: Tensor  # [S, M]
    edge_attr: Tensor | None = None  # [S, D]
    edge_weight: Tensor | None = None  # [S]

    @classmethod
    def of(cls, msg: Float[Tensor, "S M"]) -> Inbox:
        """An inbox from messages alone."""
        return cls(torch.arange(msg.shape[0], device=msg.device), msg)

    def only_from(self, sender: int) -> Inbox:
        """What ``sender`` said."""
        kept = self.senders == sender
        attr, weight = self.edge_attr, self.edge_weight
        return Inbox(
            self.senders[kept],
            self.msg[kept],
            None if attr is None else attr[kept],
            None if weight is None else weight[kept],
        )


Flight = dict[int, Tensor]
"""What is in flight in each round: ``[N, N, Q]``, for each sender a world where nobody else spoke; empty at first."""


class Mailbox:
    """One step of the wire for one team: ``post`` a message, ``collect`` an inbox, ``close_round``.

    Who did not post is not heard: a message that did not arrive is no edge. Between the last ``post`` and the first
    ``collect`` the medium does what it does (``Channel.carry``): it may lose, change, delay and repeat messages. What
    arrives from an agent is made of its own messages alone: the medium carries each as if nobody else had spoken.

    Args:
        graph: one graph, the edges over which agents talk in this step; ``route`` changes them for one round.
        channel: the medium.
        episode: identity of the episode and
        step: steps since it began, for the draws of the medium.
        flight: what is in flight. A medium with memory needs the same dictionary for all steps of an episode.
        pos: ``[N, P]`` where the agents are, for a medium that depends on it. The mailbox stands for the medium, so it
            knows what no agent does; between real radios the air does this.
        alive: bool ``[N]``.

    Raises:
        GraphError: ``graph`` is a batch of several graphs.
    """

    def __init__(
        self,
        graph: CommGraph,
        channel: Channel | None = None,
        episode: int = 0,
        step: int = 0,
        flight: Flight | None = None,
        pos: Tensor | None = None,
        alive: Tensor | None = None,
    ) -> None:
        self.route(graph)
        self.channel = Ideal() if channel is None else channel
        self.episode, self.step, self.round = episode, step, 0
        self.flight: Flight = {} if flight is None else flight
        self.pos, self.alive = pos, alive
        self._posted: dict[int, Tensor] = {}
        self._carried: tuple[Arrival, ...] | None = None

    def route(self, graph: CommGraph) -> None:
        """From now on agents talk over the edges of ``graph``."""
        if graph.num_graphs != 1:
            raise GraphError(
                f"A mailbox serves one team: expected one graph, got {graph.num_graphs}. "
                "Use graph.select(torch.tensor([b])) for environment b."
            )
        self.graph = graph.to_layout(Layout.SPARSE)

    def post(self, sender: int, msg: Float[Tensor, " M"]) -> None:
        """Put agent ``sender``'s message of this round on the wire.

        Raises:
            StateError: it has posted already, or somebody has collected. ShapeError: not ``[M]`` as the others' are.
            GraphError: no such agent.
        """
        if not 0 <= sender < self.graph.num_agents:
            raise GraphError(f"No agent {sender}: expected 0 <= sender < {self.graph.num_agents}.")
        if sender in self._posted or self._carried is not None:
            raise StateError(
                f"Agent {sender} came too late: expected one post in round {self.round}, before anybody collects. "
                "Call close_round() between rounds."
            )
        width = len(next(iter(self._posted.values()), msg))
        if msg.dim() != 1 or msg.shape[0] != width:
            raise ShapeError(f"Agent {sender} posted a message {list(msg.shape)}: expected [M={width}].")
        self._posted[sender] = msg

    def collect(self, receiver: int) -> Inbox:
        """What reaches agent ``receiver`` in this round.

        Raises:
            GraphError: no such agent, or the medium adds edges. StateError: nobody posted, so that the width of a
                message is unknown.
        """
        if not 0 <= receiver < self.graph.num_agents:
            raise GraphError(f"No agent {receiver}: expected 0 <= receiver < {self.graph.num_agents}.")
        heard = [_of_receiver(arrival, receiver) for arrival in self._carry()]
        order = torch.cat([inbox.senders for inbox in heard]).argsort(stable=True)

        def joined(parts: list[Tensor | None]) -> Tensor | None:
            given = [part for part in parts if part is not None]
            return torch.cat(given)[order] if given else None

        return Inbox(
            torch.cat([inbox.senders for inbox in heard])[order],
            torch.cat([inbox.msg for inbox in heard])[order],
            joined([inbox.edge_attr for inbox in heard]),
            joined([inbox.edge_weight for inbox in heard]),
        )

    def close_round(self) -> None:
        """Empty all boxes; the next posts belong to the next round."""
        if self._posted:
            self._carry()  # what nobody collected has been in the medium all the same
        self.round += 1
        self._posted, self._carried = {}, None

    def _refuse_new_edges(self, arrivals: tuple[Arrival, ...], used: CommGraph) -> None:
        """What is said now arrives over edges that are used now, if at all."""
        own = torch.eye(used.num_agents, dtype=torch.bool, device=used.device)
        for arrival in arrivals:
            new = arrival.graph.dense & ~used.dense & ~own
            if arrival.fresh and bool(new.any()):
                _, sender, receiver = new.nonzero()[0].tolist()
                raise GraphError(
                    f"{type(self.channel).__name__} delivered over the edge {sender} -> {receiver}, which nobody used: "
                    "expected edges of the graph it was given. A channel only takes edges away."
                )

    def _carry(self) -> tuple[Arrival, ...]:
        """What the medium delivers."""
        if self._carried is None:
            if not self._posted:
                raise StateError(f"Nobody posted in round {self.round}: expected at least one message before collect.")
            sample, num_agents = next(iter(self._posted.values())), self.graph.num_agents
            silent = torch.zeros_like(sample)
            sent_NM = torch.stack([self._posted.get(agent, silent) for agent in range(num_agents)])
            spoke_N = torch.zeros(num_agents, dtype=torch.bool, device=self.graph.device)
            spoke_N[list(self._posted)] = True
            width = self.channel.carried_dim(len(sample), num_agents)
            state = self.flight.get(self.round, sample.new_zeros(num_agents, num_agents, width))
            everyone = torch.ones(num_agents, dtype=torch.int64, device=sample.device)
            where = (None if each is None else each.expand(num_agents, *each.shape) for each in (self.pos, self.alive))
            moment = Moment(everyone * self.episode, everyone * self.step, self.round, *where)
            used = self.graph.keep(spoke_N[self.graph.edge_index[0]])
            # A world for each sender, in which the others are silent: what they say must not get into what it says.
            alone_NNM = torch.diag_embed(sent_NM.T).permute(1, 2, 0)
            delivery = delivered(self.channel, alone_NNM, used, state, moment)
            self._refuse_new_edges(delivery.arrivals, used)
            self.flight[self.round], self._carried = delivery.state, delivery.arrivals
        return self._carried


def _of_receiver(arrival: Arrival, receiver: int) -> Inbox:
    """Of each sender what arrives in its own world."""
    num_agents = arrival.graph.num_agents
    graph = arrival.graph.expand(num_agents).to_layout(Layout.SPARSE)
    sender_E, receiver_E = graph.edge_index
    own_world_E = sender_E // num_agents == sender_E % num_agents
    edges = (own_world_E & (receiver_E % num_agents == receiver)).nonzero().squeeze(-1)
    senders = sender_E[edges] % num_agents
    attr, weight = graph.edge_attr, graph.edge_weight
    return Inbox(
        senders,
        arrival.msg[senders, senders],
        None if attr is None else attr[edges],
        None if weight is None else weight[edges],
    )
