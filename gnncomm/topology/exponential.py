"""Neighbours at distances 1, 2, 4, ... around a circle: few edges, short ways."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.graph import CommGraph
from gnncomm.topology.base import DENSE_UP_TO, Alive, Keys, Places, Steps, Topology, steps_of
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Exponential(StaticTopology):
    """Agent i hears i + 1, i + 2, i + 4, i + 8, ... modulo N: ceil(log2 N) agents, and so many rounds reach everyone.

    Ying, Yuan, Chen, Hu, Pan and Yin 2021, "Exponential Graph is Provably Efficient for Decentralized Deep Training"
    (NeurIPS), section 3; for communicating agents Li, Wang, Bai and Zhang 2025, "Exponential Topology-enabled Scalable
    Communication in Multi-agent Reinforcement Learning" (ICLR), called ExpoComm. Directed.
    """

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        offset_K = 2 ** torch.arange(num_offsets(num_agents))
        receiver_NK = torch.arange(num_agents).unsqueeze(-1).expand(-1, len(offset_K))
        sender_NK = (receiver_NK + offset_K) % num_agents
        return sender_NK.reshape(-1), receiver_NK.reshape(-1)


@dataclass(frozen=True)
class OnePeerExponential(Topology):
    """At step t agent i hears one agent: i + 2^(t mod K) modulo N, with K = ceil(log2 N).

    Ying and others 2021 (as for ``Exponential``), section 4: where N is a power of 2, K steps of averaging with the
    one peer give everyone the exact mean. ExpoComm's one-peer form has K + 1 turns, in one of which an agent hears
    only itself; here every turn brings a message. Dense layout for N <= 64, else regular.
    """

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        num_agents = alive.shape[1]
        turns = num_offsets(num_agents)
        if turns == 0:
            nobody_BN0 = torch.empty(1, num_agents, 0, dtype=torch.int64, device=alive.device)
            return CommGraph.from_neighbors(nobody_BN0, validate=False)
        offset_S11 = (2 ** (steps_of(step, alive) % turns)).view(-1, 1, 1)
        sender_SN1 = (torch.arange(num_agents, device=alive.device).view(1, -1, 1) + offset_S11) % num_agents
        graph = CommGraph.from_neighbors(sender_SN1, validate=False).without_loops()
        return (graph.to_layout("dense") if num_agents <= DENSE_UP_TO else graph).among(alive)


def num_offsets(num_agents: int) -> int:
    """ceil(log2 N): how many powers of 2 are smaller than N."""
    return (num_agents - 1).bit_length()
