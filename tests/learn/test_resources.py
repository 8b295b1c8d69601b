"""A training that cannot fit is refused before anything is allocated; one that fits is not."""

from __future__ import annotations

from typing import Any

import pytest

from gnncomm.errors import ConfigError, ResourceError
from gnncomm.learn import PPOConfig, TrainConfig, Training, resources
from gnncomm.learn.build import build, make_env
from gnncomm.learn.outline import _Held, outline
from gnncomm.multiagent import MultiAgentLearner
from gnncomm.run import default_config, train

SMALL = TrainConfig.of(env="relay", num_envs=8, rollout=2, hidden=8, learner=PPOConfig(minibatches=2))


def test_weights_by_hand() -> None:
    """GRU and two rounds of two matrices: 6 + 4 squares of 5,000, 4 bytes, 7 copies."""
    config = SMALL.replace(hidden=5_000, rounds=2)
    assert resources._weights(config) == 10 * 5_000**2 * 4 * 7
    assert resources._weights(config.replace(share_rounds=True, memory="none")) == 2 * 5_000**2 * 4 * 7


@pytest.mark.parametrize(
    "changes",
    [
        {"hidden": 60_000},
        {"num_envs": 2**24},
        {"rollout": 2**20, "num_envs": 1_000, "hidden": 64},
        {"env_settings": {"num_agents": 10**9}},
    ],
    ids=str,
)
def test_what_cannot_fit_is_refused(changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory_of", lambda _: 2 * 2**30)
    with pytest.raises(ResourceError, match=r"fits into 2\.0 GiB of memory, got one that needs at least .* \(weights"):
        train(SMALL.replace(**changes))


def test_the_environments_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory_of", lambda _: 2**62)
    config = SMALL.replace(num_envs=2**20, hidden=64)
    one, two = (resources._with_environments(config.replace(num_envs=n))["environments"] for n in (2, 2000))
    assert one > 0
    assert two == 1000 * one
    resources.require_memory(config)


def test_a_replay_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the bound, and to the byte by the outline; one that cannot fit is refused, however small the rest."""
    kept: dict[int, int] = {}
    for buffer in (200, 1000):
        config = SMALL.replace(learner=f"iql:buffer={buffer}")
        learner = Training.of(config).learner
        tensors = learner.state()[0]["replay"].values()
        kept[buffer] = sum(value.numel() * value.element_size() for value in tensors)
        assert 0.5 < resources._with_environments(config)["replay"] / kept[buffer] <= 1.0
    low, high = (outline(SMALL.replace(learner=f"iql:buffer={buffer}")).memory for buffer in kept)
    assert high - low == pytest.approx(kept[1000] - kept[200], rel=0.02)
    monkeypatch.setattr(resources, "memory_of", lambda _: 2**30)
    with pytest.raises(ResourceError, match=r"replay 31\.\d GiB.* or a smaller learner.buffer"):
        train(SMALL.replace(learner="qmix:buffer=100000000"))


def test_what_is_the_highest_for_few_is_not_for_many() -> None:
    """A step down the gradient takes more than eight environments do: half of the truth, by a line through these."""
    config = default_config("relay", num_envs=256, learner="coma")
    with _Held() as held:
        Training.of(config).advance()
    assert outline(config).memory == pytest.approx(held.most, rel=0.2)


def test_what_is_small_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory_of", lambda _: 1)
    resources.require_memory(SMALL)
    resources.require_memory(TrainConfig())


def test_wide_observations_and_actions_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a hidden width of 8: so many numbers of 4 bytes, 7 copies."""
    env = make_env(SMALL)
    monkeypatch.setattr(resources, "memory_of", lambda _: (env.obs_dim + env.num_actions) * 8 * 4 * 7)
    build(SMALL)
    monkeypatch.setattr(resources, "memory_of", lambda _: (env.obs_dim + env.num_actions) * 8 * 4 * 7 - 1)
    with pytest.raises(ResourceError, match=rf"weights for {env.obs_dim} numbers to observe .*{env.num_actions} act"):
        build(SMALL)


@pytest.mark.parametrize("sizes", [(3.0, 4, 2), (True, 4, 2), ("3", 4, 2), (10**9, 4, 2), (3, 10**12, 2), (3, 4, 0)])
def test_a_team_by_hand_has_a_size(sizes: Any) -> None:
    """Before, a billion agents were made one by one, and 3.0 of them was a TypeError."""
    with pytest.raises(ConfigError, match="expected an integer of at least 1 and at most"):
        MultiAgentLearner(*sizes)


def test_a_team_by_hand_fits_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "memory_of", lambda _: 2**20)
    with pytest.raises(ResourceError, match="weights for 100,000 numbers to observe"):
        MultiAgentLearner(3, 100_000, 2)
