"""Values of a team whose gates are sampled: those of the team that acts, not of a greedy one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm import TrainConfig, envs, load, train
from gnncomm.errors import CheckpointMismatchError, NonFiniteError
from gnncomm.layers import MeanComm
from gnncomm.learn import Training, begin, collect
from gnncomm.policy import LSTM, CommPolicy
from gnncomm.schedule import Always, Gate
from gnncomm.wire import Wire

Setup = Callable[..., Any]
GATED = {"scheduler": "gate", "comm": "mean", "integration": "previous", "memory": "lstm"}


@pytest.mark.parametrize("algo", ["ippo", "mappo"])
def test_what_is_expected_at_the_end_of_a_rollout_is_what_the_team_expects_when_it_plays_on(
    setup: Setup, algo: str
) -> None:
    """The greedy gate expects something else, so a draw without the key would show."""
    made = setup(algo=algo, num_envs=8, env_settings={"max_steps": 50}, **GATED)
    policy, env = made.learner.policy, envs.make("predator_prey", num_envs=8, observation="sparse", max_steps=50)
    with torch.no_grad():
        policy.comm.layers[0].lin_inbox.weight.mul_(10)  # what is heard matters
    carry, tally = begin(env, policy, 0)
    first, carry = collect(env, policy, carry, 6, 0, tally)
    greedy = policy.value(carry.timestep, carry.state)
    second, _ = collect(env, policy, carry, 1, 0, tally)
    running = ~first.done[-1]
    assert running.any()
    torch.testing.assert_close(first.next_value[-1][running], second.value[0][running], rtol=0, atol=1e-6)
    assert (greedy - second.value[0])[running].abs().max() > 1e-3


def test_a_truncation_expects_what_the_team_that_acts_would(setup: Setup) -> None:
    """The episode is cut by its limit: the same one without the limit tells what the team expects there."""
    short, long = ({"max_steps": 3}, {"max_steps": 50})
    made = setup(num_envs=8, env_settings=long, **GATED)
    policy = made.learner.policy
    with torch.no_grad():
        policy.comm.layers[0].lin_inbox.weight.mul_(10)
    found = []
    for settings in (short, long):
        env = envs.make("predator_prey", num_envs=8, observation="sparse", **settings)
        carry, tally = begin(env, policy, 0)
        found.append(collect(env, policy, carry, 3, 0, tally)[0])
    cut, whole = found
    assert cut.done[-1].all()
    on = ~whole.done[-1]
    assert on.any()
    torch.testing.assert_close(cut.next_value[-1][on], whole.next_value[-1][on], rtol=0, atol=1e-6)


def test_a_policy_that_samples_nothing_has_no_baselines() -> None:
    """Same parameters, in the same order, as ever: old checkpoints fit."""
    plain = CommPolicy(5, 3, MeanComm(4, 4), LSTM(4), wire=Wire(scheduler=Always()))
    assert not [name for name, _ in plain.named_parameters() if "baseline" in name]
    gated = CommPolicy(5, 3, MeanComm(4, 4), LSTM(4), wire=Wire(scheduler=Gate(4)))
    assert [name for name in gated.state_dict() if name not in plain.state_dict()] == [
        "scheduler.lin.weight", "scheduler.lin.bias",
        *(f"baselines.0.net.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")),
    ]  # fmt: skip
    assert len(plain.with_wire(gated.wire).baselines) == 1, "who begins to sample gets what it is judged by"


def test_baselines_teach_nothing_but_themselves(setup: Setup) -> None:
    made = setup(algo="mappo", **GATED)
    policy, rollout = made.learner.policy, made.rollout
    now = policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
    now.baseline.square().sum().backward()
    moved = {name for name, p in policy.named_parameters() if p.grad is not None and bool(p.grad.any())}
    assert moved == {name for name, _ in policy.named_parameters() if name.startswith("baselines")}


@pytest.mark.parametrize("name", ["baseline", "choice_log_prob"])
def test_numbers_of_choices_that_are_none_are_named(setup: Setup, name: str) -> None:
    made = setup(**GATED)
    spoilt = getattr(made.rollout, name).clone()
    spoilt[2, 1, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=f"{name} of agent 0 in environment 1 at step 2 of the rollout, round 0"):
        made.learner.update(replace(made.rollout, **{name: spoilt}))
    alive = made.rollout.timestep.alive.clone()
    alive[2, 1, 0] = False
    now = replace(made.rollout.timestep, alive=alive)
    metrics = made.learner.update(replace(made.rollout, **{name: spoilt}, timestep=now))
    assert all(number == number for number in metrics.values()), "rows of the dead may hold anything"


def test_gated_runs_from_before_the_baselines_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their critics judged gates by what the gates had done: nothing that one would go on with in silence."""
    config = TrainConfig.of(env="relay", num_envs=4, rollout=2, hidden=4, steps=8, scheduler="gate", comm="mean")
    state = Training.state

    def as_before(self: Training) -> Any:
        groups, counters = state(self)
        model = {name: value for name, value in groups["model"].items() if not name.startswith("baselines")}
        return groups | {"model": model}, counters

    monkeypatch.setattr(Training, "state", as_before)
    train(config, tmp_path / "old")
    monkeypatch.undo()
    for again in (lambda: load(tmp_path / "old"), lambda: train(config, tmp_path / "old", resume=True)):
        with pytest.raises(CheckpointMismatchError, match=r"missing 'baselines\.0\.net\.0\.weight'"):
            again()
