"""An environment's trajectory depends on its seed and its actions only; equality is exact.

The check itself is checked: three planted environments that break the promise must be found.
"""

from __future__ import annotations

import copy
import random as python_random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from gnncomm.envs.chemical.chemical import Chemical, ChemicalDraws, ChemicalState
from gnncomm.envs.frame.base import GridEnv
from torch import Tensor

from gnncomm import envs, random
from gnncomm.types import TimeStep

STEPS = 24
LIMIT = 7  # steps an episode at most, so that at least three end
Build = Callable[[int], Any]
Trajectory = list[dict[str, Tensor]]


def actions(env: GridEnv[Any, Any], seeds: Tensor, t: int) -> Tensor:
    return random.integers(seeds[:, None], env.num_actions, t, torch.arange(env.num_agents))


def disturb() -> None:
    torch.rand(3)
    np.random.rand(3)
    python_random.random()


def play(
    env: GridEnv[Any, Any], step: TimeStep, seeds: Tensor, start: int, stop: int, noisy: bool = False
) -> Trajectory:
    """Time steps ``start + 1 ... stop``, ended episodes reset at once."""
    seen = []
    for t in range(start, stop):
        if bool(step.done.any()):
            step = env.reset(where=step.done)
        if noisy:
            disturb()
        step = env.step(actions(env, seeds, t))
        seen.append(step.tensors())
    return seen


def full(env: GridEnv[Any, Any], seeds: Tensor, steps: int, noisy: bool = False) -> Trajectory:
    step = env.reset(seed=seeds)
    return [step.tensors(), *play(env, step, seeds, 0, steps, noisy)]


def same(one: Trajectory, other: Trajectory, rows: slice = slice(None), other_rows: slice = slice(None)) -> bool:
    pairs = zip(one, other, strict=True)
    return all(a.keys() == b.keys() and all(torch.equal(a[k][rows], b[k][other_rows]) for k in a) for a, b in pairs)


def violations(build: Build) -> list[str]:
    """The ways in which what ``build(num_envs)`` makes breaks the promise, in episodes of up to ``LIMIT`` steps."""
    seeds = torch.arange(64) * 1000 + 7
    reference = full(build(64), seeds, STEPS)
    found = []
    for first, size in ((0, 1), (63, 1), (17, 8)):
        part = slice(first, first + size)
        if not same(reference, full(build(size), seeds[part], STEPS), part):
            found.append(f"alone or in a batch: {size}")
    few, env = seeds[:3], build(3)
    env.reset(seed=99)
    env.reset()
    env.step(actions(env, few, 5))
    if not same(reference, full(env, few, STEPS), slice(0, 3)):
        found.append("same instance, reseeded")
    torch.manual_seed(int(seeds.sum()))
    if not same(reference, full(build(3), few, STEPS, noisy=True), slice(0, 3)):
        found.append("global random numbers")
    found += neighbours(build, seeds, reference) + continuations(build, few, reference, LIMIT + 3)
    return found


def neighbours(build: Build, seeds: Tensor, reference: Trajectory) -> list[str]:
    """Rows 0 and 1 while rows 2 and 3 have other seeds, other actions and many resets."""
    env, mixed = build(4), torch.cat([seeds[:2], torch.tensor([3, 2**62])])
    step = env.reset(seed=mixed)
    seen = [step.tensors()]
    for t in range(len(reference) - 1):
        again = step.done | torch.tensor([False, False, t % 2 == 0, t % 3 == 0])
        step = env.reset(where=again)
        step = env.step(actions(env, mixed, t))
        seen.append(step.tensors())
    return [] if same(reference, seen, slice(0, 2), slice(0, 2)) else ["what other rows do"]


def continuations(build: Build, seeds: Tensor, reference: Trajectory, middle: int) -> list[str]:
    """A deep copy, and a fresh instance with the saved state, taken in the middle of an episode."""
    env, found, steps, rows = build(3), [], len(reference) - 1, slice(0, 3)
    step = env.reset(seed=seeds)
    play(env, step, seeds, 0, middle)
    saved, clone = env.state_dict(), copy.deepcopy(env)
    fresh = build(3)
    step = fresh.load_state_dict(saved)
    for value in saved.values():
        value.fill_(True if value.dtype == torch.bool else 3)
    now = step.tensors()
    if not same([reference[middle]], [now], rows):
        found.append("time step after load_state_dict")
    rest = reference[middle + 1 :]
    if not same(rest, play(fresh, step, seeds, middle, steps), rows):
        found.append("load_state_dict")
    if not same(rest, play(clone, step, seeds, middle, steps), rows):
        found.append("deepcopy")
    if not same(rest, play(env, step, seeds, middle, steps), rows):
        found.append("the original after its copies ran")
    return found


def builder(id: str) -> Build:
    short = {} if id.startswith("relay") else {"max_steps": LIMIT}
    return lambda num_envs: envs.make(id, num_envs=num_envs, observation="sparse", **short)


@pytest.mark.parametrize("id", [name for name in envs.names() if "/" not in name])
def test_trajectory_depends_on_seed_and_actions_only(id: str) -> None:
    """In large batches, and for copies; every setting of an environment is held to it by ``tests/laws``."""
    assert violations(builder(id)) == []


@pytest.mark.parametrize("id", envs.names())
def test_seeds_and_episodes_differ(id: str) -> None:
    """Guards the check above: a constant environment would pass it."""
    env = builder(id)(16)
    begun = [env.reset(seed=0), env.reset()]
    assert len(set(begun[0].key.tolist() + begun[1].key.tolist())) == 32
    # A road is empty at first. That no car enters any of them in 6 steps has a chance of 1e-6 at the lowest rate.
    shown, now = [step.obs.to_flat().flatten(1) for step in begun], begun[1]
    for _ in range(LIMIT - 1 if id.startswith("traffic_junction") else 0):
        now = env.step(env.floor_action(now.key))
        shown.append(now.obs.to_flat().flatten(1))
    assert len(torch.cat(shown).unique(dim=0)) > 1


class GlobalNoise(Chemical):
    """Draws its noise from torch's global generator."""

    first = 0

    def draws(self, key: Tensor, t: Tensor | Literal[0]) -> ChemicalDraws:
        made = super().draws(key, t)
        if isinstance(t, Tensor) and bool((t >= self.first).any()):
            return replace(made, gain_noise=torch.randn(made.gain_noise.shape))
        return made


class LateGlobalNoise(GlobalNoise):
    first = 2


class Leak(Chemical):
    """Adds a trace of the whole batch to each field."""

    def _advance(self, field: Tensor, source: Tensor, active: Tensor) -> Tensor:
        return super()._advance(field, source, active) + 1e-3 * field.sum()


class Sticky(Chemical):
    """Keeps state outside the state."""

    def initial(self, draws: ChemicalDraws) -> ChemicalState:
        self.count = getattr(self, "count", 0) + 1
        state = super().initial(draws)
        return ChemicalState(**{**vars(state), "reading": state.reading + 1e-3 * self.count})


@pytest.mark.parametrize("planted", [GlobalNoise, LateGlobalNoise, Leak, Sticky])
def test_the_check_finds_planted_violations(planted: type[Chemical]) -> None:
    torch.manual_seed(0)
    assert violations(lambda num_envs: planted(num_envs, observation="sparse", max_steps=LIMIT)) != []
