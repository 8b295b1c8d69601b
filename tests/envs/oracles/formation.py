"""formation, step by step from its page."""

from __future__ import annotations

import math
from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {},
    {"shape": "ring", "num_agents": 7, "dim": 7, "seers": 3},
    {"shape": "line", "num_agents": 4, "dim": 6, "shaping": 0.5},
    {"shape": "square", "num_agents": 5, "dim": 6, "seers": 2},
    {"shape": "0,-1;2,1;1,0", "dim": 5},
]
_STEP = [(-1, 0), (0, 1), (1, 0), (0, -1), (0, 0)]  # up, right, down, left, stay


def offsets(shape: str, n: int) -> list[tuple[int, int]]:
    if shape == "line":
        return [(0, k - n // 2) for k in range(n)]
    if shape == "square":
        side = math.ceil(math.sqrt(n))
        return [(k // side - (side - 1) // 2, k % side - (side - 1) // 2) for k in range(n)]
    if shape == "ring":
        r = max(1, math.ceil(n / 4))
        clockwise = [(-r, 0)]
        for down, right in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            clockwise += [(clockwise[-1][0] + down * k, clockwise[-1][1] + right * k) for k in range(1, r + 1)]
        return [clockwise[4 * r * k // n] for k in range(n)]
    return [(int(a), int(b)) for a, b in (pair.split(",") for pair in shape.split(";"))]


def apart(c: dict[str, Any], pos: Any, places: Any) -> float:
    steps = [[abs(p[0] - q[0]) + abs(p[1] - q[1]) for q in places] for p in pos]
    to_agents = sum(min(column) for column in zip(*steps, strict=True)) / len(places)
    return (to_agents + sum(map(min, steps)) / len(pos)) / 2 / (c["dim"] - 1)


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    top, mark = c["dim"] - 1, s["landmark"]
    places = [(mark[0] + r, mark[1] + k) for r, k in offsets(c["shape"], c["num_agents"])]
    assert all(0 <= r <= top and 0 <= k <= top for r, k in places)
    pos = [
        (min(max(p[0] + _STEP[a][0], 0), top), min(max(p[1] + _STEP[a][1], 0), top))
        for p, a in zip(s["pos"], action, strict=True)
    ]
    done = set(places) <= set(pos)
    pay = -0.05 + done + c["shaping"] * (apart(c, s["pos"], places) - apart(c, pos, places))
    return {"pos": pos, "landmark": mark}, [pay] * len(pos), done, done


def observe(c: dict[str, Any], s: Any) -> Any:
    dim, n = c["dim"], c["num_agents"]

    def one_hot(cell: Any) -> list[float]:
        return [float(k == cell[0]) for k in range(dim)] + [float(k == cell[1]) for k in range(dim)]

    mark = [one_hot(s["landmark"]) if i < c["seers"] else [0.0] * (2 * dim) for i in range(n)]
    return [[*one_hot(s["pos"][i]), *[float(i == k) for k in range(n)], *mark[i]] for i in range(n)]
