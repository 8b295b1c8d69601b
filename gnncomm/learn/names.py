"""Learners by name."""

from __future__ import annotations

from typing import Any

from gnncomm.learn.dqn import DQNConfig, IQLConfig, QMIXConfig, QPLEXConfig, VDNConfig
from gnncomm.learn.ppo import PPOConfig
from gnncomm.learn.pqn import PQNConfig
from gnncomm.registry import Registry

LEARNERS: Registry[Any] = Registry(
    "learner",
    object,
    {
        "dqn": DQNConfig,
        "iql": IQLConfig,
        "ppo": PPOConfig,
        "pqn": PQNConfig,
        "qmix": QMIXConfig,
        "qplex": QPLEXConfig,
        "vdn": VDNConfig,
    },
    sizes=("policy", "total_updates", "seed", "length"),
)
