"""Every recorded Predator-Prey transition of the reference, bit for bit.

The reference computes rewards in float64, the environment gives float32: the recorded reward is rounded once to float32
and must then be equal, which holds only if the environment rounds the same float64 number once, too.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.predator_prey import PredatorPrey, PredatorPreyDraws, PredatorPreyState
from torch import Tensor

from gnncomm.types import SparseObs

GOLDEN = Path(__file__).parents[1] / "golden" / "envs"
NAMES = sorted(path.stem for path in GOLDEN.glob("pp_*.npz"))


@dataclass
class Trace:
    """All recorded transitions, flattened to a batch of R rows."""

    env: PredatorPrey
    before: PredatorPreyState
    after: PredatorPreyState
    action: Tensor  # [R, M]
    reward: np.ndarray[Any, Any]  # [R, M] float64
    done: Tensor  # [R]
    success: Tensor  # [R]; -1 not set
    obs_before: Tensor  # [R, M, D]
    obs_after: Tensor  # [R, M, D]
    first: PredatorPreyState  # [E, ...]


def load(name: str) -> Trace:
    arrays = np.load(GOLDEN / f"{name}.npz")
    config = json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    env = PredatorPrey(
        dim=config["dim"],
        num_agents=config["n_agents"],
        vision=config["vision"],
        mode=config["mode"],
        max_steps=config["T"],
        num_prey=config["n_prey"],
        enemy_comm=config["enemy_comm"],
        no_stay=config["no_stay"],
    )
    episodes, steps, rows = arrays["action"].shape
    obs = np.zeros((episodes * (steps + 1) * rows, config["obs_dim"]), dtype=np.float32)
    obs[np.repeat(np.arange(len(obs)), np.diff(arrays["obs_ptr"])), arrays["obs_idx"]] = arrays["obs_val"]
    obs = obs.reshape(episodes, steps + 1, rows, -1)
    which = np.nonzero(np.arange(steps)[None] < arrays["length"][:, None])
    later = (which[0], which[1] + 1)

    def state(at: tuple[Any, ...]) -> PredatorPreyState:
        pos = torch.tensor(arrays["pos"][at].astype(np.int64))
        prey = torch.tensor(arrays["prey"][at[0]].astype(np.int64))
        return PredatorPreyState(pos, prey, torch.tensor(arrays["reached"][at].astype(bool)))

    return Trace(
        env=env,
        before=state(which),
        after=state(later),
        action=torch.tensor(arrays["action"][which].astype(np.int64)),
        reward=arrays["reward"][which],
        done=torch.tensor(arrays["done"][which].astype(bool)),
        success=torch.tensor(arrays["success"][which].astype(np.int64)),
        obs_before=torch.tensor(obs[which]),
        obs_after=torch.tensor(obs[later]),
        first=state((np.arange(episodes), np.zeros(episodes, dtype=np.int64))),
    )


@pytest.fixture(scope="module", params=NAMES)
def trace(request: pytest.FixtureRequest) -> Trace:
    return load(request.param)


def test_all_recordings_are_here() -> None:
    assert len(NAMES) == 17
    assert sum(len(load(name).action) for name in NAMES) > 2500


def test_transition(trace: Trace) -> None:
    nothing = PredatorPreyDraws(*[torch.empty(len(trace.action), 0, dtype=torch.int64)] * 2)
    new, reward, flags = trace.env.transition(trace.before, trace.action, nothing)
    for name, expected in trace.after.tensors().items():
        assert torch.equal(new.tensors()[name], expected), name
    assert reward.dtype == torch.float32
    assert np.array_equal(reward.numpy(), trace.reward.astype(np.float32))
    assert torch.equal(flags.terminated, trace.done)
    was_set = trace.success >= 0
    assert torch.equal(flags.success[was_set], trace.success[was_set] == 1)
    assert was_set.all() or trace.env.mode == "competitive"


def test_observation(trace: Trace) -> None:
    for state, expected in ((trace.before, trace.obs_before), (trace.after, trace.obs_after)):
        flat = trace.env.observe(state, "flat")
        sparse = trace.env.observe(state, "sparse")
        assert isinstance(flat, Tensor)
        assert isinstance(sparse, SparseObs)
        assert torch.equal(flat, expected)
        assert torch.equal(sparse.to_flat(), expected)
        window = (2 * trace.env.vision + 1) ** 2
        assert sparse.index.shape[-1] == min(3 * window, window + state.pos.shape[1] + state.prey.shape[1])


def test_initial_state_from_recorded_decisions(trace: Trace) -> None:
    """The decisions that would have made the recorded first states make them."""
    place = torch.cat([trace.first.pos, trace.first.prey], 1)
    made = trace.env.initial(
        PredatorPreyDraws(place[..., 0] * trace.env.dim + place[..., 1], torch.empty(len(place), 0, dtype=torch.int64))
    )
    for name, expected in trace.first.tensors().items():
        assert torch.equal(made.tensors()[name], expected), name


def test_narrow_grid_never_moves_right_or_down() -> None:
    """The recording really asks for such moves, so that the transition test above covers the rule."""
    trace = load("pp_d3_n2_v3_mixed")
    wanted = ((trace.action == 1) | (trace.action == 2)) & ~trace.before.reached
    assert wanted.sum() > 10
    assert torch.equal(trace.after.pos[wanted], trace.before.pos[wanted])
