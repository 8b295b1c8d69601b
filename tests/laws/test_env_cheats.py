"""Environments that cheat rarely, at large seeds, when they are looked at, or beside their state."""

from __future__ import annotations

import random as python_random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.predator_prey import PredatorPrey, PredatorPreyState
from torch import Tensor

from gnncomm.testing import LawError, check_env
from gnncomm.testing import env as laws
from gnncomm.types import Scene, SparseObs, TimeStep

MODULE_LEVEL = torch.Generator().manual_seed(5)


class Small(PredatorPrey):
    def __init__(self, num_envs: int = 1, observation: str = "flat") -> None:
        super().__init__(num_envs=num_envs, max_steps=6, observation=observation)
        self.steps = 0

    def step(self, action: Tensor) -> TimeStep:
        self.steps += 1
        return self.changed(super().step(action))

    def changed(self, now: TimeStep) -> TimeStep:
        return now


def noisy(now: TimeStep, noise: Tensor | float) -> TimeStep:
    return replace(now, reward=now.reward + noise)


class AtLargeSeeds(Small):
    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if isinstance(seed, int):
            self.large = seed > 100_000
        return super().reset(seed, where)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, torch.rand(())) if self.large else now


class Rarely(Small):
    """Every hundredth step."""

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, float(np.random.rand())) if self.steps % 100 == 99 else now


class RarelyByItself(Small):
    """Every hundredth step, from a generator of its own that begins the same each time."""

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs)
        self.generator = torch.Generator().manual_seed(3)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, torch.rand((), generator=self.generator)) if self.steps % 100 == 99 else now


class OwnSeededGenerator(Small):
    """The same for every new environment, but never saved, and not put back by a reset."""

    def __init__(self, num_envs: int = 1) -> None:
        super().__init__(num_envs)
        self.generator = torch.Generator().manual_seed(3)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, torch.rand((), generator=self.generator))


class ResetsItsGenerator(OwnSeededGenerator):
    """Put back by a reset, but not saved."""

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if seed is not None:
            self.generator.manual_seed(3)
        return super().reset(seed, where)


class ModuleLevelGenerator(Small):
    """Shared by all environments of the process."""

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, torch.rand((), generator=MODULE_LEVEL))


class ReadsAndRestores(Small):
    """Reads the global generator and puts it back."""

    def changed(self, now: TimeStep) -> TimeStep:
        with torch.random.fork_rng(devices=[]):
            return noisy(now, torch.rand(()))


class SceneDraws(Small):
    def scene(self) -> Scene:
        scene = super().scene()
        return replace(scene, agents=scene.agents + torch.rand(()))


class SceneDrawsAndDrops(Small):
    """The picture is right, but everybody else's random numbers are other ones."""

    def scene(self) -> Scene:
        python_random.random()
        return super().scene()


class SceneMoves(Small):
    """Looking changes what happens."""

    looked = 0

    def scene(self) -> Scene:
        self.looked += 1
        return super().scene()

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, self.looked)


class CeilingDraws(Small):
    def ceiling_action(self) -> Tensor:
        best = super().ceiling_action()
        return torch.where(torch.rand(best.shape) > 0.5, best, 0)


class CeilingOwnDraws(OwnSeededGenerator):
    def ceiling_action(self) -> Tensor:
        best = super().ceiling_action()
        return torch.where(torch.rand(best.shape, generator=self.generator) > 0.5, best, 0)

    def changed(self, now: TimeStep) -> TimeStep:
        return now


class FloorDraws(Small):
    def floor_action(self, key: Tensor) -> Tensor:
        return torch.randint(self.num_actions, (self.num_envs, self.num_agents))


class CountsBesideItsState(Small):
    """A counter that is not in ``state_dict``."""

    total: Tensor | None = None

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if seed is not None:
            self.total = torch.zeros(self.num_envs, 1)
        return super().reset(seed, where)

    def changed(self, now: TimeStep) -> TimeStep:
        assert self.total is not None
        self.total = self.total + now.reward.sum(1, keepdim=True)
        return noisy(now, 0.01 * self.total)


class RemembersItsPast(Small):
    """What it played before a reset changes what comes after."""

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, 0.01 * self.steps)


