"""Every mistake gives one line on stderr, no traceback, and the exit code of its kind."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnncomm.cli import main
from gnncomm.errors import CheckpointError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.run import train

TRAIN = ["train", "relay", "--num-envs", "4", "--steps", "16", "--rollout", "2", "--episodes", "0"]
USAGE = [
    ([], 2, "usage: gnncomm COMMAND"),
    (["trian"], 2, "Did you mean 'train'"),
    (["list", "surplus"], 78, "surplus"),
    (["train", "relay", "--bogus", "1"], 2, "--bogus"),
    (["train", "relay", "--step", "5"], 2, "--steps"),
    (["train", "relay", "--steps", "abc"], 2, "--steps"),
    (["train", "relay", "--steps"], 2, "--steps"),
    (["train", "relay", "--steps", "-1"], 78, "steps must be"),
    (["train", "relay", "--num-envs", "0"], 78, "num_envs must be"),
    (["train", "relay", "--seed", "-1"], 78, "seed must be"),
    (["train", "relay", "--seed", str(2**64)], 78, "seed must be"),
    (["train", "relay", "--learner.gamma", "1.5"], 78, "learner.gamma must be"),
    (["train", "relay", "--learner.lr", "nan"], 78, "learner.lr: expected a finite number"),
    (["train", "relay", "--algo", "ppo"], 78, "Did you mean 'ippo'"),
    (["train", "relay", "--threads", "-1"], 78, "threads must be"),
    (["train", "relay", "--episodes", "-1"], 78, "episodes must be"),
    (["eval"], 2, "Run directory"),
    (["eval", "somewhere", "--episodes", "0"], 78, "episodes must be"),
    (["replay"], 2, "Run directory"),
    (["replay", "somewhere", "--seed", "-1"], 78, "seed must be"),
    (["replay", "somewhere", "--against", "muted"], 78, "expected --html"),
    (["replay", "kept.npz", "--seed", "3", "--codec", "int4"], 78, "expected a RUN for --codec, --seed"),
    (["bench", "train", "--repeats", "0"], 78, "repeats must be"),
    (["bench", "sleep"], 2, "train"),
]
NAMES = [
    (["train", "realy"], 78, "Did you mean 'relay'"),
    (["train", "predator_prey/9x9-3-v0"], 78, "5x5-3-v0"),
    (["train", "relay", "--comm", "atention"], 78, "Did you mean 'attention'"),
    (["train", "relay", "--comm", "attention:head=2"], 78, "Did you mean 'heads'"),
    (["train", "relay", "--topology", "rnig"], 78, "Did you mean 'ring'"),
    (["train", "relay", "--topology", "knn:q=3"], 78, "q"),
    (["train", "relay", "--channel", "los:p=0.1"], 78, "Did you mean 'loss'"),
    (["train", "relay", "--channel", "loss:p=1.5"], 78, "probability"),
    (["train", "relay", "--env-settings", "symbols", "3"], 78, "Did you mean 'num_symbols'"),
    (["train", "relay", "--env-settings", "steps", "abc"], 78, "steps"),
    (["train", "relay", "--integration", "previous", "--memory", "none"], 78, "no memory"),
    (["train", "relay", "--device", "abacus"], 78, "abacus"),
    ([*TRAIN, "--out", "../elsewhere"], 73, "'..' is not allowed"),
    ([*TRAIN, "--out", "CON"], 73, "CON"),
    ([*TRAIN, "--out", "nowhere", "--resume"], 66, "There is no run"),
    (["eval", "nowhere"], 66, "There is no run"),
    (["replay", "nowhere", "--fps", "0"], 78, "--fps"),
    (["probe"], 2, "Run directory"),
    (["probe", "somewhere", "--episodes", "29"], 78, "episodes must be"),
    (["replay", "nowhere"], 66, "There is no run"),
    (["replay", "nowhere.npz"], 66, "There is no episode"),
    (["train", "relay", "--resume", "--overwrite"], 78, "got both"),
]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(TrainConfig.of(env="relay", num_envs=4, rollout=2, steps=8, hidden=8, learner=PPOConfig(minibatches=2)), run)
    return run


def fails(words: list[str], code: int, what: str, capsys: pytest.CaptureFixture[str]) -> None:
    got = main(words)
    said = capsys.readouterr()
    assert got == code, said.err
    if words:
        assert said.out == ""
        assert said.err.startswith("error: ")
        assert said.err.count("\n") == 1
        assert said.err.endswith("\n")
        assert "Traceback" not in said.err
    assert what in said.out + said.err


@pytest.mark.parametrize(("words", "code", "what"), USAGE + NAMES, ids=lambda x: " ".join(x) if type(x) is list else "")
def test_one_line_and_the_code_of_its_kind(
    words: list[str], code: int, what: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fails(words, code, what, capsys)
    assert list(tmp_path.iterdir()) == [], "a mistake leaves nothing behind"


def test_a_run_that_exists(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails([*TRAIN, "--out", str(finished)], 73, "holds a run already", capsys)


def test_resume_with_other_settings(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fails([*TRAIN, "--out", str(finished), "--resume", "--hidden", "16"], 65, "hidden: 8 -> 16", capsys)


def test_a_run_of_another_version(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = finished / "config.json"
    text = config.read_text()
    config.write_text('{"kind": "gnncomm.run", "format_version": 99, "config": {}}')
    fails(["eval", str(finished)], 65, "99", capsys)
    config.write_text(text)


def test_a_damaged_run(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (finished / "checkpoints").glob("step_8/model.safetensors")
    raw = file.read_bytes()
    file.write_bytes(raw[:-1])
    fails(["eval", str(finished)], 65, "model.safetensors", capsys)
    file.write_bytes(raw)


def test_an_output_that_cannot_be_written(finished: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a directory")
    fails(["eval", str(finished), "--episodes", "4", "--json", "file/eval.json"], 74, "file", capsys)


def test_debug_shows_the_traceback() -> None:
    with pytest.raises(CheckpointError):
        main(["--debug", "eval", "nowhere"])
    with pytest.raises(CheckpointError):
        main(["eval", "nowhere", "--debug"])
