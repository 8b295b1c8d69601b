"""predator_capture_prey, step by step from its page."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {},
    {"dim": 4, "num_agents": 5, "num_action_agents": 2, "vision": 2, "mode": "cooperative", "partial_reward": True},
    {"dim": 3, "num_agents": 4, "num_action_agents": 3, "vision": 0, "mode": "competitive", "num_prey": 2},
    {"dim": 3, "num_agents": 4, "num_action_agents": 2, "num_prey": 3, "partial_reward": True},
]
_STEP = [(-1, 0), (0, 1), (1, 0), (0, -1), (0, 0), (0, 0)]  # up, right, down, left, stay, capture


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    top, first = c["dim"] - 1, c["num_agents"] - c["num_action_agents"]  # the last ones are action agents
    prey, pos, captured = [tuple(x) for x in s["prey"]], [], list(s["captured"])
    for i, (at, a) in enumerate(zip(s["pos"], action, strict=True)):
        if tuple(at) in prey:
            pos.append(tuple(at))
            if i >= first and a == 5:
                captured[i - first] = True
        else:
            pos.append((min(max(at[0] + _STEP[a][0], 0), top), min(max(at[1] + _STEP[a][1], 0), top)))
    on = [x in prey for x in pos]
    done = [captured[i - first] if i >= first else on[i] for i in range(len(pos))]
    k = sum(on)
    reward = []
    for i in range(len(pos)):
        if done[i]:
            reward.append({"mixed": 0.0, "cooperative": 0.05 * k, "competitive": 0.05 / max(k, 1)}[c["mode"]])
        else:
            reward.append(-0.025 if c["partial_reward"] and on[i] else -0.05)
    new = {"pos": pos, "prey": prey, "reached": on, "captured": captured}
    return new, reward, all(done) and c["mode"] == "mixed", all(done)


def observe(c: dict[str, Any], s: Any) -> Any:
    v, dim, first = c["vision"], c["dim"], c["num_agents"] - c["num_action_agents"]
    places, seen = [tuple(x) for x in s["pos"]], []
    for i, (row, column) in enumerate(places):
        view = []
        for r in range(row - v, row + v + 1):
            for k in range(column - v, column + v + 1):
                inside = 0 <= r < dim and 0 <= k < dim
                number = np.zeros(dim * dim)
                if inside:
                    number[r * dim + k] = 1
                prey = sum(tuple(x) == (r, k) for x in s["prey"])
                counts = [places[first:].count((r, k)), not inside, prey, places[:first].count((r, k))]
                view += [*number, *([-1] * 4 if i >= first else counts)]
        seen.append(view)
    return seen
