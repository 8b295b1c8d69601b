"""Law 6 and the contract over every environment that is listed, and environments that break them."""

from __future__ import annotations

import random as python_random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.predator_prey import PredatorPrey, PredatorPreyState
from gnncomm.envs.relay import Relay
from torch import Tensor

from gnncomm import envs
from gnncomm.testing import LawError, check_env
from gnncomm.testing import env as laws
from gnncomm.types import TimeStep, VectorEnv

SHORT: dict[str, dict[str, Any]] = {
    "battle": {"max_steps": 40},
    "chemical": {"max_steps": 8},
    "path_finding": {"max_steps": 12},
    "pursuit": {"max_steps": 40},
    "relay": {"steps": 3, "seen": "first"},
    "stag_hunt": {"max_steps": 40},
}


FORMS = ["flat", "sparse"]
BRIEF = 4  # steps an episode at most
LONGEST = 16  # steps of a trial; those of the one long trial see episodes of 40 steps end
CASES = [
    (name, form)
    for number, name in enumerate(envs.names())
    for form in (FORMS if "/" not in name else FORMS[number % 2 :][:1])
]


@pytest.mark.every(2)
@pytest.mark.parametrize(("name", "form"), CASES)
def test_laws_hold(name: str, form: str) -> None:
    """Forms and settings of one environment share the code that could do something rarely: each class is tried in both
    forms, one of them for long, each setting for a few steps in one of the forms by turns. That the sparse form is the
    flat vector at every step is held by ``tests/envs/test_env_contract.py`` for all of them.
    """
    whole = "/" not in name and form == "flat"
    short = SHORT.get(name, {}) if whole or name == "relay" else {"max_steps": BRIEF}
    if name.startswith("path_finding"):  # the planner takes most of the time, and longer in larger worlds
        short = short | {"dim": 5, "num_agents": 3}
    factory = lambda num_envs: envs.make(name, num_envs=num_envs, observation=form, **short)  # noqa: E731
    steps = min(factory(1).max_steps + 2, LONGEST)
    check_env(factory, num_envs=3 if "/" not in name else 2, steps=steps, long=120 if whole else 0)


def test_laws_hold_for_one_step_episodes() -> None:
    check_env(lambda num_envs: envs.make("relay", num_envs=num_envs))


@pytest.mark.parametrize("form", ["flat", "sparse"])
def test_laws_hold_with_deaths_masks_and_time_limits(mortal: Callable[..., VectorEnv], form: str) -> None:
    check_env(lambda num_envs: mortal(num_envs=num_envs, observation=form), num_envs=4, steps=20)


class Small(PredatorPrey):
    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs=num_envs, max_steps=6)


class TorchNoise(Small):
    """Observations with noise from torch's global generator."""

    def observe(self, state: PredatorPreyState, form: Any) -> Tensor:
        obs = super().observe(state, form)
        assert isinstance(obs, Tensor)
        return obs + torch.rand(obs.shape)


class LateNoise(Small):
    """Quiet on the first step, and noisy from the second on."""

    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=torch.where(now.step[:, None] >= 2, now.reward + torch.rand(()), now.reward))


class NumpyNoise(Small):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=now.reward + float(np.random.rand()))


class PythonNoise(Small):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=now.reward + python_random.random())


class OwnGenerator(Small):
    """Its own generator, seeded from the clock: no global one moves."""

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs)
        self.generator = torch.Generator()
        self.generator.seed()

    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=now.reward + torch.rand((), generator=self.generator))


class SeedsTheWorld(Small):
    """Repeatable, but at the cost of everybody else's random numbers."""

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        torch.manual_seed(0)
        return super().reset(seed, where)


class Leaks(Small):
    """The reward of one slot depends on the others."""

    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=now.reward + 0.1 * action.float().mean())


class SlotNumbers(Small):
    """Every slot draws with its place in the batch."""

    @staticmethod
    def _keys(seed: Tensor, episode: Tensor) -> Tensor:
        return Small.__mro__[1]._keys(seed + torch.arange(len(seed)), episode)  # type: ignore[attr-defined]


class FloatFlags(Small):
    def _timestep(self, seen: Any) -> TimeStep:
        now = super()._timestep(seen)
        return replace(now, alive=now.alive.float())


class DoubleRewards(Small):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, reward=now.reward.double())


class WideObservations(Small):
    def observe(self, state: PredatorPreyState, form: Any) -> Tensor:
        obs = super().observe(state, form)
        assert isinstance(obs, Tensor)
        return torch.cat([obs, obs[..., :1]], -1)


class NaNObservations(Small):
    def observe(self, state: PredatorPreyState, form: Any) -> Tensor:
        obs = super().observe(state, form)
        assert isinstance(obs, Tensor)
        return obs / (state.pos.sum(-1, keepdim=True) > 3).float() * (state.pos.sum(-1, keepdim=True) > 3).float()


