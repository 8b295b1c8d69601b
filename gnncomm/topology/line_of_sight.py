"""The agents within range that no wall hides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, GraphError
from gnncomm.graph import CommGraph
from gnncomm.host import refuse
from gnncomm.shapes import Bool, Int
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology
from gnncomm.topology.geometric import distances, places

TABLE_UP_TO = 2**24
"""Pairs of cells whose visibility is worked out once and remembered."""


@dataclass(frozen=True)
class LineOfSight(Topology):
    """Two living agents hear each other when they are at most ``r`` apart and no wall stands between them.

    ``walls`` is the map: rows of text in which ``#`` is a wall and ``.`` is free (``("..#", "...")``; in a name
    ``walls=..#x...``), or a bool grid ``[rows, columns]``. ``pos`` is (row, column) in cells. Cell (a, b) is the unit
    square around the point (a, b), and an agent stands in the cell that its position rounds to. The straight line
    between the middles of the two cells must not enter the inside of a wall: to touch its corner is allowed, so the
    diagonal between two walls is open; who stands in a wall hears nobody. The distance is that of ``pos``. Dense
    layout, O(N^2).

    Raises:
        GraphError: positions that are not (row, column), or off the map.
    """

    r: float
    walls: tuple[str, ...] | Tensor | Sequence[Sequence[bool]]

    def __post_init__(self) -> None:
        if not self.r >= 0:
            raise ConfigError(f"LineOfSight.r is a range: expected r >= 0, got {self.r}.")
        object.__setattr__(self, "walls", _text(self.walls))

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        place_BNP = places("LineOfSight", alive, pos)
        assert isinstance(self.walls, tuple)
        wall_RC = _grid(self.walls, alive.device)
        row_BN, column_BN = self._cells(alive, place_BNP, wall_RC)
        number_BN = row_BN * wall_RC.shape[1] + column_BN
        if wall_RC.numel() ** 2 <= TABLE_UP_TO:
            seen_BNN = _table(self.walls, alive.device)[number_BN.unsqueeze(2), number_BN.unsqueeze(1)]
        else:
            seen_BNN = visible(wall_RC, number_BN.unsqueeze(2), number_BN.unsqueeze(1))
        distance_BNN = distances(alive, place_BNP)
        heard_BNN = (distance_BNN <= distance_BNN.new_full((), self.r)) & distance_BNN.isfinite() & seen_BNN
        return CommGraph.from_dense(heard_BNN, validate=False).without_loops()

    def _cells(self, alive: Tensor, place_BNP: Tensor, wall_RC: Tensor) -> tuple[Tensor, Tensor]:
        rows, columns = wall_RC.shape
        if place_BNP.shape[-1] != 2:
            raise GraphError(f"LineOfSight reads a map: expected pos [B, N, 2], got {list(place_BNP.shape)}.")
        cell_BN2 = (place_BNP + 0.5).floor()
        down_BN, right_BN = cell_BN2.unbind(-1)
        inside_BN = (down_BN >= 0) & (down_BN < rows) & (right_BN >= 0) & (right_BN < columns)
        lost = alive & ~inside_BN

        def off() -> GraphError:
            env, agent = lost.nonzero()[0].tolist()
            return GraphError(
                f"LineOfSight reads a map: expected pos within {rows} rows and {columns} columns, "
                f"got {place_BNP[env, agent].tolist()} in environment {env}, agent {agent}."
            )

        refuse(lost, off)
        row_BN, column_BN = torch.where(inside_BN.unsqueeze(-1), cell_BN2, 0.0).to(torch.int64).unbind(-1)
        return row_BN, column_BN


def visible(walls: Bool[Tensor, "R C"], one: Int[Tensor, "*A"], other: Int[Tensor, "*B"]) -> Tensor:
    """No wall between cells ``one`` and ``other`` (numbers ``row * C + column`` that broadcast). Exact, in integers.

    The line is followed along its longer side, L steps: between half a step before and half a step after each, it
    moves by at most one cell sideways, so it enters at most two cells.
    """
    columns = walls.shape[1]
    down, right = other // columns - one // columns, other % columns - one % columns
    steep = down.abs() >= right.abs()
    length, side = torch.where(steep, down, right), torch.where(steep, right, down)
    main_unit, side_unit = torch.where(steep, columns, 1), torch.where(steep, 1, columns)
    steps = length.abs()
    twice = 2 * steps.clamp_min(1)
    flat_walls = walls.flatten()
    hidden = torch.zeros_like(steep)
    for step in range(int(steps.amax()) + 1 if steps.numel() else 0):
        # Sideways, in units of 1 / (2 L): from ``low`` to ``high`` while the line crosses this row of cells.
        before = side * (2 * step - 1 + torch.zeros_like(twice)).clamp(min=0).minimum(twice)
        after = side * (2 * step + 1 + torch.zeros_like(twice)).minimum(2 * steps)
        low, high = torch.minimum(before, after), torch.maximum(before, after)
        first = torch.div(low + twice // 2, twice, rounding_mode="floor")
        last = -torch.div(twice // 2 - high, twice, rounding_mode="floor")
        here = one + length.sign() * main_unit * step
        on_the_way = step <= steps
        for sideways in (first, last):
            cell = torch.where(on_the_way, here + side_unit * sideways, one)
            hidden = hidden | flat_walls[cell]
    return ~hidden


def _text(walls: tuple[str, ...] | Tensor | Sequence[Sequence[bool]]) -> tuple[str, ...]:
    """The map as rows of text."""
    if isinstance(walls, Tensor):
        walls = walls.tolist()
    rows = tuple(row if isinstance(row, str) else "".join(".#"[bool(cell)] for cell in row) for row in walls)
    if not rows or not rows[0] or any(len(row) != len(rows[0]) or set(row) - set(".#") for row in rows):
        raise ConfigError(
            f"LineOfSight.walls is a map: expected rows of equal length of '.' and '#', or a bool grid, got {rows!r}."
        )
    return rows


@lru_cache(maxsize=64)
def _grid(walls: tuple[str, ...], device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # it outlives the caller's mode
        return torch.tensor([[cell == "#" for cell in row] for row in walls], device=device)


@lru_cache(maxsize=8)
def _table(walls: tuple[str, ...], device: torch.device) -> Tensor:
    """``[cells, cells]`` bool: they see each other."""
    with torch.inference_mode(False):
        wall_RC = _grid(walls, device)
        cell_S = torch.arange(wall_RC.numel(), device=device)
        return visible(wall_RC, cell_S.unsqueeze(1), cell_S.unsqueeze(0))
