"""Wrong seeds, actions, moments and settings: the kind of error, and a message that says what was expected."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from gnncomm import envs
from gnncomm.errors import ActionError, ConfigError, DeviceError, DtypeError, GnnCommError, ShapeError, StateError

IDS = envs.names()


def fresh(id: str = "predator_prey", num_envs: int = 2) -> Any:
    env = envs.make(id, num_envs=num_envs)
    env.reset(seed=0)
    return env


@pytest.mark.parametrize("id", IDS)
def test_seed(id: str) -> None:
    env = fresh(id)
    for seed in (-1, 2**64, 2**63, "abc", 1.5, True, math.nan, [1, 2], torch.tensor([1.0, 2.0])):
        with pytest.raises(ConfigError, match=r"seed: expected .*, got "):
            env.reset(seed=seed)


def test_seed_tensor() -> None:
    env = fresh()
    with pytest.raises(ConfigError, match=r"int64 tensor \[2\]"):
        env.reset(seed=torch.tensor([1, 2, 3]))
    with pytest.raises(ConfigError, match="at least 0, got -3"):
        env.reset(seed=torch.tensor([1, -3]))
    with pytest.raises(ConfigError, match="seed or where"):
        env.reset(seed=1, where=torch.tensor([True, False]))


def test_the_largest_seed_is_taken_as_an_int_and_in_a_tensor() -> None:
    env = fresh()
    assert env.reset(seed=2**63 - 1).key.unique().numel() == 2
    largest = env.reset(seed=torch.tensor([2**63 - 1, 2**63 - 1]))
    assert largest.key[0] == largest.key[1]


@pytest.mark.parametrize("id", IDS)
def test_action_out_of_range_names_environment_and_agent(id: str) -> None:
    env = fresh(id)
    nothing = torch.zeros(2, env.num_agents, dtype=torch.int64)
    alive = env.reset(seed=0).alive[1]
    while not bool(alive.any()):  # in some, agents come after a while
        alive = env.step(nothing).alive[1]
    last = int(alive.nonzero()[-1])
    for bad in (-1, env.num_actions, 2**40):
        action = nothing.clone()
        action[1, last] = bad
        with pytest.raises(ActionError, match=rf"got {bad} from agent {last} of environment 1"):
            env.step(action)
    env.step(nothing)


@pytest.mark.parametrize(
    "action",
    [
        torch.full((2, 3), math.nan),
        torch.zeros(2, 3),
        torch.zeros(2, 3, dtype=torch.int32),
        torch.zeros(2, 3, dtype=torch.bool),
        torch.zeros(3, 2, dtype=torch.int64),
        torch.zeros(2, 4, dtype=torch.int64),
        torch.zeros(2, 3, 1, dtype=torch.int64),
        torch.zeros(3, dtype=torch.int64),
        torch.tensor(0),
        [[0, 0, 0], [0, 0, 0]],
        None,
        "up",
    ],
)
def test_action_of_wrong_kind(action: Any) -> None:
    env = fresh()
    before = env.state_dict()
    with pytest.raises(ActionError, match=r"expected an int64 tensor \[num_envs=2, num_agents=3\], got "):
        env.step(action)
    assert all(torch.equal(value, env.state_dict()[name]) for name, value in before.items())


@pytest.mark.parametrize("id", IDS)
def test_calls_at_the_wrong_moment(id: str) -> None:
    env = envs.make(id, num_envs=2)
    zeros = torch.zeros(2, env.num_agents, dtype=torch.int64)
    calls = (
        lambda: env.step(zeros),
        env.ceiling_action,
        env.scene,
        env.state_dict,
        lambda: env.reset(where=torch.tensor([True, True])),
    )
    for call in calls:
        with pytest.raises(StateError, match="no reset yet"):
            call()


def test_step_after_the_end_names_the_environments() -> None:
    env = envs.make("relay", num_envs=3)
    env.reset(seed=0)
    step = env.step(torch.zeros(3, 4, dtype=torch.int64))
    env.reset(where=torch.tensor([True, False, True]))
    with pytest.raises(StateError, match=r"environments \[1\] ended"):
        env.step(torch.zeros(3, 4, dtype=torch.int64))
    env.reset(where=step.done)
    env.step(torch.zeros(3, 4, dtype=torch.int64))


def test_where() -> None:
    env = fresh()
    with pytest.raises(ShapeError, match=r"where \[2\], got \[3\]"):
        env.reset(where=torch.ones(3, dtype=torch.bool))
    with pytest.raises(DtypeError, match="bool"):
        env.reset(where=torch.ones(2))


def test_floor_key() -> None:
    env = fresh()
    for key in (torch.zeros(3, dtype=torch.int64), torch.zeros(2)):
        with pytest.raises(ShapeError, match=r"key int64 \[2\]"):
            env.floor_action(key)


def test_saved_state_of_another_environment() -> None:
    env = fresh()
    saved = env.state_dict()
    with pytest.raises(StateError, match="predator_prey"):
        env.load_state_dict(fresh("relay").state_dict())
    with pytest.raises(StateError, match=r"outcome\.reward"):
        env.load_state_dict({name: value for name, value in saved.items() if name != "outcome.reward"})
    with pytest.raises(ShapeError, match=r"expected seed \[2\], got \[4\]"):
        env.load_state_dict(fresh(num_envs=4).state_dict())
    with pytest.raises(DtypeError, match=r"state\.pos"):
        env.load_state_dict({**saved, "state.pos": saved["state.pos"].float()})


@pytest.mark.parametrize(
    ("id", "settings", "named"),
    [
        ("predator_prey", {"dim": 0}, "dim"),
        ("predator_prey", {"dim": -5}, "dim"),
        ("predator_prey", {"dim": 5.0}, "dim"),
        ("predator_prey", {"dim": True}, "dim"),
        ("predator_prey", {"num_agents": 0}, "num_agents"),
        ("predator_prey", {"num_agents": 25}, "dim"),
        ("predator_prey", {"vision": 6}, "vision"),
        ("predator_prey", {"vision": -1}, "vision"),
        ("predator_prey", {"num_prey": 0}, "num_prey"),
        ("predator_prey", {"mode": "mixd"}, "Did you mean 'mixed'"),
        ("predator_prey", {"mode": None}, "mode"),
        ("predator_prey", {"max_steps": 0}, "max_steps"),
        ("predator_prey", {"enemy_comm": 1}, "enemy_comm"),
        ("predator_prey", {"no_stay": "no"}, "no_stay"),
        ("predator_prey", {"num_envs": 0}, "num_envs"),
        ("predator_prey", {"num_envs": 2.0}, "num_envs"),
        ("predator_prey", {"observation": "dense"}, "observation"),
        ("relay", {"num_symbols": 1}, "num_symbols"),
        ("relay", {"steps": 0}, "steps"),
        ("relay", {"num_agents": 0}, "num_agents"),
        ("relay", {"seen": "never"}, "seen"),
        ("chemical", {"dim": 1}, "dim"),
        ("chemical", {"dim": 65}, "dim"),
        ("chemical", {"num_agents": 99}, "dim"),
        ("chemical", {"team": 6}, "team"),
        ("chemical", {"num_sources": 0}, "num_sources"),
        ("chemical", {"time_cost": -0.1}, "time_cost"),
        ("chemical", {"time_cost": math.nan}, "time_cost"),
        ("chemical", {"diffusion": -1.0}, "diffusion"),
        ("chemical", {"emission": 0}, "emission"),
        ("chemical", {"wind": (1.0,)}, "wind"),
        ("chemical", {"wind": (math.inf, 0.0)}, "wind"),
        ("chemical", {"boundary": "wall"}, "boundary"),
        ("chemical", {"decay": 0.0}, "absorb"),
        ("chemical", {"noise": "much"}, "noise"),
    ],
)
def test_setting_out_of_range(id: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(ConfigError, match=named) as caught:
        envs.make(id, **settings)
    assert "xpected" in str(caught.value)
    assert isinstance(caught.value, GnnCommError)
    assert isinstance(caught.value, ValueError)


def test_unstable_step_names_the_largest_dt() -> None:
    with pytest.raises(ConfigError, match=r"= 0\.25, got 0\.26"):
        envs.make("chemical", dt=0.26, diffusion=0.5, wind=(1.0, -0.5), decay=0.5)
    envs.make("chemical", dt=0.25, diffusion=0.5, wind=(1.0, -0.5), decay=0.5)


@pytest.mark.parametrize("device", ["hpu", "privateuseone", "cuda:9", "xpu:3", "gpu", "cpu:x", "", 3, None, "meta"])
def test_device_that_is_not_there(device: Any) -> None:
    with pytest.raises(DeviceError, match="device: expected"):
        envs.make("predator_prey", device=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_silent_fallback_to_the_cpu() -> None:
    with pytest.raises(DeviceError, match="'cuda'"):
        envs.make("predator_prey", device="cuda")
