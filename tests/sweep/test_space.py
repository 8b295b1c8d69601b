"""What a sweep tries: read strictly, and refused before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gnncomm import default_config
from gnncomm.errors import ConfigError
from gnncomm.sweep import Plan, configured, read_space, space_of
from gnncomm.sweep.plan import begun

BASE = default_config("relay", num_envs=8, steps=64)


class Asked:
    """A trial that takes the largest, and remembers what it was asked."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def suggest_categorical(self, name: str, choices: tuple[Any, ...]) -> Any:
        self.said[name] = choices
        return choices[-1]

    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int:
        self.said[name] = (low, high, step, log)
        return high

    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float:
        self.said[name] = (low, high, step, log)
        return high


def test_keys_are_the_options_of_train(tmp_path: Path) -> None:
    file = tmp_path / "space.yaml"
    file.write_text(
        "learner.lr: {low: 1e-4, high: 1e-2, log: true}\ncomm: [attention, mean]\n"
        "num-envs: {low: 8, high: 24, step: 8}\n"
        "learner.gamma: {low: 0, high: 1}\npolicy.share-rounds: [true, false]\n"
    )
    asked = Asked()
    values = read_space(file, BASE).suggest(asked)
    assert asked.said == {
        "learner.lr": (1e-4, 1e-2, None, True),
        "policy.comm": ("attention", "mean"),
        "env.num_envs": (8, 24, 8, False),
        "learner.gamma": (0, 1, None, False),
        "policy.share_rounds": (True, False),
    }
    config = configured(BASE, values)
    assert (config.learner.lr, config.policy.comm, config.env.num_envs) == (1e-2, "mean", 24)  # type: ignore[attr-defined]  # PPO


def test_a_method_stands_for_its_parts_and_a_learner_for_what_suits_it() -> None:
    config = configured(BASE, {"policy.comm": "ic3net", "policy.hidden": 24})
    assert config.wire.scheduler.startswith("gate")
    assert config.policy.hidden == 24
    assert config.learner == BASE.learner, "trained as the sweep is"
    other = configured(BASE, {"learner": "reinforce", "learner.lr": 1e-3})
    assert (other.learner.name, other["learner.lr"]) == ("reinforce", 1e-3)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "expected settings with their values"),
        ({"learner.lrr": [1]}, "Did you mean 'lr'"),
        ({"lr": [1]}, "Expected a setting of a training"),
        ({"steps": [1, 2]}, "all of them share"),
        ({"seed": [1, 2]}, "all of them share"),
        ({"env_settings": [1]}, "all of them share"),
        ({"env": ["relay"]}, "all of them share"),
        ({"hidden": 3}, "a list, or an object with low and high"),
        ({"hidden": []}, "different plain values"),
        ({"hidden": [8, 8]}, "different plain values"),
        ({"hidden": [[8]]}, "different plain values"),
        ({"hidden": ["a"]}, "expected int"),
        ({"hidden": {"low": 4, "hi": 5}}, "Did you mean 'high'"),
        ({"hidden": {"low": 4, "high": 2}}, "low < high"),
        ({"hidden": {"low": 4, "high": True}}, "expected numbers for low"),
        ({"hidden": {"low": 0, "high": 4}}, "hidden must be"),
        ({"hidden": {"low": 0.5, "high": 4}}, "expected int"),
        ({"learner.lr": {"low": 0, "high": 1, "log": True}}, "above 0"),
        ({"learner.lr": {"low": 0.1, "high": 1, "log": True, "step": 0.1}}, "no step with log"),
        ({"learner.lr": {"low": 0.1, "high": 1, "step": 1e-300}}, "goes 1 to 1,000,000 times"),
        ({"hidden": [8], "policy.hidden": [16]}, "expected it once"),
    ],
    ids=str,
)
def test_what_is_no_space_is_refused_by_its_key(space: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        space_of(space, BASE)


def test_names_of_nothing_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policy.comm: 'atention': .* Did you mean 'attention'"):
        begun(tmp_path / "new", Plan(BASE, {"comm": ["mean", "atention"]}))
    assert not (tmp_path / "new").exists()


def test_a_sweep_goes_on_as_it_was_begun(tmp_path: Path) -> None:
    begun(tmp_path / "x", Plan(BASE, {"hidden": [8, 16]}))
    begun(tmp_path / "x", Plan(BASE, {"hidden": [8, 16]}))
    with pytest.raises(ConfigError, match=r"policy.rounds: 3 -> 2.*space: .*'hidden'.*seeds: 2 -> 3"):
        begun(tmp_path / "x", Plan(BASE.replace(rounds=2), {"hidden": [8]}, seeds=3))
    (tmp_path / "x" / "sweep.json").write_text('{"kind": "seeds"}')
    with pytest.raises(ConfigError, match="expected a sweep"):
        begun(tmp_path / "x", Plan(BASE, {"hidden": [8, 16]}))


def test_every_seed_of_a_trial_is_a_training_of_its_own() -> None:
    plan = Plan(BASE.replace(seed=5), {"hidden": [8, 16]}, episodes=30)
    config = plan.training({"policy.hidden": 16}, 1)
    assert (config.run.seed, config.policy.hidden, config.run.eval_every, config.run.eval_episodes) == (6, 16, 64, 30)
