"""A medium that does nothing."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.channel.base import Arrival, Channel, Delivery
from gnncomm.graph import CommGraph
from gnncomm.types import Moment


@dataclass(frozen=True)
class Ideal(Channel):
    """Every message arrives at once, unchanged."""

    def carry(self, msg: Tensor, graph: CommGraph, state: Tensor, moment: Moment) -> Delivery:
        return Delivery((Arrival(msg, graph),), state)
