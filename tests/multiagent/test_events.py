"""Deaths, cuts, masks and shared rewards: what the learner learns from, by numbers worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gnncomm import MultiAgentLearner
from gnncomm.errors import ActionMaskError, DtypeError, NonFiniteError, ShapeError
from gnncomm.learn import Rollout

from .worlds import observation

Watch = Callable[..., tuple[MultiAgentLearner, list[Rollout]]]


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watch:
    """A team of three, and the rollouts that it is given to learn from."""

    def made(**changes: Any) -> tuple[MultiAgentLearner, list[Rollout]]:
        settings = {"num_agents": 3, "state_dim": 3, "action_dim": 4, "hidden": 8, "horizon": 4, "segment": 4}
        team, rollouts = MultiAgentLearner(**settings | changes), list[Rollout]()

        def keep(rollout: Rollout) -> dict[str, float]:
            rollouts.append(rollout)
            return {}

        monkeypatch.setattr(team.learner, "update", keep)
        return team, rollouts

    return made


def test_who_dies_has_had_its_return(watched: Watch) -> None:
    """Agent 1 acts in steps 0 and 1 and is dead in 2 and 3; the next episode has all three again."""
    team, rollouts = watched()
    for step in range(4):
        obs = observation(0, step, 3)
        alive = [True, step < 2, True]
        if step >= 2:
            obs[1] = float("nan")
        team.step(obs, alive=alive)
        team.update([1.0, 2.0 if step < 2 else float("nan"), 3.0], done=step == 3)
    team.step(observation(1, 0, 3))
    (rollout,) = rollouts
    assert rollout.timestep.alive[:, 0].tolist() == [[True, True, True]] * 2 + [[True, False, True]] * 2
    assert rollout.discount[:, 0].tolist() == [[1, 1, 1], [1, 0, 1], [1, 1, 1], [0, 0, 0]]
    assert rollout.paid[:, 0].tolist() == [[True] * 3] * 2 + [[True, False, True]] * 2
    assert rollout.reward[:, 0].tolist() == [[1, 2, 3], [1, 2, 3], [1, 0, 3], [1, 0, 3]]
    assert not rollout.timestep.entered.any()
    rollout.require_finite()


def test_who_comes_alive_believes_nothing(watched: Watch) -> None:
    team, rollouts = watched()
    agents = []
    for step in range(5):
        team.step(observation(0, step, 3), alive=[True, step != 1, True], entered=[False, False, step == 3])
        agents.append([agent.beliefs.clone() for agent in team.agents])
        team.update(0.0)
    (rollout,) = rollouts
    assert rollout.timestep.entered[:, 0].tolist() == [
        [False] * 3,
        [False] * 3,
        [False, True, False],
        [False, False, True],
    ]
    assert rollout.discount[:, 0].tolist() == [[1, 0, 1], [1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert rollout.paid[1, 0].tolist() == [True, True, True], "who came with the step is paid for it"


def test_a_cut_return_goes_on_from_the_last_observation(watched: Watch) -> None:
    """Step 1 ends by the clock, step 3 by the rules: V of the last observation, and 0."""
    team, rollouts = watched(comm="mean")
    last = observation(9, 9, 3)
    for step in range(4):
        team.step(observation(step // 2, step % 2, 3))
        cut = {"truncated": True, "observations": last} if step == 1 else {}
        team.update([0.0, 1.0, 2.0], done=step in (1, 3), **cut)
    team.step(observation(2, 0, 3))
    (rollout,) = rollouts
    assert rollout.discount[:, 0].tolist() == [[1, 1, 1], [1, 1, 1], [1, 1, 1], [0, 0, 0]]
    assert rollout.done[:, 0].tolist() == [False, True, False, True]
    assert rollout.next_value[0].equal(rollout.value[1])
    twin = MultiAgentLearner(3, 3, 4, hidden=8, horizon=8, segment=4, comm="mean")
    for step in range(2):
        twin.step(observation(0, step, 3))
        twin.update(0.0)
    twin.step(last)  # as if the episode had gone on
    assert twin._open is not None
    torch.testing.assert_close(rollout.next_value[1], twin._open[0].value, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(rollout.next_value[1], rollout.value[2])


def test_a_cut_without_an_observation_expects_what_was_expected(watched: Watch) -> None:
    team, rollouts = watched()
    for step in range(4):
        team.step(observation(0, step, 3))
        team.update(1.0, truncated=step == 2)
    team.step(observation(0, 4, 3))
    (rollout,) = rollouts
    assert rollout.next_value[2].equal(rollout.value[2])
    assert rollout.done[:, 0].tolist() == [False, False, True, False]
    assert rollout.discount.all()
    assert rollout.timestep.first[:, 0].tolist() == [True, False, False, True]
    assert rollout.reward.unique().tolist() == [1.0]


@pytest.mark.parametrize("reward", [2, 2.0, torch.tensor(2.0), np.float64(2.0), np.array(2.0), [2.0] * 3])
def test_one_reward_for_all(watched: Watch, reward: Any) -> None:
    team, _ = watched()
    team.step(torch.zeros(3, 3))
    team.update(reward)
    assert team._past.seen[0].step.reward.tolist() == [[2.0, 2.0, 2.0]]


def test_masks_given_now_and_then(watched: Watch) -> None:
    """Each agent has one allowed action in step 1; where no mask is given everything is allowed."""
    team, rollouts = watched()
    only = torch.eye(4, dtype=torch.bool)[[2, 0, 3]]
    for step in range(5):
        action = team.step(observation(0, step, 3), action_mask=only.numpy() if step == 1 else None)
        assert step != 1 or action.tolist() == [2, 0, 3]
        team.update(0.0)
    (rollout,) = rollouts
    assert rollout.timestep.action_mask is not None
    assert rollout.timestep.action_mask[:, 0].sum(-1).tolist() == [[4] * 3, [1] * 3, [4] * 3, [4] * 3]
    assert rollout.log_prob[1].tolist() == [[0.0, 0.0, 0.0]], "the only choice is certain"


def test_positions_are_read_by_the_topology() -> None:
    """Agents 0 and 1 stand together, 2 apart: what 2 sees reaches nobody, what 1 sees reaches 0 a step later."""
    beliefs = []
    for touched in (None, 1, 2):
        team = MultiAgentLearner(3, 3, 4, hidden=8, topology="radius:r=1")
        for step in range(2):
            obs = observation(0, step, 3)
            if step == 0 and touched is not None:
                obs[touched] += 5.0
            team.step(obs, positions=[[0, 0], [0, 1], [9, 9]])
            team.update(0.0)
        beliefs.append([agent.beliefs.clone() for agent in team.agents])
    changed = [[not a.equal(b) for a, b in zip(beliefs[0], other, strict=True)] for other in beliefs[1:]]
    assert changed == [[True, True, False], [False, False, True]]


def test_bad_input_is_refused_and_changes_nothing(watched: Watch) -> None:
    team, _ = watched(topology="radius:r=1")
    obs, pos = torch.zeros(3, 3), torch.zeros(3, 2)
    bad: list[tuple[type[Exception], str, dict[str, Any]]] = [
        (ShapeError, "alive", {"alive": [True] * 2}),
        (DtypeError, "bool", {"alive": [1, 0, 1]}),
        (ShapeError, "action_mask", {"action_mask": torch.ones(3, 3, dtype=torch.bool)}),
        (ActionMaskError, "no allowed action", {"action_mask": torch.zeros(3, 4, dtype=torch.bool)}),
        (ShapeError, "positions", {"positions": torch.zeros(2, 2)}),
        (ShapeError, "alive", {"alive": [[True], [True, False], []]}),
    ]
    for error, words, shown in bad:
        with pytest.raises(error, match=words):
            team.step(obs, **{"positions": pos} | shown)
    with pytest.raises(NonFiniteError, match="Agent 1"):
        team.step([[0.0] * 3, [float("inf")] * 3, [0.0] * 3], pos)
    team.step(obs, pos)
    team.update(0.0)
    with pytest.raises(ShapeError, match="all steps, or in none"):
        team.step(obs)
    with pytest.raises(ShapeError, match="P=2"):
        team.step(obs, torch.zeros(3, 3))
    team.step(obs, pos)
    with pytest.raises(ShapeError, match="all steps, or in none"):
        team.update(0.0, truncated=True, observations=obs)
    with pytest.raises(NonFiniteError):
        team.update(float("nan"))
    team.update(0.0, truncated=True, observations=obs, positions=pos)
    assert team.steps == 2
