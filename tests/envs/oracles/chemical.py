"""chemical on open ground, step by step from its page: every face between two cells in a loop, in float64."""

from __future__ import annotations

import math
from typing import Any

SETTINGS: list[dict[str, Any]] = [
    {"dim": 5, "num_agents": 3},
    {"dim": 5, "boundary": "periodic", "wind": [0.3, -0.2], "duty": 0.5, "shaping": 1.0},
    {
        "dim": 6,
        "num_sources": 1,
        "decay": 0.0,
        "boundary": "absorb",
        "wind": [0.0, 0.5],
        "source_speed": 0.6,
        "team": 1,
    },
]
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))


def move(c: dict[str, Any], place: Any, action: int) -> list[int]:
    return [min(max(int(x) + d, 0), c["dim"] - 1) for x, d in zip(place, MOVES[action], strict=True)]


def advance(c: dict[str, Any], field: list[list[float]], q: list[list[float]]) -> list[list[float]]:
    """dc/dt = D lap(c) - v . grad(c) - k c + q: each cell gives over each of its four faces, downwind more."""
    n, dt, after = c["dim"], c["dt"], [row[:] for row in field]
    for r in range(n):
        for k in range(n):
            after[r][k] += dt * (q[r][k] - c["decay"] * field[r][k])
            for (dr, dk), wind in zip(
                MOVES[:4], (-c["wind"][0], c["wind"][1], c["wind"][0], -c["wind"][1]), strict=True
            ):
                to, given = (r + dr, k + dk), dt * (c["diffusion"] + max(wind, 0.0)) * field[r][k]
                if c["boundary"] == "periodic":
                    to = (to[0] % n, to[1] % n)
                inside = 0 <= to[0] < n and 0 <= to[1] < n
                if inside or c["boundary"] == "absorb":
                    after[r][k] -= given
                if inside:
                    after[to[0]][to[1]] += given
    return after


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    pos = [move(c, place, a) for place, a in zip(s["pos"], action, strict=True)]
    source, active, found = [list(map(int, place)) for place in s["source"]], [bool(x) for x in s["active"]], 0
    for i, place in enumerate(source):
        if active[i] and pos.count(place) >= c["team"]:
            active[i], found = False, found + 1
    q = [[0.0] * c["dim"] for _ in range(c["dim"])]
    for i, on in enumerate(active):
        if on and c["source_speed"]:
            source[i] = move(c, source[i], int(draw["drift"][i]))
        if on and (c["duty"] == 1.0 or draw["emits"][i]):
            q[source[i][0]][source[i][1]] += c["emission"] / c["duty"]
    field = s["field"].astype(float).tolist()
    for _ in range(c["substeps"]):
        field = advance(c, field, q)
    reading = []
    for i, (r, k) in enumerate(pos):
        noisy = field[r][k] * (1 + c["noise"] * draw["gain_noise"][i]) + c["floor_noise"] * draw["base_noise"][i]
        reading.append(math.log1p(c["gain"] * max(noisy, 0.0)) / math.log1p(c["gain"]))
    reward = [
        found - c["time_cost"] + c["shaping"] * (new - old) for new, old in zip(reading, s["reading"], strict=True)
    ]
    new = {"pos": pos, "source": source, "active": active, "field": field, "reading": reading, "last_action": action}
    return new, reward, not any(active), not any(active)


def observe(c: dict[str, Any], s: Any) -> Any:
    wide = c["dim"] - 1
    return [
        [s["reading"][i], r / wide, k / wide, *[float(s["last_action"][i] == a) for a in range(5)]]
        for i, (r, k) in enumerate(s["pos"].tolist())
    ]
