"""Every listed environment as a PettingZoo one: PettingZoo's own tests, and what these leave out."""

from __future__ import annotations

import random
import warnings
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import gnncomm.envs.pettingzoo as adapter
import numpy as np
import pettingzoo
import pytest
import torch
from gnncomm.envs.frame.base import Flags, GridEnv, Settings, Sizes
from gnncomm.envs.frame.settings import flag, integer
from gnncomm.envs.pettingzoo import GridParallelEnv, aec_env, parallel_env
from gymnasium import spaces
from torch import Tensor

from gnncomm import envs
from gnncomm.errors import ActionError, ConfigError, EnvContractError, StateError
from gnncomm.types import Batch, Scene

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # pettingzoo.test loads pettingzoo's deprecated modules
    from pettingzoo.test import api_test, parallel_api_test, render_test
    from pettingzoo.test.state_test import test_parallel_env as state_test

IDS = envs.names()
KINDS = [name for name in IDS if "/" not in name]
LIMIT = 6


def build(id: str) -> GridParallelEnv:
    """Short episodes, so that several end in a test."""
    config: dict[str, Any] = envs.make(id).config  # type: ignore[attr-defined]
    return parallel_env(id, **({"max_steps": LIMIT} if "max_steps" in config else {}))


def sample(env: GridParallelEnv, observations: dict[str, Any]) -> dict[str, int]:
    actions = {}
    for name in env.agents:
        seen = observations[name]
        mask = seen["action_mask"] if isinstance(seen, dict) else None
        actions[name] = env.action_space(name).sample(mask)
    return actions


@pytest.mark.parametrize("id", IDS)
def test_parallel_api(id: str) -> None:
    """Warnings are errors here, and PettingZoo warns of much that it does not refuse."""
    env = build(id)
    parallel_api_test(env, num_cycles=3 * LIMIT)
    state_test(env)


@pytest.mark.parametrize("id", KINDS)
def test_render(id: str) -> None:
    render_test(lambda render_mode: aec_env(id, render_mode=render_mode))


