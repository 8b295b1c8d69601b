"""predator_prey with one or several prey, still or moving, step by step from its page."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 5, "num_agents": 3, "vision": 2, "mode": "cooperative", "num_prey": 2, "enemy_comm": True},
    {"dim": 5, "num_agents": 4, "vision": 1, "mode": "competitive", "no_stay": True},
    {"dim": 6, "num_agents": 3, "vision": 1, "num_prey": 3, "moving_prey": "random", "mode": "cooperative"},
    {"dim": 6, "num_agents": 3, "num_prey": 3, "moving_prey": "flee", "mode": "competitive"},
    {"dim": 7, "num_agents": 2, "num_prey": 1, "moving_prey": "flee"},
    {"dim": 5, "num_agents": 2, "num_prey": 4, "moving_prey": "flee", "enemy_comm": True, "vision": 1},
]
_STEP = [(-1, 0), (0, 1), (1, 0), (0, -1), (0, 0)]  # up, right, down, left, stay


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    N, top = c["num_agents"], c["dim"] - 1

    def moved(cell: Any, a: int) -> Any:
        return (min(max(cell[0] + _STEP[a][0], 0), top), min(max(cell[1] + _STEP[a][1], 0), top))

    prey = [tuple(x) for x in s["prey"]]
    pos = [tuple(x) if tuple(x) in prey else moved(x, a) for x, a in zip(s["pos"], action[:N], strict=True)]
    hunting = [x for x in pos if x not in prey]
    after = list(prey)
    for p, cell in enumerate(prey):
        if cell in pos or c["moving_prey"] == "still":
            continue
        d = int(draw["prey"][p])
        if c["moving_prey"] == "random":
            after[p] = moved(cell, d)
        elif d < 5:  # it does not rest, and looks from action d on
            steps = lambda to: min((abs(to[0] - h[0]) + abs(to[1] - h[1]) for h in hunting), default=0)  # noqa: E731
            order = [(d + k) % 5 for k in range(5)]
            best = max(steps(moved(cell, a)) for a in order)
            after[p] = moved(cell, next(a for a in order if steps(moved(cell, a)) == best))
    reached = [x in after for x in pos]
    k = sum(reached)
    pay = {"mixed": 0.0, "cooperative": 0.05 * k, "competitive": 0.05 / max(k, 1)}[c["mode"]]
    reward = [pay if r else -0.05 for r in reached]
    if c["enemy_comm"]:
        reward += [0.0 if x in pos else 0.05 for x in after]
    return {"pos": pos, "prey": after, "reached": reached}, reward, k == N and c["mode"] == "mixed", k == N


def observe(c: dict[str, Any], s: Any) -> Any:
    v, dim, seen = c["vision"], c["dim"], []
    viewers = [*s["pos"], *(s["prey"] if c["enemy_comm"] else [])]
    for place in viewers:
        cells = []
        for r in range(place[0] - v, place[0] + v + 1):
            for k in range(place[1] - v, place[1] + v + 1):
                count = np.zeros(dim * dim + 4)
                inside = 0 <= r < dim and 0 <= k < dim
                count[r * dim + k if inside else dim * dim + 1] = 1
                count[dim * dim + 2] = sum(tuple(x) == (r, k) for x in s["prey"])
                count[dim * dim + 3] = sum(tuple(x) == (r, k) for x in s["pos"])
                cells += list(count)
        seen.append(cells)
    return seen
