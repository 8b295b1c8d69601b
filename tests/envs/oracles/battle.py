"""battle, step by step from its page. What enemies chose is given; where they are clever it must be one of the best."""

from __future__ import annotations

from typing import Any

import numpy as np

SETTINGS: list[dict[str, Any]] = [
    {"num_agents": 4, "strength": 1.0, "hit_points": 60},
    {"num_agents": 5, "num_enemies": 7, "strength": 0.6, "recovery": 7, "hit_points": 50, "damage": 18},
    {"num_agents": 6, "num_enemies": 3, "vision": 2, "kill_reward": 3.0, "dead_penalty": -1.0, "size": 20},
]
_GO = [(0, 0)] + [(r, k) for r in range(-2, 3) for k in range(-2, 3) if 0 < r * r + k * k <= 4]
_BLOW = [(r, k) for r in (-1, 0, 1) for k in (-1, 0, 1) if (r, k) != (0, 0)]


def place(c: dict[str, Any], cell: Any) -> tuple[int, int]:
    """Row and column of a cell of the board, which lies in a frame of v + 1 cells."""
    pad = c["vision"] + 1
    return int(cell) // (c["size"] + 2 * pad) - pad, int(cell) % (c["size"] + 2 * pad) - pad


def number(c: dict[str, Any], at: tuple[int, int]) -> int:
    pad = c["vision"] + 1
    return (at[0] + pad) * (c["size"] + 2 * pad) + at[1] + pad


def choices(env: Any, state: Any, draws: Any) -> Any:
    return env._script(state, env._people(state), draws)


def wall(c: dict[str, Any], at: tuple[int, int]) -> bool:
    return not (0 < at[0] < c["size"] - 1 and 0 < at[1] < c["size"] - 1)


def plus(a: Any, b: Any) -> tuple[int, int]:
    return a[0] + b[0], a[1] + b[1]


def clever(c: dict[str, Any], at: Any, friends: dict[Any, int], bodies: set[Any]) -> set[int]:
    """The best actions of an enemy; ``friends``: cell -> hit points of the agents."""
    beside = {13 + k: friends[plus(at, d)] for k, d in enumerate(_BLOW) if plus(at, d) in friends}
    if beside:
        return {a for a, hp in beside.items() if hp == min(beside.values())}
    far = c["vision"] + 1
    reach = {0: at} | {a: plus(at, d) for a, d in enumerate(_GO) if a}
    near = {
        a: min([far, *(max(abs(q[0] - f[0]), abs(q[1] - f[1])) for f in friends)])
        for a, q in reach.items()
        if a == 0 or not (q in bodies or wall(c, q))
    }
    return {a for a, steps in near.items() if steps == min(near.values())}


def step(c: dict[str, Any], s: Any, action: Any, draw: Any, chosen: Any) -> Any:
    N = c["num_agents"]
    at = [place(c, x) for x in (*s["cell"], *s["foe"])]
    hp = [int(x) for x in (*s["hp"], *s["foe_hp"])]
    act, M = [*action, *chosen], len(at)
    alive = [x > 0 for x in hp]
    bodies = {at[i] for i in range(M) if alive[i]}
    friends = {at[i]: hp[i] for i in range(N) if alive[i]}
    for e in range(N, M):
        if alive[e] and draw["clever"][e - N]:
            assert act[e] in clever(c, at[e], friends, bodies), (e, act[e], clever(c, at[e], friends, bodies))
    victim = [-1] * M
    for i in range(M):
        if alive[i] and act[i] > 12:
            aim = plus(at[i], _BLOW[act[i] - 13])
            others = range(N, M) if i < N else range(N)
            victim[i] = next((j for j in others if alive[j] and at[j] == aim), -1)
    left = [hp[i] - c["damage"] * victim.count(i) for i in range(M)]
    standing = [alive[i] and left[i] > 0 for i in range(M)]
    healed = [min(left[i] + c["recovery"], c["hit_points"]) if standing[i] else 0 for i in range(M)]
    closed = {at[i] for i in range(M) if standing[i]}
    wants: dict[Any, list[int]] = {}
    for i in range(M):
        to = plus(at[i], _GO[act[i]]) if act[i] < 13 else at[i]
        if standing[i] and to not in closed and not wall(c, to):
            wants.setdefault(to, []).append(i)
    for to, rivals in wants.items():
        at[min(rivals, key=lambda i: draw["rank"][i])] = to
    reward = []
    for i in range(N):
        kills = 1 / victim[:N].count(victim[i]) if victim[i] >= 0 and left[victim[i]] <= 0 else 0
        pay = c["step_reward"] + c["attack_penalty"] * (act[i] > 12) + c["attack_opponent_reward"] * (victim[i] >= 0)
        pay += c["kill_reward"] * kills + c["dead_penalty"] * (not standing[i])
        reward.append(pay if alive[i] else 0.0)
    new = {"hp": healed[:N], "foe_hp": healed[N:], "gain": reward}
    new |= {"cell": [number(c, x) for x in at[:N]], "foe": [number(c, x) for x in at[N:]]}
    lost, won = not any(standing[:N]), not any(standing[N:])
    return new, reward, lost or won, won and not lost


def observe(c: dict[str, Any], s: Any) -> Any:
    v, full, seen = c["vision"], c["hit_points"], []
    friends = {place(c, x): h / full for x, h in zip(s["cell"], s["hp"], strict=True) if h > 0}
    foes = {place(c, x): h / full for x, h in zip(s["foe"], s["foe_hp"], strict=True) if h > 0}
    for x, h, gain in zip(s["cell"], s["hp"], s["gain"], strict=True):
        here = place(c, x)
        if h <= 0:
            seen.append(np.zeros(2 * (2 * v + 1) ** 2 + 4))
            continue
        window = [plus(here, (r, k)) for r in range(-v, v + 1) for k in range(-v, v + 1)]
        pairs = [(-1.0, 0.0) if wall(c, q) else (friends.get(q, 0.0), foes.get(q, 0.0)) for q in window]
        own = [here[0] / (c["size"] - 1), here[1] / (c["size"] - 1), h / full, gain]
        seen.append(np.array([*np.array(pairs).flatten(), *own]))
    return seen
