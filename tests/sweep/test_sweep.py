"""Sweeps on a small budget: what is measured, pruned, stopped, killed and shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnncomm import default_config
from gnncomm.cli import main
from gnncomm.errors import CheckpointCorruptError, UnsafePathError
from gnncomm.learn import PPOConfig
from gnncomm.run import read_config
from gnncomm.store import RunDir
from gnncomm.sweep import Done, Plan, Study, sweep
from gnncomm.sweep.search import opened

SPACE = {"learner.lr": {"low": 1e-3, "high": 1e-2, "log": True}, "comm": ["mean", "attention"]}
TINY = ["--num-envs", "8", "--rollout", "4", "--learner.minibatches", "2", "--hidden", "8", "--episodes", "20"]


@pytest.fixture
def plan() -> Plan:
    ppo = PPOConfig(minibatches=2)
    config = default_config("relay", num_envs=8, rollout=4, hidden=8, steps=10 * 32, save_every=2, learner=ppo)
    return Plan(config, SPACE, episodes=20)


def trials(out: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((out / "trials.json").read_text())["trials"]
    return found


def test_a_trial_is_the_mean_over_its_seeds_and_the_best_one_a_configuration(plan: Plan, tmp_path: Path) -> None:
    plan, done = replace(plan, config=plan.config.replace(steps=2 * 32)), list[Done]()
    study = sweep(plan, tmp_path / "s", 2, observer=done.append)
    assert [each.state for each in done] == ["complete", "complete"]
    for each, told in zip(done, trials(tmp_path / "s"), strict=True):
        ends = [RunDir.open(tmp_path / "s" / told["folder"] / f"seed_{seed}").metrics()[-1] for seed in (0, 1)]
        assert each.seeds == tuple(end["eval_return"] for end in ends)
        assert each.value == told["value"] == pytest.approx(np.mean(each.seeds))
    assert done[0].settings != done[1].settings
    best = read_config(tmp_path / "s" / "best.json")
    assert best["learner.lr"] == study.study.best_trial.params["learner.lr"]
    assert best.policy.comm == study.study.best_trial.params["policy.comm"]
    assert best.run == plan.config.run
    assert sweep(plan, tmp_path / "s", total=2).count == 2, "there are as many already"


@pytest.mark.slow
def test_a_trial_that_is_stopped_or_hopeless(plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its third update, it goes on where it was; pruned at the third report of its second seed, it ends."""
    import optuna

    calls = iter([False, False, False])
    done: list[Done] = []
    sweep(plan, tmp_path / "s", 1, stop=lambda: next(calls, True), observer=done.append)
    assert done[0].state == "stopped"
    run = tmp_path / "s" / "trial_0000" / "seed_0"
    assert len(RunDir.open(run).metrics()) == 3
    study = opened(plan, tmp_path / "s", 2, 0)
    monkeypatch.setattr(Study, "_pruner", lambda self: optuna.pruners.ThresholdPruner(lower=2.0, n_warmup_steps=12))
    sweep(plan, tmp_path / "s", 1, observer=done.append)
    assert (done[1].state, done[1].settings) == ("pruned", done[0].settings)
    assert done[1].reason == "below the median of others at 30 % of its training 2"
    assert len(RunDir.open(run).metrics()) == 10
    assert len(RunDir.open(run.with_name("seed_1")).metrics()) == 3
    assert study.states() == {"pruned": 1}
    assert [told["state"] for told in trials(tmp_path / "s")] == ["put back", "pruned"]


def test_a_database_of_others_leads_nowhere(plan: Plan, tmp_path: Path) -> None:
    """Neither out of the directory of the sweep, nor to anything but one error."""
    study = Study(tmp_path, plan)
    file = tmp_path / "study.db"
    for hostile in ({"folder": "../escaped"}, {"folder": 3}, {"folder": "trial_0000", "tries": "x"}):
        study.study.enqueue_trial({}, user_attrs=hostile)
        with pytest.raises(CheckpointCorruptError, match="expected trials of this sweep"):
            Study(tmp_path, plan)
        file.unlink()
        study = Study(tmp_path, plan)
    file.write_bytes(b"x" * 5000)
    with pytest.raises(CheckpointCorruptError, match="not a database"):
        Study(tmp_path, plan)
    file.unlink()
    file.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError):
        Study(tmp_path, plan)
    assert not (tmp_path / "elsewhere").exists()


def test_the_command_refuses_in_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.json").write_text(json.dumps(SPACE))
    for words, said in {
        ("--space", "s.json"): "Say --trials 20",
        ("--space", "none.json", "--trials", "1"): "none.json",
        ("--space", "s.json", "--trials", "1", "--resume"): "of a single one",
        ("--space", "s.json", "--trials", "1", "--lrr", "3"): "--lrr",
        ("--trials", "1"): "--space",
    }.items():
        assert main(["sweep", "relay", *TINY, *words]) in (2, 66, 78)
        line = capsys.readouterr().err
        assert said in line
        assert line.count("\n") == 1
    assert sorted(os.listdir()) == ["s.json"]


def words_of(out: Path, *more: str) -> list[str]:
    space = out.parent / "s.json"
    space.write_text(json.dumps(SPACE))
    return ["sweep", "relay", *TINY, "--space", str(space), "--out", str(out), *more]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_trial_is_done_again_from_its_checkpoint(tmp_path: Path) -> None:
    """By the command line: killed at once, and called again."""
    out, around = tmp_path / "s", os.environ | {"OMP_NUM_THREADS": "1"}
    long = ["--steps", "1600", "--save-every", "2"]
    program = [sys.executable, "-m", "gnncomm"]
    killed = subprocess.Popen([*program, *words_of(out, *long, "--trials", "1")], env=around, stdout=subprocess.DEVNULL)
    checkpoints, until = out / "trial_0000" / "seed_0" / "checkpoints", time.monotonic() + 300
    while not (checkpoints.is_dir() and len(list(checkpoints.glob("step_*"))) > 1) and time.monotonic() < until:
        time.sleep(0.05)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    times = checkpoints.parent / "times.csv"
    before = times.read_text().splitlines()[:3]
    done = subprocess.run([*program, *words_of(out, *long, "--total", "1")], env=around, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [told["state"] for told in trials(out)] == ["put back", "complete"]
    assert {told["folder"] for told in trials(out)} == {"trial_0000"}
    assert times.read_text().splitlines()[:3] == before, "it was not begun anew, which no clock would say"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_workers_and_other_calls_share_a_study(tmp_path: Path) -> None:
    """Two workers of one call beside another call, all on a study that none of them finds."""
    out, around = tmp_path / "s", os.environ | {"OMP_NUM_THREADS": "1"}
    program, words = [sys.executable, "-m", "gnncomm"], words_of(out, "--steps", "64")
    beside = subprocess.Popen([*program, *words, "--trials", "1"], env=around, stdout=subprocess.DEVNULL)
    workers = subprocess.run([*program, *words, "--trials", "2", "--workers", "2"], env=around, capture_output=True)
    assert workers.returncode == 0, workers.stderr
    assert beside.wait(300) == 0
    told = trials(out)
    assert [each["state"] for each in told] == ["complete"] * 3
    assert len({each["settings"]["learner.lr"] for each in told}) == 3, "nobody tried what another did"
    best = ["--config", str(out / "best.json"), "--episodes", "0", "--out", str(tmp_path / "lr=0.1")]
    assert main(["train", *best]) == 0
