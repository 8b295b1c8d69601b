"""What every listed environment keeps to."""

from __future__ import annotations

import json
import subprocess
import sys
from math import comb
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.types import SparseObs, TimeStep, VectorEnv

LIMIT = 6
IDS = envs.names()
ENDLESS = ("traffic_junction",)
"""Environments that end by their time limit only."""
CHANCE = {"switch/4": 818_520 / 4**10, "switch": 540 / 3**6}
"""Where luck decides, how often the ceiling succeeds: sequences of days on which every prisoner is called."""


def build(id: str, num_envs: int = 5, observation: str = "flat", **more: Any) -> Any:
    limit = {} if id.startswith("relay") else {"max_steps": LIMIT}
    return envs.make(id, num_envs=num_envs, observation=observation, **limit, **more)


def run(env: Any, seed: int, steps: int) -> list[TimeStep]:
    seen = [env.reset(seed=seed)]
    for _ in range(steps):
        seen.append(env.reset(where=seen[-1].done) if bool(seen[-1].done.any()) else seen[-1])
        seen.append(env.step(env.floor_action(seen[-1].key)))
    return seen


@pytest.mark.parametrize("id", IDS)
def test_shapes_types_and_flags(id: str) -> None:
    env = build(id)
    assert isinstance(env, VectorEnv)
    assert env.id == id
    B, N = env.num_envs, env.num_agents
    expected = {
        "obs": ((B, N, env.obs_dim), torch.float32),
        "reward": ((B, N), torch.float32),
        "discount": ((B, N), torch.float32),
        "alive": ((B, N), torch.bool),
        "terminated": ((B,), torch.bool),
        "truncated": ((B,), torch.bool),
        "success": ((B,), torch.bool),
        "first": ((B,), torch.bool),
        "key": ((B,), torch.int64),
        "step": ((B,), torch.int64),
    }
    for step in run(env, 1, 3 * LIMIT):
        maybe = {"action_mask": ((B, N, env.num_actions), torch.bool), "entered": ((B, N), torch.bool)}
        given = {name: value for name, value in maybe.items() if getattr(step, name) is not None}
        found = {name: (tuple(value.shape), value.dtype) for name, value in step.tensors().items() if name != "pos"}
        assert found == expected | given
        assert ("entered" in given) == env.renews
        assert step.pos is not None
        assert step.pos.shape[:2] == (B, N)
        assert step.pos.dtype == torch.float32
        assert bool(torch.isfinite(step.obs).all())
        assert torch.equal(step.first, step.step == 0)
        assert not bool((step.terminated & step.truncated).any())
        stays = torch.ones_like(step.alive) if step.entered is None else ~step.entered
        assert torch.equal(step.discount, (step.alive & stays & ~step.terminated[:, None]).float())
        assert bool((step.step <= env.max_steps).all())
        assert torch.equal(step.truncated, (step.step == env.max_steps) & ~step.terminated)


@pytest.mark.parametrize("id", IDS)
def test_sparse_is_the_same_vector(id: str) -> None:
    flat, sparse = run(build(id), 3, 8), run(build(id, observation="sparse"), 3, 8)
    for one, other in zip(flat, sparse, strict=True):
        assert isinstance(other.obs, SparseObs)
        assert torch.equal(one.obs, other.obs.to_flat())
        assert torch.equal(one.reward, other.reward)


@pytest.mark.parametrize("id", IDS)
def test_config_rebuilds_the_environment(id: str) -> None:
    env = build(id)
    again = envs.make(env.id, num_envs=env.num_envs, **json.loads(json.dumps(env.config)))
    assert again.config == env.config
    for one, other in zip(run(env, 5, 8), run(again, 5, 8), strict=True):
        assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())


@pytest.mark.parametrize("id", IDS)
def test_reset_where_leaves_other_rows(id: str) -> None:
    env = build(id)
    env.reset(seed=2)
    before = env.step(env.ceiling_action())
    where = torch.tensor([True, False, False, True, False])
    after = env.reset(where=where)
    for name, value in after.tensors().items():
        assert torch.equal(value[~where], before.tensors()[name][~where]), name
    assert bool((after.step[where] == 0).all())
    assert not bool((after.key == before.key)[where].any())
    assert not bool(after.done[where].any())
    nothing = env.reset(where=torch.zeros(5, dtype=torch.bool))
    assert all(torch.equal(value, after.tensors()[name]) for name, value in nothing.tensors().items())


def overwrite(tensors: dict[str, Tensor]) -> None:
    for value in tensors.values():
        value.fill_(True if value.dtype == torch.bool else 77)


