"""The nearest agents."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Float
from gnncomm.topology.base import DENSE_UP_TO, GeometricTopology


@dataclass(frozen=True)
class KNearest(GeometricTopology):
    """Each living agent hears the ``k`` living agents that are nearest to it (Euclidean); of equally near ones, the
    smaller indices. With fewer than k living others it hears all of them.

    Distances are float32. Dense layout for N <= 64, else regular; O(N^2).
    """

    aliases = ("knn",)

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"KNearest.k counts neighbours: expected k >= 1, got {self.k}. Use Empty() for none.")

    def near(self, distance_BNN: Float[Tensor, "B N N"]) -> CommGraph:
        num_agents = distance_BNN.shape[-1]
        # Floats that are not negative are ordered like their bits; below the bits, the index decides between equals.
        bits_BNN = distance_BNN.view(torch.int32).to(torch.int64)
        rank_BNN = (bits_BNN << 32) | torch.arange(num_agents, device=distance_BNN.device)
        nearest_BNk = rank_BNN.topk(min(self.k, num_agents), largest=False, sorted=False).values
        if num_agents <= DENSE_UP_TO:
            heard_BNN = (rank_BNN <= nearest_BNk.amax(-1, keepdim=True)) & distance_BNN.isfinite()
            return CommGraph.from_dense(heard_BNN.transpose(1, 2), validate=False)
        index_BNk = nearest_BNk & 0xFFFFFFFF
        present_BNk = distance_BNN.gather(-1, index_BNk).isfinite()
        return CommGraph.from_neighbors(index_BNk, present_BNk, validate=False)
