"""Evaluations while training change nothing, find the best checkpoint, and end what is done; all of it resumes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs, random
from gnncomm.cli import main
from gnncomm.errors import CheckpointError, CheckpointMismatchError, ConfigError
from gnncomm.evaluation import Outcomes, Selection
from gnncomm.learn import TrainConfig, Training
from gnncomm.learn.config import RunConfig
from gnncomm.run import load, train
from gnncomm.store import RunDir

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]


def weights(training: Training) -> dict[str, Tensor]:
    return {f"{name}.{key}": value for name, group in training.state()[0].items() for key, value in group.items()}


def outcomes(success: list[bool], returned: float, length: int = 5) -> Outcomes:
    returns = torch.full((len(success),), returned, dtype=torch.float64)
    return Outcomes(returns, torch.full((len(success),), length), torch.tensor(success))


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Outcomes]], None]:
    """Evaluations with these outcomes, one after the other."""

    def script(found: list[Outcomes]) -> None:
        left: Iterator[Outcomes] = iter(found)
        monkeypatch.setattr("gnncomm.evaluation.selection.play", lambda *_, **__: next(left))

    return script


HALF, ALL, NONE = [True, False], [True, True], [False, False]


@pytest.mark.parametrize("learner", ["", pytest.param("pqn:minibatches=2", marks=pytest.mark.slow)])
def test_they_change_no_bit(tiny: Tiny, learner: str) -> None:
    """Of a policy with gates and dropped messages, a memory, and learned values that explore."""
    settings = {"scheduler": "gate", "channel": "loss:p=0.3", "env": "relay", "env_settings": {"steps": 3}}
    lines: dict[int, list[dict[str, float]]] = {0: [], 24: []}
    told, both = {"learner": learner} if learner else {}, []
    for every, seen in lines.items():
        config = tiny(**settings, **told, eval_every=every, eval_episodes=5)
        both.append(weights(train(config, observer=lambda _, metrics, seen=seen: seen.append(metrics))))  # type: ignore[misc]
    assert both[0].keys() == both[1].keys()
    assert all(both[0][name].equal(both[1][name]) for name in both[0])
    assert [sorted(line.keys() - plain.keys()) for line, plain in zip(lines[24], lines[0], strict=True)][:4] == [
        [],
        ["eval_length", "eval_return", "eval_success"],
        [],
        ["eval_length", "eval_return", "eval_success"],
    ]


def test_its_episodes_are_nobody_elses() -> None:
    index = torch.arange(1000)
    purposes = [set(random.seeds(purpose, 0, index).tolist()) for purpose in ("train", "select", "evaluate")]
    assert not purposes[0] & purposes[1]
    assert not purposes[1] & purposes[2]


def test_what_it_says_is_what_an_evaluation_of_these_episodes_says(tiny: Tiny) -> None:
    """By the floor of the law of large numbers no test could tell: play the episodes by hand."""
    seen: list[dict[str, float]] = []
    config = tiny(env="relay", env_settings={"num_agents": 2}, steps=12, eval_every=12, eval_episodes=3, seed=4)
    training = train(config, observer=lambda _, metrics: seen.append(metrics))
    env = envs.make("relay", num_envs=3, num_agents=2)
    now = env.reset(seed=random.seeds("select", 4, torch.arange(3)))
    policy = training.policy.eval()
    with torch.no_grad():
        after = env.step(policy.act(now, policy.initial_state(3, 2), None).action)
    assert after.done.all()
    assert seen[0]["eval_success"] == pytest.approx(float(after.success.double().mean()))
    assert seen[0]["eval_return"] == pytest.approx(float(after.reward.double().mean()))


def test_the_best_by_hand(tiny: Tiny, scripted: Callable[[list[Outcomes]], None]) -> None:
    """Success decides, then the return; a draw is no better."""
    scripted([outcomes(*one) for one in ((HALF, 1.0), (NONE, 9.0), (HALF, 2.0), (HALF, 2.0), (ALL, -1.0))])
    config = tiny()
    selection = Selection(RunConfig(eval_every=10, patience=2, stop_at="success=0.9"), envs.make("relay", num_envs=2))
    policy = Training.of(config.replace(env="relay", steps=12)).policy
    found = []
    for step in (10, 20, 30, 40, 50):
        selection.evaluate(policy, step)
        found.append((selection.standing.best_step, selection.standing.since_best, selection.standing.over))
    assert found == [(10, 0, ""), (10, 1, ""), (30, 0, ""), (30, 1, ""), (50, 0, "success 1 reached 0.9")]
    due = [selection.due(before, before + 4, False) for before in range(0, 24, 4)]
    assert due == [False, False, True, False, True, False], "the updates that pass 10 and 20"


def test_the_best_checkpoint_stays_and_is_loaded(
    tiny: Tiny, tmp_path: Path, scripted: Callable[[list[Outcomes]], None]
) -> None:
    scripted([outcomes(*one) for one in ((NONE, 0.0), (ALL, 0.0), *[(HALF, 0.0)] * 4)])
    at: dict[int, dict[str, Tensor]] = {}

    def keep(training: Training, metrics: dict[str, float]) -> None:
        at[training.env_steps] = {name: value.clone() for name, value in training.policy.state_dict().items()}

    train(tiny(steps=72, eval_every=12, eval_episodes=2), tmp_path / "run", observer=keep)
    kept = sorted(int(path.name[5:]) for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [24, 48, 60, 72], "the best beside the three newest"
    for name, step in {"best": 24, "last": 72, "48": 48}.items():
        trained = load(tmp_path / "run", checkpoint=name)
        assert trained.env_steps == step
        assert all(value.equal(at[step][key]) for key, value in trained.policy.state_dict().items())
    with pytest.raises(CheckpointError, match="no checkpoint of step 12: expected one of 24, 48, 60, 72"):
        load(tmp_path / "run", checkpoint=12)
    with pytest.raises(ConfigError, match="expected last, best or a number of steps, got 'newest'"):
        load(tmp_path / "run", checkpoint="newest")


def test_they_go_on_as_if_nothing_had_happened(tiny: Tiny, tmp_path: Path, state_of: StateOf) -> None:
    """Killed between an evaluation and the next checkpoint."""

    def die(training: Training, metrics: dict[str, float]) -> None:
        if metrics["update"] == 3:
            raise KeyboardInterrupt

    config = tiny(env="relay", steps=72, save_every=4, eval_every=12, eval_episodes=4, patience=3)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "killed", observer=die)
    said = list[str]()
    train(config, tmp_path / "killed", resume=True, notice=said.append)
    train(config, tmp_path / "straight", notice=lambda text: None)
    assert state_of(tmp_path / "killed") == state_of(tmp_path / "straight")
    both = [RunDir.open(tmp_path / name).latest()[0].state["selection"] for name in ("killed", "straight")]
    assert both[0] == both[1]
    assert both[0]["evaluations"] > 1
    assert load(tmp_path / "killed", checkpoint="best").env_steps == both[0]["best_step"]


def test_an_end_that_is_early(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    scripted: Callable[[list[Outcomes]], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    scripted([outcomes(NONE, 0.0), outcomes(ALL, 0.0)])
    small = ["--num-envs", "4", "--rollout", "3", "--steps", "600", "--hidden", "8", "--learner.minibatches", "2"]
    early = ["--eval-every", "12", "--eval-episodes", "2", "--stop-at", "success=0.95", "--episodes", "0"]
    assert main(["train", "relay", *small, *early, "--out", "run"]) == 0
    said = capsys.readouterr().out
    assert "ended at 24 steps: success 1 reached 0.95" in said
    assert "best of 2 evaluations: success 1, return 0 at 24 steps" in said
    assert main(["resume", "run", "--episodes", "0"]) == 0
    assert "already complete: 24 steps" in capsys.readouterr().out
    assert main(["eval", "run", "--checkpoint", "best", "--episodes", "4", "--json", "best.json"]) == 0
    assert "as it was after 24 environment steps" in capsys.readouterr().out
    assert json.loads(Path("best.json").read_text())["overrides"] == {"checkpoint": "best"}


def test_what_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    for settings, words in {
        ("stop_at=success=2x", "eval_every=8"): "expected success, return, length with a number",
        ("stop_at=speed=2", "eval_every=8"): "expected success, return, length with a number",
        ("stop_at=success=0.9",): "eval_every: expected evaluations while training",
    }.items():
        pairs: dict[str, Any] = dict(one.split("=", 1) for one in settings)
        if "eval_every" in pairs:
            pairs["eval_every"] = int(pairs["eval_every"])
        with pytest.raises(ConfigError, match=words):
            tiny(**pairs)
    with pytest.raises(ConfigError, match="need environments of their own"):
        train(tiny(eval_every=12), env=envs.make("relay", num_envs=4))
    train(tiny(steps=12), tmp_path / "run")
    with pytest.raises(ConfigError, match="Train with --eval-every"):
        load(tmp_path / "run", checkpoint="best")


@pytest.mark.parametrize("wrong", [{"best_step": 999}, {"success": "much"}])
def test_a_standing_that_no_training_has(tiny: Tiny, tmp_path: Path, forge: Any, newest: Any, wrong: Any) -> None:
    config = tiny(steps=24, save_every=1, eval_every=12, eval_episodes=2)
    train(config, tmp_path / "run", stop=lambda: True)
    forge.state(newest(tmp_path / "run"), selection={"evaluations": 1, "best_step": 12, "since_best": 0} | wrong)
    with pytest.raises(CheckpointMismatchError, match="selection"):
        train(config, tmp_path / "run", resume=True)
