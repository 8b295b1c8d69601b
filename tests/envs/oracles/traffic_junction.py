"""traffic_junction, easy and mended (``faithful=False``), step by step from its page.

A car's place is its number on the way: 1 ... 7 down the middle column, 8 ... 14 along the middle row; 0 is a free slot.
"""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {"faithful": False, "vocabulary": "scalar", "vision": vision, "add_rate": rate, "max_steps": 30}
    for vision, rate in ((0, 0.3), (1, 0.9))
]
LENGTH = 7


def cell(place: int) -> tuple[int, int] | None:
    if place == 0:
        return None
    return (place - 1, 3) if place <= LENGTH else (3, place - LENGTH - 1)


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    place, wait, braked = s["place"].tolist(), s["wait"].tolist(), s["braked"].tolist()
    resting = [p > 0 for p in place]  # a slot rests for a step
    for i, p in enumerate(place):
        if p > 0:
            place[i] = p if action[i] == 1 else 0 if p % LENGTH == 0 else p + 1
            wait[i], braked[i] = (wait[i] + 1, action[i] == 1) if place[i] else (0, braked[i])
    free = [i for i, p in enumerate(place) if p == 0 and not resting[i]]
    moved = [cell(p) for p in place]
    for arm, first in enumerate((1, LENGTH + 1)):
        if free and draw["chance"][arm] < c["add_rate"] and cell(first) not in moved:
            slot = free.pop(int(draw["slot"][arm] * len(free)))
            place[slot], wait[slot], braked[slot] = first, 0, False
    where = [cell(p) for p in place]
    crashed = [at is not None and where.count(at) > 1 for at in where]
    reward = [-0.01 * wait[i] - 10.0 * crashed[i] for i in range(len(place))]
    failed = bool(s["failed"]) or any(crashed)
    return {"place": place, "wait": wait, "braked": braked, "failed": failed}, reward, False, not failed


def observe(c: dict[str, Any], s: Any) -> Any:
    where, v, rows = [cell(p) for p in s["place"].tolist()], c["vision"], []
    for i, at in enumerate(where):
        if at is None:
            rows.append([0.0] * (4 + 2 * (2 * v + 1) ** 2))
            continue
        row = [float(s["braked"][i]), float(s["place"][i] > LENGTH), at[0] / (LENGTH - 1), at[1] / (LENGTH - 1)]
        for r in range(at[0] - v, at[0] + v + 1):
            for k in range(at[1] - v, at[1] + v + 1):
                inside = 0 <= r < LENGTH and 0 <= k < LENGTH
                row += [float(inside and 3 in (r, k)), float(where.count((r, k)))]
        rows.append(row)
    return rows
