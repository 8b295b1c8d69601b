"""No choice."""

from __future__ import annotations

from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.schedule.base import Scheduler
from gnncomm.shapes import Float, Int


class Always(Scheduler):
    """Everyone talks on every edge at every step."""

    def forward(
        self,
        h: Float[Tensor, "B N F"],
        graph: CommGraph,
        key: Int[Tensor, " B"],
        step: Int[Tensor, " B"],
    ) -> CommGraph:
        return graph