@pytest.mark.parametrize("id", KINDS)
def test_aec_api(id: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of unbounded boxes, of dicts with a mask, of zeros
        api_test(aec_env(id), num_cycles=3)


@pytest.mark.parametrize("id", KINDS)
def test_seeds_over_many_episodes(id: str) -> None:
    """PettingZoo 1.27's own seed test stops after one step. Here: two instances and then one of them again, over at
    least two ends of episodes, while the global generators are moved."""
    first, second = build(id), build(id)
    want = trajectory(first, seed=42, disturb=False)
    assert sum(not agents for agents, _ in want) >= 2
    for env in (second, first):
        got = trajectory(env, seed=42, disturb=True)
        assert len(got) == len(want)
        for (agents, mine), (others, theirs) in zip(got, want, strict=True):
            assert agents == others
            assert same(mine, theirs)
    assert not all(
        same(mine, theirs)
        for (_, mine), (_, theirs) in zip(trajectory(second, seed=43, disturb=False), want, strict=False)
    )


def trajectory(env: GridParallelEnv, seed: int, disturb: bool) -> list[tuple[list[str], Any]]:
    """Two or more episodes: who is there, and all that is returned."""
    for number, name in enumerate(env.possible_agents):
        env.action_space(name).seed(7 + number)
    observations, infos = env.reset(seed=seed)
    seen: list[tuple[list[str], Any]] = [(list(env.agents), (observations, infos))]
    for _ in range(2 * env.env.max_steps + 2):
        if disturb:
            np.random.seed(random.randrange(100))
            torch.manual_seed(random.randrange(100))
        if env.agents:
            given = env.step(sample(env, observations))
            observations = given[0]
            seen.append((list(env.agents), (*given, env.state())))
        else:
            observations, infos = env.reset()
            seen.append((list(env.agents), (observations, infos)))
    return seen


def same(a: Any, b: Any) -> bool:
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and bool(a == b)


def test_registered() -> None:
    for listed in IDS:
        name = f"gnncomm/{listed.replace('/', '.')}"
        env = pettingzoo.make("parallel", name)
        assert isinstance(env, GridParallelEnv), listed
        assert env.env.id == listed
        assert name in pettingzoo.aec_registry


def test_registered_agent_by_agent() -> None:
    assert isinstance(pettingzoo.make("aec", "gnncomm/relay"), pettingzoo.AECEnv)


def test_settings_reach_the_environment_through_the_registry() -> None:
    env = pettingzoo.make("parallel", "gnncomm/predator_prey", dim=7, render_mode="rgb_array")
    env.reset(seed=1)
    assert env.render().shape == (7 * 16, 7 * 16, 3)


def test_registering_twice_changes_nothing() -> None:
    """A second entry of the same name would be a warning, and so an error here."""
    before = dict(pettingzoo.parallel_registry)
    adapter.register()
    assert pettingzoo.parallel_registry == before


def test_numbers_are_those_of_the_environment() -> None:
    env, raw = parallel_env("predator_prey", vision=1), envs.make("predator_prey", vision=1)
    observations, _ = env.reset(seed=5)
    step = raw.reset(seed=5)
    while env.agents:
        assert isinstance(step.obs, Tensor)
        assert all(np.array_equal(observations[f"agent_{n}"], step.obs[0, n].numpy()) for n in range(3))
        action = raw.ceiling_action()
        observations, rewards, terminations, truncations, infos = env.step(
            {f"agent_{n}": int(action[0, n]) for n in range(3)}
        )
        step = raw.step(action)
        assert list(rewards.values()) == step.reward[0].tolist()
        assert list(terminations.values()) == [bool(step.terminated)] * 3
        assert list(truncations.values()) == [bool(step.truncated)] * 3
        assert all(info["success"] == bool(step.success) for info in infos.values())
    assert bool(step.success)


def test_episodes_follow_each_other() -> None:
    """reset() is the next episode of the seed, which is 0 if none was given."""
    env, raw = parallel_env("relay"), envs.make("relay")
    for step in (raw.reset(seed=0), raw.reset(), raw.reset()):
        observations, _ = env.reset()
        assert isinstance(step.obs, Tensor)
        assert np.array_equal(observations["agent_0"], step.obs[0, 0].numpy())


@dataclass(frozen=True)
class MortalState(Batch):
    t: Tensor


@dataclass(frozen=True)
class MortalDraws(Batch):
    nothing: Tensor


@dataclass(frozen=True)
class MortalSettings(Settings):
    num_agents: int = integer(3, 1)
    max_steps: int = integer(4, 1)
    masked: bool = flag(True)


class Mortal(GridEnv[MortalState, MortalDraws]):
    """Agent n dies in step n + 1, but the last one lives; its action 0 is masked. What agents see is the time."""

    id = "mortal"
    settings_class = MortalSettings
    settings: MortalSettings

    def sizes(self) -> Sizes:
        return Sizes(self.settings.num_agents, 2, 1, self.settings.max_steps)

    def build(self) -> None:
        self.masked = self.settings.masked

    def draws(self, key: Tensor, t: Tensor | Literal[0]) -> MortalDraws:
        return MortalDraws(key.new_empty(key.shape[0], 0))

    def initial(self, draws: MortalDraws) -> MortalState:
        return MortalState(draws.nothing.new_zeros(draws.nothing.shape[0], 1))

    def transition(self, state: MortalState, action: Tensor, draws: MortalDraws) -> tuple[MortalState, Tensor, Flags]:
        no = torch.zeros(len(action), dtype=torch.bool)
        return MortalState(state.t + 1), action.float(), Flags(no, no.clone(), action > 5 if self.renews else None)

    def alive(self, state: MortalState) -> Tensor:
        agents = torch.arange(self.num_agents)
        return (state.t <= agents) | (agents == self.num_agents - 1)

    def allowed(self, state: MortalState) -> Tensor | None:
        mask = torch.ones(len(state.t), self.num_agents, 2, dtype=torch.bool)
        mask[:, -1, 0] = False
        return mask & self.alive(state)[..., None] if self.masked else None

    def observe(self, state: MortalState, form: str) -> Tensor:
        return state.t[..., None].float().repeat(1, self.num_agents, 1)

    def positions(self, state: MortalState) -> Tensor:
        return torch.arange(self.num_agents)[None, :, None].repeat(len(state.t), 1, 2).float()

    def describe(self, state: MortalState) -> Scene:
        return Scene((3, 3), self.positions(state), ~self.alive(state), {}, {})

    def solve(self, state: MortalState) -> Tensor:
        return torch.ones(len(state.t), self.num_agents, dtype=torch.int64)


class Renewing(Mortal):
    """Row 1 is empty at first."""

    renews: ClassVar[bool] = True

    def alive(self, state: MortalState) -> Tensor:
        return super().alive(state) & ((state.t > 0) | (torch.arange(self.num_agents) != 1))


class Undead(Mortal):
    """All come back in step 3."""

    def alive(self, state: MortalState) -> Tensor:
        return super().alive(state) | (state.t >= 3)


@pytest.fixture(params=[Mortal])
def mortal(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> GridParallelEnv:
    monkeypatch.setattr(adapter, "make", lambda _, num_envs, **settings: request.param(num_envs, **settings))
    return parallel_env("mortal")


def test_the_dead_are_terminated_once_and_then_gone(mortal: GridParallelEnv) -> None:
    mortal.reset(seed=0)
    names = [f"agent_{n}" for n in range(3)]
    observations, rewards, terminations, truncations, infos = mortal.step(dict.fromkeys(names, 1))
    assert terminations == {"agent_0": True, "agent_1": False, "agent_2": False}
    assert not any(truncations.values())
    assert rewards == dict.fromkeys(names, 1.0)
    assert [infos[name]["alive"] for name in names] == [False, True, True]
    assert list(observations) == names
    assert mortal.agents == names[1:]
    assert list(mortal.step(dict.fromkeys(names[1:], 1))[1]) == names[1:]
    mortal.step({"agent_2": 1})
    _, _, terminations, truncations, _ = mortal.step({"agent_2": 1})
    assert (terminations, truncations) == ({"agent_2": False}, {"agent_2": True})
    assert mortal.agents == []
    parallel_api_test(mortal, num_cycles=9)


def test_death_goes_before_the_time_limit(mortal: GridParallelEnv) -> None:
    """Agent 3 of 5 dies in step 4, which is the last one."""
    env = parallel_env("mortal", num_agents=5)
    env.reset(seed=0)
    for _ in range(4):
        _, _, terminations, truncations, _ = env.step(dict.fromkeys(env.agents, 1))
    assert terminations == {"agent_3": True, "agent_4": False}
    assert truncations == {"agent_3": False, "agent_4": True}


def test_masks_are_observed(mortal: GridParallelEnv) -> None:
    observations, _ = mortal.reset(seed=0)
    assert isinstance(mortal.observation_space("agent_0"), spaces.Dict)
    assert mortal.observation_space("agent_2").contains(observations["agent_2"])
    assert observations["agent_0"]["action_mask"].tolist() == [1, 1]
    assert observations["agent_2"]["action_mask"].tolist() == [0, 1]
    assert observations["agent_2"]["action_mask"].dtype == np.int8


@pytest.mark.parametrize("mortal", [Renewing], indirect=True)
def test_rows_that_pass_on_stay_listed(mortal: GridParallelEnv) -> None:
    _, infos = mortal.reset(seed=0)
    assert mortal.agents == mortal.possible_agents
    assert [info["alive"] for info in infos.values()] == [True, False, True]
    for t in range(4):
        observations, _, terminations, truncations, infos = mortal.step(dict.fromkeys(mortal.possible_agents, 1))
        assert not any(terminations.values())
        assert [info["alive"] for info in infos.values()] == [t < 0, t < 1, True]
        assert observations["agent_0"]["action_mask"].tolist() == [1, 1]
    assert all(truncations.values())
    assert mortal.agents == []
    parallel_api_test(mortal, num_cycles=9)


@pytest.mark.parametrize("mortal", [Undead], indirect=True)
def test_nobody_comes_back(mortal: GridParallelEnv) -> None:
    mortal.reset(seed=0)
    for _ in range(2):
        mortal.step(dict.fromkeys(mortal.agents, 1))
    with pytest.raises(EnvContractError, match=r"agent_0.*renews"):
        mortal.step(dict.fromkeys(mortal.agents, 1))


@pytest.mark.parametrize(
    ("actions", "words"),
    [
        ([0, 0, 0], "dict"),
        ({"agent_0": 0, "agent_1": 0}, r"none of \['agent_2'\]"),
        ({"agent_0": 0, "agent_1": 0, "agent_2": 0, "agent_3": 0}, r"unknown agents \['agent_3'\].*Did you mean"),
        ({"agent_0": 0.0, "agent_1": 0, "agent_2": 0}, r"integer.*'agent_0', got 0.0 \(float\)"),
        ({"agent_0": True, "agent_1": 0, "agent_2": 0}, "integer.*got True"),
        ({"agent_0": None, "agent_1": 0, "agent_2": 0}, "integer.*got None"),
        ({"agent_0": np.array([0]), "agent_1": 0, "agent_2": 0}, "integer"),
        ({"agent_0": float("nan"), "agent_1": 0, "agent_2": 0}, "integer.*nan"),
        ({"agent_0": 0, "agent_1": 5, "agent_2": 0}, r"\[0, 5\), got 5 from 'agent_1'"),
        ({"agent_0": 0, "agent_1": 0, "agent_2": -1}, r"\[0, 5\), got -1 from 'agent_2'"),
    ],
)
def test_bad_actions(actions: Any, words: str) -> None:
    env = parallel_env("predator_prey")
    env.reset(seed=0)
    with pytest.raises(ActionError, match=words):
        env.step(actions)
    env.step({"agent_0": np.int64(0), "agent_1": np.array(1), "agent_2": 2})  # nothing was changed, and it goes on


def test_actions_of_the_dead_are_refused(mortal: GridParallelEnv) -> None:
    mortal.reset(seed=0)
    mortal.step(dict.fromkeys(mortal.agents, 1))
    with pytest.raises(ActionError, match=r"some of \['agent_0'\]"):
        mortal.step(dict.fromkeys(mortal.possible_agents, 1))


def test_calls_at_the_wrong_moment() -> None:
    env = parallel_env("relay", render_mode="ansi")
    actions = dict.fromkeys(env.possible_agents, 0)
    for call in (lambda: env.step(actions), env.state, env.render):
        with pytest.raises(StateError, match=r"no reset yet.*reset\(\)"):
            call()
    env.reset(seed=0)
    env.step(actions)
    assert env.agents == []
    with pytest.raises(StateError, match="ended"):
        env.step(actions)
    env.reset()
    env.close()
    env.close()
    for call in (lambda: env.step(actions), env.state, env.render, env.reset):
        with pytest.raises(StateError, match="closed"):
            call()


@pytest.mark.parametrize("seed", [-1, 2**64, "abc", 1.5, True])
def test_bad_seeds(seed: Any) -> None:
    with pytest.raises(ConfigError, match="seed"):
        parallel_env("relay").reset(seed=seed)


def test_bad_settings() -> None:
    with pytest.raises(ConfigError, match="relay"):
        parallel_env("rely")
    with pytest.raises(ConfigError, match="num_agents"):
        parallel_env("relay", num_agent=3)
    with pytest.raises(ConfigError, match=r"render_mode.*rgb_array"):
        parallel_env("relay", render_mode="rgb")
    env = parallel_env("relay")
    with pytest.raises(ConfigError, match="options"):
        env.reset(options=3)  # type: ignore[arg-type]
    for space in (env.observation_space, env.action_space):
        with pytest.raises(ConfigError, match="agent_0"):
            space("agent0")
    env.reset(seed=np.int64(3))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="render_mode="):
        env.render()


def test_only_grid_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adapter, "make", lambda _, num_envs: num_envs)
    with pytest.raises(ConfigError, match="GridEnv"):
        parallel_env("mine")


def test_render_modes(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for mode in ("ansi", "human"):
        env = parallel_env("predator_prey", render_mode=mode)
        env.reset(seed=3)
        texts.append(env.render())
    assert texts[1] is None
    assert texts[0] is not None
    assert capsys.readouterr().out == f"{texts[0]}\n\n"
