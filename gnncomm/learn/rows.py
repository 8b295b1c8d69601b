"""From a configuration to the parts of a policy that see one row each, and to its critic."""

from __future__ import annotations

from torch import nn

from gnncomm import topology
from gnncomm.errors import ConfigError
from gnncomm.layers import NONE, CommStack, make_rounds
from gnncomm.learn.config import PolicyConfig, TrainConfig
from gnncomm.policy import (
    AgentId,
    Critic,
    GroupActor,
    GroupCritic,
    GroupEncoder,
    GroupMemory,
    Memory,
    TrunkCritic,
    groups_of,
    new_actor,
    teams_of,
)
from gnncomm.policy.names import CRITICS, ENCODERS, MEMORIES
from gnncomm.types import TeamSpec


class RowParts:
    """The parts that see one row each, and the critic: the same for all, or with weights for each group."""

    def __init__(self, config: TrainConfig, spec: TeamSpec, hidden: int) -> None:
        self.config, self.topology, self.spec, self.hidden = config.policy, config.wire.topology, spec, hidden
        self.learner = config.learner
        self.groups, self.actions = groups_of(spec, config.policy.share), self.learner.actions(spec)
        self.teams = teams_of(spec.groups)

    def critic(self) -> nn.Module:
        """A central one sees the agents of its own team."""
        if (own := self.learner.critic(self.spec)) is not None:
            self._require_no_other()
            return own
        groups = self.groups
        if not groups and len(set(self.teams)) > 1:
            groups = groups_of(self.spec, "team")
        together = self.config.algo not in ("ippo", "local") or self.config.critic == "graph"
        seen = [self._team(group.team) if together else group.members for group in groups]
        each = [self._critic(len(rows)) for rows in seen]
        return GroupCritic(groups, each, seen) if groups else self._critic(self.spec.num_agents)

    def _require_no_other(self) -> None:
        """Refuse a critic that nobody would ask."""
        plain = PolicyConfig()
        for name in ("algo", "critic"):
            if (said := getattr(self.config, name)) != (default := getattr(plain, name)):
                raise ConfigError(
                    f"policy.{name}: expected {default!r} with the learner {self.learner.name}, which has a critic of "
                    f"its own, got {said!r}. Leave it out, or use ppo or a2c."
                )

    def _team(self, name: str) -> tuple[int, ...]:
        teams = self.teams or ("",) * self.spec.num_agents
        return tuple(agent for agent, team in enumerate(teams) if team == name)

    def _critic(self, num_agents: int) -> Critic:
        head: Critic = CRITICS.resolve(self.config.algo, hidden=self.hidden, num_agents=num_agents)
        reads, config = self.config.critic, self.config
        if reads == "features":
            return head
        if reads == "state" and not self.spec.state_dim:
            raise ConfigError(
                "critic='state': expected time steps that show a state. Use gnncomm.policy.WithState(env)."
            )
        encoder = ENCODERS.resolve(config.encoder, obs_dim=self.spec.obs_dim, hidden=self.hidden)
        if reads != "graph":
            return TrunkCritic(encoder, head, state_dim=self.spec.state_dim if reads == "state" else 0)
        layers = make_rounds(
            "mean" if config.comm == NONE else config.comm,
            self.hidden,
            config.rounds,
            config.share_rounds,
        )
        return TrunkCritic(encoder, head, CommStack(layers, nn.Tanh()), topology.resolve(self.topology))

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
        sizes = {"obs_dim": width, "hidden": self.hidden, **self.learner.for_encoder()}
        encoder = ENCODERS.resolve(self.config.encoder, **sizes)
        return AgentId(encoder, obs_dim, num_agents) if self.config.agent_id else encoder

    def actor(self) -> nn.Module:
        width = self.actions.width
        each = [group.num_actions if self.spec.box is None else width for group in self.groups]
        if each:
            return GroupActor(self.groups, [new_actor(self.hidden, own) for own in each], width)
        return new_actor(self.hidden, width)
