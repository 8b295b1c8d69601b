"""Pictures and text of scenes, against what the scene says."""

from __future__ import annotations

import ast
import inspect
from dataclasses import replace

import numpy as np
import pytest
import torch
from gnncomm.envs.frame import render
from gnncomm.envs.frame.base import GridEnv
from gnncomm.envs.frame.render import _AGENTS, _INK, _PAPER, _SOLID, _TINT, to_rgb, to_text

from gnncomm import envs
from gnncomm.errors import ConfigError, ShapeError
from gnncomm.types import Scene

C = 32


def scene(**changes: object) -> Scene:
    """Two environments of 3 x 4 cells; in the first agent 0 is at (0, 1), agents 1 and 2 share (2, 3)."""
    plain = Scene(
        size=(3, 4),
        agents=torch.tensor([[[0.0, 1], [2, 3], [2, 3]], [[1, 1], [0, 0], [2, 0]]]),
        finished=torch.tensor([[False, True, False], [False, False, False]]),
        entities={"prey": torch.tensor([[[1.0, 1]], [[2, 2]]]), "wall": torch.tensor([[[0.0, 0]], [[0, 3]]])},
        active={"prey": torch.tensor([[True], [False]]), "wall": torch.tensor([[True], [True]])},
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def cell_of(picture: np.ndarray, row: int, column: int) -> np.ndarray:
    return picture[row * C + 1 : (row + 1) * C, column * C + 1 : (column + 1) * C]


def shows(picture: np.ndarray, row: int, column: int, color: tuple[int, int, int]) -> bool:
    return bool((cell_of(picture, row, column) == color).all(-1).any())


def test_text_by_hand() -> None:
    assert to_text(scene()).splitlines() == [
        "# 0 . .",
        ". * . .",
        ". . . &",
        "* prey: 1 of 1",
        "# wall: 1 of 1",
        "& at (2, 3): agents 1, 2",
        "finished: 1",
    ]
    assert to_text(scene(), env=1).splitlines() == [
        "1 . . #",
        ". 0 . .",
        "2 . . .",
        "* prey: 0 of 1",
        "# wall: 1 of 1",
    ]


def test_text_of_plans_and_the_absent() -> None:
    field = torch.tensor([[0.0, 1, 0, 1]]).repeat(2, 3, 1)
    alive = torch.tensor([[True, False, False]] * 2)
    lines = to_text(scene(field=field), alive=alive).splitlines()
    assert lines[:3] == ["# 0 . :", ". * . :", ". : . :"]
    assert not any(line.startswith("&") for line in lines)
    assert ":" not in to_text(scene(field=field * 0.5)).splitlines()[0]


def test_picture_by_hand() -> None:
    picture = to_rgb(scene(), cell=C)
    assert picture.shape == (3 * C, 4 * C, 3)
    assert picture.dtype == np.uint8
    assert shows(picture, 0, 1, _AGENTS[0])
    assert not shows(picture, 0, 1, _INK)
    assert shows(picture, 2, 3, _AGENTS[1])
    assert shows(picture, 2, 3, _AGENTS[2])
    assert shows(picture, 2, 3, _INK), "agent 1 has finished"
    assert tuple(picture[C // 2, C // 2]) == _SOLID, "a wall"
    assert not shows(picture, 1, 1, _AGENTS[0])
    assert tuple(picture[C + C // 2, C + C // 2]) != _PAPER, "the prey"
    empty = [(0, 2), (0, 3), (1, 0), (1, 2), (1, 3), (2, 0), (2, 1), (2, 2)]
    assert all((cell_of(picture, *at)[2:-2, 2:-2] == _PAPER).all() for at in empty)
    other = to_rgb(scene(), env=1, cell=C)
    assert (cell_of(other, 2, 2) == _PAPER).all(), "the prey is gone"
    assert shows(other, 1, 1, _AGENTS[0])


def test_who_is_not_alive_is_not_drawn() -> None:
    picture = to_rgb(scene(), cell=C, alive=torch.tensor([[False, True, True]] * 2))
    assert (cell_of(picture, 0, 1)[2:-2, 2:-2] == _PAPER).all()
    assert shows(picture, 2, 3, _AGENTS[1])


def test_fields() -> None:
    """Darker where there is more; a plan of 0 and 1 in grey."""
    field = torch.linspace(0, 3, 12).view(1, 3, 4).repeat(2, 1, 1)
    bare = scene(entities={}, active={}, field=field)
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    light = to_rgb(bare, cell=C, alive=nobody)[C // 2 :: C, C // 2 :: C].astype(int).sum(-1).flatten()
    assert (np.diff(light) < 0).all()
    plan = to_rgb(replace(bare, field=(field > 1).float()), cell=C, alive=nobody)[C // 2 :: C, C // 2 :: C]
    assert np.array_equal((plan == _TINT).all(-1), (field[0] > 1).numpy())
    nothing = to_rgb(replace(bare, field=field * 0), cell=C, alive=nobody)
    assert np.array_equal(nothing, to_rgb(replace(bare, field=None), cell=C, alive=nobody))


def test_agents_are_told_apart() -> None:
    """Each of 24 agents changes the picture: colours repeat, numbers do not."""
    agents = torch.stack([torch.arange(24) // 6, torch.arange(24) % 6], -1)[None].float()
    many = Scene((4, 6), agents, torch.zeros(1, 24, dtype=torch.bool), {}, {})
    picture = to_rgb(many, cell=C)
    cells = {cell_of(picture, n // 6, n % 6).tobytes() for n in range(24)}
    assert len(cells) == 24


@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_many_in_one_cell_stay_in_it(count: int) -> None:
    agents = torch.ones(1, count, 2)
    picture = to_rgb(Scene((3, 3), agents, torch.ones(1, count, dtype=torch.bool), {}, {}), cell=40)
    around = picture.copy()
    around[40:80, 40:80] = picture[4, 4]
    assert (np.delete(np.delete(around, [0, 40, 80], 0), [0, 40, 80], 1) == _PAPER).all()


@pytest.mark.parametrize("id", envs.names())
def test_every_environment_can_be_drawn(id: str) -> None:
    cell = 3
    env = envs.make(id, num_envs=2)
    assert isinstance(env, GridEnv)
    step = env.reset(seed=1)
    for _ in range(2):
        current = env.scene()
        picture = to_rgb(current, 1, cell, step.alive)
        assert picture.shape == (current.size[0] * cell, current.size[1] * cell, 3)
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 1
        assert len(to_text(current, 1, step.alive).splitlines()) >= current.size[0]
        step = env.reset(where=step.done) if bool(step.done.any()) else env.step(env.ceiling_action())


def test_drawing_needs_numpy_alone() -> None:
    """No plotting library, no window system, neither now nor when a picture is asked for."""
    nodes = ast.walk(ast.parse(inspect.getsource(render)))
    imported = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    nodes = ast.walk(ast.parse(inspect.getsource(render)))
    imported |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    ours = {"__future__", "", "gnncomm", "gnncomm.errors", "gnncomm.types", "collections.abc"}
    assert imported - ours == {"numpy", "numpy.typing", "torch"}


def test_bad_input() -> None:
    with pytest.raises(ConfigError, match="env: expected an integer"):
        to_rgb(scene(), env=2)
    with pytest.raises(ConfigError, match="cell"):
        to_rgb(scene(), cell=1)
    with pytest.raises(ShapeError, match=r"alive bool \[2, 3\].*timestep\.alive"):
        to_text(scene(), alive=torch.ones(3, dtype=torch.bool))
