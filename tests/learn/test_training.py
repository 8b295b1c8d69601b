"""A training learns what can be learned, is a function of its seed, and leaves the world as it was."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from gnncomm import evaluate
from gnncomm.errors import ConfigError
from gnncomm.evaluation import play
from gnncomm.learn import MAX_SEED, VERSION, PPOConfig, TrainConfig, Training
from gnncomm.run import make_env, train
from gnncomm.types import TimeStep, VectorEnv

TINY = TrainConfig.of(
    env="predator_prey", num_envs=8, rollout=5, hidden=8, steps=120, learner=PPOConfig(epochs=2, minibatches=2)
)
BANDIT = TrainConfig.of(
    env="relay",
    env_settings={"num_agents": 2, "num_symbols": 2},
    comm="mean",
    memory="none",
    hidden=16,
    num_envs=64,
    rollout=4,
    steps=64 * 4 * 40,
    learner=PPOConfig(lr=1e-2, entropy=0.0, entropy_end=0.0),
)
"""Agent 0 sees which of two arms pays, agent 1 must pull it."""


def fingerprint(training: Training) -> str:
    groups, counters = training.state()
    digest = hashlib.sha256(repr(sorted(counters.items())).encode())
    for group in sorted(groups):
        for name, value in sorted(groups[group].items()):
            digest.update(f"{group}.{name} {value.dtype} {list(value.shape)}".encode())
            digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def test_trainings_and_evaluations_share_no_episode() -> None:
    """Seeds next to each other once shared all but one of their environments, and ``evaluate`` those of training."""
    seen: dict[str, set[int]] = {}
    for seed in (0, 1, 4, MAX_SEED - 1):
        training = Training.of(TINY.replace(env="relay", seed=seed))
        keys = [training.carry.timestep.key, *(_episode_after(training) for _ in range(3))]
        seen[f"train {seed}"] = set(torch.cat(keys).tolist())
    for seed in (0, 1, 10**6):
        played: list[torch.Tensor] = []
        env = make_env(TINY.replace(env="relay"))
        play(env, partial(_note, played, env), episodes=32, seed=seed)
        seen[f"evaluate {seed}"] = set(torch.cat(played).tolist())
    assert all(len(keys) == 32 for keys in seen.values())
    for (name, one), (other_name, other) in combinations(seen.items(), 2):
        assert not one & other, (name, other_name)


def _episode_after(training: Training) -> torch.Tensor:
    return training.env.reset().key


def _note(played: list[torch.Tensor], env: VectorEnv, now: TimeStep, episode: torch.Tensor) -> torch.Tensor:
    played.append(now.key)
    return env.floor_action(now.key)


def test_settings_of_another_version_are_not_trained() -> None:
    with pytest.raises(ConfigError, match=f"expected settings of version {VERSION}, got version 1"):
        train(TINY.replace(version=1))
    for version in (0, VERSION + 1):
        with pytest.raises(ConfigError, match=f"version: expected 1 to {VERSION}"):
            TINY.replace(version=version)


def success(config: TrainConfig) -> float:
    env = make_env(config.replace(num_envs=500))
    return float(evaluate(train(config).policy, env, episodes=500, seed=10**6).trained.success.mean)


@pytest.mark.every(2)
@pytest.mark.parametrize("algo", ["ippo", "mappo"])
def test_two_arms_are_learned_with_messages_and_not_without(algo: Any) -> None:
    assert success(BANDIT.replace(algo=algo)) == 1.0
    assert abs(success(BANDIT.replace(algo=algo, comm="none")) - 0.5) < 4 * (0.25 / 500) ** 0.5


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"memory": "lstm", "algo": "mappo", "comm": "mean", "channel": "loss:p=0.3"},
        {"integration": "previous", "rounds": 2, "topology": "ring", "observation": "flat"},
    ],
)
def test_the_same_seed_gives_the_same_bits(changes: dict[str, Any]) -> None:
    config = TINY.replace(**changes)
    first = fingerprint(train(config))
    torch.rand(3), random.random(), np.random.rand()  # the global generators play no part
    assert fingerprint(train(config)) == first
    assert fingerprint(train(config.replace(seed=1))) != first


@pytest.mark.slow
def test_the_order_of_hashes_plays_no_part() -> None:
    program = (
        "import hashlib, json\n"
        "from gnncomm.learn import PPOConfig, TrainConfig\n"
        "from gnncomm.run import train\n"
        "config = TrainConfig.of(env='relay', num_envs=4, rollout=3, hidden=8, steps=24,"
        " learner=PPOConfig(minibatches=2))\n"
        "groups, counters = train(config).state()\n"
        "numbers = {g: {n: v.double().tolist() for n, v in t.items()} for g, t in groups.items()}\n"
        "print(hash('x'), hashlib.sha256(json.dumps([numbers, counters]).encode()).hexdigest())\n"
    )
    said = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", program],
            env=os.environ | {"PYTHONHASHSEED": str(seed)},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()
        for seed in (1, 2)
    ]
    assert said[0][0] != said[1][0], "the two processes must hash differently"
    assert said[0][1] == said[1][1]


def test_global_generators_are_left_alone() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    train(TINY)
    assert torch.get_rng_state().equal(before[0])
    assert random.getstate() == before[1]
    assert (np.random.get_state()[1] == before[2][1]).all()  # type: ignore[index]


def test_metrics_count_updates_and_steps() -> None:
    seen: list[dict[str, float]] = []
    training = train(TINY, observer=lambda _, metrics: seen.append(metrics))
    assert [line["update"] for line in seen] == [1, 2, 3]
    assert [line["env_steps"] for line in seen] == [40, 80, 120]
    assert training.finished
    assert training.env_steps == 120
    assert {"return", "length", "success", "policy_loss", "value_loss", "entropy", "grad_norm", "lr"} <= seen[0].keys()


def test_form_of_the_observations_changes_only_speed() -> None:
    """Flat and sparse observations are the same vectors; sums may differ in their order."""
    flat, sparse = (train(TINY.replace(observation=form)).policy.state_dict() for form in ("flat", "sparse"))
    for name, value in flat.items():
        torch.testing.assert_close(sparse[name], value, rtol=1e-2, atol=1e-4)
