"""Whom one happens to meet."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.random import integers, stream
from gnncomm.topology.base import DENSE_UP_TO, Alive, Keys, Places, Steps, Topology, steps_of
from gnncomm.topology.drawn import keys_of


@dataclass(frozen=True)
class Gossip(Topology):
    """At each step every agent hears ``k`` random others.

    Each set of k different living others has the same probability, independently for each agent and step; with fewer
    than k living others, all of them. Boyd, Ghosh, Prabhakar and Shah 2006, "Randomized Gossip Algorithms"; the sets
    are drawn as by Floyd (Bentley and Floyd 1987, "A Sample of Brilliance"), in O(N k^2). Dense layout for N <= 64,
    else regular.
    """

    k: int = 1

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"Gossip.k counts neighbours: expected k >= 1, got {self.k}. Use Empty() for none.")

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        num_agents = alive.shape[1]
        key_B11 = stream(keys_of(self, alive, key), "gossip").view(-1, 1, 1)
        step_S11 = steps_of(step, alive).view(-1, 1, 1)
        agent_N1 = torch.arange(num_agents, device=alive.device).unsqueeze(-1)
        others_B11 = (alive.sum(1) - 1).view(-1, 1, 1)
        rank_BNk = torch.empty(*alive.shape, 0, dtype=torch.int64, device=alive.device)
        for slot in range(min(self.k, num_agents - 1)):
            # Floyd: a number up to ``last``; when it is taken already, ``last`` itself, which cannot be.
            last_B11 = others_B11 - min(self.k, num_agents - 1) + slot
            draw_BN1 = integers(key_B11, (last_B11 + 1).clamp_min(1), step_S11, agent_N1, slot)
            taken_BN1 = (rank_BNk == draw_BN1).any(-1, keepdim=True)
            rank_BNk = torch.cat([rank_BNk, torch.where(taken_BN1 | (last_B11 < 0), last_B11, draw_BN1)], -1)
        present_BNk = (rank_BNk >= 0) & alive.unsqueeze(-1)
        # Ranks count the living others: skip oneself, then look up the agent.
        own_BN1 = (alive.cumsum(1) - 1).unsqueeze(-1)
        rank_BNk = (rank_BNk + (rank_BNk >= own_BN1)).clamp(0, num_agents - 1)
        living_BN = (~alive).int().argsort(dim=1, stable=True)
        sender_BNk = living_BN.gather(1, rank_BNk.flatten(1)).view_as(rank_BNk)
        graph = CommGraph.from_neighbors(sender_BNk, present_BNk, validate=False).without_loops()
        return graph.to_layout("dense") if num_agents <= DENSE_UP_TO else graph