@pytest.mark.parametrize(
    ("id", "form"), [(name, form) for form in ("flat", "sparse") for name in IDS if "/" not in name]
)
def test_what_is_returned_shares_no_memory_with_the_environment(id: str, form: str) -> None:
    """Whoever writes into time steps, scenes, saved states or actions changes nothing that follows. Of every setting
    ``tests/laws`` say so of the time steps."""
    untouched, abused = build(id, observation=form), build(id, observation=form)
    step, spoiled = untouched.reset(seed=4), abused.reset(seed=4)
    for t in range(2 * LIMIT):
        key = step.key.clone()
        where = step.done | torch.tensor([t % 3 == 0, False, False, False, False])
        overwrite(spoiled.tensors())
        scene = abused.scene()
        overwrite({"agents": scene.agents, "finished": scene.finished, **scene.entities})
        overwrite({} if scene.field is None else {"field": scene.field})
        overwrite(dict(scene.active))
        overwrite(abused.state_dict())
        step, spoiled = untouched.reset(where=where), abused.reset(where=where)
        for name, value in step.tensors().items():
            assert torch.equal(value, spoiled.tensors()[name]), name
        overwrite(spoiled.tensors())
        action, spoiled_action = untouched.floor_action(key), abused.floor_action(key)
        assert torch.equal(action, spoiled_action)
        step, spoiled = untouched.step(action), abused.step(spoiled_action)
        spoiled_action.fill_(77)
        for name, value in step.tensors().items():
            assert torch.equal(value, spoiled.tensors()[name]), name


@pytest.mark.parametrize("id", IDS)
def test_scene(id: str) -> None:
    env = build(id)
    env.reset(seed=6)
    scene = env.scene()
    B, N = env.num_envs, env.num_agents
    assert scene.agents.shape == (B, N, 2)
    assert scene.finished.shape == (B, N)
    assert not bool(scene.finished.any())
    assert scene.entities.keys() == scene.active.keys()
    for name, place in scene.entities.items():
        assert place.shape == (*scene.active[name].shape, 2)
    for place in (scene.agents, *scene.entities.values()):
        assert bool((place >= 0).all())
        assert bool((place < torch.tensor(scene.size)).all())
    assert scene.field is None or scene.field.shape == (B, *scene.size)


def least(chance: float, trials: int) -> int:
    """Fewer successes than this have a probability of at most 1e-4."""
    below, count = 0.0, 0
    while (below := below + comb(trials, count) * chance**count * (1 - chance) ** (trials - count)) <= 1e-4:
        count += 1
    return count


@pytest.mark.every(2)
@pytest.mark.parametrize("id", IDS)
def test_ceiling_succeeds(id: str) -> None:
    """Nearly always, so that one success in four episodes is certain enough; or as often as luck allows."""
    chance, trials = next(((c, 64) for name, c in CHANCE.items() if id.startswith(name)), (0.9, 4))
    env = envs.make(id, num_envs=trials)
    step = env.reset(seed=8)
    ended, success, terminated = (torch.zeros_like(step.done) for _ in range(3))
    while not bool(ended.all()):
        step = env.step(env.ceiling_action())
        first = step.done & ~ended
        ended, success, terminated = ended | first, success | first & step.success, terminated | first & step.terminated
        step = env.reset(where=step.done) if bool(step.done.any()) else step
    assert int(success.sum()) >= least(chance, trials) > 0
    assert bool((terminated != id.startswith(ENDLESS)).all())


@pytest.mark.parametrize("id", IDS)
def test_floor_is_uniform(id: str) -> None:
    env = envs.make(id, num_envs=64)
    step = env.reset(seed=8)
    counts = torch.zeros(env.num_actions)
    for _ in range(40 if "/" not in id else 1):  # settings share the draw of their class
        counts += torch.bincount(env.floor_action(step.key).flatten(), minlength=env.num_actions)
        if bool(step.done.all()):
            break
        step = env.step(env.floor_action(step.key)) if not bool(step.done.any()) else env.reset(where=step.done)
    share = counts / counts.sum()
    spread = (env.num_actions / counts.sum()) ** 0.5
    assert bool(((share * env.num_actions - 1).abs() < 5 * spread).all())


@pytest.mark.parametrize("id", IDS)
def test_central_state_tells_moments_apart(id: str) -> None:
    """What a central critic sees is finite, the same for the same moment, and another one where the state is."""
    env, again = build(id), build(id)
    env.reset(seed=9), again.reset(seed=9)
    first = env.state()
    assert first.shape == (5, env.state_dim)
    assert first.dtype == torch.float32
    assert torch.equal(first, again.state())
    assert bool(first.isfinite().all())
    env.step(env.ceiling_action())
    kept = {name: value for name, value in env.state_dict().items() if name.startswith("state.")}
    begun = {name: value for name, value in again.state_dict().items() if name.startswith("state.")}
    changed = torch.stack([(kept[n] != begun[n]).reshape(5, -1).any(1) for n in kept]).any(0)
    assert torch.equal((env.state() != first).any(1), changed)


@pytest.mark.parametrize("id", IDS)
def test_repr_names_the_settings(id: str) -> None:
    text = repr(build(id))
    assert "num_envs=5" in text
    assert "num_agents=" in text


def test_import_is_cheap_and_without_torch_geometric() -> None:
    code = (
        "import sys, envs; light = 'torch' not in sys.modules; envs.names(); envs.make('predator_prey').reset();"
        "envs.MultiAgentEnv().reset(); print(light, 'torch_geometric' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]
