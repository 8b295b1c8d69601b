"""Seeds: purposes and seeds share no episode, however close the numbers are, and episodes are as they were."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from gnncomm import envs, random
from gnncomm.types import VectorEnv

B = 64
EDGE = 2**63 - 1
USES = [("train", 0), ("train", 1), ("train", 4), ("evaluate", 0), ("evaluate", 1_000_000), ("record", 0)]
ENVS = [name for name in envs.names() if "/" not in name]


def keys(env: VectorEnv, seed: int | Tensor, episodes: int = 3) -> set[int]:
    """Of the first episodes in all environments."""
    found = env.reset(seed=seed).key.tolist()
    for _ in range(episodes - 1):
        found += env.reset().key.tolist()
    assert len(set(found)) == episodes * env.num_envs, "episodes of one seed differ"
    return set(found)


@pytest.mark.parametrize("name", ENVS)
def test_no_two_uses_share_an_episode(name: str) -> None:
    env = envs.make(name, num_envs=B)
    sets = [keys(env, random.seeds(purpose, seed, torch.arange(B))) for purpose, seed in USES]
    sets += [keys(env, seed) for seed in (0, 1, 4, 1_000_000, EDGE - 1, EDGE)]
    for one, other in itertools.combinations(sets, 2):
        assert not one & other


@pytest.mark.parametrize("name", ENVS)
def test_episodes_before_any_seed_are_those_of_seed_0(name: str) -> None:
    """Each environment its own: once all of them played the same."""
    assert envs.make(name, num_envs=B).reset().key.equal(envs.make(name, num_envs=B).reset(seed=0).key)


@pytest.mark.parametrize("name", ENVS)
def test_an_environment_has_its_seed_in_a_batch_of_any_size(name: str) -> None:
    few, many = envs.make(name, num_envs=3).reset(seed=7), envs.make(name, num_envs=B).reset(seed=7)
    assert few.key.equal(many.key[:3])
    assert envs.make(name, num_envs=3).reset(seed=random.seeds("environment", 7, torch.arange(3))).key.equal(few.key)


@pytest.mark.parametrize("name", ENVS)
def test_first_states_are_distributed_as_with_seeds_0_1_2(name: str) -> None:
    """Means of every entry of the observation over 400 episodes, within 6 of their standard errors."""
    env = envs.make(name, num_envs=400)
    samples = []
    for seed in (torch.arange(400), 0):
        obs = env.reset(seed=seed).obs
        assert isinstance(obs, Tensor)
        samples.append(obs.double().mean(1))
    before, after = samples
    error = ((before.var(0) + after.var(0)) / 400).sqrt()
    assert bool(((before.mean(0) - after.mean(0)).abs() <= 6 * error + 1e-6).all())
