"""Predator-Prey: floors and ceilings of the reference, and rules that the recordings do not show."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from gnncomm.envs.predator_prey import PredatorPrey, PredatorPreyDraws, PredatorPreyState
from torch import Tensor

from gnncomm import envs

FLOORS = json.loads((Path(__file__).parents[1] / "golden" / "envs" / "floors.json").read_text())["predator_prey"]
EPISODES = 4096


def episodes(env: Any, policy: str) -> tuple[Tensor, Tensor, Tensor]:
    """Length, success and summed return of one episode in each environment."""
    step = env.reset(seed=20_000)
    running = torch.ones(env.num_envs, dtype=torch.bool)
    length, total = torch.zeros(env.num_envs), torch.zeros(env.num_envs)
    success = torch.zeros(env.num_envs, dtype=torch.bool)
    while bool(running.any()):
        step = env.step(env.floor_action(step.key) if policy == "random" else env.ceiling_action())
        length += running
        total += torch.where(running, step.reward.sum(1), 0.0)
        success |= running & step.done & step.success
        running &= ~step.done
        if bool(step.done.any()):
            step = env.reset(where=step.done)
    return length, success, total


def agrees(mine: Tensor, recorded: dict[str, Any]) -> bool:
    """Difference of two independent means within four standard errors of it."""
    ends = recorded["ci95_wilson"] if "ci95_wilson" in recorded else [recorded["mean"] + recorded["ci95"]]
    half_width = max(abs(end - recorded["mean"]) for end in ends)
    error = math.hypot(float(mine.std()) / math.sqrt(len(mine)), half_width / 1.96)
    return bool(abs(float(mine.mean()) - recorded["mean"]) <= 4 * error + 1e-9)


@pytest.mark.parametrize(
    ("id", "name"),
    [
        ("predator_prey/5x5-3-v0", "dim5_n3_T20_mixed"),
        ("predator_prey/10x10-5-v0", "dim10_n5_T40_mixed"),
        ("predator_prey/20x20-10-v0", "dim20_n10_T80_mixed"),
    ],
)
@pytest.mark.parametrize("policy", ["random", "shortest_path_oracle"])
def test_floor_and_ceiling_agree_with_the_reference(id: str, name: str, policy: str) -> None:
    env = envs.make(id, num_envs=EPISODES, observation="sparse", vision=0)  # what is seen changes nothing here
    length, success, total = episodes(env, policy)
    recorded = FLOORS[name][policy]
    assert agrees(length, recorded["steps"]), (length.mean(), recorded["steps"])
    assert agrees(success.float(), recorded["success"]), (success.float().mean(), recorded["success"])
    assert agrees(total, recorded["return_sum_agents"]), (total.mean(), recorded["return_sum_agents"])


def test_beginnings_are_distinct_cells_and_uniform() -> None:
    env = PredatorPrey(num_envs=EPISODES, dim=3, num_agents=3)
    env.reset(seed=0)
    state = env.state_dict()
    place = torch.cat([state["state.pos"], state["state.prey"]], 1)
    cell = place[..., 0] * 3 + place[..., 1]
    assert all(len(set(row)) == 4 for row in cell.tolist())
    for column in cell.unbind(1):
        counts = torch.bincount(column, minlength=9).double()
        chi_squared = float(((counts - EPISODES / 9) ** 2).sum() / (EPISODES / 9))
        assert chi_squared < 31.8  # p = 1e-4 at 8 degrees of freedom


def test_observation_by_hand() -> None:
    """2 x 2 grid, vision 1, predators at (0, 0) and (0, 1), prey at (1, 1); vocabulary of 2 * 2 + 4 = 8."""
    env = PredatorPrey(dim=2, num_agents=2, vision=1)
    state = PredatorPreyState(
        torch.tensor([[[0, 0], [0, 1]]]), torch.tensor([[[1, 1]]]), torch.zeros(1, 2, dtype=torch.bool)
    )
    seen = env.observe(state, "flat")
    assert isinstance(seen, Tensor)
    window = seen.view(2, 3, 3, 8)
    outside = torch.tensor([0, 0, 0, 0, 0, 1, 0, 0.0])
    assert torch.equal(window[0, 0, 0], outside)
    assert torch.equal(window[0, 1, 1], torch.tensor([1, 0, 0, 0, 0, 0, 0, 1.0]))  # itself, on cell 0
    assert torch.equal(window[0, 1, 2], torch.tensor([0, 1, 0, 0, 0, 0, 0, 1.0]))  # its neighbour, on cell 1
    assert torch.equal(window[0, 2, 2], torch.tensor([0, 0, 0, 1, 0, 0, 1, 0.0]))  # the prey, on cell 3
    assert torch.equal(window[1, 1, 2], outside)
    assert torch.equal(window[1, 2, 1], torch.tensor([0, 0, 0, 1, 0, 0, 1, 0.0]))


@pytest.mark.parametrize(
    ("mode", "one", "two"), [("mixed", 0.0, 0.0), ("cooperative", 0.05, 0.1), ("competitive", 0.05, 0.025)]
)
def test_rewards_by_hand(mode: str, one: float, two: float) -> None:
    """Predator 0 steps up onto the prey, then predator 1 does."""
    env = PredatorPrey(dim=4, num_agents=3, mode=mode)
    env.reset()
    state = env.state_dict()
    state["state.pos"] = torch.tensor([[[2, 1], [3, 1], [0, 3]]])
    state["state.prey"] = torch.tensor([[[1, 1]]])
    env.load_state_dict(state)
    assert torch.equal(env.step(torch.tensor([[0, 0, 4]])).reward, torch.tensor([[one, -0.05, -0.05]]))
    step = env.step(torch.tensor([[2, 0, 3]]))  # predator 0 wants to leave and cannot
    assert torch.equal(step.reward, torch.tensor([[two, two, -0.05]]))
    assert step.pos is not None
    assert step.pos.tolist() == [[[1.0, 1.0], [1.0, 1.0], [0.0, 2.0]]]
    assert env.scene().finished.tolist() == [[True, True, False]]
    assert not bool(env.scene().active["prey"])


@pytest.mark.parametrize("mode", ["cooperative", "competitive"])
def test_only_mixed_ends_early(mode: str) -> None:
    env = PredatorPrey(mode=mode)
    env.reset(seed=1)
    for _ in range(env.max_steps):
        step = env.step(env.ceiling_action())
        assert not bool(step.terminated)
    assert bool(step.truncated)
    assert bool(step.success)
    assert step.discount.tolist() == [[1.0, 1.0, 1.0]]


def test_without_stay_there_are_four_actions() -> None:
    env = PredatorPrey(num_envs=32, no_stay=True)
    step = env.reset(seed=0)
    assert env.num_actions == 4
    while not bool(step.done.any()):
        step = env.step(env.ceiling_action())


def test_several_prey_read_any_prey() -> None:
    """Two prey, three predators: 0 is on one, 1 steps on the other, 2 onto the first; k counts all of them."""
    env = PredatorPrey(dim=4, num_agents=3, num_prey=2, mode="cooperative", vision=1, enemy_comm=True)
    env.reset()
    state = env.state_dict()
    state["state.pos"] = torch.tensor([[[0, 0], [3, 2], [2, 0]]])
    state["state.prey"] = torch.tensor([[[0, 0], [3, 3]]])
    state["state.reached"] = torch.tensor([[True, False, False]])
    env.load_state_dict(state)
    step = env.step(torch.tensor([[2, 1, 0, 0, 0]]))  # 0 is frozen, 1 reaches the second prey, 2 is at (1, 0)
    assert torch.equal(step.reward, torch.tensor([[0.1, 0.1, -0.05, 0.0, 0.0]]))
    assert step.pos is not None
    assert step.pos.tolist() == [[[0, 0], [3, 3], [1, 0], [0, 0], [3, 3]]]
    assert isinstance(step.obs, Tensor)
    seen = step.obs[0, 2].view(3, 3, 20)  # agent 2: row above holds a prey and a predator, its own cell itself
    assert seen[..., 18].tolist() == [[0, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert seen[..., 19].tolist() == [[0, 1, 0], [0, 1, 0], [0, 0, 0]]
    step = env.step(torch.tensor([[2, 0, 0, 0, 0]]))
    assert bool(step.success)
    assert step.reward[0, :3].tolist() == pytest.approx([0.15] * 3)


def moved(env: PredatorPrey, pos: list[Any], prey: list[Any], action: list[int], draw: list[int]) -> PredatorPreyState:
    state = PredatorPreyState(torch.tensor([pos]), torch.tensor([prey]), torch.zeros(1, len(pos), dtype=torch.bool))
    state = PredatorPreyState(state.pos, state.prey, env._on_prey(state.pos, state.prey))
    nothing = torch.empty(1, 0, dtype=torch.int64)
    return env.transition(state, torch.tensor([action]), PredatorPreyDraws(nothing, torch.tensor([draw])))[0]


def test_prey_that_moves_at_random() -> None:
    env = PredatorPrey(dim=4, num_agents=2, num_prey=3, moving_prey="random")
    stay = [4, 4]
    new = moved(env, [[3, 3], [2, 0]], [[0, 0], [1, 1], [2, 3]], stay, [0, 1, 2])  # up (stopped), right, down
    assert new.prey.tolist() == [[[0, 0], [1, 2], [3, 3]]]
    assert new.reached.tolist() == [[True, False]]  # the third prey ran into predator 0
    new = moved(env, [[3, 3], [2, 0]], [[3, 2], [2, 1], [0, 0]], [3, 4], [3, 3, 4])  # predator 0 takes the first prey
    assert new.prey.tolist() == [[[3, 2], [2, 0], [0, 0]]]  # which stays
    assert new.reached.tolist() == [[True, True]]


def test_prey_that_flees() -> None:
    env = PredatorPrey(dim=5, num_agents=2, num_prey=1, moving_prey="flee")
    above = {draw: moved(env, [[1, 2], [0, 0]], [[2, 2]], [4, 4], [draw]).prey.tolist()[0][0] for draw in range(5)}
    assert above == {0: [2, 3], 1: [2, 3], 2: [3, 2], 3: [2, 1], 4: [2, 3]}  # right, down and left end 2 steps away
    # in the corner, the predator two steps off: up, left and stay all stay there
    corner = {draw: moved(env, [[0, 2], [2, 0]], [[0, 0]], [4, 4], [draw]).prey.tolist()[0][0] for draw in range(5)}
    assert list(corner.values()) == [[0, 0]] * 5
    open_ = {draw: moved(env, [[2, 0], [2, 4]], [[2, 2]], [4, 4], [draw]).prey.tolist()[0][0] for draw in range(5)}
    assert open_ == {0: [1, 2], 1: [3, 2], 2: [3, 2], 3: [1, 2], 4: [1, 2]}  # up or down, whichever comes first
    for draw in range(5, 10):
        assert moved(env, [[1, 2], [0, 0]], [[2, 2]], [4, 4], [draw]).prey.tolist() == [[[2, 2]]]  # rests
    caught = moved(env, [[1, 2], [0, 0]], [[2, 2]], [2, 4], [1])
    assert caught.prey.tolist() == [[[2, 2]]]
    frozen = PredatorPreyState(
        torch.tensor([[[1, 2], [2, 1]]]), torch.tensor([[[2, 2]]]), torch.tensor([[True, False]])
    )
    nothing = torch.empty(1, 0, dtype=torch.int64)
    new = env.transition(frozen, torch.tensor([[4, 4]]), PredatorPreyDraws(nothing, torch.tensor([[1]])))[0]
    assert new.prey.tolist() == [[[2, 3]]]  # away from the one that still hunts


@pytest.mark.parametrize("motion", ["random", "flee"])
def test_moving_prey_are_caught_for_good(motion: str) -> None:
    env = PredatorPrey(num_envs=256, dim=6, num_agents=3, num_prey=2, vision=1, moving_prey=motion)
    env.reset(seed=3)
    before = env.state_dict()
    drawn = env.draws(env._key, torch.full((256,), 4)).prey
    assert drawn.shape == (256, 2)
    below = 5 if motion == "random" else 10
    assert torch.bincount(drawn.flatten(), minlength=below).shape == (below,)
    assert torch.bincount(drawn.flatten()).min() > 200 / below
    walked = torch.zeros(256, 2, dtype=torch.bool)
    for _ in range(env.max_steps):
        step = env.step(env.ceiling_action())
        after = env.state_dict()
        distance = (after["state.prey"] - before["state.prey"]).abs().sum(-1)
        assert bool((distance <= 1).all())
        assert bool((after["state.reached"] | ~before["state.reached"]).all())
        on = (after["state.pos"][:, :, None] == after["state.prey"][:, None]).all(-1)
        assert torch.equal(on.any(2), after["state.reached"])
        walked |= distance == 1
        before = after
        if bool(step.done.any()):
            step = env.reset(where=step.done)
            before = env.state_dict()
    assert float(walked.float().mean()) > 0.9


def test_standing_prey_draw_nothing() -> None:
    env = PredatorPrey(num_envs=2)
    env.reset()
    assert env.draws(env._key, torch.ones(2, dtype=torch.int64)).prey.shape == (2, 0)


def test_default_time_limits_are_those_of_the_protocol() -> None:
    for protocol, settings in PredatorPrey.protocols.items():
        made = envs.make(f"predator_prey/{protocol}")
        assert made.max_steps == settings["max_steps"] == PredatorPrey(dim=settings["dim"]).max_steps
    assert [envs.make(f"predator_prey/{p}").obs_dim for p in PredatorPrey.protocols] == [29, 936, 3636, 936, 936]


def test_prey_flees_from_those_who_still_hunt() -> None:
    """Predator 0 steps onto prey A and hunts no more; prey B flees from predator 1 at (5, 5), past predator 0.

    Of its cells (0, 3) is 7 steps from (5, 5), (0, 4) 6, (0, 5) and (1, 4) 5.
    """
    env = PredatorPrey(num_envs=64, dim=6, num_agents=2, num_prey=2, moving_prey="flee")
    env.reset(seed=0)
    state = env.state_dict()
    state["state.pos"][:] = torch.tensor([[0, 1], [5, 5]])
    state["state.prey"][:] = torch.tensor([[0, 2], [0, 4]])
    state["state.reached"][:] = False
    env.load_state_dict(state)
    env.step(torch.tensor([[1, 4]]).expand(64, 2).clone())
    went = {tuple(cell) for cell in env.state_dict()["state.prey"][:, 1].tolist()}
    assert went == {(0, 3), (0, 4)}, "away from the hunter, or at rest"
