"""No text on the command line gives a traceback, a crash, or an hour of work before the refusal."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm.cli import faults, main
from gnncomm.cli.output import Output
from gnncomm.cli.parse import output_file
from gnncomm.compare.groups import short_names
from gnncomm.errors import ConfigError
from gnncomm.recording import VIEWS
from gnncomm.registry import make
from gnncomm.store import RunDir

NEST = "(" * 300 + "ring" + ")" * 300
TEXTS = [
    ("--topology", NEST, "32 levels"),
    ("--topology", "(" * 10_000, "1000 letters"),
    ("--topology", "~" * 400 + "ring", "32 levels"),
    ("--topology", "|".join(["ring"] * 190), "64 parts"),
    ("--topology", "ring" + ".every(2)" * 100, "64 parts"),
    ("--topology", "[" * 200, "32 levels"),
    ("--topology", "knn:k=\u0663", "expected k="),
    ("--topology", "knn:k=1_0", "expected k="),
    ("--channel", "+".join(["ideal"] * 150), "64 parts"),
    ("--codec", "quantise:bits=99999999999999999999", "bits"),
    ("--comm", "attention:heads=" + "9" * 5000, "letters"),
    ("--comm", "mean:msg_channels=\u0663", "msg_channels is int"),
    ("--comm", "mean + " * 5000 + "mean", "letters"),
    ("--env", "x" * 20_000, "letters"),
    ("--num-envs", "9" * 20, "num_envs must be"),
    ("--num-envs", "9" * 4000, "num_envs must be"),
    ("--num-envs", "9" * 5000, "--num-envs"),
    ("--num-envs", "10000000", "of memory"),
    ("--hidden", "1000000", "hidden must be"),
    ("--hidden", "60000", "of memory"),
    ("--rounds", "1000000000", "rounds must be"),
    ("--steps", "9" * 30, "steps must be"),
    ("--rollout", "9" * 30, "rollout must be"),
    ("--save-every", "9" * 30, "save_every must be"),
    ("--learner.minibatches", "9" * 30, "learner.minibatches must be"),
    ("--learner.epochs", "9" * 30, "learner.epochs must be"),
    ("--learner.lr", "1e999", "learner.lr: expected a finite number"),
    ("--threads", "100000", "threads must be"),
    ("--episodes", "1", "episodes must be"),
    ("--seed", "\u0663", "--seed"),
    ("--seed", "1_0", "--seed"),
    ("--seed", str(2**63 - 1), "seed must be"),
    ("--env-settings", "num_envs 5", "one of the training"),
    ("--env-settings", "device cuda", "one of the training"),
    ("--env-settings", "num_agents " + "9" * 40, "num_agents"),
    ("--env-settings", "steps -1", "steps"),
    ("--device", "meta", "meta"),
    ("--device", "cuda:999999999999999999999", "cuda"),
    ("--curriculum", "steps linear:start=1e400,end=1", "finite"),
]


@pytest.mark.parametrize(("option", "text", "said"), TEXTS, ids=lambda text: text[:24])
def test_any_text_is_one_bounded_line(
    option: str, text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    values = text.split(" ") if option in ("--env-settings", "--curriculum") else [text]
    words = ["train", *values] if option == "--env" else ["train", "relay", option, *values]
    code = main(words)
    line = capsys.readouterr().err
    assert code in (2, 71, 78)
    assert line.startswith("error: ")
    assert line.count("\n") == 1
    assert len(line) < 1_200
    assert said in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["eval", "run", "--seed", "9" * 4200],
            "seed must be a whole number from 0 to 4,611,686,018,427,387,903, got a number",
        ),
        (["replay", "run", "--seed", "9" * 4200], "seed must be"),
        (["bench", "--repeats", "9" * 4200], "repeats must be"),
        (["eval", "run", "--episodes", "1e3"], "--episodes: expected a whole number in plain digits, got '1e3'"),
        (["eval", "run", "--episodes", "9" * 5000], "--episodes: expected a whole number in plain digits, got '9999"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_numbers_of_every_command_are_refused_in_few_words(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One rule for all of them: the one of the settings of a training."""
    assert main(words) in (2, 78)
    line = capsys.readouterr().err
    assert said in line
    assert "---" not in line, "a frame"
    assert len(line) < 400


