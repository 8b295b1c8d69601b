"""A team as one agent of Gymnasium."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.vector import AutoresetMode

from gnncomm import environments
from gnncomm.errors import StateError
from gnncomm.integrations.team import TeamVectorEnv


def test_steps_are_our_own_and_what_ends_begins_anew() -> None:
    team, ours = TeamVectorEnv("relay", 4), environments.make("relay", 4)
    assert team.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
    seen, _ = team.reset(seed=3)
    now = ours.reset(seed=3)
    successes = 0
    for _ in range(6):
        assert np.array_equal(seen, now.obs)
        assert seen in team.observation_space
        action = now.obs[:, :1, :8].argmax(-1).expand(-1, 4).clone()  # everyone names the symbol
        action[0] = (action[0] + 1) % 8
        assert action.numpy() in team.action_space
        seen, reward, terminated, truncated, infos = team.step(action.numpy())
        after = ours.step(action)
        assert reward.tolist() == [0, 1, 1, 1]
        assert terminated.all()
        assert not truncated.any()
        assert infos["success"].tolist() == [False, True, True, True]
        assert np.array_equal(infos["final_obs"], after.obs)
        now = ours.reset(where=after.done)
        successes += int(infos["success"].sum())
    assert successes == 18


def test_the_dead_may_do_anything_and_are_not_paid() -> None:
    team = TeamVectorEnv("foraging", 2)
    _, infos = team.reset(seed=0)
    assert infos["action_mask"].any(-1).all()
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = np.array([[rng.choice(np.flatnonzero(row)) for row in rows] for rows in infos["action_mask"]])
        *_, infos = team.step(torch.tensor(action))


def test_nothing_before_the_first_reset() -> None:
    with pytest.raises(StateError, match="Call reset"):
        TeamVectorEnv("relay", 2).step(np.zeros((2, 4), int))
