"""Predator-Capture-Prey: recorded transitions of the published environment, and the rules by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.predator_capture_prey import PredatorCapturePrey, PredatorCapturePreyDraws, PredatorCapturePreyState
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.testing import check_env
from gnncomm.types import SparseObs

GOLDEN = Path(__file__).parents[1] / "golden" / "envs"
NAMES = sorted(path.stem for path in GOLDEN.glob("pcp_*.npz"))
UP, RIGHT, DOWN, LEFT, STAY, CAPTURE = range(6)


def recorded_state(arrays: Any, when: str) -> PredatorCapturePreyState:
    place = [torch.tensor(arrays[f"{when}_{name}"].astype(np.int64)) for name in ("pos", "prey")]
    flags = [torch.tensor(arrays[f"{when}_{name}"] == 1) for name in ("reached", "captured")]
    return PredatorCapturePreyState(*place, *flags)


@pytest.mark.parametrize("name", NAMES)
def test_every_recorded_transition(name: str) -> None:
    arrays = np.load(GOLDEN / f"{name}.npz")
    env = PredatorCapturePrey(**json.loads((GOLDEN / f"{name}.json").read_text())["config"])
    before, after = recorded_state(arrays, "before"), recorded_state(arrays, "after")
    action = torch.tensor(arrays["action"].astype(np.int64))
    new, reward, flags = env.transition(before, action, PredatorCapturePreyDraws(action.new_empty(len(action), 0)))
    for field, expected in after.tensors().items():
        assert torch.equal(new.tensors()[field], expected), field
    assert np.array_equal(reward.numpy(), arrays["reward"].astype(np.float32))
    assert torch.equal(flags.terminated, torch.tensor(arrays["done"]))
    if env.mode == "mixed":  # elsewhere the reference never says success
        assert torch.equal(flags.success, torch.tensor(arrays["success"] == 1))
    for state, when in ((before, "before"), (after, "after")):
        expected = torch.tensor(arrays[f"obs_{when}"].astype(np.float32))
        sparse = env.observe(state, "sparse")
        assert isinstance(sparse, SparseObs)
        assert torch.equal(env.observe(state, "flat"), expected)  # type: ignore[arg-type]  # flat is a tensor
        assert torch.equal(sparse.to_flat(), expected)
        assert sparse.index.shape[-1] == 5 * (2 * env.vision + 1) ** 2


def test_recordings_hold_what_matters() -> None:
    assert len(NAMES) == 4
    arrays = [np.load(GOLDEN / f"{name}.npz") for name in NAMES]
    assert sum(len(x["action"]) for x in arrays) > 500
    assert sum((x["after_captured"] > x["before_captured"]).sum() for x in arrays) >= 20
    assert sum(x["done"].sum() for x in arrays) >= 5
    wasted = [((x["action"] == CAPTURE) & (x["before_reached"] == 0)).sum() for x in arrays]
    assert min(wasted) > 10


def placed(pos: list[list[int]], prey: list[list[int]], **settings: Any) -> PredatorCapturePrey:
    env = PredatorCapturePrey(num_agents=len(pos), num_prey=len(prey), **settings)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.pos"], state["state.prey"] = torch.tensor([pos]), torch.tensor([prey])
    env.load_state_dict(state)
    return env


def test_capture_by_hand() -> None:
    """One sees, one captures: it arrives, wants to leave and cannot, captures, and all is done."""
    env = placed([[1, 1], [1, 3]], [[1, 2]], max_steps=9)
    assert env.step(torch.tensor([[STAY, CAPTURE]])).reward[0].tolist() == pytest.approx([-0.05, -0.05])  # not there
    arrived = env.step(torch.tensor([[RIGHT, LEFT]]))
    assert arrived.reward[0].tolist() == pytest.approx([0.0, -0.05])
    assert env.scene().finished.tolist() == [[True, False]]
    leaving = env.step(torch.tensor([[LEFT, UP]]))
    assert leaving.pos is not None
    assert leaving.pos.tolist() == [[[1, 2], [1, 2]]]
    assert not bool(leaving.done)
    assert env.scene().active["prey"].tolist() == [[True]]
    done = env.step(torch.tensor([[CAPTURE, CAPTURE]]))
    assert done.reward[0].tolist() == [0.0, 0.0]
    assert bool(done.terminated & done.success)
    assert env.scene().active["prey"].tolist() == [[False]]


def test_to_arrive_and_capture_takes_two_steps() -> None:
    env = placed([[0, 0], [1, 3]], [[1, 2]])
    env.step(torch.tensor([[STAY, LEFT]]))
    assert env.state_dict()["state.captured"].tolist() == [[False]]
    env.step(torch.tensor([[STAY, CAPTURE]]))
    assert env.state_dict()["state.captured"].tolist() == [[True]]


@pytest.mark.parametrize(
    ("mode", "partial", "waiting", "after"),
    [
        ("mixed", True, [0.0, -0.025], [0.0, 0.0]),
        ("cooperative", False, [0.1, -0.05], [0.1, 0.1]),
        ("competitive", True, [0.025, -0.025], [0.025, 0.025]),
    ],
)
def test_rewards_by_hand(mode: str, partial: bool, waiting: list[float], after: list[float]) -> None:
    env = placed([[1, 1], [1, 3]], [[1, 2]], mode=mode, partial_reward=partial)
    assert env.step(torch.tensor([[RIGHT, LEFT]])).reward[0].tolist() == pytest.approx(waiting)
    step = env.step(torch.tensor([[STAY, CAPTURE]]))
    assert step.reward[0].tolist() == pytest.approx(after)
    assert bool(step.success)
    assert bool(step.terminated) == (mode == "mixed")


def test_action_agents_know_where_they_are_and_nothing_else() -> None:
    """Same place, other prey and agents around: same row. In a corner the outside is not told, either."""
    near = placed([[1, 1], [0, 0]], [[0, 1]], vision=1)
    far = placed([[4, 4], [0, 0]], [[3, 3]], vision=1)
    one, other = (env.step(torch.tensor([[STAY, STAY]])).obs for env in (near, far))
    assert isinstance(one, Tensor)
    assert isinstance(other, Tensor)
    assert torch.equal(one[0, 1], other[0, 1])
    window = one[0, 1].view(3, 3, 29)
    assert bool((window[..., 25:] == -1).all())
    assert window[..., :25].sum((0, 1)).nonzero().squeeze(-1).tolist() == [0, 1, 5, 6]
    seen = one[0, 0].view(3, 3, 29)
    assert seen[0, 0, 25:].tolist() == [1, 0, 0, 0]  # the action agent, up and left of it
    assert seen[0, 1, 25:].tolist() == [0, 0, 1, 0]  # the prey
    assert seen[1, 1, 25:].tolist() == [0, 0, 0, 1]  # itself


def test_several_prey_read_any_prey() -> None:
    env = placed([[0, 0], [4, 4]], [[0, 1], [4, 3]])
    env.step(torch.tensor([[RIGHT, LEFT]]))
    step = env.step(torch.tensor([[STAY, CAPTURE]]))
    assert bool(step.success)
    assert env.scene().active["prey"].tolist() == [[True, False]]


@pytest.mark.parametrize(
    ("form", "settings"),
    [("flat", {}), ("sparse", {"dim": 8, "num_agents": 6, "num_action_agents": 3, "num_prey": 2})],
)
def test_contract(form: str, settings: dict[str, Any]) -> None:
    check_env(lambda n: PredatorCapturePrey(num_envs=n, observation=form, max_steps=8, **settings), long=0)


@pytest.mark.parametrize("id", PredatorCapturePrey.protocols)
def test_floor_and_ceiling(id: str) -> None:
    env = PredatorCapturePrey(num_envs=512, observation="sparse", **PredatorCapturePrey.protocols[id])
    rate = {}
    for policy in ("floor", "ceiling"):
        step = env.reset(seed=1)
        running, success = torch.ones(512, dtype=torch.bool), torch.zeros(512, dtype=torch.bool)
        while bool(running.any()):
            step = env.step(env.floor_action(step.key) if policy == "floor" else env.ceiling_action())
            success |= running & step.success
            running &= ~step.done
            if bool(step.done.any()):
                step = env.reset(where=step.done)
        rate[policy] = float(success.float().mean())
    assert rate["ceiling"] == 1.0
    assert rate["floor"] < 0.05


@pytest.mark.parametrize(
    "settings", [{"num_agents": 1}, {"num_action_agents": 3}, {"vision": 5}, {"num_prey": 23}, {"mode": "kind"}]
)
def test_bad_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"expected .*, got .*\. "):
        PredatorCapturePrey(**settings)
