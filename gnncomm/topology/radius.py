"""The agents within range."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float
from gnncomm.topology.base import GeometricTopology


@dataclass(frozen=True)
class Radius(GeometricTopology):
    """Two living agents hear each other when they are at most ``r`` apart (Euclidean, in units of ``pos``).

    No limit on the number of neighbours. Dense layout, O(N^2).
    """

    r: float

    def __post_init__(self) -> None:
        if not self.r >= 0:
            raise ConfigError(f"Radius.r is a range: expected r >= 0, got {self.r}.")

    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        return CommGraph.from_dense((distance_BNN <= self.r) & distance_BNN.isfinite(), validate=False)
