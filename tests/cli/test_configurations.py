"""Trainings from files: printed, fed back, repeated to the bit, continued, looked at before they begin."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import gnncomm
from gnncomm.cli import main
from gnncomm.errors import ConfigError
from gnncomm.learn import PPOConfig, TrainConfig
from gnncomm.run import config_of, default_config, load, read_config, train

TINY = ["--num-envs", "4", "--rollout", "3", "--hidden", "8", "--learner.minibatches", "2", "--save-every", "1"]
OLD = Path(__file__).resolve().parents[1] / "golden" / "run_version_2"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def says(words: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> str:
    got = main(words)
    said = capsys.readouterr()
    assert got == code, said.err
    return " ".join((said.out + said.err).split())


def bits(run: Path) -> dict[str, bytes]:
    """All that a training leaves behind, but for versions and times."""
    newest = max((run / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
    return {path.name: path.read_bytes() for path in (run / "metrics.jsonl", *newest.glob("*.safetensors"))}


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A run of three updates whose settings are those of no recipe."""
    words = [*TINY, "--steps", "36", "--topology", "ring", "--channel", "loss:p=0.2", "--learner.lr", "5e-3"]
    assert main(["train", "predator_prey", *words, "--episodes", "0", "--out", "runs/first"]) == 0
    return tmp_path / "runs" / "first"


