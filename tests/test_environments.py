"""Environments of other packages train like bundled ones: by name, with their own settings and recipe."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest
from gnncomm.envs.relay import Relay

from gnncomm import environments
from gnncomm.errors import ConfigError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.run import default_config, make_env, train


def plain(num_envs: int, device: str, observation: str, symbols: int = 3) -> Relay:
    """A game of someone else's.

    With details that a list has no room for.
    """
    return Relay(num_envs, device, observation, num_symbols=symbols, num_agents=2)


class Demanding(Relay):
    """Has a recipe."""


def demanding_recipe() -> TrainConfig:
    """Wide, and in a hurry."""
    return TrainConfig.of(hidden=24, learner=PPOConfig(lr=0.5, epochs=2))


def wrong_recipe() -> dict[str, int]:
    return {"hidden": 24}


@pytest.fixture(autouse=True)
def _installed(installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("someones_package")
    vars(module).update(plain=plain, demanding=Demanding, wrong=Demanding, recipe=demanding_recipe, bad=wrong_recipe)
    monkeypatch.setitem(sys.modules, "someones_package", module)
    installed("gnncomm.envs", **{name: f"someones_package:{name}" for name in ("plain", "demanding", "wrong")})
    installed("gnncomm.recipes", demanding="someones_package:recipe", wrong="someones_package:bad")


def test_a_plain_function_is_enough() -> None:
    assert environments.names() == ["demanding", "plain", "wrong"]
    env = environments.make("plain", num_envs=5, symbols=4)
    assert (env.id, env.num_envs, env.num_actions) == ("plain", 5, 4)
    assert default_config("plain") == TrainConfig.of(env="plain")
    assert environments.grid_setting("plain") is None
    assert environments.summaries()["plain"] == "A game of someone else's."
    with pytest.raises(ConfigError, match="Did you mean 'symbols'"):
        environments.make("plain", symbol=4)


def test_it_trains_and_its_recipe_is_the_default() -> None:
    config = default_config("demanding")
    assert config.env.id == "demanding"
    assert (config.policy.hidden, config.learner.lr, config.learner.epochs) == (24, 0.5, 2)
    assert config.learner.gamma == PPOConfig().gamma
    assert default_config("demanding", hidden=16).policy.hidden == 16
    small: dict[str, Any] = {"num_envs": 4, "rollout": 2, "steps": 8, "hidden": 8}
    training = train(default_config("plain", env_settings={"symbols": 5}, learner=PPOConfig(minibatches=2), **small))
    assert training.finished
    assert training.policy.num_actions == 5


def test_a_recipe_that_is_no_configuration_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected a TrainConfig, got dict"):
        default_config("wrong")


def test_settings_reach_the_environment() -> None:
    config = default_config("plain", num_envs=8, env_settings={"symbols": 6})
    env = make_env(config.replace(observation="flat"))
    assert (env.num_envs, env.num_actions) == (8, 6)
    with pytest.raises(ConfigError):
        make_env(config.replace(env_settings={"symbols": 1}))
