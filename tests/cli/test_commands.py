"""The commands from end to end on a training of a second."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import gnncomm
from gnncomm.cli import main
from gnncomm.cli.main import COMMANDS
from gnncomm.layers import NONE
from gnncomm.registry import KINDS, registry_of

TINY = ["--num-envs", "8", "--rollout", "4", "--steps", "64", "--hidden", "8", "--learner.minibatches", "2"]
GNNCOMM = "import sys; from gnncomm.cli import main; sys.exit(main())"
ARMS = ("trained", "muted", "shuffled", "floor", "ceiling")


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")


def says(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    code = main(words)
    said = capsys.readouterr()
    assert code == 0, said.err
    assert said.err == ""
    return said.out


def test_list_names_everything_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    words = says(["list"], capsys).split()
    for kind in KINDS:
        assert set(registry_of(kind).names()) <= set(words)
    assert NONE in words
    assert not [word for word in words if "\\" in word or ":math:" in word], "first lines of docstrings are plain text"


def test_list_shows_what_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    text = says(["list", "codecs", "channels"], capsys)
    assert text.index("codecs (--codec)") < text.index("channels (--channel)")
    assert "topologies" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"gnncomm {command}" in says([command, "--help"], capsys)


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["--help"], ["-h"]):
        text = says(words, capsys)
        assert all(command in text for command in COMMANDS)
    assert says(["--version"], capsys) == f"gnncomm {gnncomm.__version__}\n"


def test_help_of_train_shows_the_recipe_of_the_environment(capsys: pytest.CaptureFixture[str]) -> None:
    rollout = gnncomm.default_config("relay").run.rollout
    assert rollout != gnncomm.TrainConfig().run.rollout
    text = " ".join(says(["train", "relay", "--help"], capsys).replace("│", " ").split())
    assert f"Environment steps between updates. (default: {rollout})" in text


def test_train_eval_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = says(["train", "predator_prey", *TINY, "--episodes", "40", "--out", "runs/tiny"], capsys)
    assert "64 steps" in text
    assert "\x1b" not in text, "no colours and no bar where nobody looks"
    run = tmp_path / "runs" / "tiny"
    assert {"config.json", "metrics.jsonl", "checkpoints", "eval.json", "trajectories.png"} <= set(os.listdir(run))
    assert [json.loads(line)["update"] for line in (run / "metrics.jsonl").read_text().splitlines()] == [1, 2]

    for name in ("first.json", "deep/er/second.json"):
        assert "trained" in says(["eval", "tiny", "--episodes", "40", "--json", name], capsys)
    first, second = (json.loads((tmp_path / name).read_text()) for name in ("first.json", "deep/er/second.json"))
    assert first == second == json.loads((run / "eval.json").read_text())
    check_report(first, "predator_prey", 40)
    says(["eval", "tiny", "--episodes", "40", "--json", "other.json", "--seed", "5"], capsys)
    assert json.loads((tmp_path / "other.json").read_text()) != first
    says(["eval", "tiny", "--episodes", "40", "--json", "sampled.json", "--sample"], capsys)
    assert json.loads((tmp_path / "sampled.json").read_text())["greedy"] is False

    for name in ("a.png", "b.png"):
        says(["replay", "tiny", "--figure", name, "--episode", f"{name}.npz", "--seed", "3"], capsys)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "a.png.npz").read_bytes() == (tmp_path / "b.png.npz").read_bytes()
    for words in (["tiny", "--seed", "3", "--html", "a.html"], ["a.png.npz", "--html", "b.html"]):
        assert says(["replay", *words], capsys) == f"page in {words[-1]}\n"
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes(), "kept is as good as played"
    says(["replay", "tiny", "--html", "pair.html", "--against", "muted"], capsys)
    says(["replay", "tiny", "--html", "twice.html", "--against", "tiny"], capsys)
    pages = [(tmp_path / name).read_text("utf-8") for name in ("pair.html", "twice.html")]
    assert ["<title>tiny | tiny, muted</title>" in page for page in pages] == [True, False]
    says(["replay", "a.png.npz"], capsys)
    assert (tmp_path / "a.png.png").is_file()

    says(["replay", "tiny", "--view", "graph", "--video", "film.gif", "--fps", "4"], capsys)
    assert (run / "graph.png").read_bytes().startswith(b"\x89PNG")
    with Image.open(tmp_path / "film.gif") as film:
        assert film.info["duration"] == 250

    said = says(["probe", "tiny", "--episodes", "60", "--json", "said.json", "--topology", "ring"], capsys)
    assert "this measures what is said and heard" in said
    numbers = json.loads((tmp_path / "said.json").read_text())
    assert (numbers["episodes"], numbers["overrides"]) == (60, {"topology": "ring"})
    assert {cell["target"] for cell in numbers["readable"]} >= {"place of prey", "place of the sender"}

    before = {path.name: path.read_bytes() for path in (run / "checkpoints" / "step_64").iterdir()}
    again = ["train", "predator_prey", *TINY, "--episodes", "0", "--out", "runs/tiny", "--resume"]
    assert "already complete: 64 steps" in says(again, capsys)
    assert {path.name: path.read_bytes() for path in (run / "checkpoints" / "step_64").iterdir()} == before


def check_report(report: dict[str, Any], env: str, episodes: int) -> None:
    assert report["env"] == env
    assert report["episodes"] == episodes
    documented = {"env", "episodes", "communication_gain", "channel_used", *ARMS}
    assert set(report) == documented | {
        "schema",
        "seed",
        "greedy",
        "communication_gain_interval",
        "wire",
        "without_partner",
        "ceiling_kind",
    }
    assert set(report["wire"]) == {"bits_per_agent_step", "edges_per_step", "rounds", "beta"}
    for arm in ARMS:
        assert set(report[arm]) == {"success", "return", "length"}
        for numbers in report[arm].values():
            assert set(numbers) == {"mean", "low", "high"}
            assert numbers["low"] <= numbers["mean"] <= numbers["high"]
        assert report[arm]["success"]["low"] >= 0
        assert report[arm]["success"]["high"] <= 1
    gain = report["trained"]["return"]["mean"] - report["shuffled"]["return"]["mean"]
    assert report["communication_gain"] == pytest.approx(gain, abs=1e-6)
    low, high = (report["communication_gain_interval"][side] for side in ("low", "high"))
    assert low <= report["communication_gain"] <= high
    assert type(report["channel_used"]) is bool
    assert report["ceiling"]["success"]["mean"] == 1.0
    assert report["ceiling"]["length"]["mean"] < report["floor"]["length"]["mean"]


def test_where_there_is_no_success_none_is_told(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Packets that are routed until the time is over."""
    words = ["--env-settings", "deliveries", "none", "max_steps", "2", "num_agents", "3", "--num-envs", "4"]
    words += ["--rollout", "4", "--steps", "16", "--hidden", "8", "--episodes", "2", "--out", "runs/routes"]
    assert main(["train", "routing", *words]) == 0
    assert "n/a" in capsys.readouterr().out
    assert '"success": null' in (tmp_path / "runs" / "routes" / "metrics.jsonl").read_text()
    told = json.loads((tmp_path / "runs" / "routes" / "eval.json").read_text())
    assert told["trained"]["success"] == {"mean": None, "low": None, "high": None}
    assert told["trained"]["length"]["mean"] == 2
    assert main(["plot", "runs/routes"]) == 78
    assert "--metric return" in capsys.readouterr().err


