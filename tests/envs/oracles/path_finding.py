"""path_finding, step by step from its page (collisions, targets, rewards; POGEMA's observation)."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 5, "num_agents": 6, "density": 0.1, "collisions": "block_both", "rewards": "dcc"},
    {"dim": 5, "num_agents": 7, "density": 0.1, "collisions": "soft", "on_target": "nothing", "rewards": "scrimp"},
    {"dim": 4, "num_agents": 4, "density": 0.0, "collisions": "soft", "radius": 1},
]
_STEP = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)]  # stay, up, down, left, right
_PAY = {
    "pogema": (0.0, 0.0, 0.0, 0.0, 1.0),
    "dcc": (-0.075, -0.075, 0.0, -0.5, 3.0),
    "scrimp": (-0.3, -0.3, 0.0, -2.0, 0.0),
}  # moves, stays off its goal, stays on it, is stopped, reaches the goal


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    dim, N = c["dim"], c["num_agents"]
    here, active = [int(x) for x in s["cell"]], [bool(x) for x in s["active"]]
    want = list(here)
    for i, a in enumerate(action):
        row, column = here[i] // dim + _STEP[a][0], here[i] % dim + _STEP[a][1]
        if 0 <= row < dim and 0 <= column < dim and s["world"][row * dim + column] == 0:
            want[i] = row * dim + column
    there = [i for i in range(N) if active[i]]
    cell = list(here)
    if c["collisions"] == "priority":
        for i in there:
            if want[i] not in [cell[j] for j in there]:
                cell[i] = want[i]
    elif c["collisions"] == "block_both":
        for i in there:
            wishes = [want[j] for j in there if j != i]
            cell[i] = here[i] if want[i] in [here[j] for j in there] or want[i] in wishes else want[i]
    else:
        stays = {i for i in there if want[i] == here[i]}
        standing = {here[i]: i for i in there}
        for i in there:  # a swap, or a lower number that wants the same cell
            other = standing.get(want[i])
            swaps = other is not None and other != i and want[other] == here[i]
            if swaps or any(want[j] == want[i] for j in there if j < i):
                stays.add(i)
        while more := {i for i in there if i not in stays and standing.get(want[i]) in stays}:
            stays |= more
        for i in there:
            cell[i] = here[i] if i in stays else want[i]
    home = [active[i] and cell[i] == s["goal"][i] for i in range(N)]
    all_home = all(home)
    reached = [bool(r) or h for r, h in zip(s["reached"], home, strict=True)]
    event = [all_home] * N if c["on_target"] == "nothing" else home
    done = all_home if c["on_target"] == "nothing" else all(reached)
    move, off, on, stopped, finish = _PAY[c["rewards"]]
    reward = []
    for i in range(N):
        rests = on if cell[i] == s["goal"][i] else off
        pay = rests if action[i] == 0 else stopped if cell[i] == here[i] else move
        reward.append((finish if event[i] else pay) if active[i] else 0.0)
    left = [active[i] and not (c["on_target"] == "finish" and home[i]) for i in range(N)]
    return {"cell": cell, "active": left, "reached": reached}, reward, done, done


def observe(c: dict[str, Any], s: Any) -> Any:
    dim, r, shown = c["dim"], c["radius"], []
    bodies = {int(x) for x, a in zip(s["cell"], s["active"], strict=True) if a}
    for here, goal, active in zip(s["cell"], s["goal"], s["active"], strict=True):
        walls, agents, target = np.zeros((3, 2 * r + 1, 2 * r + 1))
        for i in range(2 * r + 1):
            for k in range(2 * r + 1):
                row, column = here // dim + i - r, here % dim + k - r
                if 0 <= row < dim and 0 <= column < dim:
                    walls[i, k] = s["world"][row * dim + column] == 1
                    agents[i, k] = row * dim + column in bodies
                else:
                    walls[i, k] = -1 <= row <= dim and -1 <= column <= dim
        away = np.clip([goal // dim - here // dim, goal % dim - here % dim], -r, r) + r
        target[tuple(away)] = 1
        shown.append(np.concatenate([x.flatten() for x in (walls, agents, target)]) * bool(active))
    return shown
