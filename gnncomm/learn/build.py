"""From a configuration to a policy."""

from __future__ import annotations

import torch
from torch import nn

from gnncomm import channel, codec, schedule, topology
from gnncomm.layers import NONE, CommStack, make_rounds
from gnncomm.learn.config import TrainConfig
from gnncomm.policy import CommPolicy
from gnncomm.policy.names import CRITICS, MEMORIES
from gnncomm.topology import Empty
from gnncomm.types import VectorEnv
from gnncomm.wire import Wire


def build_policy(config: TrainConfig, env: VectorEnv) -> CommPolicy:
    """The policy that ``config`` describes for ``env``, with weights drawn from ``config.seed``."""
    return assemble(config, env.obs_dim, env.num_actions, env.num_agents)


def assemble(config: TrainConfig, obs_dim: int, num_actions: int, num_agents: int) -> CommPolicy:
    """The policy that ``config`` describes for observations and actions of these sizes.

    ``comm="none"`` keeps the layers and takes the topology ``Empty()``: the same capacity, nothing on the wire.
    """
    silent = config.comm == NONE
    spec = "mean" if silent else config.comm
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        layers = make_rounds(spec, config.hidden, config.rounds, config.share_rounds)
        critic = CRITICS.resolve(config.algo, hidden=config.hidden, num_agents=num_agents)
        policy = CommPolicy(
            obs_dim,
            num_actions,
            CommStack(layers, nn.Tanh()),
            MEMORIES.resolve(config.memory, hidden=config.hidden),
            config.integration,
            Wire(
                topology=Empty() if silent else topology.resolve(config.topology),
                scheduler=schedule.resolve(config.scheduler, config.hidden, num_agents),
                codec=codec.resolve(config.codec),
                channel=channel.resolve(config.channel),
            ),
            critic,
        )
    return policy.to(config.device)
