"""Everything between send and receive, as one value."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from gnncomm.channel import Channel, Ideal
from gnncomm.graph import CommGraph
from gnncomm.schedule import Always, Scheduler
from gnncomm.topology import Full, Topology


@dataclass(frozen=True)
class Wire:
    """Who could hear whom (topology), who does talk (scheduler), and what the medium does to it (channel).

    One graph holds for all rounds of a step: a link that is down is down until the next step.
    """

    topology: Topology = field(default_factory=Full)
    scheduler: Scheduler = field(default_factory=Always)
    channel: Channel = field(default_factory=Ideal)

    def graph(self, h: Tensor, alive: Tensor, pos: Tensor | None, step: Tensor, key: Tensor) -> CommGraph:
        """The edges over which messages arrive.

        Args:
            h: ``[B, N, F]``, the rows the scheduler decides on.
            alive: ``[B, N]`` bool; the others neither send nor receive.
            pos: ``[B, N, P]`` or None.
            step: ``[B]`` int64, steps since the episode began.
            key: ``[B]`` int64, the identity of the episode.
        """
        reachable = self.topology(alive, pos, step, key)
        return self.channel.deliver(self.scheduler(h, reachable, key, step), key, step)
