"""A world without memory: what a team sees is a function of episode and step, so a loop can go on anywhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gnncomm import MultiAgentLearner, random

Shows = Callable[[int, int], dict[str, Any]]
LENGTHS = (5, 3, 7, 4)


def observation(episode: int, step: int, agents: int = 4) -> Tensor:
    return random.normal(7, episode, step, torch.arange(agents).unsqueeze(-1), torch.arange(3))


def places(episode: int, step: int) -> dict[str, Any]:
    return {"positions": random.normal(8, episode, step, torch.arange(4).unsqueeze(-1), torch.arange(2))}


def masks(episode: int, step: int) -> dict[str, Any]:
    allowed = random.uniform(9, episode, step, torch.arange(4).unsqueeze(-1), torch.arange(5)) < 0.6
    allowed[:, step % 5] = True
    return {"action_mask": allowed}


def lives(episode: int, step: int) -> dict[str, Any]:
    """One agent dies at step 2 of each episode, and another is there again at step 4."""
    alive = torch.ones(4, dtype=torch.bool)
    alive[episode % 4] = step < 2
    alive[(episode + 1) % 4] = step not in (2, 3)
    return {"alive": alive}


def nothing(episode: int, step: int) -> dict[str, Any]:
    return {}


def moments(start: int, count: int) -> list[tuple[int, int, bool]]:
    """Episode, step and whether it is the last, from step ``start`` of the loop on."""
    every: list[tuple[int, int, bool]] = []
    episode = 0
    while len(every) < start + count:
        length = LENGTHS[episode % len(LENGTHS)]
        every += [(episode, step, step == length - 1) for step in range(length)]
        episode += 1
    return every[start : start + count]


def play(team: MultiAgentLearner, start: int, count: int, shows: Shows = nothing) -> list[Any]:
    """The loop; rewards are a function of the actions, every second end is a truncation."""
    chosen = []
    for episode, step, last in moments(start, count):
        action = team.step(observation(episode, step), **shows(episode, step))
        chosen.append(action.tolist())
        rewards = action.float().reshape(4, -1).sum(-1) * (1 if step % 2 else -1)
        after = {"observations": observation(episode, step + 1)} if last and episode % 2 else {}
        if after and "positions" in shows(episode, step):
            after["positions"] = shows(episode, step + 1)["positions"]
        team.update(rewards, done=last, truncated=last and episode % 2 == 1, **after)
    return chosen
