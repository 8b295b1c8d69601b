"""Learners: rollouts, returns, losses, PPO and the training they make up."""

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
from gnncomm.learn.learner import Experience, Learner, LearnerConfig, adam_slots, restore_adam
from gnncomm.learn.losses import LossFunction, Term, masked_mean
from gnncomm.learn.parts import Parts
from gnncomm.learn.ppo import PPO, PPOConfig
from gnncomm.learn.returns import ReturnNorm, gae
from gnncomm.learn.rollout import Carry, EpisodeTally, Rollout, Step, begin, collect
from gnncomm.learn.training import Training

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
    "adam_slots",
    "begin",
    "build_policy",
    "collect",
    "gae",
    "masked_mean",
    "restore_adam",
]