def test_a_fault_of_ours_is_one_line_and_the_traceback_is_to_be_had(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(_: list[str]) -> int:
        raise KeyError("the\x1b[31mcat")

    monkeypatch.setattr("gnncomm.cli.list.run", broken)
    with pytest.raises(KeyError):
        main(["list"])  # in these tests the net is empty
    monkeypatch.setattr(faults, "UNEXPECTED", (Exception,))
    assert main(["list"]) == 70
    line = capsys.readouterr().err
    assert line.startswith("error: unexpected KeyError in gnncomm/cli/main.py:")
    assert "GNNCOMM_DEBUG=1" in line
    assert line.count("\n") == 1
    assert "\x1b" not in line
    with pytest.raises(KeyError):
        main(["list", "--debug"])
    monkeypatch.setenv("GNNCOMM_DEBUG", "1")
    with pytest.raises(KeyError):
        main(["list"])


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError, torch.OutOfMemoryError])
def test_memory_that_gives_out_has_a_code_of_its_own(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def hungry(_: list[str]) -> int:
        raise kind("[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried\nmore")

    monkeypatch.setattr(faults, "UNEXPECTED", (Exception,))
    monkeypatch.setattr("gnncomm.cli.list.run", hungry)
    assert main(["list"]) == 71
    line = capsys.readouterr().err
    assert "not enough memory" in line
    assert "more" not in line.replace("get more", "")


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("matplotlib.figure", "pip install 'gnncomm[viz]'"),
        ("PIL", "pip install 'gnncomm[viz]'"),
        ("pettingzoo", "pip install 'gnncomm[pettingzoo]'"),
        ("torch_geometric.nn", "pip install 'torch-geometric>="),
        ("networkx", "pip install 'networkx>="),
        ("psutil", "pip install psutil"),
    ],
)
def test_a_missing_package_is_answered_with_what_brings_it(module: str, line: str) -> None:
    said, code = faults.explain(ModuleNotFoundError(f"No module named {module!r}", name=module))
    assert code == 69
    assert line in said


def test_a_missing_room_of_ours_is_our_fault() -> None:
    assert (
        faults.explain(ModuleNotFoundError("No module named 'gnncomm.envs.relay'", name="gnncomm.envs.relay"))[1] == 70
    )


def test_a_train_in_a_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "relay", "--num-envs", "4", "--rollout", "2", "--steps", "16", "--hidden", "8", "--episodes", "0"]
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(main(words)))
    thread.start()
    thread.join(60)
    assert codes == [0]


LONG = [
    "train",
    "relay",
    "--num-envs",
    "8",
    "--rollout",
    "4",
    "--steps",
    "10000000",
    "--hidden",
    "8",
    "--episodes",
    "0",
]


@pytest.mark.parametrize(("action", "code"), [("SIG_DFL", 129), ("SIG_IGN", 143)])
def test_a_hangup_saves_and_one_that_is_ignored_is_ignored(action: str, code: int, tmp_path: Path, python: Any) -> None:
    program = f"import signal, sys; signal.signal(signal.SIGHUP, signal.{action}); "
    program += "from gnncomm.cli import main; sys.exit(main())"
    process = python.begin("-c", program, *LONG, "--out", "run", folder=tmp_path)
    log = tmp_path / "runs" / "run" / "metrics.jsonl"
    until = time.monotonic() + 60
    while not (log.exists() and log.stat().st_size) and time.monotonic() < until:
        time.sleep(0.02)
    os.kill(process, signal.SIGHUP)
    if code == 143:
        time.sleep(0.5)
        os.kill(process, signal.SIGTERM)  # fails if it has ended
    done = python.end()
    assert done.returncode == code
    assert "saved in run at" in done.stdout
    assert list((tmp_path / "runs" / "run" / "checkpoints").glob("step_*"))


