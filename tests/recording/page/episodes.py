"""Episodes made by hand, for tests that know each number of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from gnncomm.recording import Episode

HOSTILE = "</script><img src=x onerror=alert(1)><!--\u2028\u2029\u202e&quot;{{data}}"


def episode(steps: int = 6, agents: int = 3, size: int = 5, **changes: Any) -> Episode:
    """Agent n starts in row n and goes right; agent 1 dies at the end of step 3, the prey is caught at step 4.

    In both rounds everybody tells everybody: agent n says (n, -t); in round 0 that is one step late, and the message
    from 0 to 1 is lost.
    """
    rng = np.random.default_rng(0)
    state = np.arange(steps + 1)
    places = np.zeros((steps + 1, agents, 2), np.float32)
    places[..., 0] = np.arange(agents) % size
    places[..., 1] = (state % size)[:, None]
    alive = np.ones((steps + 1, agents), bool)
    alive[4:, 1] = False
    rows = [
        (step, number, sender, receiver)
        for step in range(steps)
        for number in (0, 1)
        for sender in range(agents)
        for receiver in range(agents)
        if sender != receiver and not (step == 0 and number == 0)
    ]
    heard = np.array([row for row in rows if row[1:] != (0, 0, 1)], np.int64).reshape(-1, 4)
    sent = heard[:, 0] - (heard[:, 1] == 0)
    chances = np.full((steps, agents, 4), 0.25, np.float32)
    chances[0, 0] = (0.5, 0.25, 0.125, 0.125)
    made = Episode(
        env="by_hand",
        config="{}",
        seed=2**62,
        size=(size, size),
        success=True,
        attention=True,
        agents=places,
        finished=np.zeros((steps + 1, agents), bool),
        alive=alive,
        actions=np.tile(np.arange(agents), (steps, 1)).astype(np.int64) % 4,
        rewards=np.where(np.arange(steps)[:, None] == 4, 1.0, np.zeros((steps, agents))).astype(np.float32),
        messages=heard,
        weight=rng.dirichlet(np.ones(8), (len(heard) + 7) // 8).astype(np.float32).ravel()[: len(heard)],
        entities={"prey": np.full((steps + 1, 1, 2), 4, np.float32)},
        active={"prey": (state < 5)[:, None]},
        sent=sent,
        contents=np.stack([heard[:, 2], -sent], 1).astype(np.float32),
        symbols=heard[:, 2:3] + 7,
        observations=rng.normal(size=(steps, agents, 6)).astype(np.float16),
        chances=chances,
        values=rng.normal(size=(steps, agents)).astype(np.float32),
        spoke=np.ones((steps, 2, agents), bool),
        bits=np.full((steps, 2, agents), 8, np.float32),
        lost=np.array([(step, 0, 0, 1) for step in range(1, steps)], np.int64).reshape(-1, 4),
        action_names=("north", "east", "south", "west"),
        title="by hand",
    )
    return replace(made, **changes)


def hostile() -> Episode:
    """Every text of it would like to be markup."""
    plain = episode()
    names = tuple(f"{HOSTILE}{number}" for number in range(4))
    return replace(
        plain,
        env=HOSTILE,
        title=HOSTILE,
        config=HOSTILE,
        action_names=names,
        entities={HOSTILE: plain.entities["prey"]},
        active={HOSTILE: plain.active["prey"]},
        marks={HOSTILE: np.ones((plain.length + 1, 3), np.int64)},
        left_out=(HOSTILE,),
    )
