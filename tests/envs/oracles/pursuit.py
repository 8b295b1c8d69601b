"""pursuit, step by step from its page. Where prey wanted to go is given; if clever, it must be one of the best."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

SETTINGS: list[dict[str, Any]] = [
    {"num_agents": 3, "num_prey": 5, "size": 9, "vision": 2, "strength": 1.0, "max_steps": 12},
    {"num_agents": 6, "num_prey": 8, "size": 12, "strength": 0.5, "goal": 0.5, "tag_penalty": -0.1, "max_steps": 10},
]
_STEP = [(0, 0), (-1, 0), (0, 1), (1, 0), (0, -1)]  # stay, up, right, down, left
_KING = [(r, k) for r in (-1, 0, 1) for k in (-1, 0, 1) if (r, k) != (0, 0)]


def place(c: dict[str, Any], cell: Any) -> tuple[int, int]:
    """Row and column of a cell of the board, which lies in a frame of v + 1 cells."""
    pad = c["vision"] + 1
    return int(cell) // (c["size"] + 2 * pad) - pad, int(cell) % (c["size"] + 2 * pad) - pad


def number(c: dict[str, Any], at: tuple[int, int]) -> int:
    pad = c["vision"] + 1
    return (at[0] + pad) * (c["size"] + 2 * pad) + at[1] + pad


def choices(env: Any, state: Any, draws: Any) -> Any:
    bodies = torch.cat([state.walls, state.cell, state.prey], 1)
    return env._flee(state, env.board.write(env.board.border, bodies, True), draws)


def wall(c: dict[str, Any], s: Any, at: tuple[int, int]) -> bool:
    ring = not (0 < at[0] < c["size"] - 1 and 0 < at[1] < c["size"] - 1)
    return ring or at in {place(c, x) for x in s["walls"]}


def plus(a: Any, b: Any) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    N, far = c["num_agents"], c["vision"] + 1
    at = [place(c, x) for x in (*s["cell"], *s["prey"])]
    want = [plus(at[i], _STEP[a]) if a < 5 else at[i] for i, a in enumerate(action)]
    for p, cell in enumerate(chosen):
        to, here = place(c, cell), at[N + p]
        options = [here, *(plus(here, d) for d in _KING)]
        assert to in options
        if draw["clever"][p]:
            open_ = [q for q in options if q == here or not (q in at or wall(c, s, q))]
            steps = {q: min([far, *(max(abs(q[0] - a[0]), abs(q[1] - a[1])) for a in at[:N])]) for q in open_}
            assert to in open_
            assert steps[to] == max(steps.values())
        want.append(to)
    tagged, reward = list(s["tagged"]), []
    for i, a in enumerate(action):
        hit = [p for p in range(len(chosen)) if a > 4 and at[N + p] == plus(at[i], _KING[a - 5])]
        for p in hit:
            tagged[p] = True
        reward.append(c["tag_penalty"] * (a > 4) + len(hit))
    rivals: dict[Any, list[int]] = {}
    for i, to in enumerate(want):
        if to not in at and not wall(c, s, to):
            rivals.setdefault(to, []).append(i)
    after = list(at)
    for to, bodies in rivals.items():
        after[min(bodies, key=lambda i: draw["rank"][i])] = to
    new = {"cell": [number(c, x) for x in after[:N]], "prey": [number(c, x) for x in after[N:]]}
    new |= {"tagged": tagged, "gain": reward, "t": int(s["t"]) + 1}
    over = new["t"] >= c["max_steps"]
    return new, reward, over, sum(tagged) >= c["goal"] * len(tagged) - 1e-9


def observe(c: dict[str, Any], s: Any) -> Any:
    v, seen = c["vision"], []
    hunters = {place(c, x) for x in s["cell"]}
    prey = {place(c, x): 0.5 if t else 1.0 for x, t in zip(s["prey"], s["tagged"], strict=True)}
    for x, gain in zip(s["cell"], s["gain"], strict=True):
        here = place(c, x)
        window = [plus(here, (r, k)) for r in range(-v, v + 1) for k in range(-v, v + 1)]
        pairs = [(-1.0, 0.0) if wall(c, s, q) else (float(q in hunters), prey.get(q, 0.0)) for q in window]
        own = [here[0] / (c["size"] - 1), here[1] / (c["size"] - 1), gain, int(s["t"]) / c["max_steps"]]
        seen.append(np.array([*np.array(pairs).flatten(), *own]))
    return seen