class OneBuffer(Small):
    """Writes every observation into the same tensor."""

    buffer: Tensor | None = None

    def observe(self, state: PredatorPreyState, form: Any) -> Tensor:
        obs = super().observe(state, form)
        assert isinstance(obs, Tensor)
        if self.buffer is None or self.buffer.shape != obs.shape:
            self.buffer = torch.empty_like(obs)
        return self.buffer.copy_(obs)


class HandsOutItsState(Small):
    """What the caller writes into ``step`` is what the environment counts on with."""

    def _timestep(self, seen: Any) -> TimeStep:
        return replace(super()._timestep(seen), step=self._step, key=self._key)


class ResetsAll(Small):
    """``reset(where)`` forgets where."""

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if where is not None and bool(where.any()):
            where = torch.ones_like(where)
        return super().reset(seed, where)


class SameEpisode(Small):
    """Plays the first episode of its seed for ever."""

    @staticmethod
    def _keys(seed: Tensor, episode: Tensor) -> Tensor:
        return Small.__mro__[1]._keys(seed, torch.zeros_like(episode))  # type: ignore[attr-defined]


class TruncationEndsReturns(Small):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, discount=torch.where(now.done[:, None], 0.0, now.discount))


class TerminationKeepsReturns(Relay):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, discount=torch.ones_like(now.discount))


class BothEnds(Relay):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return replace(now, truncated=now.terminated.clone())


class ForgetsFirst(Small):
    def _timestep(self, seen: Any) -> TimeStep:
        now = super()._timestep(seen)
        return replace(now, first=torch.zeros_like(now.first))


class ResetsItself(Small):
    def step(self, action: Tensor) -> TimeStep:
        now = super().step(action)
        return self.reset(where=now.done) if bool(now.done.any()) else now


class ForgetsTheSteps(Small):
    """Saves everything but the step counters."""

    def load_state_dict(self, state: Any) -> TimeStep:
        return super().load_state_dict({**state, "step": torch.zeros_like(state["step"])})


class LivingState(Small):
    """``state_dict`` hands out counters that go on counting."""

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "step": self._step}

    def step(self, action: Tensor) -> TimeStep:
        before = self._step
        now = super().step(action)
        before.copy_(self._step)
        return now


CHEATS: dict[Callable[[int], VectorEnv], str] = {
    TorchNoise: "determinism",
    LateNoise: "determinism",
    NumpyNoise: "determinism",
    PythonNoise: "determinism",
    OwnGenerator: "determinism",
    SeedsTheWorld: "determinism",
    Leaks: "independent slots",
    SlotNumbers: "independent slots",
    FloatFlags: "the contract",
    DoubleRewards: "the contract",
    WideObservations: "the contract",
    NaNObservations: "the contract",
    OneBuffer: "no aliasing",
    HandsOutItsState: "no aliasing",
    ResetsAll: "resets",
    SameEpisode: "resets",
    TruncationEndsReturns: "the contract",
    TerminationKeepsReturns: "the contract",
    BothEnds: "the contract",
    ForgetsFirst: "the contract",
    ResetsItself: "the contract",
    ForgetsTheSteps: "saved states",
    LivingState: "saved states",
}


def test_the_honest_environment_passes() -> None:
    check_env(Small)


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_cheat_is_caught_by_name(cheat: Callable[[int], VectorEnv]) -> None:
    with pytest.raises(LawError, match=f"Law of {CHEATS[cheat]} broken") as caught:
        check_env(cheat)
    assert caught.value.law == CHEATS[cheat]


def test_resets_that_touch_other_rows_are_caught() -> None:
    with pytest.raises(LawError, match=r"Law of resets broken: .*environment 0"):
        laws.check_reset(ResetsAll, num_envs=3)


def test_the_message_names_the_tensor_and_the_agent() -> None:
    with pytest.raises(LawError, match=r"reward should be bit-equal, got .* at environment \d, agent \d .*slot 0 was"):
        check_env(Leaks)


def test_the_callers_generators_are_put_back() -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), python_random.getstate()
    check_env(Small, num_envs=2, steps=2)
    with pytest.raises(LawError, match="global generator of numpy"):
        laws.check_trajectory_determinism(NumpyNoise, num_envs=2, steps=2)
    assert torch.get_rng_state().equal(before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert python_random.getstate() == before[2]


def test_something_else_is_no_environment() -> None:
    class Other:
        num_envs, max_steps = 3, 1

    with pytest.raises(LawError, match=r"Other lacks members of gnncomm\.types\.VectorEnv"):
        check_env(lambda num_envs: Other())  # type: ignore[arg-type,return-value]
