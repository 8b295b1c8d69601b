"""Learners: rollouts, returns, losses, PPO and the training they make up. Names are loaded when they are first used."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gnncomm import deprecated

if TYPE_CHECKING:
    from gnncomm.learn.build import build_policy
    from gnncomm.learn.config import (
        MAX_SEED,
        MAX_STEPS,
        VERSION,
        EnvConfig,
        PolicyConfig,
        RunConfig,
        TrainConfig,
        WireConfig,
    )
    from gnncomm.learn.fingerprint import Fingerprint
    from gnncomm.learn.gradient import GradientLearner
    from gnncomm.learn.learner import Experience, Learner
    from gnncomm.learn.losses import LossFunction, Term, masked_mean
    from gnncomm.learn.optimizers import optimizer_slots, restore_optimizer
    from gnncomm.learn.parts import Parts
    from gnncomm.learn.ppo import PPO
    from gnncomm.learn.returns import ReturnNorm, gae
    from gnncomm.learn.rollout import Carry, EpisodeTally, Rollout, Step, begin, collect
    from gnncomm.learn.settings import GradientConfig, LearnerConfig, PPOConfig
    from gnncomm.learn.training import Training

_HOME = {
    "build": ("build_policy",),
    "config": (
        "MAX_SEED",
        "MAX_STEPS",
        "VERSION",
        "EnvConfig",
        "PolicyConfig",
        "RunConfig",
        "TrainConfig",
        "WireConfig",
    ),
    "fingerprint": ("Fingerprint",),
    "gradient": ("GradientLearner",),
    "learner": ("Experience", "Learner"),
    "losses": ("LossFunction", "Term", "masked_mean"),
    "optimizers": ("optimizer_slots", "restore_optimizer"),
    "parts": ("Parts",),
    "ppo": ("PPO",),
    "returns": ("ReturnNorm", "gae"),
    "rollout": ("Carry", "EpisodeTally", "Rollout", "Step", "begin", "collect"),
    "settings": ("GradientConfig", "LearnerConfig", "PPOConfig"),
    "training": ("Training",),
}
"""File -> what of it is public."""

__all__ = [
    "MAX_SEED",
    "MAX_STEPS",
    "PPO",
    "VERSION",
    "Carry",
    "EnvConfig",
    "EpisodeTally",
    "Experience",
    "Fingerprint",
    "GradientConfig",
    "GradientLearner",
    "Learner",
    "LearnerConfig",
    "LossFunction",
    "PPOConfig",
    "Parts",
    "PolicyConfig",
    "ReturnNorm",
    "Rollout",
    "RunConfig",
    "Step",
    "Term",
    "TrainConfig",
    "Training",
    "WireConfig",
    "begin",
    "build_policy",
    "collect",
    "gae",
    "masked_mean",
    "optimizer_slots",
    "restore_optimizer",
]

if not TYPE_CHECKING:  # or every name would be known to mypy
    __getattr__ = deprecated.names(__name__, {name: file for file, names in _HOME.items() for name in names})
