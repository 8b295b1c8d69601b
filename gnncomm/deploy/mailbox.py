"""The wire between deployed agents: the only thing that crosses from one to another."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.channel import Channel, Ideal
from gnncomm.errors import GraphError, ShapeError, StateError
from gnncomm.graph import CommGraph, Layout
from gnncomm.moment import Moment
from gnncomm.shapes import Float


@dataclass(frozen=True)
class Inbox:
    """What reached one agent in one round, in ascending order of senders; S = 0 where nothing did."""

    senders: Tensor  # [S] int64
    msg: Tensor  # [S, M]
    edge_attr: Tensor | None = None  # [S, D]
    edge_weight: Tensor | None = None  # [S]

    @classmethod
    def of(cls, msg: Float[Tensor, "S M"]) -> Inbox:
        """An inbox from messages alone."""
        return cls(torch.arange(msg.shape[0], device=msg.device), msg)


class Mailbox:
    """One step of the wire for one team: ``post`` a message, ``collect`` an inbox, ``close_round``.

    Who did not post is not heard: a message that did not arrive is no edge. What the medium does to messages
    (``Channel.transmit``) happens between ``post`` and ``collect``; which edges it leaves (``Channel.deliver``) is the
    business of whoever made ``graph``.

    Args:
        graph: one graph, the edges over which messages arrive in this step.
        channel: the medium.
        episode: identity of the episode and
        step: steps since it began, for the draws of the medium.

    Raises:
        GraphError: ``graph`` is a batch of several graphs.
    """

    def __init__(self, graph: CommGraph, channel: Channel | None = None, episode: int = 0, step: int = 0) -> None:
        if graph.num_graphs != 1:
            raise GraphError(
                f"A mailbox serves one team: expected one graph, got {graph.num_graphs}. "
                "Use graph.select(torch.tensor([b])) for environment b."
            )
        self.graph = graph.to_layout(Layout.SPARSE)
        self.channel = Ideal() if channel is None else channel
        self.round = 0
        self._episode = torch.tensor([episode], device=graph.device)
        self._step = torch.tensor([step], device=graph.device)
        self._posted: dict[int, Tensor] = {}
        self._carried: Tensor | None = None

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
            GraphError: no such agent. StateError: nobody posted, so that the width of a message is unknown.
        """
        if not 0 <= receiver < self.graph.num_agents:
            raise GraphError(f"No agent {receiver}: expected 0 <= receiver < {self.graph.num_agents}.")
        carried_NM = self._carry()
        sender_E, receiver_E = self.graph.edge_index
        spoke_N = torch.zeros(self.graph.num_agents, dtype=torch.bool, device=self.graph.device)
        spoke_N[list(self._posted)] = True
        edges = ((receiver_E == receiver) & spoke_N[sender_E]).nonzero().squeeze(-1)
        attr, weight = self.graph.edge_attr, self.graph.edge_weight
        return Inbox(
            sender_E[edges],
            carried_NM[sender_E[edges]],
            None if attr is None else attr[edges],
            None if weight is None else weight[edges],
        )

    def close_round(self) -> None:
        """Empty all boxes; the next posts belong to the next round."""
        self.round += 1
        self._posted, self._carried = {}, None

    def _carry(self) -> Tensor:
        """The messages ``[N, M]`` after the medium; rows of the silent mean nothing."""
        if self._carried is None:
            if not self._posted:
                raise StateError(f"Nobody posted in round {self.round}: expected at least one message before collect.")
            sample = next(iter(self._posted.values()))
            silent = torch.zeros_like(sample)
            rows = [self._posted.get(agent, silent) for agent in range(self.graph.num_agents)]
            sent_1NM = torch.stack(rows).unsqueeze(0)
            self._carried = self.channel.transmit(sent_1NM, Moment(self._episode, self._step, self.round))[0]
        return self._carried
