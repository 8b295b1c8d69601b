"""hallway, step by step from its page."""

from __future__ import annotations

from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {},
    {"lengths": "2,3|2,2", "slip": 0.2, "win_reward": 10.0},
    {"lengths": "1|1|1", "slip": 0.0},
    {"lengths": "2,4,3", "slip": 0.4, "encoding": "scalar"},
]


def groups(c: dict[str, Any]) -> list[int]:
    """The group of each agent."""
    return [g for g, group in enumerate(c["lengths"].split("|")) for _ in group.split(",")]


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    group, active, won = groups(c), list(s["active"]), list(s["won"])
    longest = [int(n) for part in c["lengths"].split("|") for n in part.split(",")]
    distance = [int(x) for x in s["distance"]]
    for i, a in enumerate(action):
        if active[group[i]] and not s["stuck"][i]:
            distance[i] = min(max(distance[i] + (0, -1, 1)[a], 0), longest[i])
    winners = []
    for g in range(len(active)):
        home = [distance[i] == 0 for i in range(len(group)) if group[i] == g]
        if active[g] and any(home):
            active[g] = False
            winners += [g] if all(home) else []
    if len(winners) == 1:
        won[winners[0]] = True
    pay = c["win_reward"] * len(winners) * (-0.5 if len(winners) > 1 else 1)
    new = {"distance": distance, "stuck": draw["stuck"], "active": active, "won": won}
    return new, [pay] * len(group), not any(active), all(won)


def observe(c: dict[str, Any], s: Any) -> Any:
    group, seen = groups(c), []
    longest = max(int(n) for part in c["lengths"].split("|") for n in part.split(","))
    for i, d in enumerate(s["distance"]):
        own = [float(k == d) for k in range(longest + 1)] + [float(k == i) for k in range(len(group))]
        row = [float(d)] if c["encoding"] == "scalar" else own
        row += [float(s["active"][group[i]])] if len(s["active"]) > 1 else []
        seen.append(row + ([float(s["stuck"][i])] if c["slip"] > 0 else []))
    return seen
