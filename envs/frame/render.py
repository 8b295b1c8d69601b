"""Pictures and text of a ``Scene``, with numpy alone: no display, no OpenGL, no plotting library.

Row 0 is at the top and column 0 on the left. Agents are discs in the colours of Okabe and Ito 2008 ("Color universal
design", told apart by colour-blind people, too) that carry their number; those that share a cell stand in a circle in
it. Entities have a shape for each name, walls fill their cell. What is gone is not drawn.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from gnncomm import checks
from gnncomm.errors import ShapeError
from gnncomm.types import Scene

Picture = NDArray[np.uint8]
_Floats = NDArray[np.float64]
_Distance = Callable[[_Floats, _Floats, float], _Floats]

_PAPER, _LINE, _INK, _SOLID, _TINT = (250, 249, 246), (226, 225, 221), (38, 38, 42), (84, 88, 98), (203, 208, 217)
_AGENTS = (
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (230, 159, 0),
    (120, 94, 240),
    (148, 103, 60),
    (170, 30, 60),
    (95, 130, 20),
)
_ENTITIES = ((64, 64, 70), (176, 0, 32), (0, 100, 80), (120, 60, 160), (150, 110, 0), (0, 80, 160))
_FIELD = np.array([_PAPER, (253, 226, 150), (247, 160, 90), (200, 70, 90), (95, 30, 95)], dtype=np.float64)
_WALLS = ("wall", "walls", "obstacle", "obstacles")
_FONT = {  # 3 x 5 bits, rows from the top
    "0": "111101101101111",
    "1": "010110010010111",
    "2": "111001111100111",
    "3": "111001111001111",
    "4": "101101111001001",
    "5": "111100111001111",
    "6": "111100111101111",
    "7": "111001010010010",
    "8": "111101111101111",
    "9": "111101111001111",
}
_SYMBOLS = "*o+x^%$&"
_AWAY = 0.28  # of those that share a cell from its middle, in cells
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


def _disc(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    return np.hypot(dy, dx) - r


def _diamond(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    return (np.abs(dy) + np.abs(dx) - 1.25 * r) / 2**0.5


def _square(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    return np.maximum(np.abs(dy), np.abs(dx)) - 0.85 * r


def _triangle(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    return np.maximum(dy - 0.7 * r, np.abs(dx) * 0.87 - 0.5 * (dy + 1.1 * r))


def _cross(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    near = np.minimum(np.abs(dy - dx), np.abs(dy + dx)) / 2**0.5 - 0.28 * r
    return np.maximum(near, np.maximum(np.abs(dy), np.abs(dx)) - 0.85 * r)


def _ring(dy: _Floats, dx: _Floats, r: float) -> _Floats:
    return np.abs(np.hypot(dy, dx) - 0.75 * r) - 0.25 * r


_SHAPES: tuple[_Distance, ...] = (_diamond, _triangle, _square, _cross, _ring, _disc)
"""Signed distances to an outline of about radius r around (0, 0), in pixels: negative inside."""


class _Canvas:
    """A picture in which shapes are drawn with smooth edges."""

    def __init__(self, background: _Floats) -> None:
        self.pixels = background

    def fill(self, row: float, column: float, r: float, shape: _Distance, color: tuple[int, ...]) -> None:
        """A shape around pixel coordinates (row, column); each pixel is covered by 0.5 minus its distance."""
        top, left = max(int(row - 1.5 * r) - 1, 0), max(int(column - 1.5 * r) - 1, 0)
        patch = self.pixels[top : int(row + 1.5 * r) + 2, left : int(column + 1.5 * r) + 2]
        y = np.arange(top, top + patch.shape[0])[:, None] + 0.5 - row
        x = np.arange(left, left + patch.shape[1])[None, :] + 0.5 - column
        cover = np.clip(0.5 - shape(y, x, r), 0.0, 1.0)[..., None]
        patch += cover * (np.array(color, dtype=np.float64) - patch)

    def number(self, text: str, row: float, column: float, r: float) -> None:
        """White digits around (row, column) that fit into a disc of radius ``r``; none where they could not be read."""
        scale = int(1.4 * r / max(5, 4 * len(text) - 1))
        if scale < 1:
            return
        bits = [np.array([*map(int, _FONT[digit])]).reshape(5, 3) for digit in text]
        mask = np.concatenate([np.pad(digit, ((0, 0), (0, 1))) for digit in bits], 1)[:, :-1].repeat(scale, 0)
        mask = mask.repeat(scale, 1).astype(bool)
        top, left = round(row - mask.shape[0] / 2), round(column - mask.shape[1] / 2)
        patch = self.pixels[top : top + mask.shape[0], left : left + mask.shape[1]]
        patch[mask[: patch.shape[0], : patch.shape[1]]] = 255.0


def to_rgb(scene: Scene, env: int = 0, cell: int = 16, alive: Tensor | None = None) -> Picture:
    """The picture of one environment, uint8 ``[rows * cell, columns * cell, 3]``.

    Args:
        scene: What there is to draw.
        env: Which of its B environments.
        cell: Side of a grid cell in pixels, at least 2. Numbers appear from about 10 on.
        alive: ``[B, N]`` bool, ``timestep.alive``: agents that take no part are left out, and so are those that
            ``scene.present`` leaves out.

    The field is the background, from its smallest value or 0 (paper) to its largest (dark); one that holds nothing but
    0 and 1 is a plan, such as roads, in grey. Agents that have finished wear a dark ring.

    Raises:
        ConfigError: ``env`` or ``cell`` out of range.
        ShapeError: ``alive`` is not bool ``[B, N]``.
    """
    _check(scene, env, alive)
    checks.integer("cell", cell, 2)
    canvas = _Canvas(_background(scene, env, cell))
    for rank, (name, place) in enumerate(sorted(_present(scene, env).items())):
        shape, color = _SHAPES[rank % len(_SHAPES)], _ENTITIES[rank % len(_ENTITIES)]
        for row, column in place:
            if name in _WALLS:
                canvas.fill((row + 0.5) * cell, (column + 0.5) * cell, cell / 1.7, _square, _SOLID)
            else:
                canvas.fill((row + 0.5) * cell, (column + 0.5) * cell, 0.4 * cell, shape, (255, 255, 255))
                canvas.fill((row + 0.5) * cell, (column + 0.5) * cell, 0.33 * cell, shape, color)
    finished = _array(scene.finished[env])
    for together in _by_cell(scene, env, alive).values():
        for number, (agent, row, column, size) in enumerate(together):
            angle = 2 * np.pi * number / len(together) - np.pi / 2
            away = 0.0 if len(together) == 1 else _AWAY
            y, x = (row + 0.5 + away * np.sin(angle)) * cell, (column + 0.5 + away * np.cos(angle)) * cell
            radius = size * cell
            canvas.fill(y, x, radius, _disc, _INK if finished[agent] else (255, 255, 255))
            canvas.fill(y, x, radius - min(max(0.05 * cell, 0.8), 0.3 * radius), _disc, _AGENTS[agent % len(_AGENTS)])
            canvas.number(str(agent), y, x, radius)
    return np.rint(canvas.pixels).clip(0, 255).astype(np.uint8)


def to_text(scene: Scene, env: int = 0, alive: Tensor | None = None) -> str:
    """The same in characters: one line for each row of the grid, then a line that explains each symbol.

    Agents are 0 to 9, then a to z, then ``@``; ``&`` stands for several in one cell, and the lines below say which.
    Walls and plans are ``#`` and ``:``; other fields are not shown.

    Raises:
        ConfigError, ShapeError: As ``to_rgb``.
    """
    _check(scene, env, alive)
    rows, columns = scene.size
    grid = [["."] * columns for _ in range(rows)]
    plan = None if scene.field is None else _array(scene.field[env]).astype(np.float64)
    if plan is not None and _is_plan(plan):
        for row, column in zip(*np.nonzero(plan), strict=True):
            grid[row][column] = ":"
    notes: list[str] = []
    others = [name for name in sorted(scene.entities) if name not in _WALLS]
    for name, place in sorted(_present(scene, env).items()):
        symbol = "#" if name in _WALLS else _SYMBOLS[others.index(name) % len(_SYMBOLS)]
        for row, column in place:
            grid[_index(row, rows)][_index(column, columns)] = symbol
        notes.append(f"{symbol} {name}: {len(place)} of {scene.active[name].shape[1]}")
    for (row, column), together in sorted(_by_cell(scene, env, alive).items()):
        agents = [agent for agent, *_ in together]
        single = _DIGITS[agents[0]] if agents[0] < len(_DIGITS) else "@"
        grid[_index(row, rows)][_index(column, columns)] = single if len(agents) == 1 else "&"
        if len(agents) > 1:
            notes.append(f"& at ({row}, {column}): agents {', '.join(map(str, agents))}")
    finished = np.flatnonzero(_array(scene.finished[env]))
    if len(finished):
        notes.append(f"finished: {', '.join(map(str, finished))}")
    return "\n".join([*(" ".join(line) for line in grid), *notes])


def _check(scene: Scene, env: int, alive: Tensor | None) -> None:
    checks.integer("env", env, 0, scene.agents.shape[0] - 1)
    if alive is not None and (alive.shape != scene.finished.shape or alive.dtype != scene.finished.dtype):
        raise ShapeError(
            f"render: expected alive bool {list(scene.finished.shape)}, got {alive.dtype} {list(alive.shape)}. Pass "
            "timestep.alive."
        )


def _array(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().cpu().numpy()
    return array


def _present(scene: Scene, env: int) -> Mapping[str, _Floats]:
    """Name -> ``[M, 2]``: the entities that are still there."""
    return {
        name: _array(place[env])[_array(scene.active[name][env]).astype(bool)].astype(np.float64)
        for name, place in scene.entities.items()
    }


def _by_cell(
    scene: Scene, env: int, alive: Tensor | None
) -> dict[tuple[int, int], list[tuple[int, float, float, float]]]:
    """Cell -> (agent, row, column, radius in cells) of those that are drawn in it."""
    place = _array(scene.agents[env]).astype(np.float64)
    shown = np.ones(len(place), dtype=bool)
    for mask in (alive, scene.present):
        shown &= True if mask is None else _array(mask[env]).astype(bool)
    cells: dict[tuple[int, int], list[int]] = {}
    for agent in np.flatnonzero(shown):
        cells.setdefault((round(place[agent, 0]), round(place[agent, 1])), []).append(int(agent))
    return {
        at: [(a, float(place[a, 0]), float(place[a, 1]), _radius(len(those))) for a in those]
        for at, those in cells.items()
    }


def _radius(count: int) -> float:
    """So that ``count`` discs in a circle touch."""
    return 0.42 if count == 1 else min(0.21, float(_AWAY * np.sin(np.pi / count)))


def _index(place: float, size: int) -> int:
    return min(max(round(place), 0), size - 1)


def _is_plan(field: _Floats) -> bool:
    return bool(np.isin(field, (0.0, 1.0)).all())


def _background(scene: Scene, env: int, cell: int) -> _Floats:
    rows, columns = scene.size
    colors = np.broadcast_to(np.array(_PAPER, dtype=np.float64), (rows, columns, 3))
    if scene.field is not None:
        field = _array(scene.field[env]).astype(np.float64)
        colors = np.where((field == 1)[..., None], _TINT, colors) if _is_plan(field) else _shade(field)
    pixels = colors.repeat(cell, 0).repeat(cell, 1).copy()
    if cell >= 6:
        pixels[::cell] += 0.5 * (np.array(_LINE) - pixels[::cell])
        pixels[:, ::cell] += 0.5 * (np.array(_LINE) - pixels[:, ::cell])
    return pixels


def _shade(field: _Floats) -> _Floats:
    """``[rows, columns, 3]``: colours between the five of ``_FIELD``."""
    low = min(float(field.min()), 0.0)
    share = (field - low) / max(float(field.max()) - low, 1e-12) * (len(_FIELD) - 1)
    begin = np.minimum(share.astype(np.int64), len(_FIELD) - 2)
    part = (share - begin)[..., None]
    shaded: _Floats = _FIELD[begin] * (1 - part) + _FIELD[begin + 1] * part
    return shaded
