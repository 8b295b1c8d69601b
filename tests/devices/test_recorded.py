"""Rollouts and updates as graphs give the bits that they give without: on a tape that stands in for CUDA's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from device_tape import record

from gnncomm.errors import ConfigError
from gnncomm.host import quiet
from gnncomm.learn import TrainConfig, Training
from gnncomm.learn.graphs import Recorded
from gnncomm.saved import fingerprint

H = 8
SMALL: dict[str, Any] = {"num_envs": 4, "rollout": 3, "steps": 4 * 3 * 8, "hidden": H}
PPO = {"epochs": 1, "minibatches": 2, "entropy": 0.1}
KINDS: dict[str, dict[str, Any]] = {
    "gru, attention": {"env": "predator_prey", "env_settings": {"max_steps": 4}},
    "gates, lstm, deaths": {"env": "foraging", "scheduler": "gate", "memory": "lstm", "algo": "mappo"},
    "values": {"env": "relay", "learner": "pqn:mixer=qmix,epochs=1,minibatches=1,epsilon_steps=70,optimizer=adam"},
    "a replay": {
        "env": "relay",
        "learner": "vdn:buffer=6,batch=2,gradient_steps=2,target_every_gradient_steps=3,epsilon_steps=70,"
        "lr_schedule=linear,optimizer=adam",
    },
    "actors climb a critic": {"env": "relay", "learner": "maddpg:buffer=6,batch=2,gradient_steps=1,lr_schedule=linear"},
}


def begun(**settings: Any) -> Training:
    return Training.of(TrainConfig.of(**{"learner": PPO} | SMALL | settings))


def equal(mine: Training, theirs: Training) -> None:
    found, _ = theirs.state()
    for group, tensors in mine.state()[0].items():
        for name, value in tensors.items():
            assert found[group][name].equal(value), f"{group}: {name}"


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_bits(kind: str) -> None:
    """Updates in which lr and entropy fall and minibatches are drawn anew; the last two are replayed."""
    with quiet():
        plain, graphs = begun(**KINDS[kind]), begun(**KINDS[kind])
        graphs.record(record)
        for number in range(5):
            mine, theirs = plain.advance(), graphs.advance()
            assert theirs == pytest.approx(mine, rel=0, abs=0, nan_ok=True), number
            equal(plain, graphs)
    assert graphs.graphs == {"rollout": "recorded", "update": "recorded"}
    assert theirs["lr"] < mine["lr"] + 1e-12 < 1e-3


def test_a_rollout_outlives_the_next() -> None:
    with quiet():
        training = begun(**KINDS["gru, attention"])
        training.record(record)
        for _ in range(3):
            kept = training.collect()
        before = kept.timestep.obs.value.clone(), kept.log_prob.clone()
        training.collect()
    assert kept.timestep.obs.value.equal(before[0])
    assert kept.log_prob.equal(before[1])


def test_what_changed_is_recorded_anew() -> None:
    """A curriculum's new tables and a restored optimiser are not what a graph holds."""
    curriculum = {"env.curriculum": {"add_rate": "jump:before=0.1,after=0.9,at=0.5"}}
    with quiet():
        plain, graphs = (begun(env="traffic_junction", **curriculum) for _ in range(2))
        graphs.record(record)
        seen = []
        for _ in range(8):
            plain.advance()
            graphs.advance()
            seen.append(graphs.graphs["rollout"])
            equal(plain, graphs)
        assert seen == ["not yet"] * 2 + ["recorded"] * 2 + ["not yet"] * 2 + ["recorded"] * 2
        groups, counters = graphs.state()
        groups = {name: {key: value.clone() for key, value in group.items()} for name, group in groups.items()}
        graphs.restore(groups, counters)
        assert graphs.graphs == {"rollout": "not yet", "update": "not yet"}
        equal(plain, graphs)


def test_what_asks_is_named_and_runs_as_it_is() -> None:
    with quiet():
        plain, graphs = (begun(env="predator_prey", comm="gat") for _ in range(2))
        graphs.record(record)
        for _ in range(4):
            plain.advance()
            graphs.advance()
        equal(plain, graphs)
    assert all(
        reason.startswith("where something is true") and "views.py" in reason for reason in graphs.graphs.values()
    )


def test_nan_is_found_after_the_work_and_nothing_is_learned() -> None:
    with quiet():
        training = begun(**KINDS["gru, attention"])
        training.record(record)
        for _ in range(4):
            training.advance()
        before = {name: value.clone() for name, value in training.policy.state_dict().items()}
        rollout = training.collect()
        rollout.reward[1, 2, 0] = torch.nan
        with pytest.raises(Exception, match=r"finite reward of agent 0 in environment 2 at step 1"):
            training.learner.update(rollout)
        assert all(value.equal(before[name]) for name, value in training.policy.state_dict().items())
        with torch.no_grad():
            training.policy.actor.bias[1] = torch.inf
        with pytest.raises(Exception, match=r"The weight 'actor\.bias' holds NaN or infinity"):
            training.collect()


def test_precision_is_that_of_the_products_and_of_nothing_else() -> None:
    seen = []
    training = begun(env="predator_prey", precision="bf16")
    outside = torch.get_float32_matmul_precision()
    act = training.policy.act
    training.policy.act = lambda *told: (seen.append(torch.get_float32_matmul_precision()), act(*told))[1]
    training.policy.unroll = lambda *told, unroll=training.policy.unroll: (
        seen.append(torch.get_float32_matmul_precision()),
        unroll(*told),
    )[1]
    training.advance()
    assert set(seen) == {"medium"}
    assert torch.get_float32_matmul_precision() == outside
    with pytest.raises(ConfigError, match=r"run\.precision: .* 'cpu' .* got 'tf32'"):
        TrainConfig.of(precision="tf32")


def test_graphs_are_no_part_of_what_a_run_is() -> None:
    config = TrainConfig.of(env="relay")
    assert fingerprint(config) == fingerprint(config.replace(graphs="off"))
    assert fingerprint(config) != fingerprint(config.replace(precision="bf16"))


def test_results_that_are_inputs_are_copied() -> None:
    """What is handed on as it came is overwritten with the next call's otherwise."""
    swap: Recorded[tuple[torch.Tensor, torch.Tensor]] = Recorded(lambda pair: (pair[1] + 1, pair[0]), record)
    pair, seen = (torch.zeros(1), torch.ones(1)), []
    for _ in range(6):
        pair = swap(pair)
        seen.append([float(number) for number in pair])
    assert seen == [[2, 0], [1, 2], [3, 1], [2, 3], [4, 2], [3, 4]]
    assert swap.recorded
    other = swap((torch.zeros(2), torch.ones(2)))
    assert not swap.recorded, "other shapes are another graph"
    assert other[0].tolist() == [2, 2]
