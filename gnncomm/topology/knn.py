"""The nearest agents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float
from gnncomm.topology.base import DENSE_UP_TO, Alive, Keys, Places, Steps
from gnncomm.topology.cells import BRUTE_UP_TO, first_of, nearest
from gnncomm.topology.geometric import GeometricTopology, places


@dataclass(frozen=True)
class KNearest(GeometricTopology):
    """Agent i hears the ``k`` living agents nearest to it.

    Of equally near ones (Euclidean, float32), the smaller indices; with fewer than k living others, all of them.
    Dense layout for N <= 64, else regular. O(N^2) up to 256 agents; beyond, a grid of cells that never holds N x N.
    """

    aliases = ("knn",)

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"KNearest.k counts neighbours: expected k >= 1, got {self.k}. Use Empty() for none.")

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        if alive.shape[1] <= BRUTE_UP_TO:
            return super().__call__(alive, pos, step, key)
        place_BNP = places("KNearest", alive, pos)
        index_BNk, present_BNk = nearest(alive, place_BNP, min(self.k, alive.shape[1] - 1))
        return CommGraph.from_neighbors(index_BNk, present_BNk, validate=False).without_loops()

    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        num_agents = distance_BNN.shape[-1]
        agent_N = torch.arange(num_agents, device=distance_BNN.device)
        index_BNk, far_BNk = first_of(distance_BNN, agent_N, self.k)
        graph = CommGraph.from_neighbors(index_BNk, far_BNk.isfinite(), validate=False).without_loops()
        return graph.to_layout("dense") if num_agents <= DENSE_UP_TO else graph
