"""rendezvous, step by step from its page."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 6, "num_agents": 4, "spread": 1, "vision": 2, "shaping": 0.5},
    {"dim": 5, "num_agents": 2, "spread": 2, "vision": 0, "coordinates": False},
]
_STEP = [(-1, 0), (0, 1), (1, 0), (0, -1), (0, 0)]  # up, right, down, left, stay


def extent(pos: Any) -> tuple[int, int]:
    rows, columns = zip(*pos, strict=True)
    return max(rows) - min(rows), max(columns) - min(columns)


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    top = c["dim"] - 1
    pos = [
        (min(max(p[0] + _STEP[a][0], 0), top), min(max(p[1] + _STEP[a][1], 0), top))
        for p, a in zip(s["pos"], action, strict=True)
    ]
    met = max(extent(pos)) <= c["spread"]
    lost = sum(extent(s["pos"])) - sum(extent(pos))
    return {"pos": pos}, [-0.05 + met + c["shaping"] * lost / (2 * c["dim"] - 2)] * len(pos), met, met


def observe(c: dict[str, Any], s: Any) -> Any:
    v, dim, seen = c["vision"], c["dim"], []
    for i, (row, column) in enumerate(s["pos"]):
        own = [float(k == row) for k in range(dim)] + [float(k == column) for k in range(dim)]
        cells = []
        for r in range(row - v, row + v + 1):
            for k in range(column - v, column + v + 1):
                others = sum(tuple(p) == (r, k) for j, p in enumerate(s["pos"]) if j != i)
                cells += [float(others), float(not (0 <= r < dim and 0 <= k < dim))]
        seen.append((own if c["coordinates"] else []) + cells)
    return seen
