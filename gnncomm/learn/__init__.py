"""Learners: rollouts, returns, losses, PPO and the training they make up."""

from gnncomm.learn.build import build_policy
from gnncomm.learn.config import VERSION, TrainConfig
from gnncomm.learn.ppo import PPO, PPOConfig
from gnncomm.learn.returns import ReturnNorm, gae
from gnncomm.learn.rollout import Carry, EpisodeTally, Rollout, begin, collect
from gnncomm.learn.training import Training

__all__ = [
    "PPO",
    "VERSION",
    "Carry",
    "EpisodeTally",
    "PPOConfig",
    "ReturnNorm",
    "Rollout",
    "TrainConfig",
    "Training",
    "begin",
    "build_policy",
    "collect",
    "gae",
]