def test_a_bare_name_is_a_run_with_all_that_belongs_to_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says(["train", "relay", *TINY, "--episodes", "20", "--out", "mine"], capsys)
    assert {"config.json", "eval.json", "trajectories.png"} <= {
        path.name for path in (tmp_path / "runs/mine").iterdir()
    }
    (tmp_path / "runs/mine/trajectories.png").unlink()
    says(["replay", "mine"], capsys)
    assert (tmp_path / "runs/mine/trajectories.png").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]


def test_the_name_of_a_run_comes_from_what_it_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["train", "predator_prey/5x5-3-v0", *TINY, "--episodes", "0", "--comm", "attention:heads=2", "--seed", "4"]
    assert "runs/predator_prey-5x5-3-v0-attention-4" in says(words, capsys)
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["predator_prey-5x5-3-v0-attention-4"]


def test_eval_passes_over_a_damaged_checkpoint_and_names_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    says(["train", "relay", *TINY, "--save-every", "1", "--episodes", "0", "--out", "runs/hurt"], capsys)
    file = tmp_path / "runs" / "hurt" / "checkpoints" / "step_64" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert "step_64/model.safetensors" in says(["eval", "hurt", "--episodes", "10"], capsys)
    resumed = ["train", "relay", *TINY, "--save-every", "1", "--episodes", "0", "--out", "runs/hurt", "--resume"]
    text = says(resumed, capsys)
    assert "passed over" in text
    assert "step_64/model.safetensors" in text


def test_progress_without_a_terminal_is_a_line_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from gnncomm.cli.progress import TrainingProgress
    from gnncomm.learn import PPOConfig, TrainConfig
    from gnncomm.run import train

    config = TrainConfig.of(env="relay", num_envs=4, rollout=2, steps=32, hidden=8, learner=PPOConfig(minibatches=2))
    with TrainingProgress(Console(), 32) as progress:

        def observe(training: Any, metrics: dict[str, float]) -> None:
            if metrics["update"] == 2:
                progress.last_line -= 11  # as if ten seconds had gone by
            progress(training, metrics)

        train(config, observer=observe)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.split()[:2] == ["16", "steps"]
    for word in ("steps/s", "success", "return", "length", "s left"):
        assert word in line


def test_bench_measures(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnncomm.cli.benching.matmul_rate", lambda: 1e9)
    text = says(["bench", "train", "--env", "relay", "--repeats", "2"], capsys)
    rows = dict(line.strip("│ ").split("│") for line in text.splitlines() if line.count("│") == 3)
    numbers = {name.strip(): value.strip() for name, value in rows.items()}
    assert set(numbers) >= {"environment steps per second, training", "rate of the update", "share"}
    training, collecting = (
        float(numbers[f"environment steps per second, {what}"].replace(",", ""))
        for what in ("training", "collecting only")
    )
    assert 0 < training < collecting
    rate = float(numbers["rate of the update"].split()[0])
    assert float(numbers["share"].rstrip("%")) == pytest.approx(100 * rate, rel=0.1, abs=10)


def test_a_reader_that_leaves_is_no_error(python: Any, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "left")
    reader = os.open(tmp_path / "left", os.O_RDONLY | os.O_NONBLOCK)
    python.begin("-c", GNNCOMM, "list", folder=tmp_path, out=str(tmp_path / "left"))
    assert select.select([reader], [], [], 60)[0], "nothing is there before the program has opened its end"
    assert os.read(reader, 12) == b"environments"
    os.close(reader)
    done = python.end()
    assert (done.returncode, done.stderr) == (0, "")


def test_the_console_script_reports_errors_in_one_line(python: Any, tmp_path: Path) -> None:
    done = python.run("-c", GNNCOMM, "eval", "nowhere", folder=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (66, "", 1)