class SceneBesideItsState(Small):
    """Draws what it kept, not what was loaded."""

    kept: Tensor | None = None

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        now = super().reset(seed, where)
        self.kept = super().scene().agents
        return now

    def scene(self) -> Scene:
        assert self.kept is not None
        return replace(super().scene(), agents=self.kept)


class IgnoresTheForm(Small):
    """Flat, whatever was asked for."""

    def observe(self, state: PredatorPreyState, form: Any) -> Tensor:
        obs = super().observe(state, "flat")
        assert isinstance(obs, Tensor)
        return obs


class LoadsLess(Small):
    """A counter that is saved, but not loaded."""

    def state_dict(self) -> dict[str, Tensor]:
        return {**super().state_dict(), "steps": torch.tensor(self.steps)}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        return super().load_state_dict({name: value for name, value in state.items() if name != "steps"})

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if seed is not None:
            self.steps = 0
        return super().reset(seed, where)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, 0.01 * self.steps)


class RarelyBesideItsState(Small):
    """A counter that is put back by a reset, not saved, and matters at every 50th step."""

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if seed is not None:
            self.steps = 0
        return super().reset(seed, where)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, 1.0 if self.steps % 50 == 49 else 0.0)


class CountsEpisodes(Small):
    """From the fourth episode on rewards are other ones, and nobody saved which it is."""

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        if where is None:
            self.episodes = torch.zeros(self.num_envs, 1)
        else:
            self.episodes = self.episodes + where[:, None]
        return super().reset(seed, where)

    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, (self.episodes >= 3).float())


class FavoursLateSlots(Small):
    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, (torch.arange(self.num_envs) >= 3).float()[:, None])


class NormalisesManySlots(Small):
    def changed(self, now: TimeStep) -> TimeStep:
        return noisy(now, now.reward.mean() if self.num_envs >= 8 else 0.0)


class WritesIntoActions(Small):
    def step(self, action: Tensor) -> TimeStep:
        after = super().step(action)
        action.zero_()
        return after


class WritesIntoStates(Small):
    """Counts on in the very tensors that it was loaded from."""

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        self.loaded = state
        return super().load_state_dict(state)

    def changed(self, now: TimeStep) -> TimeStep:
        if hasattr(self, "loaded"):
            self.loaded["step"].add_(1)
        return now


CHEATS: dict[type[Small], str] = {
    RarelyBesideItsState: "saved states",
    CountsEpisodes: "saved states",
    FavoursLateSlots: "independent slots",
    NormalisesManySlots: "independent slots",
    WritesIntoActions: "no aliasing",
    WritesIntoStates: "saved states",
    AtLargeSeeds: "determinism",
    Rarely: "determinism",
    RarelyByItself: "determinism",
    OwnSeededGenerator: "determinism",
    ResetsItsGenerator: "resets|saved states",
    ModuleLevelGenerator: "determinism",
    ReadsAndRestores: "determinism",
    SceneDraws: "determinism",
    SceneDrawsAndDrops: "determinism",
    SceneMoves: "determinism",
    CeilingDraws: "determinism",
    CeilingOwnDraws: "determinism",
    FloorDraws: "determinism",
    CountsBesideItsState: "resets|saved states",
    RemembersItsPast: "determinism",
    SceneBesideItsState: "saved states",
    LoadsLess: "resets|saved states",
}


@pytest.mark.parametrize("cheat", CHEATS, ids=lambda cheat: cheat.__name__)
def test_a_hidden_cheat_is_caught(cheat: type[Small]) -> None:
    with pytest.raises(LawError, match=f"Law of ({CHEATS[cheat]}) broken"):
        check_env(cheat)


def test_an_observation_of_another_form_is_caught() -> None:
    check_env(lambda num_envs: IgnoresTheForm(num_envs, "flat"), steps=4, long=0)
    with pytest.raises(LawError, match="obs is flat, but the environment was made for sparse"):
        check_env(lambda num_envs: IgnoresTheForm(num_envs, "sparse"), steps=4, long=0)
    assert isinstance(Small(2, "sparse").reset(seed=0).obs, SparseObs)


def test_a_long_trial_is_needed_for_what_is_rare() -> None:
    laws.check_trajectory_determinism(Rarely, num_envs=2, steps=20)
    with pytest.raises(LawError, match="global generator of numpy"):
        laws.check_trajectory_determinism(Rarely, num_envs=2, steps=120)
