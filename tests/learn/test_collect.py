"""What stands at (t, b) of a rollout belongs to step t of environment b, and what stands beside it, too."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.learn import Rollout, Step, begin, collect
from gnncomm.learn.outline import _Held
from gnncomm.policy import GRU, CommPolicy
from gnncomm.types import TimeStep, stack

CUT, END, ON = 0, 1, 2
"""Environments: truncated after 2 steps, terminated after 3, never ends."""


def rollout_of(counter: tuple[Any, Any], length: int) -> Rollout:
    env, policy = counter
    carry, tally = begin(env, policy, 0)
    return collect(env, policy, carry, length, 0, tally)[0]


def of(x: Tensor, env: int) -> list[float]:
    """The numbers of agent 0 in one environment, over time."""
    assert x[..., 0].equal(x[..., 1])
    found: list[float] = x[:, env, 0].tolist()
    return found


def test_rewards_belong_to_the_observation_they_were_earned_from(counter: tuple[Any, Any]) -> None:
    rollout = rollout_of(counter, 7)
    seen = rollout.timestep.obs[..., 0]  # type: ignore[index]
    assert of(seen, CUT) == [0, 1, 100, 101, 200, 201, 300]
    assert of(seen, END) == [1000, 1001, 1002, 1100, 1101, 1102, 1200]
    assert rollout.reward.equal(seen + 0.5)
    assert of(rollout.value, CUT) == [0, 1.25, 100, 101.25, 200, 201.25, 300], "what is seen and what is remembered"
    assert rollout.log_prob.equal(-seen)


def test_a_truncation_looks_at_the_observation_before_the_reset_and_remembers(counter: tuple[Any, Any]) -> None:
    """Two steps are remembered then: the memory of the step that was cut, not that of the step before."""
    rollout = rollout_of(counter, 7)
    assert of(rollout.next_value, CUT) == [1.25, 2.5, 101.25, 102.5, 201.25, 202.5, 301.25]
    assert of(rollout.discount, CUT) == [1] * 7
    assert rollout.done[:, CUT].tolist() == [False, True, False, True, False, True, False]


def test_a_truncation_at_the_very_end_of_a_rollout(counter: tuple[Any, Any]) -> None:
    rollout = rollout_of(counter, 4)
    assert of(rollout.next_value, CUT) == [1.25, 2.5, 101.25, 102.5]


def test_a_termination_has_no_discount_and_the_last_step_looks_ahead(counter: tuple[Any, Any]) -> None:
    rollout = rollout_of(counter, 7)
    assert of(rollout.discount, END) == [1, 1, 0, 1, 1, 0, 1]
    assert rollout.done[:, END].tolist() == [False, False, True, False, False, True, False]
    assert of(rollout.next_value, ON) == [2001.25, 2002.5, 2003.75, 2005, 2006.25, 2007.5, 2008.75]
    assert rollout.timestep.first[:, END].tolist() == [True, False, False, True, False, False, True]
    assert rollout.timestep.first[:, ON].tolist() == [True] + [False] * 6


def test_two_short_rollouts_are_one_long_one(counter: tuple[Any, Any]) -> None:
    whole = rollout_of(counter, 9)
    env, policy = counter
    carry, tally = begin(env, policy, 0)
    first, carry = collect(env, policy, carry, 4, 0, tally)
    second, _ = collect(env, policy, carry, 5, 0, tally)
    for name in ("action", "log_prob", "value", "reward", "discount", "done", "next_value"):
        assert torch.cat([getattr(first, name), getattr(second, name)]).equal(getattr(whole, name)), name
    assert first.state.memory.eq(0).all()
    # steps that the running episodes have seen: 2 (just ended), 1 (its second episode), 4
    assert second.state.memory[..., 0].tolist() == [[2, 2], [1, 1], [4, 4]]


def test_tally_counts_whole_episodes_across_rollouts(counter: tuple[Any, Any]) -> None:
    env, policy = counter
    carry, tally = begin(env, policy, 0)
    _, carry = collect(env, policy, carry, 2, 0, tally)
    first = tally.flush()
    said = (0 + 1 + 1000 + 1001 + 2000 + 2001) / 6
    whole = {"episodes": 1.0, "return": 0.5 + 1.5, "length": 2.0, "success": 0.0}
    talk = {"edges_per_step": 1.0, "gates_open": 3 / 4}
    assert first == whole | talk | {"bits_per_agent_step": said}
    collect(env, policy, carry, 1, 0, tally)
    second = tally.flush()
    said = (100 + 1002 + 2002) / 3
    whole = {"episodes": 1.0, "return": 1000.5 + 1001.5 + 1002.5, "length": 3.0, "success": 1.0}
    assert second == whole | talk | {"bits_per_agent_step": pytest.approx(said)}
    assert tally.running_return.tolist() == [100.5, 0.0, 2000.5 + 2001.5 + 2002.5]
    nothing = tally.flush()
    assert nothing["episodes"] == 0
    assert nothing["return"] != nothing["return"], "no episode ended: not a number, not zero"


@pytest.mark.parametrize("length", [1, 6])
def test_the_carry_is_what_comes_next(counter: tuple[Any, Any], length: int) -> None:
    env, policy = counter
    carry, tally = begin(env, policy, 0)
    _, carry = collect(env, policy, carry, length, 0, tally)
    assert carry.timestep.obs.equal(env.timestep().obs)  # type: ignore[union-attr]
    assert not carry.timestep.done.any()


def test_collecting_keeps_what_is_needed_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it plays, a step holds the numbers of its rollout alone: no rows, messages or graphs of a round.

    A whole decision of this policy holds 131 times as much beside the observations.
    """
    env = envs.make("predator_prey", num_envs=16, observation="sparse", num_agents=8, dim=10, max_steps=40)
    policy = CommPolicy(env.obs_dim, env.num_actions, CommStack([AttentionComm(64, 64)] * 2), GRU(64))
    carry, tally = begin(env, policy, 0)
    seen: list[Step] = []

    def watched(steps: list[Step]) -> Step:
        seen.extend(steps)
        return stack(steps)

    monkeypatch.setattr("gnncomm.learn.rollout.stack", watched)
    collect(env, policy, carry, 3, 0, tally)
    for step in seen:
        tensors = [value for name, value in step.tensors().items() if not name.startswith("timestep.")]
        storages = {value.untyped_storage().data_ptr(): value.untyped_storage().nbytes() for value in tensors}
        needed = sum(value.numel() * value.element_size() for value in tensors)
        assert needed > 0
        assert sum(storages.values()) <= 2 * needed
        assert {type(value) for value in vars(step).values()} == {torch.Tensor, TimeStep}


def test_a_step_leaves_no_more_than_the_rollout_keeps() -> None:
    """The state of a team is three times as large as a step: it is kept where somebody asks for it."""
    env = envs.make("predator_prey", num_envs=8, num_agents=8, max_steps=40)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(64, 64), GRU(64))
    carry, tally = begin(env, policy, 0)
    peak, size = {}, 0.0
    for length in (4, 12):
        with _Held() as held:
            rollout, _ = collect(env, policy, carry, length, 0, tally)
        peak[length] = held.most
        kept = [value for name, value in rollout.tensors().items() if not name.startswith("state")]
        size = sum(value.numel() * value.element_size() for value in kept) / length
    state = carry.state.memory.numel() * carry.state.memory.element_size()
    assert (peak[12] - peak[4]) / 8 < 2 * size + 0.1 * state  # each step, and their stack
