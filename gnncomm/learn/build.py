"""From a configuration to an environment, a policy and a learner: the one place where names become things."""

from __future__ import annotations

import torch
from torch import nn

from gnncomm import channel, codec, environments, schedule, topology
from gnncomm.errors import ConfigError
from gnncomm.layers import NONE, CommStack, make_rounds
from gnncomm.learn.config import VERSION, TrainConfig
from gnncomm.learn.learner import Learner
from gnncomm.learn.ppo import PPO
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy, LocalCritic, Memory
from gnncomm.topology import Empty
from gnncomm.types import VectorEnv
from gnncomm.wire import Wire

MEMORIES: dict[str, type[Memory]] = {"none": Memory, "gru": GRU, "lstm": LSTM}


def build(config: TrainConfig) -> tuple[VectorEnv, CommPolicy, Learner]:
    """What ``config`` describes, ready for ``Training``.

    Raises:
        ConfigError: settings of an earlier version, which meant another training, or that do not fit together.
    """
    if config.version != VERSION:
        raise ConfigError(
            f"version: expected settings of version {VERSION}, got version {config.version}, with which the same "
            f"settings gave another training. Set version={VERSION} to train anew, or use the gnncomm that wrote them."
        )
    if config.ppo.minibatches > config.num_envs:
        raise ConfigError(
            f"ppo.minibatches={config.ppo.minibatches} is more than num_envs={config.num_envs}: a minibatch is a set "
            "of environments."
        )
    env = make_env(config)
    policy = build_policy(config, env)
    return env, policy, build_learner(config, policy)


def make_env(config: TrainConfig) -> VectorEnv:
    """The environments that ``config`` names. Whoever calls vouches for code that it names, see ``gnncomm.load``."""
    return environments.make(
        config.env, config.num_envs, config.device, config.observation, **dict(config.env_settings)
    )


def build_learner(config: TrainConfig, policy: CommPolicy) -> Learner:
    """The learner that ``config`` describes for ``policy``."""
    return PPO(policy, config.ppo, config.updates, config.seed, length=config.rollout)


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
        critic = CentralCritic(config.hidden, num_agents) if config.algo == "mappo" else LocalCritic(config.hidden)
        policy = CommPolicy(
            obs_dim,
            num_actions,
            CommStack(layers, nn.Tanh()),
            MEMORIES[config.memory](config.hidden),
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
