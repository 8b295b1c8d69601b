"""A ring with shortcuts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.random import stream, uniform
from gnncomm.shapes import Bool, Int
from gnncomm.topology.drawn import DrawnTopology


@dataclass(frozen=True)
class SmallWorld(DrawnTopology):
    """``Ring(k)``, each of whose N k links moves one end to a random agent with probability ``p``.

    Watts and Strogatz 1998, "Collective dynamics of 'small-world' networks" (Nature 393). Links i -- i + d are moved
    lap by lap, d = 1 .. k: agent i keeps its end and takes an agent that it was not linked to before the lap, each
    with the same probability; where two agents take each other, the one with the larger index takes another. Agents
    linked to everyone move nothing. All agents of a lap move at once, not one after the other as in the paper; the
    number of links stays N k. networkx counts neighbours on both sides: ``watts_strogatz_graph(N, 2 * k, p)``.
    """

    k: int
    p: float

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ConfigError(f"SmallWorld.k counts neighbours on each side: expected k >= 1, got {self.k}.")
        if not 0 <= self.p <= 1:
            raise ConfigError(f"SmallWorld.p is a probability: expected 0 <= p <= 1, got {self.p}.")

    def draw(self, key: Int[Tensor, " U"], num_agents: int) -> Bool[Tensor, "U N N"]:
        agent_N = torch.arange(num_agents, device=key.device)
        gap_NN = (agent_N.unsqueeze(0) - agent_N.unsqueeze(1)) % num_agents
        ring_NN = (gap_NN > 0) & ((gap_NN <= self.k) | (gap_NN >= num_agents - self.k))
        links_UNN = ring_NN.expand(len(key), -1, -1)
        if 2 * self.k + 1 >= num_agents:
            return links_UNN
        key_U1 = stream(key, "small_world").unsqueeze(-1)
        for lap in range(1, self.k + 1):
            links_UNN = _moved(links_UNN, lap, uniform(key_U1, lap, agent_N) < self.p, key_U1)
        return links_UNN


def _moved(links_UNN: Tensor, lap: int, moves_UN: Tensor, key_U1: Tensor) -> Tensor:
    """After one lap in which the agents ``moves`` take their best-scored stranger instead of i + lap."""
    num_agents = links_UNN.shape[1]
    agent_N = torch.arange(num_agents, device=links_UNN.device)
    taken_UNN = links_UNN | torch.eye(num_agents, dtype=torch.bool, device=links_UNN.device)
    choosing_UN, choice_UN = moves_UN, agent_N.expand_as(moves_UN)
    mover = moves_UN.nonzero(as_tuple=True)  # M draws, and M agents: others need no scores
    score_MN = uniform(key_U1[mover[0]], lap, mover[1].unsqueeze(-1), agent_N, dtype=torch.float64)
    while True:
        best_UN = choice_UN.clone()
        best_UN[mover] = torch.where(taken_UNN[mover], -1.0, score_MN).argmax(-1)
        choice_UN = torch.where(choosing_UN, best_UN, choice_UN)
        moves_UN = moves_UN & ~(choosing_UN & taken_UNN.all(-1))
        mutual_UN = moves_UN & moves_UN.gather(1, choice_UN) & (choice_UN.gather(1, choice_UN) == agent_N)
        choosing_UN = mutual_UN & (agent_N > choice_UN)
        if not bool(choosing_UN.any()):
            break
        chosen_UNN = _marked(choice_UN, moves_UN)
        taken_UNN = taken_UNN | chosen_UNN | chosen_UNN.transpose(1, 2)
    left_UNN = _marked(((agent_N + lap) % num_agents).expand_as(moves_UN), moves_UN)
    chosen_UNN = _marked(choice_UN, moves_UN)
    return (links_UNN & ~left_UNN & ~left_UNN.transpose(1, 2)) | chosen_UNN | chosen_UNN.transpose(1, 2)


def _marked(other_UN: Tensor, where_UN: Tensor) -> Tensor:
    """``[U, N, N]``: True at (i, other of i) for the agents i in ``where``."""
    marks_UNN = torch.zeros(*other_UN.shape, other_UN.shape[1], dtype=torch.bool, device=other_UN.device)
    return marks_UNN.scatter(2, other_UN.unsqueeze(-1), where_UN.unsqueeze(-1))
