"""Learners by name."""

from __future__ import annotations

from typing import Any

from gnncomm.learn.ppo import PPOConfig
from gnncomm.registry import Registry

LEARNERS: Registry[Any] = Registry(
    "learner", object, {"ppo": PPOConfig}, sizes=("policy", "total_updates", "seed", "length")
)
