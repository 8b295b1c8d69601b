"""Every recorded transition of lbforaging 2.0.0, bit for bit (rewards rounded once to float32)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.foraging.foraging import Foraging, ForagingState
from torch import Tensor

from gnncomm.types import SparseObs

GOLDEN = Path(__file__).parents[1] / "golden" / "envs"
NAMES = sorted(path.stem for path in GOLDEN.glob("lbf_*.npz"))


def make(config: dict[str, Any]) -> Foraging:
    rows, columns = config["field_size"]
    return Foraging(
        size=rows,
        columns=columns,
        num_agents=config["players"],
        max_food=config["max_num_food"],
        sight=config["sight"],
        force_coop=config["force_coop"],
        min_player_level=config["min_player_level"],
        max_player_level=config["max_player_level"],
        min_food_level=config["min_food_level"],
        max_food_level=config["max_food_level"],
        penalty=config["penalty"],
        normalize_reward=config["normalize_reward"],
        observe_agent_levels=config["observe_agent_levels"],
        max_steps=config["max_episode_steps"],
    )


def food_of(field: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """``[count, 2]`` cells of the first field of an episode, padded with a corner."""
    cells = np.argwhere(field > 0)
    return np.concatenate([cells, np.zeros((count - len(cells), 2), dtype=cells.dtype)])


def load(name: str) -> tuple[Foraging, dict[str, Any], ForagingState, ForagingState]:
    z = np.load(GOLDEN / f"{name}.npz")
    env = make(json.loads((GOLDEN / f"{name}.json").read_text())["config"])
    food = np.stack([food_of(field[0], env.max_food) for field in z["field"]])  # [E, F, 2]
    which = np.nonzero(np.arange(z["action"].shape[1])[None] < z["length"][:, None])

    def state(shift: int) -> ForagingState:
        e, t = which[0], which[1] + shift
        level = np.take_along_axis(
            z["field"][e, t].reshape(len(e), -1), food[e][..., 0] * env.columns + food[e][..., 1], 1
        )
        place = z["pos"][e, t].astype(np.int64)
        parts = (
            place[..., 0] * env.grid.stride + place[..., 1],
            z["level"][e],
            food[e][..., 0] * env.grid.stride + food[e][..., 1],
            level,
            z["food_spawned"][e],
        )
        return ForagingState(*(torch.tensor(part.astype(np.int32)) for part in parts))

    recorded = {key: z[key][which] for key in ("action", "reward", "done")}
    for key in ("avail", "obs"):
        recorded[key] = z[key][which]
        recorded[key + "_after"] = z[key][which[0], which[1] + 1]
    recorded["t"] = which[1] + 1
    return env, recorded, state(0), state(1)


def test_all_recordings_are_here() -> None:
    assert len(NAMES) == 13
    assert sum(len(load(name)[1]["action"]) for name in NAMES) > 2000


@pytest.mark.parametrize("name", NAMES)
def test_transition(name: str) -> None:
    env, recorded, before, after = load(name)
    nothing = env.draws(
        torch.zeros(len(recorded["t"]), dtype=torch.int64), torch.ones(len(recorded["t"]), dtype=torch.int64)
    )
    new, reward, flags = env.transition(before, torch.tensor(recorded["action"].astype(np.int64)), nothing)
    for key, expected in after.tensors().items():
        assert torch.equal(new.tensors()[key], expected), key
    assert np.array_equal(reward.numpy(), recorded["reward"].astype(np.float32))
    late = recorded["t"] >= env.max_steps  # the reference calls the time limit terminated, too
    assert np.array_equal(flags.terminated.numpy() | late, recorded["done"].astype(bool))
    assert np.array_equal(flags.terminated.numpy(), (after.food_level.numpy() == 0).all(1))


@pytest.mark.parametrize("name", NAMES)
def test_observation_and_mask(name: str) -> None:
    env, recorded, before, after = load(name)
    for state, suffix in ((before, ""), (after, "_after")):
        flat, sparse = env.observe(state, "flat"), env.observe(state, "sparse")
        assert isinstance(flat, Tensor)
        assert isinstance(sparse, SparseObs)
        assert np.array_equal(flat.numpy(), recorded["obs" + suffix])
        assert torch.equal(sparse.to_flat(), flat)
        assert np.array_equal(env.allowed(state).numpy(), recorded["avail" + suffix].astype(bool))
