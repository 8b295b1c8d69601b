"""Groups with leaders."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, GraphError
from gnncomm.topology.static import StaticTopology


@dataclass(frozen=True)
class Hierarchical(StaticTopology):
    """Agents and the leader of their group hear each other; so do all leaders.

    ``groups`` is the number of groups (neighbouring agents, sizes that differ by at most one), or their sizes. The
    first agent of a group leads it; a dead leader is not replaced.

    Raises:
        GraphError: sizes that do not add up to N.
    """

    groups: int | tuple[int, ...]

    def __post_init__(self) -> None:
        if min(self.groups if isinstance(self.groups, tuple) else (self.groups,), default=0) < 1:
            raise ConfigError(f"Hierarchical.groups counts groups or their members: expected >= 1, got {self.groups}.")

    def edges(self, num_agents: int) -> tuple[Tensor, Tensor]:
        leader_N = self._leaders(num_agents)
        agent_N = torch.arange(num_agents)
        member_P = agent_N[agent_N != leader_N]
        chief_P = leader_N[member_P]
        top_L = leader_N.unique()
        first_Q, second_Q = torch.cartesian_prod(top_L, top_L).view(-1, 2).unbind(1)
        apart_Q = first_Q != second_Q
        return (
            torch.cat([member_P, chief_P, first_Q[apart_Q]]),
            torch.cat([chief_P, member_P, second_Q[apart_Q]]),
        )

    def _leaders(self, num_agents: int) -> Tensor:
        if isinstance(self.groups, int):
            group_N = torch.arange(num_agents) * min(self.groups, num_agents) // num_agents
            size_G = torch.bincount(group_N)
        else:
            size_G = torch.tensor(self.groups)
            if int(size_G.sum()) != num_agents:
                raise GraphError(
                    f"Hierarchical.groups are the sizes of groups: expected a sum of {num_agents} agents, "
                    f"got {int(size_G.sum())}."
                )
        return torch.repeat_interleave(size_G.cumsum(0) - size_G, size_G)
