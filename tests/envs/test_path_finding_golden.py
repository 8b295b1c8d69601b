"""Every recorded transition of the package pogema: positions, rewards, observations, flags and placing, exactly.

The recordings and the script that made them are ``tests/golden/envs/pogema_*``.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gnncomm.envs.frame import maps
from gnncomm.envs.path_finding.path_finding import PathFinding, PathFindingDraws, PathFindingState
from torch import Tensor

from gnncomm.types import SparseObs

GOLDEN = Path(__file__).parents[1] / "golden" / "envs"
NAMES = sorted(path.stem for path in GOLDEN.glob("pogema_*.npz"))


@dataclass
class Trace:
    """All recorded transitions, flattened to a batch of R rows; states before and after."""

    env: PathFinding
    arrays: dict[str, Tensor]

    def state(self, shift: int) -> PathFindingState:
        """The states before (0) or after (1) each recorded step."""
        steps = self.arrays["action"].shape[1]
        pos, goal, active = (self.arrays[k][:, shift : shift + steps].flatten(0, 1) for k in ("pos", "goal", "active"))
        obstacle = self.arrays["obstacle"].flatten(1).bool().repeat_interleave(steps, 0)
        cell, dim = pos[..., 0] * self.env.dim + pos[..., 1], self.env.dim
        first = self.env.initial(PathFindingDraws(obstacle, cell, cell, torch.zeros(len(cell), 0)))
        target = goal[..., 0] * dim + goal[..., 1]
        alive = active.bool()
        return PathFindingState(first.world, first.region, first.hint, cell, target, alive, ~alive)


def load(name: str) -> Trace:
    config = json.loads((GOLDEN / f"{name}.json").read_text())["config"]
    with np.load(GOLDEN / f"{name}.npz") as file:
        arrays = {key: torch.tensor(file[key].astype(np.int64)) for key in file.files if key != "obs"}
        shape = file["obs_shape"].tolist()
        bits = np.unpackbits(file["obs"])[: int(np.prod(shape))].reshape(shape)
    env = PathFinding(
        dim=config["size"],
        num_agents=config["num_agents"],
        radius=config["obs_radius"],
        on_target=config["on_target"],
        collisions=config["collision_system"],
    )
    return Trace(env, arrays | {"obs": torch.tensor(bits)})


@pytest.fixture(scope="module", params=NAMES)
def trace(request: Any) -> Trace:
    return load(request.param)


def test_all_rules_are_recorded() -> None:
    assert len(NAMES) == 9


def test_positions_rewards_and_flags(trace: Trace) -> None:
    before, after, arrays = trace.state(0), trace.state(1), trace.arrays
    action = arrays["action"].flatten(0, 1)
    taken = torch.where(before.active, action, 0)
    pick = torch.zeros(action.shape if trace.env.on_target == "restart" else (len(action), 0))
    nothing = torch.zeros(len(action), 0)
    draws = PathFindingDraws(nothing.bool(), nothing.long(), nothing.long(), pick)
    new, reward, flags = trace.env.transition(before, taken, draws)
    assert torch.equal(torch.where(before.active, new.cell, after.cell), after.cell)
    assert torch.equal(new.active, after.active)
    assert torch.equal(reward, arrays["reward"].flatten(0, 1).float())
    ended = arrays["terminated"].flatten(0, 1).bool()
    if trace.env.on_target == "finish":
        assert torch.equal(~new.active, ended)  # there, every agent has its own end
        assert torch.equal(flags.terminated, ended.all(1))
    else:
        assert torch.equal(flags.terminated, ended.all(1))
        assert torch.equal(ended.all(1), ended.any(1))
    stopped = (action != 0) & before.active & (new.cell == before.cell)
    walls = before.world.gather(1, trace.env._next_CA[before.cell * 5 + action]) == 1
    assert int((stopped & ~walls).sum()) > 100  # conflicts do happen in the recordings
    if trace.env.on_target == "restart":
        renewed = before.goal != after.goal
        assert torch.equal(renewed, new.goal != before.goal)
        assert int(renewed.sum()) > 20


def overlooked(trace: Trace) -> Tensor:
    """Agents that the package leaves out of what is seen, ``[E, T + 1, N]``.

    With ``soft`` it moves agents one by one and clears the cell that each leaves, even if one of a lower number has
    just entered it: that one is not seen until its next step.
    """
    pos = trace.arrays["pos"]
    entered = (pos[:, 1:, :, None] == pos[:, :-1, None]).all(-1)  # [E, T, who, whose cell before]
    left = (pos[:, 1:] != pos[:, :-1]).any(-1) & trace.arrays["active"][:, :-1].bool()
    later = torch.arange(pos.shape[2])[:, None] < torch.arange(pos.shape[2])
    wiped = (entered & left[:, :, None] & later).any(-1)
    return torch.cat([torch.zeros_like(wiped[:, :1]), wiped], 1) & trace.arrays["active"].bool()


@pytest.mark.parametrize("shift", [0, 1])
def test_observations(trace: Trace, shift: int) -> None:
    state, env = trace.state(shift), trace.env
    steps, width = trace.arrays["action"].shape[1], (2 * env.radius + 1) ** 2
    recorded = trace.arrays["obs"][:, shift : shift + steps].flatten(0, 1).flatten(2).float()
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    agents = torch.arange(3 * width) // width == 1
    assert torch.equal(seen[state.active][:, ~agents], recorded[state.active][:, ~agents])
    missing = overlooked(trace)[:, shift : shift + steps].flatten(0, 1)
    assert bool(missing.any()) == (env.collisions == "soft")
    present = replace(state, active=state.active & ~missing)
    pictured = env.observe(present, "flat")
    assert isinstance(pictured, Tensor)
    assert torch.equal(pictured[present.active], recorded[present.active])
    assert not bool(seen[~state.active].any())
    sparse = env.observe(state, "sparse")
    assert isinstance(sparse, SparseObs)
    assert torch.equal(sparse.to_flat(), seen)


def test_placing(trace: Trace) -> None:
    """The same shuffled cells pair up to the same starts and goals."""
    env, arrays = trace.env, trace.arrays
    cells = env.dim**2
    free = ~arrays["obstacle"].flatten(1).bool()
    score = torch.full((len(free), cells), 2.0, dtype=torch.float64)
    for row, order in enumerate(arrays["order"].tolist()):
        for rank, cell in enumerate(x for x in order if x >= 0):
            score[row, cell] = rank / cells
    region = maps.components(free, maps.neighbors(env.dim))
    start, goal, enough = maps.pairs(region, score, env.num_agents)
    place = arrays["pos"][:, 0]
    target = arrays["goal"][:, 0]
    assert bool(enough.all())
    assert torch.equal(start, place[..., 0] * env.dim + place[..., 1])
    assert torch.equal(goal, target[..., 0] * env.dim + target[..., 1])
