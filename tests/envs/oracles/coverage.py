"""coverage, step by step from its page. Maps hold 0 free, 1 obstacle, 2 visited."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 6, "num_agents": 4, "free": 0.5, "window": 4, "exclusive": True},
    {"dim": 5, "num_agents": 2, "free": 0.9, "window": 6, "patience": 3, "max_steps": 40},
]
_STEP = [(0, 0), (0, 1), (0, -1), (-1, 0), (1, 0)]  # stay, right, left, up, down


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    dim, world, seen = c["dim"], s["world"].copy(), s["seen"].copy()
    cell = [int(x) for x in s["cell"]]
    for i, a in enumerate(action):
        row, column = cell[i] // dim + _STEP[a][0], cell[i] % dim + _STEP[a][1]
        inside = 0 <= row < dim and 0 <= column < dim
        taken = c["exclusive"] and row * dim + column in cell
        if inside and world[row * dim + column] != 1 and not taken:
            cell[i] = row * dim + column
    reward, idle = [], []
    for i, here in enumerate(cell):
        first = world[here] == 0
        world[here], seen[i, here] = 2, 2
        reward.append(float(first))
        idle.append(0 if first else int(s["idle"][i]) + 1)
    done = not (world == 0).any()
    bored = c["patience"] is not None and max(idle) >= c["patience"]
    return {"world": world, "seen": seen, "cell": cell, "idle": idle}, reward, done or bored, done


def observe(c: dict[str, Any], s: Any) -> Any:
    dim, half, shown = c["dim"], c["window"] // 2, []
    for here, mine in zip(s["cell"], s["seen"], strict=True):
        row = []
        for r in range(here // dim - half, here // dim + half):
            for k in range(here % dim - half, here % dim + half):
                inside = 0 <= r < dim and 0 <= k < dim
                what = mine[r * dim + k] if inside else 1
                row += [float(what == 1), float(what == 2)]
        shown.append(np.array(row))
    return shown
