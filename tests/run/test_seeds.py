"""Many seeds side by side: the runs that single trainings make, stopped, continued and summed up."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from gnncomm.envs.relay import Relay

from gnncomm import default_config, register, train, train_seeds
from gnncomm.config import to_json
from gnncomm.errors import ConfigError, GnnCommError, RunExistsError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.seeds import Seeds, planned, resume_seeds

STEPS = 4 * 8


def config(updates: int = 6) -> TrainConfig:
    ppo = PPOConfig(minibatches=2)
    return default_config("relay", num_envs=8, rollout=4, steps=updates * STEPS, save_every=2, learner=ppo)


def weights(folder: Path) -> bytes:
    """Of the newest checkpoint."""
    newest = max((folder / "checkpoints").iterdir(), key=lambda path: int(path.name.removeprefix("step_")))
    return (newest / "model.safetensors").read_bytes()


def test_a_summary_is_of_the_seeds(tmp_path: Path) -> None:
    """Student's t with two seeds: the mean of 0.5 and 0.7 within 12.706 standard errors of 0.1."""
    done = Seeds(tmp_path, config(), (4, 9))
    for seed, success in ((4, 0.5), (9, 0.7)):
        done.folder(seed).mkdir()
        trained = {"success": {"mean": success}, "return": {"mean": 1.0}, "length": {"mean": 3.0}}
        (done.folder(seed) / "eval.json").write_text(json.dumps({"trained": trained, "communication_gain": 0.1}))
    summary = done.summary()
    assert summary["seeds"]["9"] == {"success": 0.7, "return": 1.0, "length": 3.0, "communication_gain": 0.1}
    assert summary["over_seeds"]["success"]["mean"] == pytest.approx(0.6)
    assert summary["over_seeds"]["success"]["low"] == pytest.approx(0.6 - 12.706205 * 0.1)
    assert summary["over_seeds"]["length"] == {"mean": 3.0, "low": 3.0, "high": 3.0}


def test_what_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two different seeds"):
        train_seeds(config(), [1, 1], tmp_path / "x")
    with pytest.raises(RunExistsError, match="gnncomm resume"):
        train_seeds(config(), [1, 2], tmp_path)
    assert planned(tmp_path) is None
    with pytest.raises(ConfigError, match="got none"):
        resume_seeds(tmp_path)


@pytest.mark.slow
def test_stopped_and_continued_seeds_are_single_trainings(tmp_path: Path) -> None:
    """By the command line: Ctrl-C stops all and loses nothing; then each has the bits of its own training."""
    out, file = tmp_path / "many", tmp_path / "config.json"
    file.write_text(json.dumps(to_json(config(updates=100))))
    words = ["train", "--config", str(file), "--seeds", "2", "--episodes", "0", "--out", str(out)]
    around = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-m", "gnncomm", *words], env=around, stdout=subprocess.PIPE, text=True)
    both = [out / f"seed_{seed}" / "metrics.jsonl" for seed in (0, 1)]
    until = time.monotonic() + 300
    while not all(path.is_file() and path.stat().st_size for path in both) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 130
    assert f"gnncomm resume {out}" in said
    begun = planned(out)
    assert begun is not None
    assert begun.seeds == (0, 1)
    done = subprocess.run(
        [sys.executable, "-m", "gnncomm", "resume", str(out), "--episodes", "0"], env=around, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    train(config(updates=100).replace(seed=1), tmp_path / "alone")
    assert weights(out / "seed_1") == weights(tmp_path / "alone")
    assert weights(out / "seed_0") != weights(out / "seed_1")


@pytest.mark.slow
def test_a_seed_that_fails_is_named_and_the_others_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "many"
    done = train_seeds(config(), [3, 5], out, episodes=2)
    assert not done.stopped
    assert set(json.loads((out / "summary.json").read_text())["seeds"]) == {"3", "5"}
    (out / "seed_3" / "config.json").write_text("{")
    with pytest.raises(GnnCommError, match=r"1 of 2 seeds failed, the others are kept.*seed 3: error: .*config.json"):
        resume_seeds(out)
    assert set(json.loads((out / "summary.json").read_text())["seeds"]) == {"5"}


@pytest.mark.usefixtures("installed")
def test_a_name_of_this_process_alone_is_refused_before_anything_begins(tmp_path: Path) -> None:
    register("env", "only_here", type("OnlyHere", (Relay,), {}))
    with pytest.raises(ConfigError, match=r"'only_here', which register\(\) gave in this one only"):
        train_seeds(default_config("only_here"), [0, 1], tmp_path / "seeds")
    assert not list(tmp_path.iterdir())
