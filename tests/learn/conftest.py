"""An environment and a policy whose numbers say which moment they belong to."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.graph import CommGraph
from gnncomm.learn import PPO, Carry, EpisodeTally, PPOConfig, Rollout, TrainConfig, begin, build_policy, collect
from gnncomm.policy import PolicyState, WireState
from gnncomm.types import TimeStep


class Counter:
    """Environment b shows ``1000 b + 100 episode + t``; a step from there is rewarded with that number plus a half.

    Environment 0 is truncated after 2 steps, 1 terminates after 3, 2 never ends.
    """

    num_envs, num_agents, num_actions, obs_dim = 3, 2, 2, 1

    def __init__(self) -> None:
        self.episode, self.t = torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.int64)
        self.reward = torch.zeros(3, 2)

    def number(self) -> Tensor:
        return (1000 * torch.arange(3) + 100 * self.episode + self.t).float()

    def timestep(self) -> TimeStep:
        truncated = (self.t == 2) & (torch.arange(3) == 0)
        terminated = (self.t == 3) & (torch.arange(3) == 1)
        return TimeStep(
            obs=self.number().view(3, 1, 1).repeat(1, 2, 1),
            reward=self.reward.clone(),
            discount=(~terminated).float().unsqueeze(-1).repeat(1, 2),
            alive=torch.ones(3, 2, dtype=torch.bool),
            terminated=terminated,
            truncated=truncated,
            success=terminated,
            first=self.t == 0,
            key=1000 * torch.arange(3) + self.episode,
            step=self.t.clone(),
        )

    def reset(self, seed: int | None = None, where: Tensor | None = None) -> TimeStep:
        if where is None:
            self.episode, self.t = torch.zeros_like(self.episode), torch.zeros_like(self.t)
        else:
            self.episode, self.t = self.episode + where, torch.where(where, 0, self.t)
        return self.timestep()

    def step(self, action: Tensor) -> TimeStep:
        self.reward = (self.number() + 0.5).unsqueeze(-1).repeat(1, 2)
        self.t = self.t + 1
        return self.timestep()


ONE_WAY = CommGraph.from_dense(torch.tensor([[[False, True], [False, False]]]))


class Reader:
    """Values what it sees at that number plus a quarter for each step that it remembers.

    In the first of two rounds agent 0 alone speaks, and agent 1 reads it; in the second both speak, and nobody reads.
    """

    def initial_state(self, num_envs: int, num_agents: int) -> PolicyState:
        nothing = torch.zeros(num_envs, num_agents, 1, 0)
        return PolicyState(torch.zeros(num_envs, num_agents, 1), WireState(nothing, nothing))

    def act(self, now: TimeStep, state: PolicyState, key: int | None = None) -> Any:
        memory = torch.where(now.first.view(-1, 1, 1), 0.0, state.memory) + 1
        seen = now.obs[..., 0]  # type: ignore[index]
        action = torch.zeros_like(seen, dtype=torch.int64)
        none = seen.new_zeros(*seen.shape, 0)
        return SimpleNamespace(
            action=action,
            choice=none.long(),
            log_prob=-seen,
            choice_log_prob=none,
            value=seen + 0.25 * (memory.squeeze(-1) - 1),
            baseline=none,
            state=replace(state, memory=memory),
            talk=SimpleNamespace(
                bits=seen,
                arrivals=((SimpleNamespace(graph=ONE_WAY),), ()),
                spoke=(torch.tensor([True, False]).expand_as(seen), torch.ones_like(seen, dtype=torch.bool)),
            ),
        )

    def value(self, now: TimeStep, state: PolicyState, key: int | None = None) -> Tensor:
        value: Tensor = self.act(now, state, key).value
        return value


@pytest.fixture
def counter() -> tuple[Any, Any]:
    return Counter(), Reader()


@dataclass
class Setup:
    learner: PPO
    rollout: Rollout
    carry: Carry
    tally: EpisodeTally


@pytest.fixture
def setup() -> Callable[..., Setup]:
    """A fresh learner and its first rollout."""

    def make(env: str = "predator_prey", num_envs: int = 6, length: int = 5, **settings: Any) -> Setup:
        ppo = PPOConfig(**{"epochs": 2, "minibatches": 3, **settings.pop("ppo", {})})
        env_settings: Mapping[str, Any] = settings.pop("env_settings", {})
        config = TrainConfig.of(
            env=env, num_envs=num_envs, hidden=8, env_settings=env_settings, learner=ppo, **settings
        )
        world = envs.make(env, num_envs=num_envs, observation=config.env.observation, **env_settings)
        policy = build_policy(config, world)
        carry, tally = begin(world, policy, config.run.seed)
        rollout, carry = collect(world, policy, carry, length, config.run.seed, tally)
        return Setup(PPO(policy, ppo, total_updates=4, seed=config.run.seed), rollout, carry, tally)

    return make
