"""From a configuration to a policy."""

from __future__ import annotations

import torch
from torch import nn

from gnncomm import channel, codec, schedule, topology
from gnncomm.layers import NONE, CommStack, make_rounds
from gnncomm.learn.config import TrainConfig
from gnncomm.policy import (
    AgentId,
    CommPolicy,
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
from gnncomm.topology import Empty
from gnncomm.types import TeamSpec, VectorEnv
from gnncomm.wire import Wire


def build_policy(config: TrainConfig, env: VectorEnv) -> CommPolicy:
    """The policy that ``config`` describes for ``env``, with weights drawn from ``config.seed``."""
    return assemble(config, TeamSpec.of(env))


def assemble(config: TrainConfig, spec: TeamSpec) -> CommPolicy:
    """The policy that ``config`` describes for observations, actions and groups like these.

    ``comm="none"`` keeps the layers and takes the topology ``Empty()``: the same capacity, nothing on the wire.
    """
    silent = config.comm == NONE
    layers_spec = "mean" if silent else config.comm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        layers = make_rounds(layers_spec, config.hidden, config.rounds, config.share_rounds)
        parts = _Parts(config, spec)
        policy = CommPolicy(  # weights are drawn in this order
            spec.obs_dim,
            spec.num_actions,
            CommStack(layers, nn.Tanh()),
            critic=parts.critic(),
            memory=parts.memory(),
            integration=config.integration,
            wire=Wire(
                topology=Empty() if silent else topology.resolve(config.topology),
                scheduler=schedule.resolve(config.scheduler, config.hidden, spec.num_agents),
                codec=codec.resolve(config.codec),
                channel=channel.resolve(config.channel),
            ),
            encoder=parts.encoder(),
            actor=parts.actor(),
            actions=parts.actions,
            teams=parts.teams,
        )
    return policy.to(config.device)


class _Parts:
    """The parts that see one row each, and the critic: the same for all, or with weights for each group."""

    def __init__(self, config: TrainConfig, spec: TeamSpec) -> None:
        self.config, self.spec, self.hidden = config, spec, config.hidden
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
        return tuple(agent for agent, team in enumerate(self.teams) if team == name)

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
