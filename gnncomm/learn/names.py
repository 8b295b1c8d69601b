"""Learners by name."""

from __future__ import annotations

from typing import Any

from gnncomm.learn.a2c import A2CConfig
from gnncomm.learn.ppo import PPOConfig
from gnncomm.learn.reinforce import ReinforceConfig
from gnncomm.registry import Registry

LEARNERS: Registry[Any] = Registry(
    "learner",
    object,
    {"ppo": PPOConfig, "a2c": A2CConfig, "reinforce": ReinforceConfig},
    sizes=("policy", "total_updates", "seed", "length"),
)
