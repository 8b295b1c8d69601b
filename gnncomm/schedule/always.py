"""No choice."""

from __future__ import annotations

from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation


class Always(Scheduler):
    """Everyone talks on every edge at every step."""

    decider = Decider.NOBODY

    def forward(self, now: Situation) -> Schedule:
        return Schedule(now.graph, now.msg, now.state)
