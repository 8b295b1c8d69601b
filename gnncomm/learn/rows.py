"""From a configuration to the parts of a policy that see one row each, and to its critic."""

from __future__ import annotations

from torch import nn

from gnncomm.learn.config import TrainConfig
from gnncomm.policy import (
    AgentId,
    Critic,
    GroupActor,
    GroupCritic,
    GroupEncoder,
    GroupMemory,
    Memory,
    actions_of,
    groups_of,
    new_actor,
    teams_of,
)
from gnncomm.policy.names import CRITICS, ENCODERS, MEMORIES
from gnncomm.types import TeamSpec


class RowParts:
    """The parts that see one row each, and the critic: the same for all, or with weights for each group."""

    def __init__(self, config: TrainConfig, spec: TeamSpec, hidden: int) -> None:
        self.config, self.spec, self.hidden = config, spec, hidden
        self.groups, self.actions = groups_of(spec, config.share), actions_of(spec)
        self.teams = teams_of(spec.groups)

    def critic(self) -> Critic:
        """A central one sees the agents of its own team."""
        groups = self.groups
        if not groups and len(set(self.teams)) > 1:
            groups = groups_of(self.spec, "team")
        central = self.config.algo == "mappo"
        seen = [self._team(group.team) if central else group.members for group in groups]
        each = [self._critic(len(rows)) for rows in seen]
        return GroupCritic(groups, each, seen) if groups else self._critic(self.spec.num_agents)

    def _team(self, name: str) -> tuple[int, ...]:
        teams = self.teams or ("",) * self.spec.num_agents
        return tuple(agent for agent, team in enumerate(teams) if team == name)

    def _critic(self, num_agents: int) -> Critic:
        name = "central" if self.config.algo == "mappo" else "local"
        critic: Critic = CRITICS.resolve(name, hidden=self.hidden, num_agents=num_agents)
        return critic

    def memory(self) -> Memory:
        each = [MEMORIES.resolve(self.config.memory, hidden=self.hidden) for _ in self.groups or (None,)]
        return GroupMemory(self.groups, each) if self.groups else each[0]

    def encoder(self) -> nn.Module:
        each = [self._encoder(group.obs_dim, len(group.members)) for group in self.groups]
        if each:
            return GroupEncoder(self.groups, each)
        return self._encoder(self.spec.obs_dim, self.spec.num_agents)

    def _encoder(self, obs_dim: int, num_agents: int) -> nn.Module:
        width = obs_dim + num_agents if self.config.agent_id else obs_dim
        encoder = ENCODERS.resolve(self.config.encoder, obs_dim=width, hidden=self.hidden)
        return AgentId(encoder, obs_dim, num_agents) if self.config.agent_id else encoder

    def actor(self) -> nn.Module:
        width = self.actions.width
        each = [group.num_actions if self.spec.box is None else width for group in self.groups]
        if each:
            return GroupActor(self.groups, [new_actor(self.hidden, own) for own in each], width)
        return new_actor(self.hidden, width)
