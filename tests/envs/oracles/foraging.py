"""foraging, step by step from its page."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {},
    {"size": 5, "num_agents": 4, "max_food": 2, "sight": 1, "penalty": 0.1, "max_player_level": 3},
    {"size": 6, "columns": 4, "num_agents": 3, "max_food": 2, "sight": 2, "force_coop": True},
    {"size": 6, "num_agents": 2, "normalize_reward": False, "observe_agent_levels": False, "sight": 3},
]
_STEP = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (0, 0)]  # none, north, south, west, east, load


def at(c: dict[str, Any], cell: Any) -> tuple[int, int]:
    """Cells are numbered with the power of two above the columns as stride."""
    stride = 1 << c["columns"].bit_length()
    return int(cell) // stride, int(cell) % stride


def beside(a: Any, b: Any) -> bool:
    return bool(abs(a[0] - b[0]) + abs(a[1] - b[1]) == 1)


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    N, pos = c["num_agents"], [at(c, x) for x in s["player"]]
    food = {at(c, x): int(f) for x, f in zip(s["food"], s["food_level"], strict=True) if f > 0}
    level, goal, loads = [int(x) for x in s["level"]], [], []
    for i, a in enumerate(action):
        to = (pos[i][0] + _STEP[a][0], pos[i][1] + _STEP[a][1])
        open_ = 0 <= to[0] < c["size"] and 0 <= to[1] < c["columns"] and to not in food
        goal.append(to if open_ else pos[i])
        near = [q for q in food if beside(pos[i], q)]
        loads.append(near[0] if a == 5 and near else None)
    moved = [goal[i] if goal.count(goal[i]) == 1 else pos[i] for i in range(N)]
    reward, eaten = [0.0] * N, set()
    for q, f in food.items():
        team = [i for i in range(N) if loads[i] == q]
        strength = sum(level[i] for i in team)
        if team and strength >= f:
            eaten.add(q)
        for i in team:
            share = level[i] * f / (strength * int(s["spawned"]) if c["normalize_reward"] else 1)
            reward[i] = share if q in eaten else -c["penalty"]
    left = [0 if at(c, x) in eaten else int(f) for x, f in zip(s["food"], s["food_level"], strict=True)]
    stride, done = 1 << c["columns"].bit_length(), not any(left)
    return {"player": [r * stride + k for r, k in moved], "food_level": left}, reward, done, done


def observe(c: dict[str, Any], s: Any) -> Any:
    N, v, seen = c["num_agents"], c["sight"], []
    pos = [at(c, x) for x in s["player"]]
    food = sorted((at(c, x), int(f)) for x, f in zip(s["food"], s["food_level"], strict=True) if f > 0)
    for i, (row, column) in enumerate(pos):
        top, left = max(row - v, 0), max(column - v, 0)
        near = [(q[0] - top, q[1] - left, f) for q, f in food if abs(q[0] - row) <= v and abs(q[1] - column) <= v]
        near += [(-1, -1, 0)] * (c["max_food"] - len(near))
        others = [(pos[j][0] - top, pos[j][1] - left, int(s["level"][j])) for j in range(N) if j != i]
        others = [x for x in others if 0 <= x[0] <= 2 * v and 0 <= x[1] <= 2 * v]
        others += [(-1, -1, 0)] * (N - 1 - len(others))
        width = 3 if c["observe_agent_levels"] else 2
        players = [(row - top, column - left, int(s["level"][i])), *others]
        seen.append([float(x) for q in near for x in q] + [float(x) for q in players for x in q[:width]])
    return seen
