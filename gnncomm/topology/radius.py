"""The agents within range."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.shapes import Bool, Float
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology
from gnncomm.topology.cells import BRUTE_UP_TO, within
from gnncomm.topology.geometric import distances, places, separation

GROWTH = 1.1


@dataclass(frozen=True)
class Radius(Topology):
    """Two living agents hear each other when they are at most ``r`` apart.

    Euclidean (float32), in units of ``pos``, without a limit on the number of neighbours. With ``ensure_connected`` the
    range of an environment is the first of r, 1.1 r, 1.1^2 r, ... that connects all its living agents (Blumenkamp and
    Prorok 2020, "The Emergence of Adversarial Communication in Multi-Agent Reinforcement Learning", whose simulator
    grows the range so). Dense layout and O(N^2) up to 256 agents; beyond, sparse, by a grid of cells that never
    holds N x N. ``ensure_connected`` takes O(N) memory and O(N^2) time at any size.
    """

    r: float
    ensure_connected: bool = False

    def __post_init__(self) -> None:
        if not self.r >= 0:
            raise ConfigError(f"Radius.r is a range: expected r >= 0, got {self.r}.")
        if self.ensure_connected and self.r == 0:
            raise ConfigError("Radius.r grows by a factor: expected r > 0 with ensure_connected, got 0.")

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        place_BNP = places("Radius", alive, pos)
        range_B = place_BNP.new_full((len(alive),), self.r)
        if self.ensure_connected:
            range_B = grown(self.r, longest_link(alive, place_BNP))
        if alive.shape[1] > BRUTE_UP_TO:
            return within(alive, place_BNP, range_B)
        distance_BNN = distances(alive, place_BNP)
        heard_BNN = (distance_BNN <= range_B.view(-1, 1, 1)) & distance_BNN.isfinite()
        return CommGraph.from_dense(heard_BNN, validate=False).without_loops()


def grown(r: float, needed: Float[Tensor, " B"]) -> Float[Tensor, " B"]:
    """The first of r, 1.1 r, 1.1^2 r, ... (each rounded to float32) that is at least ``needed``."""
    most = float(needed.amax()) if len(needed) else 0.0
    times = 0 if most <= r else math.ceil(math.log(most / r) / math.log(GROWTH)) + 1
    range_T = r * GROWTH ** torch.arange(times + 1, dtype=torch.float64, device=needed.device)
    range_T = range_T.to(needed.dtype)
    return range_T[torch.searchsorted(range_T, needed)]


def longest_link(alive: Bool[Tensor, "B N"], place: Float[Tensor, "B N P"]) -> Float[Tensor, " B"]:
    """The smallest range that connects all living agents: the longest edge of a minimum spanning tree (Prim 1957)."""
    num_envs, num_agents = alive.shape
    row_B = torch.arange(num_envs, device=alive.device)
    newest_B = alive.int().argmax(-1)  # the first living agent
    outside_BN = alive.clone()
    gap_BN = place.new_full(alive.shape, torch.inf)
    longest_B = place.new_zeros(num_envs)
    for _ in range(num_agents - 1):
        outside_BN[row_B, newest_B] = False
        reach_BN = separation(place[row_B, newest_B].unsqueeze(1), place)
        gap_BN = torch.where(outside_BN, torch.minimum(gap_BN, reach_BN), torch.inf)
        link_B, newest_B = gap_BN.min(-1)
        longest_B = torch.where(link_B.isfinite(), torch.maximum(longest_B, link_B), longest_B)
    return longest_B
