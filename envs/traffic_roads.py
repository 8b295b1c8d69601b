"""The roads of Traffic Junction: lanes, routes along them, and tables of what is where, built once from the rules.

A lane is a heading and the number of its road, ``"S1"``: southward on the first vertical road. A road has one lane
(easy) or two, on the right: in a vertical road the western lane goes south, in a horizontal one the northern goes west.
A route is a sequence of lanes: it follows each until it meets the next, the last one to the border.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.types import ConfigError

Cell = tuple[int, int]
Lanes = tuple[str, ...]

_HEADING = {"S": (1, 0), "E": (0, 1), "N": (-1, 0), "W": (0, -1)}
_RIGHT = {"S": "W", "W": "N", "N": "E", "E": "S"}
_LEFT = {right: heading for heading, right in _RIGHT.items()}


@dataclass(frozen=True)
class Level:
    """The published numbers of one level: side, cars at a time, time limit, first and last rate of the curriculum."""

    dim: int
    num_agents: int
    max_steps: int
    first_rate: float
    last_rate: float


LEVELS: Mapping[str, Level] = {
    "easy": Level(6, 5, 20, 0.1, 0.3),
    "medium": Level(14, 10, 40, 0.05, 0.2),
    "hard": Level(18, 20, 80, 0.02, 0.05),
}


def add_rate_at(level: str, epoch: int, first_epoch: int = 250, last_epoch: int = 1250) -> float:
    """The published curriculum: the add rate in force in ``epoch``, counted from 0.

    From ``first_epoch`` to ``last_epoch`` (not included) each epoch but epoch 0 adds the same share of the way; the sum
    is rounded down to hundredths. Floats are added one by one and divided as in the published code, because the result
    depends on it: easy ends at 0.29, although its last rate is 0.3; medium and hard end at 0.2 and 0.05.

    Raises:
        ConfigError: an unknown level, or a negative epoch, or ``last_epoch <= first_epoch``.
    """
    if level not in LEVELS or epoch < 0 or not 0 <= first_epoch < last_epoch:
        raise ConfigError(
            f"add_rate_at: expected one of {list(LEVELS)}, epoch >= 0 and 0 <= first_epoch < last_epoch, got {level!r}, "
            f"{epoch}, {first_epoch}, {last_epoch}. Count epochs from 0."
        )
    exact, end = LEVELS[level].first_rate, LEVELS[level].last_rate
    share = (end - exact) / (last_epoch - first_epoch)
    updates = min(epoch, last_epoch - 1) - max(first_epoch, 1) + 1
    for _ in range(updates):
        exact += share
    return 0.01 * (exact // 0.01) if updates > 0 else exact


@dataclass(frozen=True)
class Roads:
    """Routes in the order of their ids (arm * routes per arm + route), and the numbers of road cells."""

    size: int
    arms: int
    routes: tuple[tuple[Cell, ...], ...]
    numbers: Mapping[Cell, int]
    """The published number of each road cell; those of easy run beyond ``base``."""
    base: int
    """How many numbers the vocabulary provides for; ``base`` itself means outside."""

    @property
    def cells(self) -> list[Cell]:
        """All road cells, row-major."""
        return sorted(self.numbers)


def roads(level: str, dim: int) -> Roads:
    """The road network of ``level`` at side ``dim``; the grid of easy has one row and column more."""
    size = dim + 1 if level == "easy" else dim
    lines = _lines(level, dim)
    arms = _arms(level)
    routes = tuple(_route(lanes, lines, size) for arm in arms for lanes in arm)
    rows = sorted(line for lane, line in lines.items() if lane[0] in "EW")
    columns = sorted(line for lane, line in lines.items() if lane[0] in "SN")
    wide = 1 if level == "easy" else 2
    numbers = {(row, column): i * size + column for i, row in enumerate(rows) for column in range(size)}
    for i, column in enumerate(columns):  # after the rows: where roads cross, the number is that of the vertical road
        begin = (len(rows) + i // wide * wide) * size + i % wide
        numbers |= {(row, column): begin + wide * row for row in range(size)}
    return Roads(size, len(arms), routes, numbers, base=(len(rows) + len(columns)) * dim)


def _lines(level: str, dim: int) -> dict[str, int]:
    """The column of each vertical lane, the row of each horizontal one."""
    if level == "easy":
        return {"S1": dim // 2, "E1": dim // 2}
    begins = [dim // 2 - 1] if level == "medium" else [dim // 3 - 2, 2 * dim // 3]
    lines: dict[str, int] = {}
    for k, begin in enumerate(begins, 1):
        lines |= {f"S{k}": begin, f"N{k}": begin + 1, f"W{k}": begin, f"E{k}": begin + 1}
    return lines


def _arms(level: str) -> list[list[Lanes]]:
    """The routes of each arm, in the published order."""
    if level == "easy":
        return [[("S1",)], [("E1",)]]
    if level == "medium":
        turns = [(heading, _RIGHT[heading], _LEFT[heading]) for heading in "SNEW"]
        return [[(f"{a}1",), (f"{a}1", f"{right}1"), (f"{a}1", f"{left}1")] for a, right, left in turns]
    first = ["S1", "S1 W2", "S1 E2", "S1 W1", "S1 E1", "S1 E1 S2", "S1 E1 N2"]
    second = ["S2", "S2 W2", "S2 E2", "S2 W1", "S2 W1 N1", "S2 W1 S1", "S2 E1"]
    found = {}
    for arm in (first, second):  # the other six arms are these two, turned by quarters
        for _ in range(4):
            found[arm[0]] = [tuple(route.split()) for route in arm]
            arm = [" ".join(map(_quarter_turn, route.split())) for route in arm]
    return [found[lane] for lane in ("S1", "S2", "E1", "E2", "N1", "N2", "W1", "W2")]


def _quarter_turn(lane: str) -> str:
    """The lane that ``lane`` becomes when the map of hard is turned counter-clockwise."""
    other = "2" if lane[1] == "1" else "1"
    return _LEFT[lane[0]] + (other if lane[0] in "SN" else lane[1])


def _route(lanes: Lanes, lines: Mapping[str, int], size: int) -> tuple[Cell, ...]:
    """The cells along ``lanes``, from border to border."""
    heading, line = lanes[0][0], lines[lanes[0]]
    begin = {"S": (0, line), "N": (size - 1, line), "E": (line, 0), "W": (line, size - 1)}
    row, column = begin[heading]
    cells: list[Cell] = []
    for lane, following in zip(lanes, (*lanes[1:], None), strict=True):
        down, right = _HEADING[lane[0]]
        while following is None or (row if down else column) != lines[following]:
            cells.append((row, column))
            row, column = row + down, column + right
            if not (0 <= row < size and 0 <= column < size):
                return tuple(cells)
    raise AssertionError(f"route {lanes} never meets the border")


@dataclass(frozen=True)
class Tables:
    """What is where, for each place: place 0 is off the road, then come the cells of all routes, one route after the
    other. Cells have compact numbers: the C road cells row-major, C the corner (0, 0), C + 1 where nobody ever is."""

    next_2P: Tensor  # the place after gas (2 p) and after brake (2 p + 1)
    cell_P: Tensor  # compact
    pos_P2: Tensor  # float (row, column); (0, 0) off the road
    progress_P2: Tensor  # float: route id and share of the route that is done, both in [0, 1]
    first_route: Tensor  # [routes] place where it begins
    entry_A: Tensor  # compact cell where each arm enters
    crossing_C: Tensor  # bool: roads cross there
    seen_PV: Tensor  # compact cells of the window that can hold cars, padded
    index_PK: Tensor  # where in the flat vector: last action, V counts of cars, what does not change
    value_2PK: Tensor  # the same for the values, 0 for the counts: row 2 p + braked
    num_cells: int  # C + 2
    obs_dim: int


@functools.lru_cache(maxsize=16)
def tables(level: str, dim: int, vision: int, vocabulary: str, faithful: bool) -> Tables:
    """All tables of one environment, on the CPU; shared, so nobody may write into them."""
    net = roads(level, dim)
    compact = {cell: i for i, cell in enumerate(net.cells)}
    off = len(compact)
    places = [(route, along) for route, cells in enumerate(net.routes) for along in range(len(cells))]
    first = [places.index((route, 0)) + 1 for route in range(len(net.routes))]
    moves = [0, 0]
    for p, (route, along) in enumerate(places, 1):
        moves += [p + 1 if along + 1 < len(net.routes[route]) else 0, p]
    at = [net.routes[route][along] for route, along in places]
    last = len(net.routes) - 1
    progress = [(route / last, along / (len(net.routes[route]) - 1)) for route, along in places]
    seen, index, value, obs_dim = _observation(net, compact, places, vision, vocabulary, faithful)
    return Tables(
        next_2P=torch.tensor(moves),
        cell_P=torch.tensor([off] + [compact[cell] for cell in at]),
        pos_P2=torch.tensor([(0.0, 0.0)] + [(float(row), float(column)) for row, column in at]),
        progress_P2=torch.tensor([(0.0, 0.0), *progress]),
        first_route=torch.tensor(first),
        entry_A=torch.tensor([compact[at[p - 1]] for p in first[:: len(first) // net.arms]]),
        crossing_C=torch.tensor([_crosses(cell, net.numbers) for cell in net.cells] + [False, False]),
        seen_PV=seen,
        index_PK=index,
        value_2PK=value,
        num_cells=off + 2,
        obs_dim=obs_dim,
    )


def _crosses(cell: Cell, road: Mapping[Cell, int]) -> bool:
    """Whether a road goes on from ``cell`` both ways, along rows and along columns, possibly beside it."""
    row, column = cell
    size = max(road)[0] + 1
    return all((r, column) in road for r in range(size)) and all((row, c) in road for c in range(size))


def _observation(
    net: Roads,
    compact: Mapping[Cell, int],
    places: Sequence[tuple[int, int]],
    vision: int,
    vocabulary: str,
    faithful: bool,
) -> tuple[Tensor, Tensor, Tensor, int]:
    """``seen_PV``, ``index_PK``, ``value_2PK`` and the width of the flat vector."""
    off, nowhere = len(compact), len(compact) + 1
    ids = {cell: net.numbers[cell] if faithful else compact[cell] for cell in compact}
    scalar = vocabulary == "scalar"
    outside, cars = (-1, 1) if scalar else (net.base, net.base + 2) if faithful else (off, off + 1)
    head, far, last = 4 if scalar else 2, net.size - 1, len(net.routes) - 1
    offsets = [(dr, dc) for dr in range(-vision, vision + 1) for dc in range(-vision, vision + 1)]
    counted = {**compact, (0, 0): off} if faithful else dict(compact)
    rows: list[tuple[list[tuple[int, int]], list[tuple[int, float]]]] = [([], [])]  # off the road: nothing
    for route, along in places:
        row, column = net.routes[route][along]
        fixed = [(1, route / last)] + ([(2, row / far), (3, column / far)] if scalar else [])
        moving = []
        for w, (dr, dc) in enumerate(offsets):
            cell, begin = (row + dr, column + dc), head + w * (cars + 1)
            kind = ids.get(cell, outside)
            if scalar:
                kind = 0 if cell in ids else -1
            if kind >= 0:
                fixed.append((begin + kind, 1.0))
            if cell in counted:
                moving.append((begin + cars, counted[cell]))
        rows.append((moving, fixed))
    V = max(len(moving) for moving, _ in rows)
    K = 1 + V + max(len(fixed) for _, fixed in rows)
    seen = torch.full((len(rows), V), nowhere)
    index = torch.zeros(len(rows), K, dtype=torch.int64)
    value = torch.zeros(len(rows), 2, K)
    for p, (moving, fixed) in enumerate(rows):
        for k, (where, from_cell) in enumerate(moving):
            index[p, 1 + k], seen[p, k] = where, from_cell
        for k, (where, number) in enumerate(fixed):
            index[p, 1 + V + k], value[p, :, 1 + V + k] = where, number
    value[1:, 1, 0] = 1.0
    return seen, index, value.flatten(0, 1), head + len(offsets) * (cars + 1)
