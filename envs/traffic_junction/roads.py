"""The roads of Traffic Junction: lanes, routes along them, and tables of what is where, built once from the rules.

A lane is a heading and the number of its road, ``"S1"``: southward on the first vertical road. A road has one lane
(easy) or two, on the right: in a vertical road the western lane goes south, in a horizontal one the northern goes west.
A route is a sequence of lanes: it follows each until it meets the next, the last one to the border.
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.types import Batch

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


def add_rate_at(
    level: str,
    epoch: int,
    first_epoch: int = 250,
    last_epoch: int = 1250,
    *,
    rates: tuple[float, float] | None = None,
    visited: Collection[int] | None = None,
) -> float:
    """The published curriculum: the add rate in force in ``epoch``, counted from 0.

    From ``first_epoch`` to ``last_epoch`` (not included) each visited epoch but epoch 0 adds the same share of the way;
    the sum is rounded down to hundredths. Floats are added one by one and divided as in the published code, because the
    result depends on it: easy ends at 0.29, although its last rate is 0.3; medium and hard end at 0.2 and 0.05. An
    epoch that is passed over adds nothing, so that a training that visits every third goes a third of the way.

    Args:
        level: ``easy``, ``medium`` or ``hard``.
        epoch: now.
        first_epoch, last_epoch: where the rate begins to rise, and where it no longer does.
        rates: first and last rate; None: those of the level. It stays at the first where the last is not larger.
        visited: the epochs in which an environment was reset, such as ``range(0, 2000, 3)``; None: all.

    Raises:
        ConfigError: an unknown level, a negative epoch, ``last_epoch <= first_epoch``, or a rate that is no
            probability.
    """
    if level not in LEVELS or epoch < 0 or not 0 <= first_epoch < last_epoch:
        raise ConfigError(
            f"add_rate_at: expected one of {list(LEVELS)}, epoch >= 0 and 0 <= first_epoch < last_epoch, got "
            f"{level!r}, {epoch}, {first_epoch}, {last_epoch}. Count epochs from 0."
        )
    exact, end = (LEVELS[level].first_rate, LEVELS[level].last_rate) if rates is None else rates
    if not (0 <= exact <= 1 and 0 <= end <= 1):
        raise ConfigError(f"add_rate_at: rates are probabilities, expected two from 0 to 1, got {rates}.")
    rising = range(max(first_epoch, 1), min(epoch, last_epoch - 1) + 1)
    updates = len(rising) if visited is None else len(set(rising) & set(visited))
    if end <= exact or not updates:
        return exact
    share = (end - exact) / (last_epoch - first_epoch)
    for _ in range(updates):
        exact += share
    return 0.01 * (exact // 0.01)


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
class Tables(Batch):
    """What is where, for each of P places: place 0 is off the road, then come the cells of all routes, one route after
    the other. Cells have compact numbers: the C road cells row-major, C the corner (0, 0), C + 1 where nobody is ever.
    """

    after: Tensor  # [2 P] the place after gas (2 p) and after brake (2 p + 1)
    cell: Tensor  # [P] compact
    pos: Tensor  # [P, 2] float (row, column); (0, 0) off the road
    progress: Tensor  # [P, 2] float: route id and share of the route that is done, both in [0, 1]
    arm: Tensor  # [P] of the route; -1 off the road
    along: Tensor  # [P] cells behind on the route
    first_route: Tensor  # [routes] place where it begins
    entry: Tensor  # [A] compact cell where each arm enters
    crossing: Tensor  # [C + 2] bool: roads cross there
    seen: Tensor  # [P, V] compact cells of the window that can hold cars, padded
    index: Tensor  # [P, K] where in the flat vector: last action, V counts of cars, what does not change
    value: Tensor  # [2 P, K] the same for the values, 0 for the counts: row 2 p + braked
    num_cells: int  # C + 2
    obs_dim: int


@functools.lru_cache(maxsize=16)
def tables(level: str, dim: int, vision: int, vocabulary: str, faithful: bool) -> Tables:
    """All tables of one environment, on the CPU; shared, so nobody may write into them."""
    net = roads(level, dim)
    compact = {cell: i for i, cell in enumerate(net.cells)}
    off = len(compact)
    places = [(route, along) for route, cells in enumerate(net.routes) for along in range(len(cells))]
    first = [p for p, (_, along) in enumerate(places, 1) if along == 0]
    moves = [0, 0]
    for p, (route, along) in enumerate(places, 1):
        moves += [p + 1 if along + 1 < len(net.routes[route]) else 0, p]
    at = [net.routes[route][along] for route, along in places]
    last = len(net.routes) - 1
    progress = [(route / last, along / (len(net.routes[route]) - 1)) for route, along in places]
    cell_P = torch.tensor([off] + [compact[cell] for cell in at])
    progress_P2 = torch.tensor([(0.0, 0.0), *progress])
    seen, index, value, obs_dim = _observation(net, compact, vision, vocabulary, faithful)
    return Tables(
        **_by_place(cell_P, progress_P2[:, 0], seen, index, value),
        after=torch.tensor(moves),
        cell=cell_P,
        pos=torch.tensor([(0.0, 0.0)] + [(float(row), float(column)) for row, column in at]),
        progress=progress_P2,
        arm=torch.tensor([-1] + [route * net.arms // len(net.routes) for route, _ in places]),
        along=torch.tensor([0] + [along for _, along in places]),
        first_route=torch.tensor(first),
        entry=torch.tensor([compact[at[p - 1]] for p in first[:: len(first) // net.arms]]),
        crossing=torch.tensor([_crosses(cell, net.numbers) for cell in net.cells] + [False, False]),
        num_cells=off + 2,
        obs_dim=obs_dim,
    )


def _crosses(cell: Cell, road: Mapping[Cell, int]) -> bool:
    """Whether a road goes on from ``cell`` both ways, along rows and along columns, possibly beside it."""
    row, column = cell
    size = max(road)[0] + 1
    return all((r, column) in road for r in range(size)) and all((row, c) in road for c in range(size))


def _observation(
    net: Roads, compact: Mapping[Cell, int], vision: int, vocabulary: str, faithful: bool
) -> tuple[Tensor, Tensor, Tensor, int]:
    """For each road cell: the compact cells of its window that can hold cars; indices and values of the entries of the
    flat vector (last action, counts of cars, route, what does not change); and the width of that vector."""
    off, nowhere, scalar = len(compact), len(compact) + 1, vocabulary == "scalar"
    if scalar:
        kinds, outside, cars = dict.fromkeys(compact, 0), None, 1
    elif faithful:
        kinds, outside, cars = dict(net.numbers), net.base, net.base + 2
    else:
        kinds, outside, cars = dict(compact), off, off + 1
    counted = {**compact, (0, 0): off} if faithful else compact
    head, far = 4 if scalar else 2, net.size - 1
    reach = range(-vision, vision + 1)
    rows: list[tuple[list[tuple[int, int]], list[tuple[int, float]]]] = []
    for row, column in compact:
        window = [(row + down, column + right) for down in reach for right in reach]
        begins = [head + w * (cars + 1) for w in range(len(window))]
        moving = [(begin + cars, counted[cell]) for begin, cell in zip(begins, window, strict=True) if cell in counted]
        fixed = [(2, row / far), (3, column / far)] if scalar else []
        for begin, cell in zip(begins, window, strict=True):
            kind = kinds.get(cell, outside)
            fixed += [] if kind is None else [(begin + kind, 1.0)]
        rows.append((moving, [(1, 0.0), *fixed]))
    V = max(len(moving) for moving, _ in rows)
    pad = max(len(fixed) for _, fixed in rows)
    filled = [[*moving, *[(0, nowhere)] * (V - len(moving))] for moving, _ in rows]
    seen = torch.tensor([[cell for _, cell in row] for row in filled])
    constant = [[*fixed, *[(0, 0.0)] * (pad - len(fixed))] for _, fixed in rows]
    index = [[0, *(i for i, _ in one), *(i for i, _ in two)] for one, two in zip(filled, constant, strict=True)]
    value = [[0.0] * (1 + V) + [number for _, number in row] for row in constant]
    return seen, torch.tensor(index), torch.tensor(value), head + len(reach) ** 2 * (cars + 1)


def _by_place(cell_P: Tensor, route_P: Tensor, seen: Tensor, index: Tensor, value: Tensor) -> dict[str, Tensor]:
    """What ``_observation`` found for each cell, for each place; nothing off the road."""
    road = cell_P[1:]
    seen_PV = torch.cat([torch.full_like(seen[:1], len(seen) + 1), seen[road]])
    index_PK = torch.cat([torch.zeros_like(index[:1]), index[road]])
    value_PK = torch.cat([torch.zeros_like(value[:1]), value[road]])
    value_PK[:, 1 + seen.shape[1]] = route_P
    value_2PK = value_PK.repeat_interleave(2, 0)
    value_2PK[3::2, 0] = 1.0  # braked; place 0 shows nothing
    return {"seen": seen_PV, "index": index_PK, "value": value_2PK}
