"""Every part of the wire from the command line: in training, and zero-shot in evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnncomm.cli import main
from gnncomm.codec import Quantise
from gnncomm.errors import ConfigError
from gnncomm.run import load

TINY = ["--num-envs", "8", "--rollout", "4", "--steps", "64", "--hidden", "8", "--learner.minibatches", "2"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def says(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = main(words)
    said = capsys.readouterr()
    assert code == 0, said.err
    return said.out


def test_train_on_a_bad_wire_and_test_zero_shot(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    wire = ["--topology", "exponential", "--codec", "int4", "--channel", "loss:p=.2 + delay:steps=1"]
    train = ["train", "predator_prey", *TINY, "--comm", "mean", *wire]
    text = says([*train, "--episodes", "20", "--out", "runs/bad"], capsys)
    assert "bits per agent and step" in text
    trained = load("runs/bad")
    assert isinstance(trained.policy.codec, Quantise)
    first = json.loads((tmp_path / "runs" / "bad" / "eval.json").read_text())
    assert "overrides" not in first
    assert first["wire"]["bits_per_agent_step"] == pytest.approx(4 * 8 * first["wire"]["rounds"])

    changed = ["--codec", "float16", "--channel", "ideal", "--topology", "full"]
    text = says(["eval", "bad", "--episodes", "20", *changed, "--json", "other.json"], capsys)
    assert "zero-shot" in text
    other = json.loads((tmp_path / "other.json").read_text())
    assert other["overrides"] == {"topology": "full", "codec": "float16", "channel": "ideal"}
    assert other["wire"]["bits_per_agent_step"] == pytest.approx(16 * 8 * other["wire"]["rounds"])
    assert other["wire"]["edges_per_step"] > first["wire"]["edges_per_step"]


def test_another_wire_shares_the_weights(capsys: pytest.CaptureFixture[str]) -> None:
    says(["train", "relay", *TINY, "--episodes", "0", "--out", "runs/shared"], capsys)
    trained = load("runs/shared")
    other = trained.with_wire(codec="int2", channel="burst:p=0.1")
    assert other.policy.actor is trained.policy.actor
    assert (other.config.wire.codec, other.config.wire.channel, other.config.wire.topology) == (
        "int2",
        "burst:p=0.1",
        trained.config.wire.topology,
    )
    assert not other.policy.codec.training
    assert not isinstance(trained.policy.codec, Quantise)


def test_a_gate_may_be_left_out_but_not_put_in_untrained(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says(["train", "relay", *TINY, "--scheduler", "gate", "--episodes", "0", "--out", "runs/gated"], capsys)
    gated = load("runs/gated")
    text = says(["eval", "gated", "--episodes", "20", "--scheduler", "event:delta=0.1", "--json", "open.json"], capsys)
    assert "zero-shot, not trained so: scheduler event:delta=0.1" in text
    assert json.loads((tmp_path / "open.json").read_text())["overrides"] == {"scheduler": "event:delta=0.1"}
    assert "zero-shot" not in says(["eval", "gated", "--episodes", "2", "--scheduler", "gate"], capsys)
    always = gated.with_wire(scheduler="always")
    assert always.config.wire.scheduler == "always"
    assert always.policy.actor is gated.policy.actor
    with pytest.raises(ConfigError, match="expected one without weights on a trained team"):
        gated.with_wire(scheduler="gate")


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["--codec", "int44"], "1 <= bits <= 24"), (["--channel", "delay:step=1"], "Did you mean 'steps'")],
)
def test_a_bad_name_is_one_line(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "relay", *TINY, *words]) == 78
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert hint in said
