"""Recipes: for each environment, settings of a training that are known to work there.

An environment of another package may bring its own as an attribute ``recipe``: leaves of a ``TrainConfig`` by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gnncomm import environments
from gnncomm.learn import PPOConfig, TrainConfig


def recipe(env: str) -> TrainConfig:
    """Settings that are known to work for ``env``; the defaults where nothing is known.

    Raises:
        ConfigError: an unknown environment, or a recipe of another package that sets what there is not.
    """
    theirs = environments.recipe(env)
    name = FOREIGN if environments.is_foreign(env) else env.partition("/")[0]
    base = RECIPES[name]() if name in RECIPES and not theirs else TrainConfig()
    return base.replace(env=env, **theirs)


def default_config(env: str, **changes: Any) -> TrainConfig:
    """``recipe(env)`` with ``changes``, see ``TrainConfig.replace``.

    Raises:
        ConfigError: an unknown environment or setting, or a value out of range.
    """
    return recipe(env).replace(**changes)


def _ppo(lr: float, gamma: float, epochs: int = 2, minibatches: int = 4, **more: Any) -> PPOConfig:
    return PPOConfig(lr=lr, gamma=gamma, epochs=epochs, minibatches=minibatches, **more)


def relay() -> TrainConfig:
    return TrainConfig.of(
        topology="line", rounds=3, memory="none", num_envs=256, rollout=4, steps=150_000, learner=PPOConfig(lr=0.003)
    )


def predator_prey() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=2_400_000, learner=_ppo(0.003, 0.97))


def traffic_junction() -> TrainConfig:
    return TrainConfig.of(num_envs=64, rollout=20, steps=200_000, learner=PPOConfig(lr=0.003, gamma=0.97))


def foraging() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=25, steps=600_000, learner=_ppo(0.002, 0.97))


def hallway() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=400_000, learner=_ppo(0.003, 0.97))


def coverage() -> TrainConfig:
    return TrainConfig.of(num_envs=128, rollout=20, steps=1_000_000, topology="radius:r=16", learner=_ppo(0.002, 0.9))


def switch() -> TrainConfig:
    return TrainConfig.of(
        topology="radius:r=1", integration="previous", num_envs=256, rollout=12, steps=400_000, learner=_ppo(0.002, 1.0)
    )


def stag_hunt() -> TrainConfig:
    return TrainConfig.of(num_envs=128, rollout=25, steps=500_000, learner=_ppo(0.002, 0.97))


def rendezvous() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=600_000, learner=_ppo(0.003, 0.97))


def routing() -> TrainConfig:
    return TrainConfig.of(
        num_envs=64, rollout=20, steps=600_000, memory="none", learner=_ppo(0.002, 0.95, shared_reward=0.0)
    )


def formation() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=1_000_000, learner=_ppo(0.003, 0.97))


def predator_capture_prey() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=600_000, learner=_ppo(0.003, 0.97))


def path_finding() -> TrainConfig:
    return TrainConfig.of(num_envs=128, rollout=16, steps=1_500_000, learner=_ppo(0.002, 0.97))


def chemical() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=25, steps=1_500_000, learner=_ppo(0.002, 0.98, minibatches=8))


def chemical_reaction() -> TrainConfig:
    return TrainConfig.of(num_envs=256, rollout=20, steps=1_500_000, learner=_ppo(0.002, 0.98, minibatches=8))


def _foreign() -> TrainConfig:
    """Of other libraries: slower, and without sparse observations."""
    return TrainConfig.of(observation="flat", num_envs=16, rollout=64, steps=300_000, learner=PPOConfig(lr=1e-3))


FOREIGN = "other libraries"
RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "relay": relay,
    "predator_prey": predator_prey,
    "traffic_junction": traffic_junction,
    "foraging": foraging,
    "hallway": hallway,
    "coverage": coverage,
    "switch": switch,
    "stag_hunt": stag_hunt,
    "rendezvous": rendezvous,
    "routing": routing,
    "formation": formation,
    "predator_capture_prey": predator_capture_prey,
    "path_finding": path_finding,
    "chemical": chemical,
    "chemical_reaction": chemical_reaction,
    FOREIGN: _foreign,
}
"""By the short name of the environment."""
