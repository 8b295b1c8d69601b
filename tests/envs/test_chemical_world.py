"""Obstacles, sources that move or emit now and then, and the scenarios of ``chemical`` that use them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from gnncomm.envs.chemical.chemical import Chemical
from gnncomm.envs.chemical.chemical_reaction import ChemicalReaction
from gnncomm.envs.chemical.world import LAYOUTS, Ground, layout, sense
from torch import Tensor

from gnncomm.errors import ConfigError

UP, RIGHT, DOWN, LEFT, STAY = range(5)


def test_layouts_by_hand() -> None:
    drawn = ["".join("#" if cell else "." for cell in row) for row in layout("rooms", 6).tolist()]
    assert drawn[0] == "...#.."  # middle 3, doors at 1 and 4 of each wall
    assert drawn[1] == "......"
    assert drawn[3] == "#.##.#"
    assert layout("pillars", 6).nonzero().tolist() == [[1, 1], [1, 4], [4, 1], [4, 4]]
    assert not bool(layout("none", 6).any())


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("dim", [5, 6, 7, 11, 12])
def test_every_free_cell_can_be_reached_from_every_other(name: str, dim: int) -> None:
    ground = Ground(layout(name, dim), torch.device("cpu"))
    seen = {int(ground.free_F[0])}
    edge = list(seen)
    while edge:
        cell = edge.pop()
        for action in range(4):
            to = ground.move(torch.tensor([cell // dim, cell % dim]), torch.tensor(action))
            number = int(ground.cell(to))
            if number not in seen:
                seen.add(number)
                edge.append(number)
    assert seen == set(ground.free_F.tolist())


def test_shortest_paths_lead_around_obstacles() -> None:
    """Middle wall of a 5 x 5 with doors at 1 and 3: from (0, 1) to (0, 3) through the door (1, 2) takes 4 steps."""
    ground = Ground(layout("rooms", 5), torch.device("cpu"))
    at, goal = torch.tensor([0, 1]), torch.tensor([0, 3])
    assert int(ground.distance(at, goal)) == 4
    path = []
    while not torch.equal(at, goal):
        path.append(int(ground.toward(at, goal)))
        at = ground.move(at, torch.tensor(path[-1]))
    assert path == [DOWN, RIGHT, RIGHT, UP]
    assert int(ground.toward(goal, goal)) == STAY
    open_ground = Ground(layout("none", 5), torch.device("cpu"))
    place = torch.randint(5, (50, 2, 2), generator=torch.Generator().manual_seed(0))
    steps = (place[:, 0] - place[:, 1]).abs().sum(-1)
    assert torch.equal(open_ground.distance(place[:, 0], place[:, 1]), steps)
    open_ground.open = False  # the same through the table
    assert torch.equal(open_ground.distance(place[:, 0], place[:, 1]), steps)


def test_agents_do_not_enter_obstacles() -> None:
    env = Chemical(num_agents=2, num_sources=1, obstacles="pillars", dim=6)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.pos"] = torch.tensor([[[0, 1], [2, 1]]])
    env.load_state_dict(state)
    step = env.step(torch.tensor([[DOWN, UP]]))
    assert step.pos is not None
    assert step.pos.tolist() == [[[0, 1], [2, 1]]]
    step = env.step(torch.tensor([[RIGHT, DOWN]]))
    assert step.pos is not None
    assert step.pos.tolist() == [[[0, 2], [3, 1]]]
    assert env.scene().entities["wall"].tolist() == [[[1, 1], [1, 4], [4, 1], [4, 4]]]
    field = env.scene().field
    assert field is not None
    assert float(field[0, 1, 1]) == 0.0


def test_nothing_begins_in_an_obstacle() -> None:
    env = Chemical(num_envs=500, dim=6, num_agents=4, num_sources=3, obstacles="rooms")
    env.reset(seed=0)
    state, closed = env.state_dict(), layout("rooms", 6).flatten()
    place = torch.cat([state["state.pos"], state["state.source"]], 1)
    cell = place[..., 0] * 6 + place[..., 1]
    assert not bool(closed[cell].any())
    assert cell.unique().tolist() == (~closed).nonzero().squeeze(-1).tolist()
    assert all(len(set(row)) == 7 for row in cell.tolist())


def test_sources_move_as_often_as_stated_and_not_when_they_are_gone() -> None:
    env = Chemical(num_envs=2000, num_sources=2, source_speed=0.3, team=1, dim=11, obstacles="rooms")
    env.reset(seed=0)
    before = env.state_dict()
    before["state.active"][:, 1] = False
    env.load_state_dict(before)
    env.step(torch.full((2000, 5), STAY))
    after = env.state_dict()
    moved = (after["state.source"] - before["state.source"]).abs().sum(-1)
    assert bool((moved <= 1).all())
    assert not bool(moved[:, 1].any())
    gone = before["state.active"][:, 0] & ~after["state.active"][:, 0]
    drawn = env.draws(env._key, torch.ones(2000, dtype=torch.int64)).drift
    share = torch.bincount(drawn.flatten(), minlength=5) / 4000
    assert share.tolist() == pytest.approx([0.075] * 4 + [0.7], abs=4 * 0.007)
    wanted = env._ground.move(before["state.source"][:, 0], drawn[:, 0])
    assert torch.equal(after["state.source"][~gone, 0], wanted[~gone])


def test_intermittent_sources_emit_the_same_on_average() -> None:
    """In the first step from an empty field the mass is emission / duty for the share ``duty`` of sources, else 0."""
    env = Chemical(num_envs=4000, num_agents=1, team=1, num_sources=1, duty=0.25, emission=2.0, decay=0.1)
    env.reset(seed=0)
    state = env.state_dict()
    state["state.field"] = torch.zeros_like(state["state.field"])
    state["state.pos"] = (state["state.source"] + 1) % 10
    env.load_state_dict(state)
    env.step(torch.full((4000, 1), STAY))
    field = env.scene().field
    assert field is not None
    mass = field.sum((1, 2))
    full = sum(8.0 * 0.2 * (1 - 0.1 * 0.2) ** n for n in range(5))
    on = mass > 0
    assert torch.allclose(mass[on], torch.tensor(full), rtol=1e-5)
    assert float(on.float().mean()) == pytest.approx(0.25, abs=4 * 0.007)


def test_a_plume_lies_downwind() -> None:
    env = Chemical(num_envs=64, **{**Chemical.protocols["plume-v0"], "duty": 1.0})
    env.reset(seed=0)
    field, source = env.scene().field, env.state_dict()["state.source"][:, 0]
    assert field is not None
    column = torch.arange(12)
    down = torch.where(column > source[:, 1:], field.sum(1), 0.0).sum(1)
    up = torch.where(column < source[:, 1:], field.sum(1), 0.0).sum(1)
    middle = (source[:, 1] > 2) & (source[:, 1] < 9)
    assert bool((down > 3 * up)[middle].all())


@pytest.mark.parametrize("kind", [Chemical, ChemicalReaction])
def test_ceiling_solves_every_scenario_and_chance_does_not(kind: Any) -> None:
    for settings in kind.protocols.values():
        env = kind(num_envs=200, **settings)
        rate = {}
        for policy in ("floor", "ceiling"):
            step = env.reset(seed=2)
            running, success = torch.ones(200, dtype=torch.bool), torch.zeros(200, dtype=torch.bool)
            while bool(running.any()):
                step = env.step(env.floor_action(step.key) if policy == "floor" else env.ceiling_action())
                success |= running & step.success
                running &= ~step.done
                if bool(step.done.any()):
                    step = env.reset(where=step.done)
            rate[policy] = float(success.float().mean())
        assert rate["ceiling"] == 1.0
        assert rate["floor"] < 0.08


def test_sense_by_hand() -> None:
    true = torch.tensor([0.0, 1.0, 0.5, 0.01])
    none = torch.zeros(4)
    assert sense(true, 9.0, none, none).tolist() == pytest.approx([0.0, 1.0, 0.740363, 0.037427], abs=1e-6)
    noisy = sense(true, 9.0, torch.tensor([0.0, -0.5, 0.0, 0.0]), torch.tensor([-0.2, 0.0, 0.5, -1.0]))
    assert noisy.tolist() == pytest.approx([0.0, 0.740363, 1.0, 0.0], abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "settings", "text"),
    [
        (Chemical, {"obstacles": "maze"}, "expected one of"),
        (Chemical, {"obstacles": "rooms", "dim": 4}, "expected dim >= 5"),
        (Chemical, {"vortex": 40.0}, "largest rate of outflow"),
        (Chemical, {"wind": (2.0, 0.0)}, r"4 D \+ \|v_row\|"),
        (Chemical, {"duty": 0.0}, "duty"),
        (Chemical, {"source_speed": 1.5}, "source_speed"),
        (Chemical, {"dim": 5, "obstacles": "rooms", "num_agents": 19}, "the free cells"),
        (Chemical, {"decay": 0.0, "obstacles": "pillars"}, "would never go away"),
        (ChemicalReaction, {"num_agents": 1}, "num_agents"),
        (ChemicalReaction, {"dim": 3, "num_agents": 9}, "free cells"),
        (ChemicalReaction, {"rate": 0.0}, "rate"),
        (ChemicalReaction, {"dt": 2.0}, "Beyond it"),
    ],
)
def test_bad_settings(kind: Any, settings: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        kind(**settings)


def test_largest_dt_that_is_named_is_accepted() -> None:
    with pytest.raises(ConfigError) as refused:
        Chemical(vortex=0.9, obstacles="pillars", dt=0.9)
    named = float(str(refused.value).split("= ")[1].split(",")[0])
    env = Chemical(vortex=0.9, obstacles="pillars", dt=0.999 * named, num_envs=20)
    env.reset(seed=0)
    for _ in range(30):
        env.step(torch.full((20, 5), STAY))
    field = env.scene().field
    assert isinstance(field, Tensor)
    assert bool((field >= 0).all())
    assert bool(torch.isfinite(field).all())
