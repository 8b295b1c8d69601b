"""Learners by name."""

from __future__ import annotations

from typing import Any

from gnncomm.learn.a2c import A2CConfig
from gnncomm.learn.coma import COMAConfig
from gnncomm.learn.dqn import DQNConfig, IQLConfig, QMIXConfig, QPLEXConfig, VDNConfig
from gnncomm.learn.maddpg import MADDPGConfig
from gnncomm.learn.pqn import PQNConfig
from gnncomm.learn.reinforce import ReinforceConfig
from gnncomm.learn.settings import PPOConfig
from gnncomm.registry import Registry

LEARNERS: Registry[Any] = Registry(
    "learner",
    object,
    {
        "a2c": A2CConfig,
        "coma": COMAConfig,
        "dqn": DQNConfig,
        "iql": IQLConfig,
        "maddpg": MADDPGConfig,
        "ppo": PPOConfig,
        "pqn": PQNConfig,
        "qmix": QMIXConfig,
        "qplex": QPLEXConfig,
        "reinforce": ReinforceConfig,
        "vdn": VDNConfig,
    },
    sizes=("policy", "total_updates", "seed", "length"),
)
