"""Foreign environments under the contract of ``VectorEnv``: laws, numbers, errors, training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mpe2 import simple_spread_v3

from gnncomm import environments, envs, random
from gnncomm.errors import (
    ActionError,
    CheckpointMismatchError,
    ConfigError,
    DeviceError,
    DtypeError,
    EnvContractError,
    ShapeError,
    StateError,
)
from gnncomm.integrations.pettingzoo import ForeignEnv
from gnncomm.run import default_config, load, train
from gnncomm.testing import env as laws
from gnncomm.testing.contract import check_reset_flags, check_step_flags, check_timestep
from gnncomm.testing.law import LawError
from gnncomm.types import VectorEnv

TOY = "pettingzoo:strange_envs"
SPREAD = "pettingzoo:mpe2.simple_spread_v3"
FOREIGN: dict[str, dict[str, Any]] = {
    TOY: {"length": 3, "death": 2, "teams": "all"},
    f"{TOY}:Steered": {"length": 3, "death": 2, "teams": "all"},
    SPREAD: {"max_cycles": 4, "pos": "observation[2:4]"},
    "pettingzoo:mpe2.simple_speaker_listener_v4": {"max_cycles": 4},
    "gymnasium:lbforaging:Foraging-8x8-2p-1f-v3": {"max_episode_steps": 4, "fresh": True},
    "gymnasium:rware:rware-tiny-2ag-v2": {"max_steps": 4},
}


def make(id: str = TOY, num_envs: int = 3, num_workers: int = 2, **settings: Any) -> ForeignEnv:
    env = envs.make(id, num_envs=num_envs, num_workers=min(num_workers, num_envs), **settings)
    assert isinstance(env, ForeignEnv)
    return env


@pytest.fixture(scope="module")
def toy() -> Iterator[ForeignEnv]:
    """For tests that only look, or that break the rules; its reset makes it new."""
    import sys

    folder = str(Path(__file__).parent)
    sys.path.insert(0, folder)
    env = make()
    sys.path.remove(folder)
    yield env
    env.close()


@pytest.mark.parametrize("id", FOREIGN)
def test_laws(id: str) -> None:
    """Everything that ``check_env`` asks, but for the ceiling policy, which nobody knows.

    Environments are used again by turns, as it takes long to load their packages; a reset with a seed makes them new.
    """
    kept: dict[int, Iterator[VectorEnv]] = {}

    def factory(num_envs: int) -> VectorEnv:
        if num_envs not in kept:
            kept[num_envs] = cycle([make(id, num_envs, 1, step_limit=8, **FOREIGN[id])])
        return next(kept[num_envs])

    for count, copies in ((3, 2), (1, 1)):
        kept[count] = cycle([make(id, count, 1, step_limit=8, **FOREIGN[id]) for _ in range(copies)])
    env = factory(3)
    assert isinstance(env, VectorEnv)
    now = env.reset(seed=0)
    check_timestep(env, now)
    check_reset_flags(now, torch.ones(3, dtype=torch.bool))
    for _ in range(9):
        before = now
        now = env.step(env.floor_action(now.key))
        check_timestep(env, now)
        check_step_flags(env, before, now)
        now = env.reset(where=now.done) if bool(now.done.any()) else now
    laws.check_trajectory_determinism(factory, 3, 6)
    laws.check_independent_slots(factory, 3, 6)
    laws.check_no_aliasing(factory, 3, 6)
    laws.check_reset(factory, 3)
    laws.check_state_dict(factory, 3, 6)


def test_numbers_are_those_of_the_environment_itself() -> None:
    env, raw = (
        make(SPREAD, num_envs=3, pos="observation[2:4]", max_cycles=5),
        simple_spread_v3.parallel_env(max_cycles=5),
    )
    now = env.reset(seed=7)
    own = random.seeds("environment", 7, torch.tensor([1]))
    episode_seed = random.bits(random.stream(own, "episode"), torch.tensor([0])) & (2**31 - 1)
    want, _ = raw.reset(seed=int(episode_seed))
    for t in range(5):
        for n, name in enumerate(raw.possible_agents):
            assert np.array_equal(now.obs[1, n].numpy(), want[name])  # type: ignore[index]
            assert now.pos is not None
            assert np.array_equal(now.pos[1, n].numpy(), want[name][2:4])
        action = env.floor_action(now.key)
        now = env.step(action)
        acts = {name: int(action[1, n]) for n, name in enumerate(raw.possible_agents)}
        want, rewards, ends, cuts, _ = raw.step(acts)
        assert now.reward[1].tolist() == [np.float32(rewards[name]) for name in acts]
        assert bool(now.truncated[1]) == all(cuts.values()) == (t == 4)
        assert bool(now.terminated[1]) == any(ends.values()) is False
    assert now.discount.eq(1).all(), "a return that was cut goes on"


def test_episodes_differ_and_repeat() -> None:
    env = make()
    first, second = env.reset(seed=3).obs, env.reset().obs
    assert isinstance(first, torch.Tensor)
    assert isinstance(second, torch.Tensor)
    assert len({float(x) for x in torch.cat([first, second])[:, 0, 0]}) == 6
    again = env.reset(seed=3).obs
    assert torch.equal(again, first)  # type: ignore[arg-type]
    only = env.reset(where=torch.tensor([False, True, False])).obs
    assert torch.equal(only[1], second[1]), "episode 1 of its seed"  # type: ignore[index]
    assert torch.equal(only[0], first[0])  # type: ignore[index]
    seed = int(random.seeds("environment", 3, torch.tensor(0)))
    assert torch.equal(env.reset(seed=torch.tensor([4, seed, 9])).obs[1], first[0])  # type: ignore[index]


def test_uses_and_seeds_share_no_episode() -> None:
    """Among 3 x 5 episodes of each of 8 uses none is met twice, in the 31 bits that a foreign environment gets."""
    env = make()
    found: list[float] = []
    uses = [random.seeds(purpose, s, torch.arange(3)) for purpose in ("train", "evaluate") for s in (0, 1, 4)]
    for seed in (*uses, 0, 1):
        env.reset(seed=seed)
        for _ in range(5):
            found += env.reset().obs[:, 0, 0].tolist()  # type: ignore[index]
    assert len(set(found)) == len(found) == 8 * 5 * 3


def test_a_step_limit_truncates() -> None:
    env = make(step_limit=2, length=99)
    now = env.reset(seed=0)
    for _ in range(2):
        now = env.step(torch.ones(3, 3, dtype=torch.int64))
    assert now.truncated.all()
    assert not now.terminated.any()
    assert now.alive.all()
    assert now.discount.eq(1).all()


def test_no_more_workers_than_environments_or_cores() -> None:
    """A policy is loaded with one environment, whatever it was trained with."""
    for given in ({}, {"num_workers": 9}):
        env = envs.make(TOY, num_envs=2, **given)
        assert isinstance(env, ForeignEnv)
        assert 1 <= len(env.workers.processes) <= 2


def test_any_number_of_workers_gives_the_same() -> None:
    seen = []
    for count in (1, 2, 5):
        env = make(num_envs=5, num_workers=count)
        assert len(env.workers.processes) == count
        now = env.reset(seed=1)
        for _ in range(3):
            now = env.step(env.floor_action(now.key))
        seen.append(now)
    for other in seen[1:]:
        assert all(torch.equal(value, other.tensors()[name]) for name, value in seen[0].tensors().items())


def test_floor_is_uniform_over_allowed_actions() -> None:
    env = make(num_envs=200, masked=True)
    now = env.reset(seed=0)
    assert now.action_mask is not None
    counts = torch.zeros(3, 3)
    for _ in range(3):
        action = env.floor_action(now.key)
        assert torch.equal(action, env.floor_action(now.key))
        assert now.action_mask.gather(-1, action.unsqueeze(-1)).all()
        if int(now.step[0]) == 0:
            counts = torch.stack([(action == a).float().mean(0) for a in range(3)], -1)
        now = env.step(action)
    assert counts[0].tolist() == [0, 1, 0]
    assert (counts[1:] - torch.tensor([0, 0.5, 0.5])).abs().max() < 4 * (0.25 / 200) ** 0.5


def test_scene() -> None:
    env = make(pos="strange_envs:where", area="0:10")
    env.reset(seed=0)
    env.step(torch.ones(3, 3, dtype=torch.int64))
    scene = env.scene()
    assert scene.size == (20, 20)
    # x = 0, 1, 2 and y = 1 of 10: half a cell is 0.25; y points up
    assert torch.allclose(scene.agents[0], torch.tensor([[17.5, 0.0], [17.5, 1.5], [17.5, 3.5]]))
    line = make(num_envs=1)
    line.reset(seed=0)
    assert line.scene().agents[0].tolist() == [[0, 0], [0, 1], [0, 2]]


def test_a_replay_that_differs_is_refused() -> None:
    """Not silently continued from somewhere else."""
    env, twin = make(num_envs=1, fault="clock"), make(num_envs=1, fault="clock")
    env.reset(seed=0)
    env.step(torch.ones(1, 3, dtype=torch.int64))
    with pytest.raises(StateError, match=r"environment 0.*obs of agent 'left_0' differs.*cannot be resumed"):
        twin.load_state_dict(env.state_dict())


def test_global_generators_need_a_worker_for_each() -> None:
    """The law tells; what the class says helps."""
    settings = {"fault": "global_rng", "length": 3, "step_limit": 4}
    with pytest.raises(LawError, match="independent slots"):
        laws.check_independent_slots(lambda count: make(num_envs=count, num_workers=1, **settings), 3, 4)
    laws.check_independent_slots(lambda count: make(num_envs=count, num_workers=count, **settings), 3, 4)


@pytest.mark.parametrize(
    ("action", "error", "words"),
    [
        ([[0, 0, 0]], ActionError, "got list"),
        (torch.zeros(3, 2, dtype=torch.int64), ActionError, r"\[3, 2\]"),
        (torch.zeros(3, 3), ActionError, "float32"),
        (
            torch.tensor([[0, 0, 0], [0, 3, 0], [0, 0, 0]]),
            ActionError,
            r"\[0, 3\), got 3 from agent 'mid_0' of env.* 1",
        ),
        (
            torch.tensor([[0, 0, 0], [0, 0, 0], [2, 0, 0]]),
            ActionError,
            r"\[0, 2\), got 2 from agent 'left_0' of env.* 2",
        ),
        (torch.tensor([[0, -1, 0]] * 3), ActionError, "got -1"),
        (torch.zeros(3, 3, dtype=torch.int64, device="meta"), DeviceError, "meta"),
    ],
)
def test_bad_actions(toy: ForeignEnv, action: Any, error: type[Exception], words: str) -> None:
    toy.reset(seed=0)
    with pytest.raises(error, match=words):
        toy.step(action)
    assert toy.step(torch.ones(3, 3, dtype=torch.int64)).step.tolist() == [1, 1, 1]


def test_calls_at_the_wrong_moment(toy: ForeignEnv) -> None:
    action = torch.ones(3, 3, dtype=torch.int64)
    fresh = make()
    for call in (lambda: fresh.step(action), fresh.scene, fresh.state_dict, lambda: fresh.reset(where=action[0] > 0)):
        with pytest.raises(StateError, match=r"no reset yet"):
            call()
    toy.reset(seed=0)
    for _ in range(4):
        toy.step(action)
    with pytest.raises(StateError, match=r"environments \[0, 1, 2\] ended"):
        toy.step(action)
    with pytest.raises(StateError, match="best policy"):
        toy.ceiling_action()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"seed": -1}, ConfigError),
        ({"seed": 2**63}, ConfigError),
        ({"seed": True}, ConfigError),
        ({"seed": 1.5}, ConfigError),
        ({"seed": torch.zeros(2, dtype=torch.int64)}, ConfigError),
        ({"seed": 1, "where": torch.ones(3, dtype=torch.bool)}, ConfigError),
        ({"where": torch.ones(2, dtype=torch.bool)}, ShapeError),
        ({"where": torch.ones(3)}, DtypeError),
    ],
)
def test_bad_resets(toy: ForeignEnv, arguments: dict[str, Any], error: type[Exception]) -> None:
    toy.reset(seed=0)
    with pytest.raises(error, match=r"expected"):
        toy.reset(**arguments)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_envs": 0}, "num_envs"),
        ({"num_workers": 0}, "num_workers"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": float("inf")}, "timeout"),
        ({"step_limit": 0}, "step_limit"),
        ({"strict": "yes"}, "strict"),
        ({"observation": "sparse"}, "flat"),
        ({"pos": "observation[4:2]"}, "pos"),
        ({"pos": "obs[2:4]"}, "pos"),
        ({"pos": 3}, "pos"),
        ({"area": "1:-1"}, "area"),
        ({"area": "left"}, "area"),
        ({"fault": object()}, "JSON"),
        ({"seconds": float("nan")}, "JSON"),
    ],
)
def test_bad_settings(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        envs.make(TOY, **{"num_envs": 2, **settings})
    with pytest.raises(DeviceError, match="cuda:9"):
        envs.make(TOY, device="cuda:9")


def test_bad_ids() -> None:
    for name in ("pettingzoo:", "pettingzo:mpe2", "mpe2.simple_spread_v3"):
        with pytest.raises(ConfigError, match=r"begin with pettingzoo: or gymnasium:"):
            envs.make(name)


def test_bad_states(toy: ForeignEnv) -> None:
    toy.reset(seed=0)
    state = toy.state_dict()
    with pytest.raises(StateError, match="seed"):
        toy.load_state_dict({name: value for name, value in state.items() if name != "seed"})
    with pytest.raises(ShapeError, match="actions"):
        toy.load_state_dict(state | {"actions": state["actions"][:, :3]})
    with pytest.raises(DtypeError, match="step"):
        toy.load_state_dict(state | {"step": state["step"].float()})


@pytest.mark.parametrize(
    ("name", "value"), [("step", 2**40), ("step", -1), ("actions", -7), ("actions", 99), ("seed", -1), ("episode", -2)]
)
def test_states_that_no_episode_has(name: str, value: int) -> None:
    """Not replayed for ever, and not sent to the environment."""
    env = make(num_envs=2)
    env.reset(seed=0)
    state = env.state_dict()
    state[name].view(-1)[0] = value
    with pytest.raises(CheckpointMismatchError, match=f"expected {name} .* in its range"):
        env.load_state_dict(state)


def test_recipe() -> None:
    """A dense observation cannot be sparse, which is what trainings begin with."""
    assert default_config(SPREAD).env.observation == "flat"
    assert environments.grid_setting(SPREAD) is None


def test_config_makes_it_again() -> None:
    env = make(SPREAD, num_envs=2, max_cycles=3, pos="observation[2:4]")
    again = envs.make(env.id, num_envs=2, **env.config)
    assert torch.equal(again.reset(seed=1).obs, env.reset(seed=1).obs)  # type: ignore[arg-type]
    assert repr(again) == repr(env)


@pytest.mark.parametrize("id", FOREIGN)
def test_trainings_run(id: str) -> None:
    topology = "radius:r=1" if "pos" in FOREIGN[id] else "full"
    config = default_config(id, num_envs=4, rollout=5, steps=40, topology=topology, env_settings=FOREIGN[id])
    training = train(config)
    assert training.finished
    assert all(bool(value.isfinite().all()) for value in training.policy.state_dict().values())


def test_resume_is_exact(tmp_path: Path) -> None:
    """Stopped within episodes: they are played again, and the training goes on bit for bit."""
    settings = {"max_cycles": 7, "num_workers": 2}
    config = default_config(SPREAD, num_envs=4, rollout=5, steps=80, save_every=1, env_settings=settings)
    whole = train(config, tmp_path / "whole")
    assert load(tmp_path / "whole").env_steps == 80
    stops = iter([False, True])
    cut = train(config, tmp_path / "cut", stop=lambda: next(stops))
    assert cut.learner.updates == 2
    assert cut.carry.timestep.step.tolist() == [3] * 4
    resumed = train(config, tmp_path / "cut", resume=True)
    want, got = whole.policy.state_dict(), resumed.policy.state_dict()
    assert all(torch.equal(want[name], got[name]) for name in want)
    assert torch.equal(whole.carry.timestep.obs, resumed.carry.timestep.obs)  # type: ignore[arg-type]


def test_an_environment_draws_itself() -> None:
    """In blocks of 3 x 3 points, as it is larger than 512; only where it was asked for, and only what is a picture."""
    env = make("pettingzoo:strange_envs:Painter", 2, 1, pictures=True)
    with pytest.raises(StateError, match="reset"):
        env.picture()
    env.reset(seed=0)
    picture = env.picture()
    assert picture is not None
    assert picture.shape == (233, 343, 3)  # blocks of three
    assert (picture[:, :171] == [200, 0, 0]).all()
    assert (picture[:, 172:] == [0, 0, 200]).all()
    env.close()
    for name, settings in (("painted", {"pictures": True}), ("Painter", {})):
        plain = make(f"pettingzoo:strange_envs:{name}", 1, 1, **settings)
        plain.reset(seed=0)
        assert plain.picture() is None
        plain.close()
    faulty = make("pettingzoo:strange_envs:Painter", 1, 1, pictures=True, faulty=True)
    faulty.reset(seed=0)
    with pytest.raises(EnvContractError, match="render: expected uint8"):
        faulty.picture()
