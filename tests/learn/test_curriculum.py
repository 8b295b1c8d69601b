"""Curricula: hand-computed values, what is in force when, and settings that cannot change."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from gnncomm.envs.relay import Relay

from gnncomm.errors import ConfigError
from gnncomm.learn import PPOConfig, TrainConfig, Training
from gnncomm.learn.curriculum import Curriculum, Jump, Linear, names, resolve, spec_of
from gnncomm.run import train
from gnncomm.types import TimeStep


class Quiet(Relay):
    """A relay whose line may be switched off; the number of symbols stays."""

    adjustable: ClassVar[tuple[str, ...]] = ("seen",)


def test_linear_by_hand() -> None:
    line = Linear(0.1, 0.3, begin=0.25, finish=0.75)
    assert [line.value(share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)] == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.3])
    stairs = Linear(0.1, 0.3, step=0.05)
    assert [stairs.value(share) for share in (0.0, 0.24, 0.25, 0.49, 0.5, 0.99, 1.0)] == pytest.approx(
        [0.1, 0.1, 0.15, 0.15, 0.2, 0.25, 0.3]
    )
    down = Linear(10, 4, step=3)
    assert [down.value(share) for share in (0.0, 0.49, 0.5, 1.0)] == [10, 10, 7, 4]


def test_switch_by_hand() -> None:
    assert [Jump(1, 5, at=0.5).value(share) for share in (0.0, 0.499, 0.5, 1.0)] == [1, 1, 5, 5]


def test_text_and_object_are_the_same() -> None:
    assert names() == ["jump", "linear"]
    for curve in (Linear(0.1, 0.3, step=0.01), Jump(1.0, 2.0)):
        assert resolve(spec_of(curve)) == curve


@pytest.mark.parametrize(
    "spec",
    [
        "linear",
        "linear:start=0,end=1,begin=0.5,finish=0.5",
        "linear:start=0,end=1,finish=2",
        "linear:start=0,end=1,step=-1",
        "linear:start=nan,end=1",
        "linear:begin=0.1",
        "lineal:start=0,end=1",
        "jump:before=0,after=1,at=1.5",
        "3",
    ],
)
def test_what_is_no_schedule_is_refused(spec: str) -> None:
    with pytest.raises(ConfigError):
        resolve(spec)


def test_settings_that_cannot_change_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"curriculum: expected settings that relay can change .*'num_symbols'"):
        Curriculum({"num_symbols": "linear:start=2,end=4"}, Relay())
    with pytest.raises(ConfigError, match="adjust: expected one of"):
        Relay().adjust(num_symbols=3)


def test_adjusting_keeps_the_moment_and_refuses_without_a_trace() -> None:
    env, other = Quiet(num_envs=3, steps=3), Quiet(num_envs=3, steps=3)
    env.reset(seed=5), other.reset(seed=5)
    env.step(env.ceiling_action()), other.step(other.ceiling_action())
    env.adjust(seen="first")
    assert env.config["seen"] == "first"
    mine, theirs = env.step(env.ceiling_action()), other.step(other.ceiling_action())
    assert torch.equal(mine.reward, theirs.reward)
    assert torch.equal(mine.key, theirs.key)
    assert torch.equal(mine.step, theirs.step)
    assert isinstance(mine.obs, torch.Tensor)
    assert isinstance(theirs.obs, torch.Tensor)
    assert not bool(mine.obs[:, 0, : env.config["num_symbols"]].any())
    assert bool((theirs.obs[:, 0, : env.config["num_symbols"]].sum(-1) == 1).all())
    before = dict(env.config)
    with pytest.raises(ConfigError):
        env.adjust(seen="sometimes")
    assert env.config == before


class Counting:
    """A stand-in environment that notes what it is told."""

    id = "counting"
    adjustable = ("rate", "cars")

    def __init__(self) -> None:
        self.config: dict[str, Any] = {"rate": 0.0, "cars": 2}
        self.told: list[dict[str, Any]] = []

    def adjust(self, **settings: Any) -> None:
        self.config |= settings
        self.told.append(settings)


def test_an_environment_is_told_only_of_changes() -> None:
    env: Any = Counting()
    curriculum = Curriculum({"rate": "jump:before=0,after=0.5", "cars": "linear:start=2,end=6"}, env)
    for share in (0.0, 0.1, 0.3, 0.5, 0.5, 1.0):
        curriculum.apply(env, share)
    assert env.told == [
        {"rate": 0.0, "cars": 3},
        {"rate": 0.5, "cars": 4},
        {"rate": 0.5, "cars": 6},
    ]
    assert all(isinstance(told["cars"], int) for told in env.told)


def test_a_training_follows_its_curriculum_also_when_resumed(tmp_path: Path) -> None:
    config = TrainConfig.of(
        env="traffic_junction",
        curriculum={"add_rate": "linear:start=0.1,end=0.3"},
        num_envs=4,
        rollout=5,
        hidden=8,
        steps=4 * 5 * 4,
        learner=PPOConfig(minibatches=2, epochs=1),
    )
    seen = []
    whole = train(config, tmp_path / "whole", observer=lambda training, metrics: seen.append(metrics["add_rate"]))
    assert seen == pytest.approx([0.1, 0.15, 0.2, 0.25])
    count = iter(range(10))
    train(config, tmp_path / "half", stop=lambda: next(count) == 1)
    again = train(config, tmp_path / "half", resume=True)
    mine, theirs = again.state()[0], whole.state()[0]
    assert all(torch.equal(value, theirs[group][name]) for group in mine for name, value in mine[group].items())
    constant = config.replace(curriculum={})
    assert isinstance(Training.of(constant).carry.timestep, TimeStep)
