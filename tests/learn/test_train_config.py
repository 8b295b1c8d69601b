"""Settings out of range are refused by name, whoever gives them."""

from __future__ import annotations

from typing import Any

import pytest

from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.run import make_env, train

NAN, INF = float("nan"), float("inf")
BAD_PPO: list[tuple[str, list[Any]]] = [
    ("lr", [0.0, -1e-3, NAN, INF, "1e-3", None, True]),
    ("gamma", [1.5, -0.1, NAN, "0.9"]),
    ("lam", [1.5, -0.1, NAN]),
    ("shared_reward", [-0.1, 1.1, NAN]),
    ("clip", [0.0, -0.2, NAN, INF]),
    ("max_grad_norm", [-1.0, NAN, INF]),
    ("entropy", [-0.1, NAN, INF]),
    ("entropy_end", [-0.1, NAN, INF]),
    ("value_coef", [-0.5, NAN, INF]),
    ("epochs", [0, -1, 1.5, True]),
    ("minibatches", [0, -1, 2.0]),
    ("lr_schedule", ["cosine", "", None]),
    ("value_clip", [1, "yes", None]),
]
BAD: list[tuple[str, list[Any]]] = [
    ("steps", [0, -1, 1.5, "100", None]),
    ("num_envs", [0, -3, 2.0]),
    ("rollout", [0, -1, "5"]),
    ("hidden", [0, -8]),
    ("rounds", [0, -1]),
    ("save_every", [0, -1]),
    ("seed", [-1, 2**63, 2**64, "abc", 1.5, True, None]),
    ("algo", [None, 3]),
    ("memory", [None, 3]),
    ("integration", ["middle", None]),
    ("observation", ["dense", None]),
    ("share_rounds", [1, "no"]),
    ("comm", [None, 3]),
]


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD_PPO for value in values])
def test_ppo_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^learner\.{name}\b") as caught:
        PPOConfig(**{name: value})
    assert isinstance(caught.value, GnnCommError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD for value in values])
def test_settings_out_of_range(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"^\w+\.{name}\b"):
        TrainConfig.of(**{name: value})


def test_the_nearest_choice_is_suggested() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'before'"):
        TrainConfig.of(integration="befor")  # type: ignore[arg-type]


def test_more_minibatches_than_environments() -> None:
    with pytest.raises(ConfigError, match=r"minibatches=4 is more than num_envs=3"):
        train(TrainConfig.of(num_envs=3, hidden=8))
    one = TrainConfig.of(num_envs=1)
    assert make_env(one).num_envs == 1, "whoever wants one environment says nothing about the learner"


def test_limits_are_accepted() -> None:
    PPOConfig(gamma=0, lam=1, shared_reward=0, entropy=0, entropy_end=0, value_coef=0, epochs=1, minibatches=1)
    TrainConfig.of(seed=2**62 - 1)


@pytest.mark.parametrize(("steps", "updates"), [(1, 1), (20, 1), (21, 2), (40, 2)])
def test_the_last_rollout_is_complete(steps: int, updates: int) -> None:
    config = TrainConfig().replace(num_envs=4, rollout=5, steps=steps)
    assert config.updates == updates
