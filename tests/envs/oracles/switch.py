"""switch, step by step from its page. ``called`` is the prisoner of tomorrow."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [{}, {"num_agents": 4, "medium": "switch"}, {"num_agents": 2, "medium": "switch"}]


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    today = int(s["called"])
    act = action[today]
    told, true = act == 1, all(s["been"])
    on = act == 3 or (bool(s["on"]) and act != 2)
    day = int(s["day"]) + 1
    over = told or day >= c["max_steps"]
    new: dict[str, Any] = {"on": on, "day": day, "told": told}
    if not over:
        tomorrow = int(draw["called"])
        been = [bool(x) or i == tomorrow for i, x in enumerate(s["been"])]
        new |= {"called": tomorrow, "previous": today, "been": been}
    pay = (1.0 if true else -1.0) if told else 0.0
    return new, [pay] * len(s["been"]), over, told and true


def observe(c: dict[str, Any], s: Any) -> Any:
    n, seen = c["num_agents"], []
    for i in range(n):
        inside = float(i == s["called"])
        row = [inside, *[float(i == k) for k in range(n)]]
        seen.append(row + ([inside * float(s["on"])] if c["medium"] == "switch" else []))
    return seen
