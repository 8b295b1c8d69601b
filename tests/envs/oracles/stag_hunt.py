"""stag_hunt, step by step from its page. Draws: the larger priority goes first; ``turn`` picks a free neighbour."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 6, "num_agents": 4, "num_stags": 3, "num_hares": 2, "coordinates": True},
    {"dim": 5, "num_agents": 5, "num_stags": 2, "num_hares": 3, "vision": 1},
    {"dim": 6, "num_agents": 4, "num_stags": 3, "capture": "touch", "penalty": -1.25, "step_reward": -0.1},
]
_STEP = [(0, 1), (1, 0), (0, -1), (-1, 0), (0, 0), (0, 0)]  # right, down, left, up, stay, catch


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    N, S = c["num_agents"], c["num_stags"]
    pos, prey = [tuple(x) for x in s["pos"]], [tuple(x) for x in s["prey"]]
    hunting, left, first = list(s["hunting"]), list(s["left"]), draw["priority"]

    def taken() -> set[Any]:
        return {pos[i] for i in range(N) if hunting[i]} | {prey[p] for p in range(len(prey)) if left[p]}

    def inside(cell: Any) -> bool:
        return 0 <= cell[0] < c["dim"] and 0 <= cell[1] < c["dim"]

    wants: dict[Any, list[int]] = {}
    full = taken()
    for i in range(N):
        to = (pos[i][0] + _STEP[action[i]][0], pos[i][1] + _STEP[action[i]][1])
        if hunting[i] and inside(to) and to not in full:
            wants.setdefault(to, []).append(i)
    for to, rivals in wants.items():
        pos[max(rivals, key=lambda i: first[i])] = to
    reward, touch, caught = c["step_reward"], c["capture"] == "touch", []
    for p in sorted(range(len(prey)), key=lambda p: -first[N + p]):
        if left[p]:
            beside = [i for i in range(N) if hunting[i] and np.abs(np.subtract(prey[p], pos[i])).sum() == 1]
            trying = [i for i in beside if touch or action[i] == 5]
            if len(trying) >= (2 if p < S else 1):
                reward += c["stag_reward"] if p < S else c["hare_reward"]
                caught.append(p)
                for i in [] if touch else trying:
                    hunting[i] = False
            elif trying:
                reward += c["penalty"]
    for p in caught:
        left[p] = False
    full, wants = taken(), {}
    for p in range(len(prey)):
        around = [(prey[p][0] + r, prey[p][1] + k) for r, k in _STEP[:4]]
        free = [to for to in around if inside(to) and to not in full]
        if left[p] and free:
            wants.setdefault(free[int(draw["turn"][p] * np.float32(len(free)))], []).append(p)
    for to, rivals in wants.items():
        prey[max(rivals, key=lambda p: first[N + p])] = to
    needed = [2 if p < S else 1 for p in range(len(prey)) if left[p]]
    over = not needed or sum(hunting) < min(needed)
    new = {"pos": pos, "hunting": hunting, "prey": prey, "left": left}
    return new, [reward] * N, over, over


def observe(c: dict[str, Any], s: Any) -> Any:
    v, S, seen = c["vision"], c["num_stags"], []
    for place, there in zip(s["pos"], s["hunting"], strict=True):
        grid = np.zeros((2 * v + 1, 2 * v + 1, 3))
        subjects = [(x, 0) for x, h in zip(s["pos"], s["hunting"], strict=True) if h]
        subjects += [(x, 1 if p < S else 2) for p, (x, k) in enumerate(zip(s["prey"], s["left"], strict=True)) if k]
        for where, kind in subjects if there else []:
            r, k = where[0] - place[0] + v, where[1] - place[1] + v
            if 0 <= r <= 2 * v and 0 <= k <= 2 * v:
                grid[r, k, kind] += 1
        own = [float(x) / (c["dim"] - 1) if there else 0.0 for x in place] if c["coordinates"] else []
        seen.append([*grid.flatten(), *own])
    return seen
