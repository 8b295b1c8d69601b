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
        h: Float[Tensor, "B N F"],  # noqa: ARG002
        graph: CommGraph,
        key: Int[Tensor, " B"],  # noqa: ARG002
        step: Int[Tensor, " B"],  # noqa: ARG002
    ) -> CommGraph:
        return graph
