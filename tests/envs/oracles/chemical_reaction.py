"""chemical_reaction without a vortex, step by step from its page: plain loops in double precision."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {"dim": 5, "target": 0.3},
    {"dim": 5, "num_agents": 5, "supply": 2, "decay": 0.0, "boundary": "absorb", "wind": (0.5, -0.3), "emission": 2.0},
    {"dim": 6, "num_agents": 3, "obstacles": "pillars", "boundary": "periodic", "rate": 5.0, "dt": 0.5, "substeps": 2},
    {"dim": 5, "num_agents": 4, "target": 0.5, "noise": 0.0, "floor_noise": 0.0, "gain": 10.0, "time_cost": 0.1},
]
_SIDES = [(-1, 0), (0, 1), (1, 0), (0, -1)]


def _closed(c: dict[str, Any], cell: Any) -> bool:
    return c["obstacles"] == "pillars" and cell[0] % 3 == 1 and cell[1] % 3 == 1


def _outflow(c: dict[str, Any], cell: Any, side: Any, diffusion: float, wind: Any, boundary: str) -> Any:
    """What of a concentration of 1 leaves per unit of time through a side, and into which cell."""
    to = (cell[0] + side[0], cell[1] + side[1])
    inside = all(0 <= x < c["dim"] for x in to)
    wrapped = (to[0] % c["dim"], to[1] % c["dim"])
    if (not inside and boundary == "reflect") or (boundary != "absorb" and _closed(c, wrapped)):
        return 0.0, None
    if inside and _closed(c, to):
        return 0.0, None
    rate = diffusion + max(wind[0] * side[0] + wind[1] * side[1], 0.0)
    return rate, to if inside else wrapped if boundary == "periodic" else None


def _matrix(c: dict[str, Any], diffusion: float, wind: Any, boundary: str, decay: float) -> Any:
    """dc/dt = M c for all cells, row-major."""
    n = c["dim"]
    rates = np.zeros((n * n, n * n))
    for row in range(n):
        for column in range(n):
            here = row * n + column
            if _closed(c, (row, column)):
                continue
            rates[here, here] -= decay
            for side in _SIDES:
                rate, to = _outflow(c, (row, column), side, diffusion, wind, boundary)
                rates[here, here] -= rate
                if to is not None:
                    rates[to[0] * n + to[1], here] += rate
    return rates


def _sense(c: dict[str, Any], true: float, e1: float, e2: float) -> float:
    noisy = max(0.0, true * (1 + c["noise"] * e1) + c["floor_noise"] * e2)
    return math.log(1 + c["gain"] * noisy) / math.log(1 + c["gain"])


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    n, crew_a = c["dim"], (c["num_agents"] + 1) // 2
    pos, supply, source = [], [int(x) for x in s["supply"]], np.zeros((3, n * n))
    for i, (at, a) in enumerate(zip(s["pos"], action, strict=True)):
        to = (at[0] + _SIDES[a][0], at[1] + _SIDES[a][1]) if a < 4 else tuple(at)
        if not all(0 <= x < n for x in to) or _closed(c, to):
            to = tuple(at)
        pos.append(to)
        if a == 5 and supply[i] > 0:
            supply[i] -= 1
            source[0 if i < crew_a else 1, to[0] * n + to[1]] += c["emission"] / (c["substeps"] * c["dt"])
    rates = _matrix(c, c["diffusion"], c["wind"], c["boundary"], c["decay"])
    field, made = s["field"].reshape(3, n * n).astype(float), 0.0
    for _ in range(c["substeps"]):
        field = field + c["dt"] * (field @ rates.T + source)
        for cell in range(n * n):
            if max(abs(cell // n - s["site"][0]), abs(cell % n - s["site"][1])) > 1:
                continue
            low, high = sorted(field[:2, cell])
            d, rt = high - low, c["rate"] * c["dt"]
            g = (1 - math.exp(-rt * d)) / d if d > 1e-9 else rt
            x = high * low * g / (1 + low * g)
            field[:, cell] += np.array([-x, -x, x])
            made += x
    before, total = float(s["made"]), float(s["made"]) + made
    reward = (min(total, c["target"]) - before) / c["target"] - c["time_cost"]
    smell = np.zeros(n * n)
    free = [cell for cell in range(n * n) if not _closed(c, divmod(cell, n))]
    air = _matrix(c, 1.0, (0.0, 0.0), "reflect", 1 / 16)[np.ix_(free, free)]
    unit = np.array([cell == s["site"][0] * n + s["site"][1] for cell in free], dtype=float)
    smell[free] = np.linalg.solve(-air, unit)
    reading = []
    for i, (row, column) in enumerate(pos):
        cell = row * n + column
        true = [*field[:, cell], smell[cell]]
        told = [_sense(c, true[k], draw["gain_noise"][k][i], draw["base_noise"][k][i]) for k in range(4)]
        reading.append([*told[:3], told[3] if i < crew_a else 0.0])
    new = {"pos": pos, "site": s["site"], "field": field.reshape(3, n, n), "supply": supply, "made": total}
    done = total >= c["target"]
    return new | {"reading": reading, "last_action": action}, [reward] * len(pos), done, done


def observe(c: dict[str, Any], s: Any) -> Any:
    top, crew_a, seen = c["dim"] - 1, (c["num_agents"] + 1) // 2, []
    for i, (row, column) in enumerate(s["pos"]):
        last = [float(a == s["last_action"][i]) for a in range(6)]
        own = [float(i < crew_a), float(i >= crew_a), row / top, column / top, s["supply"][i] / c["supply"]]
        seen.append([*s["reading"][i], *own, *last])
    return seen
