"""Recipes: for each environment, the training that is known to work there. ``default_config(env)`` starts from them.

``gnncomm.register("recipe", "my_task", my_recipe)``, or an entry point in the group ``gnncomm.recipes``, adds one for
the environment that is called ``my_task``: a function without arguments that returns a ``TrainConfig``.
"""

from __future__ import annotations

from typing import Any

from gnncomm import environments
from gnncomm.errors import ConfigError
from gnncomm.learn.config import TrainConfig
from gnncomm.learn.settings import PPOConfig
from gnncomm.registry import Registry

_QUICK = PPOConfig(lr=3e-3, gamma=0.97, epochs=2, minibatches=4)
_SLOWER = PPOConfig(lr=2e-3, gamma=0.97, epochs=2, minibatches=4)
_FIELDS = PPOConfig(lr=2e-3, gamma=0.98, epochs=2, minibatches=8)


def chemical() -> TrainConfig:
    """Looks 50 steps ahead (gamma 0.98): a search takes long."""
    return TrainConfig.of(num_envs=256, rollout=25, steps=1_500_000, learner=_FIELDS)


def chemical_reaction() -> TrainConfig:
    """Looks 50 steps ahead (gamma 0.98), as for chemical."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=1_500_000, learner=_FIELDS)


def coverage() -> TrainConfig:
    """Who is near enough talks."""
    ppo = PPOConfig(lr=2e-3, gamma=0.9, epochs=2, minibatches=4)
    return TrainConfig.of(topology="radius:r=16", num_envs=128, rollout=20, steps=1_000_000, learner=ppo)


def foraging() -> TrainConfig:
    """95 % success after 512,000 steps."""
    return TrainConfig.of(num_envs=256, rollout=25, steps=600_000, learner=_SLOWER)


def formation() -> TrainConfig:
    """Looks 33 steps ahead (gamma 0.97), longer than an episode."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=1_000_000, learner=_QUICK)


def hallway() -> TrainConfig:
    """Short episodes; harder corridors take longer."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=400_000, learner=_QUICK)


def path_finding() -> TrainConfig:
    """77 % success after 106,000 steps, a fourteenth of its length."""
    return TrainConfig.of(num_envs=128, rollout=16, steps=1_500_000, learner=_SLOWER)


def predator_capture_prey() -> TrainConfig:
    """As for predator_prey, a quarter as long."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=600_000, learner=_QUICK)


def predator_prey() -> TrainConfig:
    """The quick start of README.md."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=2_400_000, learner=_QUICK)


def relay() -> TrainConfig:
    """Three rounds bring the symbol of a step down the line of four; nothing has to be remembered."""
    ppo = PPOConfig(lr=3e-3)
    return TrainConfig.of(topology="line", rounds=3, memory="none", num_envs=256, rollout=4, steps=150_000, learner=ppo)


def rendezvous() -> TrainConfig:
    """Meets in 99.9 % of the episodes after 118,000 steps."""
    return TrainConfig.of(num_envs=256, rollout=20, steps=600_000, learner=_QUICK)


def routing() -> TrainConfig:
    """Every packet has a reward of its own, and another one takes its row."""
    ppo = PPOConfig(lr=2e-3, gamma=0.95, epochs=2, minibatches=4, shared_reward=0.0)
    return TrainConfig.of(memory="none", num_envs=64, rollout=20, steps=600_000, learner=ppo)


def stag_hunt() -> TrainConfig:
    """A start, not a result."""
    return TrainConfig.of(num_envs=128, rollout=25, steps=500_000, learner=_SLOWER)


def switch() -> TrainConfig:
    """What yesterday's prisoner says enters the memory, as in DIAL; the reward comes once, at the end."""
    ppo = PPOConfig(lr=2e-3, gamma=1.0, epochs=2, minibatches=4)
    return TrainConfig.of(
        topology="radius:r=1", integration="previous", num_envs=256, rollout=12, steps=400_000, learner=ppo
    )


def traffic_junction() -> TrainConfig:
    """Few environments, so that updates come often."""
    return TrainConfig.of(num_envs=64, rollout=20, steps=200_000, learner=PPOConfig(lr=3e-3, gamma=0.97))


def of_other_libraries() -> TrainConfig:
    """For ids with a prefix: few environments, in processes of their own, whose observations are dense."""
    return TrainConfig.of(observation="flat", num_envs=16, rollout=64, steps=300_000, learner=PPOConfig(lr=1e-3))


REGISTRY: Registry[Any] = Registry(
    "recipe",
    object,
    {
        recipe.__name__: recipe
        for recipe in (
            chemical,
            chemical_reaction,
            coverage,
            foraging,
            formation,
            hallway,
            path_finding,
            predator_capture_prey,
            predator_prey,
            relay,
            rendezvous,
            routing,
            stag_hunt,
            switch,
            traffic_junction,
        )
    },
)


def recipe_of(env: str) -> TrainConfig:
    """The recipe for the id ``env``, whatever its protocol; ``TrainConfig()`` where there is none.

    Raises:
        ConfigError: an unknown environment, or a recipe that returns something else.
    """
    if env not in environments.REGISTRY.names():  # these are not loaded for their recipe
        environments.require(env)
    name = env.partition("/")[0]
    if environments.is_foreign(env):
        recipe = of_other_libraries()
    else:
        recipe = REGISTRY.find(name)() if name in REGISTRY.names() else TrainConfig()
    if not isinstance(recipe, TrainConfig):
        raise ConfigError(f"The recipe {name!r}: expected a TrainConfig, got {type(recipe).__name__}. Return one.")
    return recipe
