"""The nearest agents."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float
from gnncomm.topology.base import GeometricTopology


@dataclass(frozen=True)
class KNearest(GeometricTopology):
    """Each living agent hears the ``k`` living agents that are nearest to it (Euclidean); of equally near ones, the
    smaller indices. With fewer than k living others it hears all of them. Regular layout, O(N^2 log N).
    """

    aliases = ("knn",)

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"KNearest.k counts neighbours: expected k >= 1, got {self.k}. Use Empty() for none.")

    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        slots = min(self.k, distance_BNN.shape[-1] - 1)
        nearest_BNN = distance_BNN.sort(dim=-1, stable=True)
        index_BNk = nearest_BNN.indices[..., :slots]
        present_BNk = nearest_BNN.values[..., :slots].isfinite()
        return CommGraph.from_neighbors(index_BNk, present_BNk, validate=False)