def test_a_run_is_repeated_to_the_bit(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    says(["train", "--config", "runs/first/config.json", "--out", "runs/again", "--episodes", "0"], capsys)
    assert bits(first.with_name("again")) == bits(first)
    assert config_of("runs/again") == config_of("runs/first")
    options = ["--config", "runs/first/config.json", "--topology", "full", "--env-settings", "vision", "1"]
    says(["train", *options, "--out", "runs/other", "--episodes", "0"], capsys)
    other = config_of("runs/other")
    assert other == config_of("runs/first").replace(topology="full", env_settings={"vision": 1})


def test_what_is_printed_can_be_fed_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["train", "relay", "--comm", "tarmac", "--learner", "ppo", "--env-settings", "steps", "4", "--print-config"]
    assert main(words) == 0
    printed = capsys.readouterr().out
    config = default_config("relay", env_settings={"steps": 4})
    assert json.loads(printed)["learner"]["lr"] == config.learner.lr == 3e-3
    (tmp_path / "tarmac.json").write_text(printed)
    assert read_config("tarmac.json") == gnncomm.methods.resolve("tarmac").config(config)
    assert main(["train", "--config", "tarmac.json", "--print-config"]) == 0
    assert capsys.readouterr().out == printed
    assert sorted(os.listdir()) == ["tarmac.json"]


def test_a_file_says_what_differs_from_the_recipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = {"env": {"id": "relay", "settings": {"steps": 2}}, "wire": {"topology": "ring"}, "learner": {"lr": 1e-2}}
    (tmp_path / "own.json").write_text(json.dumps(own))
    expected = default_config("relay", env_settings={"steps": 2}, topology="ring", **{"learner.lr": 1e-2})
    assert read_config("own.json") == expected
    (tmp_path / "short.json").write_text('{"env": "relay", "env_settings": {"steps": 2}, "topology": "ring"}')
    assert read_config("short.json") == expected.replace(learner=default_config("relay").learner)
    words = ["train", "--config", "own.json", *TINY, "--steps", "12", "--episodes", "0", "--out", "runs/own"]
    says(words, capsys)
    trained = config_of("runs/own")
    assert (trained.policy.rounds, trained.wire.topology, trained.learner) == (
        3,
        "ring",
        PPOConfig(lr=1e-2, minibatches=2),
    )


@pytest.mark.parametrize(
    ("data", "code", "message"),
    [
        ({"wire": {"topolgy": "ring"}}, 78, "Unknown key 'topolgy' in wire. Did you mean 'topology'?"),
        ({"wires": {}}, 78, "Unknown key 'wires' in TrainConfig. Did you mean 'wire'?"),
        ({"policy": {"hidden": "64"}}, 78, "policy.hidden: expected int, got str '64'"),
        ({"policy": {"hidden": 0}}, 78, "policy.hidden must be a whole number from 1"),
        ({"learner": {"gama": 0.9}}, 78, "Unknown key 'gama' in learner. Did you mean 'gamma'?"),
        ({"learner": {"gamma": 1.5}}, 78, "learner.gamma must be within [0, 1], got 1.5"),
        ({"learner": {"name": "pppo"}}, 78, "Unknown learner 'pppo'"),
        ({"learner": {"name": "os:system"}}, 78, "Cannot read 'os:system'"),
        ({"topology": "ring", "wire": {"topology": "full"}}, 78, "Say it in one place"),
        ({"env": "realy"}, 78, "Did you mean 'relay'"),
        ({"wire": {"topology": "os:system"}}, 78, "Cannot read 'os:system'"),
        ({"policy": {"comm": {"_target_": "os.system"}}}, 78, "policy.comm"),
        ({"env": {"id": "pettingzoo:os:system", "observation": "flat"}}, 77, "--trust-env"),
    ],
    ids=str,
)
def test_a_file_with_a_mistake(
    data: dict[str, Any], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(data))
    words = ["train", "--config", "bad.json", "--num-envs", "4", "--rollout", "3", "--steps", "12", "--episodes", "0"]
    assert message in says(words, capsys, code)
    assert os.listdir() == ["bad.json"]


@pytest.mark.parametrize("data", [{"comm": "commnet"}, {"policy": {"comm": "commnet"}}])
def test_a_method_in_a_file_stands_for_its_parts(
    data: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "method.json").write_text(json.dumps({"env": "relay", "topology": "ring"} | data))
    said = json.loads(says(["train", "--config", "method.json", "--print-config"], capsys))
    assert (said["policy"]["comm"], said["policy"]["memory"], said["wire"]["topology"]) == ("mean", "lstm", "ring")
    assert said["learner"]["name"] == "reinforce", "as on the command line"
    (tmp_path / "method.json").write_text(json.dumps({"env": "relay", "learner": {"name": "ppo"}} | data))
    assert json.loads(says(["train", "--config", "method.json", "--print-config"], capsys))["learner"]["name"] == "ppo"


def test_resume_needs_nothing_retyped(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    straight = config_of(first)
    train(straight, "runs/stopped", stop=iter([True]).__next__)
    assert load("runs/stopped").env_steps == 12
    assert "36 steps" in says(["resume", "runs/stopped", "--episodes", "0"], capsys)
    assert bits(first.with_name("stopped")) == bits(first)
    assert "already complete: 36 steps" in says(["resume", "runs/stopped", "--episodes", "0"], capsys)
    assert bits(first.with_name("stopped")) == bits(first)
    assert "goes on to 48" in says(["resume", "runs/stopped", "--steps", "48", "--episodes", "0"], capsys)
    assert config_of("runs/stopped") == straight.replace(steps=48)
    assert "expected more than the 48" in says(["resume", "runs/stopped", "--steps", "24"], capsys, 78)
    assert "There is no run" in says(["resume", "runs/stoped"], capsys, 66)


def test_a_run_from_before_there_was_a_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its settings lay side by side (version 2): loaded, measured, continued, repeated."""
    run = Path(shutil.copytree(OLD, tmp_path / "runs" / "old"))
    config = config_of(run)
    assert (config.env.id, config.env.settings) == ("relay", {"num_agents": 2, "num_symbols": 2})
    assert (config.wire.topology, config.policy.hidden, config.policy.memory) == ("ring", 4, "none")
    assert config.learner == PPOConfig(minibatches=1, epochs=1, lr=0.01)
    assert load(run).env_steps == 16
    says(["eval", "old", "--episodes", "4"], capsys)
    assert "already complete: 16 steps" in says(["resume", "old", "--episodes", "0"], capsys)
    assert "24 steps" in says(["resume", "old", "--steps", "24", "--episodes", "0"], capsys)
    assert config_of(run) == config.replace(steps=24)
    says(["train", "--config", str(OLD / "config.json"), "--out", "runs/again", "--episodes", "0"], capsys)
    assert config_of("runs/again") == config


def test_options_of_the_learner_under_their_old_name(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(DeprecationWarning, match=r"--learner\.NAME"):
        assert main(["train", "relay", "--ppo.lr", "0.5", "--print-config"]) == 0
    assert json.loads(capsys.readouterr().out)["learner"]["lr"] == 0.5


def test_a_dry_run_tells_numbers_and_leaves_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    """A ring of five: each hears two. encoder D H + H; actor H A + A; critic H H + H + H + 1."""
    words = ["predator_prey", *TINY, "--steps", "30", "--env-settings", "num_agents", "5", "dim", "5"]
    text = says(["train", *words, "--topology", "ring", "--memory", "none", "--dry-run"], capsys)
    assert os.listdir() == []
    assert "graph: 5 nodes, 10 edges, mean in-degree 2.00" in text
    assert "updates: 3" in text
    assert re.search(r"encoder Encoder\(obs_dim=29, hidden=8.*?\) \[4, 5, 8\] 240", text)
    assert re.search(r"actor \S+ \S+ \[4, 5, 5\] 45", text)
    assert re.search(r"critic LocalCritic\(.*?\) \[4, 5\] 81", text)


MEASURE = """
import re, sys
from gnncomm import default_config
from gnncomm.learn import Training
from gnncomm.learn.outline import outline
config = default_config(sys.argv[1], num_envs=int(sys.argv[2]), comm=sys.argv[3])
Training.of(config.replace(num_envs=16)).advance()  # what is loaded once
told = outline(config).memory
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = peak()
Training.of(config).advance()
print(told / 1024 / (peak() - before))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
@pytest.mark.parametrize("task", [("relay", "4096", "mean"), ("predator_prey", "1024", "attention")], ids=str)
def test_memory_is_told_within_a_fifth_of_what_the_system_sees(task: tuple[str, str, str]) -> None:
    """With an allocator that gives freed memory back at once, so that the system sees what torch holds."""
    surroundings = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-W", "ignore", "-c", MEASURE, *task]
    done = subprocess.run(words, env=surroundings, capture_output=True, text=True, timeout=200, check=True)
    assert 1 / 1.2 < float(done.stdout) < 1.2


@pytest.fixture
def hunters() -> str:
    train(default_config("predator_prey", hidden=8, num_envs=4, rollout=3, steps=12), "runs/hunters")
    return "runs/hunters"


def test_zero_shot_in_one_option(hunters: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A ring of five hears twice; the same numbers as of the team put into such an environment in Python."""
    words = ["--num-agents", "5", "--topology", "ring", "--episodes", "20", "--json", "five.json"]
    assert "zero-shot" in says(["eval", hunters, *words], capsys)
    report = json.loads((tmp_path / "five.json").read_text())
    assert report["overrides"] == {"env_settings": {"num_agents": 5}, "topology": "ring"}
    assert report["wire"]["edges_per_step"] == 10
    there = load(hunters).with_env(num_agents=5).with_wire(topology="ring")
    by_hand = gnncomm.evaluate(there.policy, there.evaluation_env(20), episodes=20).to_dict()
    assert report == by_hand | {"overrides": report["overrides"]}
    same = ["--num-agents", "3", "--env", "predator_prey", "--env-settings", "dim", "5", "--codec", "float32"]
    words = [*same, "--topology", "full", "--channel", "ideal", "--scheduler", "always", "--episodes", "20"]
    assert "zero-shot" not in says(["eval", hunters, *words, "--json", "same.json"], capsys)
    says(["eval", hunters, "--episodes", "20", "--json", "trained.json"], capsys)
    assert (tmp_path / "same.json").read_text() == (tmp_path / "trained.json").read_text()
    words = ["--env", "predator_prey/5x5-3-v0", "--channel", "loss:p=1", "--episodes", "4", "--json", "deaf.json"]
    says(["eval", hunters, *words], capsys)
    assert json.loads((tmp_path / "deaf.json").read_text())["wire"]["edges_per_step"] == 0
    says(["replay", hunters, "--num-agents", "4", "--codec", "int4", "--sample", "--episode", "four.npz"], capsys)
    assert gnncomm.Episode.load("four.npz").num_agents == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--env", "predator_prey/10x10-5-v0"], "expected obs_dim 29, for which this team was trained, got 936"),
        (["--env", "relay"], "expected obs_dim 29, for which this team was trained, got 12"),
        (["--env-settings", "num_agent", "5"], "Did you mean 'num_agents'"),
        (["--num-agents", "-1"], "num_agents must be"),
        (["--scheduler", "gate"], "weights nobody trained"),
    ],
    ids=str,
)
@pytest.mark.parametrize("command", ["eval", "replay"])
def test_where_it_does_not_fit(
    command: str, words: list[str], message: str, hunters: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert message in says([command, hunters, *words], capsys, 78).replace("whose ", "")


def test_weights_of_single_agents_need_these_agents() -> None:
    train(default_config("predator_prey", hidden=8, num_envs=4, rollout=3, steps=12, share="none"), "runs/own")
    with pytest.raises(ConfigError, match=r"expected num_agents 3, .* got 4"):
        load("runs/own").with_env(num_agents=4).make_env(1)


def test_yaml_both_ways(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("yaml")
    from gnncomm.config import to_json
    from gnncomm.store import strict_yaml

    config = default_config("relay", comm="mean >> attention:heads=2", env_settings={"seen": "first"}, device="1e3")
    text = strict_yaml.dump(to_json(config))
    (tmp_path / "own.yaml").write_text(text)
    assert read_config("own.yaml") == config
    (tmp_path / "short.yaml").write_text(
        "env: relay  # three rounds\nlearner:\n  lr: 1e-2\nchannel: 'loss:p=0.1 + delay:steps=1'\nsteps: 12\n"
    )
    expected = default_config("relay", channel="loss:p=0.1 + delay:steps=1", steps=12, **{"learner.lr": 1e-2})
    assert read_config("short.yaml") == expected
    for bad, message in {
        "a: &x 1\nb: *x": "no anchors",
        "a: !!python/object/apply:os.system [ls]": "tags",
        "steps: 1\nsteps: 2": "each once",
        "steps: .inf": "run.steps: expected int, got str '.inf'",
        "steps: [": "not valid YAML",
        "share_rounds: yes": "policy.share_rounds: expected bool, got str 'yes'",
        "a: " + "[" * 5000: "nested too deeply|not valid YAML",
    }.items():
        (tmp_path / "bad.yaml").write_text(bad)
        with pytest.raises(ConfigError, match=message):
            read_config("bad.yaml")


def test_names_and_paths_of_leaves() -> None:
    config = TrainConfig.of(env="relay", comm="mean", **{"learner.lr": 0.5, "wire.topology": "ring"}, run={"seed": 3})
    assert (config["env.id"], config["comm"], config["learner.lr"]) == ("relay", "mean", 0.5)
    assert (config["topology"], config.run.seed) == ("ring", 3)
    for wrong, near in {"comn": "comm", "wire.topolgy": "topology", "learner.gama": "gamma", "lr": "learner"}.items():
        with pytest.raises(ConfigError, match=near):
            config.replace(**{wrong: 1})
    with pytest.raises(ConfigError, match=r"learner: expected LearnerConfig"):
        config.replace(learner=3)
