"""No choice."""

from __future__ import annotations

from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.moment import Moment
from gnncomm.schedule.base import Decider, Schedule, Scheduler


class Always(Scheduler):
    """Everyone talks on every edge at every step."""

    decider = Decider.NOBODY

    def forward(
        self,
        h: Tensor,
        msg: Tensor,
        graph: CommGraph,
        state: Tensor,
        moment: Moment,
        key: int | Tensor | None,
        choice: Tensor | None,
        announced: Tensor | None = None,
    ) -> Schedule:
        return Schedule(graph, msg, state).as_it_came()