def chained(*objects: str) -> str:
    """Lines of a log as docs/store.md describes them, by somebody who knows how."""
    lines, before = [], "00000000"
    for text in objects:
        before = f"{zlib.crc32((before + text).encode()):08x}"
        lines.append(f'{text[:-1]}, "crc32": "{before}"}}\n')
    return "".join(lines)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("null", "got nothing"),
        ('"much"', "got str"),
        ("[1]", "got list"),
        ("true", "got bool"),
        ("1" + "0" * 301, "line 2"),
        ("1e308", "too large"),
        ("1e999", "1e999"),
        ("NaN", "NaN"),
    ],
)
@pytest.mark.parametrize("place", ["env_steps", "success"])
def test_a_foreign_log_is_named_as_bad_data(
    value: str, said: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every hash is right, and what is written is no number."""
    with RunDir.create(tmp_path / "team", {"env": "relay"}) as store:
        store.log({"env_steps": 10, "success": 0.5})
    log = tmp_path / "team" / "metrics.jsonl"
    good = '{"env_steps": 10, "success": 0.5}'
    assert log.read_text() == chained(good)
    numbers = {"env_steps": "20", "success": "0.5"} | {place: value}
    log.write_text(chained(good, f'{{"env_steps": {numbers["env_steps"]}, "success": {numbers["success"]}}}'))
    code = main(["plot", str(tmp_path / "team"), "--figure", str(tmp_path / "c.png")])
    if (place, value) == ("success", "null"):
        assert code == 0
        return
    assert code == 65
    line = capsys.readouterr().err
    assert "line 2" in line
    assert said in line
    assert not (tmp_path / "c.png").exists()


def test_a_log_without_hashes_is_not_one_that_gnncomm_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunDir.create(tmp_path / "team", {"env": "relay"}) as store:
        store.log({"env_steps": 10, "success": 0.5})
    with (tmp_path / "team" / "metrics.jsonl").open("a") as file:
        file.write('{"env_steps": 20, "success": 0.5}\n')
    assert main(["plot", str(tmp_path / "team"), "--figure", str(tmp_path / "c.png")]) == 65
    line = capsys.readouterr().err
    assert "damaged in line 2" in line
    assert "not what was written" in line
    assert not (tmp_path / "c.png").exists()


@pytest.mark.parametrize("name", ["pipe", "\0.json", "folder"])
def test_what_is_no_file_is_not_replaced_by_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``--json /dev/null`` by a superuser took the device away from the whole machine; here a pipe stands for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="name of a file to write"):
        output_file(name)
    assert (tmp_path / "pipe").is_fifo()


@pytest.mark.parametrize("name", ["x.exe", "folder", "new"])
@pytest.mark.parametrize("command", ["plot", "replay"])
def test_a_figure_that_is_none_is_refused_before_anything_is_written(
    command: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    with RunDir.create(tmp_path / "team", {"env": "relay"}) as store:
        store.log({"env_steps": 10, "success": 0.5})
    (tmp_path / "folder").mkdir()
    before = sorted(tmp_path.rglob("*"))
    code = main([command, str(tmp_path / "team"), "--figure", name])
    assert code == 78 or command == "replay"
    assert code
    assert sorted(tmp_path.rglob("*")) == before
    assert capsys.readouterr().err.count("\n") == 1


def test_runs_of_one_last_name_are_two_curves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[dict[str, Any]] = []
    monkeypatch.setattr("gnncomm.cli.plotting.learning_curves", lambda curves, *_, **__: seen.append(curves))
    for number, name in enumerate(("one/seed0", "two/seed0", "two/seed1")):
        with RunDir.create(tmp_path / name, {"env": "relay"}) as store:
            store.log({"env_steps": 10, "success": number / 10})
    runs = [str(tmp_path / name) for name in ("one/seed0", "two/seed0", "two/seed1", "two/seed1")]
    assert main(["plot", *runs, "--figure", str(tmp_path / "c.png")]) == 0
    found = {name.removesuffix(", unfinished"): list(y) for name, (_, y) in seen[0].items()}
    assert found == {"one/seed0": [0.0], "two/seed0": [0.1], "seed1": [0.2]}
    assert capsys.readouterr().err == ""


def test_names_are_as_short_as_they_can_be() -> None:
    paths = [Path(text) for text in ("/a/b/c", "/x/b/c", "/c", "/a/d")]
    assert list(short_names(paths).values()) == ["a/b/c", "x/b/c", "/c", "d"]


def test_what_a_stream_cannot_spell_is_replaced_and_a_stream_that_breaks_is_left(tmp_path: Path) -> None:
    with (tmp_path / "ascii").open("w", encoding="ascii") as file:
        out = Output(file)
        out.write("8.2 \u00b1 0.1 \u2013 \u4e2d [x]\n")
        file.close()
        assert out.write("more") == 4
        assert isinstance(out.error, ValueError)
    assert (tmp_path / "ascii").read_text() == "8.2 +- 0.1 - ? [x]\n"


def test_the_module_is_the_command(tmp_path: Path, python: Any) -> None:
    done = python.run("-m", "gnncomm", "eval", "nowhere", folder=tmp_path)
    assert (done.returncode, done.stderr.count("\n")) == (66, 1)


@pytest.mark.parametrize("words", [["help"], ["help", "eval"], ["help", "nonsense"]])
def test_help_is_a_word(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(words)
    said = capsys.readouterr()
    assert code == (2 if "nonsense" in words else 0)
    assert ("usage: gnncomm" in said.out) == (code == 0)


def test_a_figure_that_fails_loses_nothing_of_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", "trajectories.png")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(VIEWS, "paths", fails)
    words = ["train", "relay", "--num-envs", "4", "--rollout", "2", "--steps", "16", "--hidden", "8", "--out", "run"]
    assert main([*words, "--episodes", "4"]) == 0
    said = capsys.readouterr().out
    assert "no figure: trajectories.png: No space left" in said
    assert "messages muted" in said
    assert json.loads((tmp_path / "runs/run/eval.json").read_text())["episodes"] == 4


def test_numbers_are_kept_before_they_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["train", "relay", "--num-envs", "4", "--rollout", "2", "--steps", "16", "--hidden", "8", "--out", "run"]
    assert main([*words, "--episodes", "0"]) == 0
    monkeypatch.setattr("gnncomm.evaluation.report.Report.table", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["eval", "run", "--episodes", "4", "--json", "kept.json"])
    assert json.loads((tmp_path / "kept.json").read_text())["episodes"] == 4


def test_a_fault_of_a_plugin_is_said_to_be_its(
    installed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["from gnncomm.policy import Memory", "class Broken(Memory):", "    def __init__(self, hidden: int):"]
    (tmp_path / "faulty_parts.py").write_text("\n".join([*lines, "        super().__init__()"]))
    monkeypatch.syspath_prepend(tmp_path)
    installed("gnncomm.memories", broken="faulty_parts:Broken")
    try:
        make("memory", "broken", hidden=8)
    except TypeError as error:
        line, code = faults.explain(error)
    assert "faulty_parts.py:4" in line
    assert "fault of the entry point faulty_parts:Broken" in line
    assert code == 70
