"""An environment with all that the bundled ones lack: deaths, action masks, early ends and time limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from gnncomm.envs.frame.base import Flags, Form, Settings, Sizes
from gnncomm.envs.frame.settings import integer
from torch import Tensor

from gnncomm import random
from gnncomm.envs import GridEnv
from gnncomm.types import Batch, Observation, Scene, SparseObs


@dataclass(frozen=True)
class MortalDraws(Batch):
    numbers: Tensor  # [B, N, 3] uniform


@dataclass(frozen=True)
class MortalState(Batch):
    seen: Tensor  # [B, N, 3]
    life: Tensor  # [B, N] steps left
    t: Tensor  # [B]


@dataclass(frozen=True)
class MortalSettings(Settings):
    num_agents: int = integer(4, 1)


class Mortal(GridEnv[MortalState, MortalDraws]):
    """N agents see three random numbers each, live for 1 to 9 steps (0 in one slot of ten), and may not always do 0.

    Where one dies, and in rows of the dead, another enters in three steps of ten, and lives for up to three steps. The
    episode terminates when all are dead, and is truncated after six steps.
    """

    renews = True

    id = "mortal"
    settings_class = MortalSettings
    settings: MortalSettings

    def sizes(self) -> Sizes:
        return Sizes(self.settings.num_agents, 3, 3, 6)

    def draws(self, key: Tensor, t: Tensor | int) -> MortalDraws:
        agent, number = torch.arange(self.num_agents).view(-1, 1), torch.arange(3)
        now = t.view(-1, 1, 1) if isinstance(t, Tensor) else t
        return MortalDraws(random.uniform(key.view(-1, 1, 1), now, agent, number))

    def initial(self, draws: MortalDraws) -> MortalState:
        life = (draws.numbers[..., 0] * 10).long()
        life[:, 0] = life[:, 0].clamp(min=1)
        return MortalState(draws.numbers, life, torch.zeros(len(life), dtype=torch.int64))

    def transition(self, state: MortalState, action: Tensor, draws: MortalDraws) -> tuple[MortalState, Tensor, Flags]:
        life = (state.life - 1 - (action == 2).long()).clamp(min=0)
        reward = torch.where(state.life > 0, action.float() - 0.5, 0.0)
        entered = (life == 0) & (draws.numbers[..., 1] > 0.7)
        life = torch.where(entered, 3, life)
        over = (life == 0).all(1)
        return MortalState(draws.numbers, life, state.t + 1), reward, Flags(over, torch.zeros_like(over), entered)

    def alive(self, state: MortalState) -> Tensor:
        return state.life > 0

    def observe(self, state: MortalState, form: Form) -> Observation:
        index = torch.arange(3).expand_as(state.seen).clone()
        return SparseObs(index, state.seen.clone(), 3) if form == "sparse" else state.seen.clone()

    def positions(self, state: MortalState) -> Tensor:
        return state.seen[..., :2].clone()

    def describe(self, state: MortalState) -> Scene:
        return Scene((1, 1), self.positions(state), ~self.alive(state), {}, {})

    def solve(self, state: MortalState) -> Tensor:
        return torch.ones_like(state.life)

    def allowed(self, state: MortalState) -> Tensor:
        mask = torch.ones(*state.life.shape, 3, dtype=torch.bool)
        mask[..., 0] = state.seen[..., 0] > 0.5
        # The dead have nothing they could do.
        return mask & self.alive(state).unsqueeze(-1)


@pytest.fixture
def mortal() -> Callable[..., Mortal]:
    return Mortal
