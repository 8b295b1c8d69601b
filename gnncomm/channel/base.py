"""What a medium is: which messages arrive, and what is left of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.types import Batch


@dataclass(frozen=True)
class Delivery(Batch):
    """What arrives in one round.

    Senders may be more than agents: where messages of several ages arrive together, ``msg`` has ``D * N`` rows, row
    ``d * N + j`` is a message of agent j, and ``graph`` is over D * N agents of which the first N receive.
    """

    msg: Tensor  # [B, D * N, M]
    graph: CommGraph
    state: Tensor  # [B, N, Q] what is in flight, by sender


@dataclass(frozen=True)
class Channel:
    """What the medium does to messages. This base does nothing; a subclass overrides what it changes.

    A channel's randomness is a pure function of (episode key, step, sender, receiver), so a learner recomputes the
    wire that the rollout saw. A message that does not arrive, or not yet, is no edge, never a zero vector.
    """

    aliases: ClassVar[tuple[str, ...]] = ()

    def state_dim(self, msg_channels: int) -> int:
        """Q, numbers in flight for each sender and round; zeros at the beginning of an episode."""
        return 0

    def deliver(self, graph: CommGraph, moment: Moment) -> CommGraph:
        """The edges of ``graph`` over which messages arrive at once."""
        return graph

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        """What is left of the messages ``[B, N, M]``."""
        return msg

    def carry(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        """Both, and what is in flight: a channel with delay overrides this one."""
        return Delivery(self.transmit(msg, moment), self.deliver(graph, moment), state)
