"""Schedulers by name, in a policy, from a configuration and on the command line."""

from __future__ import annotations

import pytest
import torch

import gnncomm
from gnncomm import envs, schedule
from gnncomm.errors import ConfigError
from gnncomm.layers import MeanComm
from gnncomm.learn import TrainConfig
from gnncomm.learn.build import build_policy
from gnncomm.policy import CommPolicy, Memory
from gnncomm.registry.describe import first_line
from gnncomm.schedule import Always, EventTriggered, Gate, LearnedStatic, TopK
from gnncomm.wire import Wire


def test_sizes_come_from_the_policy_or_from_the_text() -> None:
    gate = schedule.resolve("gate:price=0.5,two_way=true", in_channels=7, num_agents=3)
    assert isinstance(gate, Gate)
    assert (gate.in_channels, gate.price, gate.two_way, gate.delayed) == (7, 0.5, True, False)
    static = schedule.resolve("commformer:k=2", 7, 4)
    assert isinstance(static, LearnedStatic)
    assert (static.num_agents, static.k) == (4, 2)
    top = gnncomm.schedule.resolve("schednet:in_channels=5,k=3")
    assert isinstance(top, TopK)
    assert (top.in_channels, top.k) == (5, 3)
    assert isinstance(schedule.resolve("event:delta=0.5", 7, 4), EventTriggered)


@pytest.mark.parametrize("name", schedule.names())
def test_a_text_builds_what_it_was_written_from(name: str) -> None:
    made = schedule.resolve(name, 8, 3)
    again = schedule.resolve(schedule.spec_of(made))
    assert type(again) is type(made)
    assert {key: value.shape for key, value in again.state_dict().items()} == {
        key: value.shape for key, value in made.state_dict().items()
    }
    assert first_line(type(made)).endswith(".")
    assert len(first_line(type(made))) < 120


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("gat", "gate"),
        ("gate", "in_channels"),
        ("gate:prize=1,in_channels=4", "price"),
        ("top_k:k=x,in_channels=4", "k=4"),
    ],
)
def test_bad_names_are_refused_with_a_hint(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        schedule.resolve(text)


@pytest.mark.parametrize("name", schedule.names())
def test_a_configuration_names_its_scheduler(name: str) -> None:
    env = envs.make("predator_prey", num_envs=2)
    config = TrainConfig.of(env="predator_prey", comm="mean", scheduler=name, hidden=8, num_envs=4)
    policy = build_policy(config, env)
    assert type(policy.scheduler) is schedule.listing()[name]
    decision = policy.act(env.reset(seed=0), policy.initial_state(2, 3), 0)
    assert decision.logits.isfinite().all()


def test_rows_of_another_width_are_refused() -> None:
    with pytest.raises(ConfigError, match="in_channels=8"):
        CommPolicy(4, 2, MeanComm(8, 8), Memory(8), wire=Wire(scheduler=Gate(9)))
    assert Always().in_channels is None


def test_weights_follow_the_seed() -> None:
    env = envs.make("predator_prey", num_envs=2)
    weights = []
    for seed in (0, 0, 1):
        config = TrainConfig.of(env="predator_prey", scheduler="gate", hidden=8, num_envs=4, seed=seed)
        weights.append(build_policy(config, env).scheduler.lin.weight)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
