"""Help without waiting: no torch for it; in words of people, with examples that can be typed; and the Tab key."""

from __future__ import annotations

import importlib
import os
import resource
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gnncomm.cli import completion, main
from gnncomm.cli.main import COMMANDS
from gnncomm.cli.parse import parse_known
from gnncomm.registry import Description


def args_of(command: str) -> Any:
    return getattr(importlib.import_module(f"gnncomm.cli.{command}"), f"{command.capitalize()}Args")


def fresh(code: str, **env: str) -> tuple[str, float]:
    """What a new process prints, and the processor seconds that it takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | env)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    return done.stdout, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_loads_no_torch() -> None:
    """All commands in one process: what one of them loaded would be there for the next, too."""
    calls = [[], ["--help"], ["help"], ["--version"], ["train", "relay", "--help"]]
    calls += [words for command in COMMANDS for words in ([command, "--help"], ["help", command])]
    code = "import io, sys, contextlib\nfrom gnncomm.cli import main\n" + "".join(
        f"with contextlib.redirect_stdout(io.StringIO()): main({words!r})\n"
        f"assert not {{'torch', 'numpy'}} & set(sys.modules), {words!r}\n"
        for words in calls
    )
    _, seconds = fresh(code)
    assert seconds < 0.25 * len(calls), "each by itself is far below a second"


@pytest.mark.slow
def test_one_help_takes_less_than_a_second() -> None:
    for words in (["--help"], ["train", "--help"], ["eval", "--help"], ["list", "envs", "--help"]):
        said, seconds = fresh(f"import sys\nfrom gnncomm.cli import main\nmain({words!r})")
        assert "usage: gnncomm" in said
        assert seconds < 1.0, words


def test_the_help_of_an_environment_has_its_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "relay", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.replace("\u2502", " ").split())
    assert "(default: relay)" in text
    assert "Who could hear whom, for instance full, ring, knn:k=4, radius:r=2. (default: line)" in text
    assert "--loggers [NAME [NAME ...]]" in text
    assert " STR" not in text
    assert " INT" not in text


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_can_be_typed(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--help"]) == 0
    told = capsys.readouterr().out.split("examples:\n")[1].partition("\n\n")[0]
    lines = [line.strip().partition(" > ")[0] for line in told.splitlines() if line.startswith("  gnncomm")]
    assert lines, "each command shows some"
    for line in lines:
        program, name, *words = shlex.split(line)
        assert (program, name) == ("gnncomm", command)
        assert parse_known(args_of(command), words, "gnncomm") is not None


def test_a_wrong_word_gets_the_next_one(capsys: pytest.CaptureFixture[str]) -> None:
    for words, hint in {
        ("trian",): "Did you mean 'train'?",
        ("hepl",): "Did you mean 'help'?",
        ("train", "--stepz", "4"): "Perhaps you meant: --steps",
        ("eval", "x", "--chekpoint", "best"): "Perhaps you meant: --checkpoint",
        (
            "completion",
            "tcsh",
        ): "error: invalid choice 'tcsh' for argument 'shell'. Expected one of ('bash', 'zsh', 'fish')",
    }.items():
        assert main(list(words)) == 2
        assert hint in capsys.readouterr().err


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    (folder / "bash").write_text(completion._bash())
    (folder / "zsh").write_text(completion._zsh())
    (folder / "fish").write_text(completion._fish())
    (folder / "runs" / "first").mkdir(parents=True)
    return folder


def test_tab_in_bash(scripts: Path) -> None:
    """The real shell, the real function."""
    cases = {
        "gnncomm ": {*COMMANDS, "help"},
        "gnncomm re": {"resume", "replay"},
        "gnncomm train hall": {
            "hallway",
            *(f"hallway/{size}-v0" for size in ("4x6-slip", "4x6x10-slip", "2x6x10", "4x6x10", "3x5-4x6x10")),
        },
        "gnncomm train --comm tarm": {"tarmac", "tarmac2", "tarmac_ic3net"},
        "gnncomm train --topology r": {"radius", "random_regular", "ring"},
        "gnncomm train --learner.lr-s": {"--learner.lr-schedule"},
        "gnncomm train --learner.lr-schedule ": {"constant", "linear"},
        "gnncomm eval f": {"first"},
        "gnncomm eval first --js": {"--json"},
        "gnncomm eval --json ba": {"bash"},
        "gnncomm list layer": {"layers"},
        "gnncomm completion ": {"bash", "zsh", "fish"},
        "gnncomm train --no-learner": set(),
        "gnncomm train --learner.no-v": {"--learner.no-value-clip"},
        "gnncomm train --steps ": set(),
    }
    lines = ["source ./bash"]
    for line in cases:
        words = line.split(" ")
        lines.append(f"COMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}; _gnncomm")
        lines.append('echo "${COMPREPLY[@]}"')
    done = subprocess.run(
        ["bash", "--norc", "-c", "\n".join(lines)], capture_output=True, text=True, cwd=scripts, check=True
    )
    assert not done.stderr
    found = dict(zip(cases, (set(line.split()) for line in done.stdout.splitlines()), strict=True))
    assert found == cases


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_read_it(scripts: Path, shell: str) -> None:
    text = (scripts / shell).read_text()
    if shell == "fish":
        assert "complete -c gnncomm -n '__fish_seen_subcommand_from train' -l comm -x -a 'adversarial_comms" in text
        assert "complete -c gnncomm -n __fish_use_subcommand -a train -d 'train a team" in text
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n", shell], cwd=scripts, check=True)


def test_tab_runs_no_name_of_a_run(scripts: Path) -> None:
    """Whoever unpacks runs of others has names of theirs in runs/."""
    for name in ("x$(touch${IFS}ran)", "x`touch${IFS}ran`", "x y;z"):
        (scripts / "runs" / name).mkdir()
    lines = "source ./bash; COMP_WORDS=(gnncomm eval x); COMP_CWORD=2; _gnncomm; printf '%s\\n' \"${COMPREPLY[@]}\""
    done = subprocess.run(["bash", "--norc", "-c", lines], capture_output=True, text=True, cwd=scripts, check=True)
    assert set(done.stdout.splitlines()) == {"x$(touch${IFS}ran)", "x`touch${IFS}ran`", "x y;z"}
    assert not done.stderr
    assert not (scripts / "ran").exists()


def test_words_that_a_shell_would_run_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody else's package writes into somebody's shell."""
    evil = Description("x", "", protocols=("$(rm -rf ~)", "plain-v0", "a'b"))
    monkeypatch.setattr(completion, "described", lambda kind: [evil])
    assert completion._names("env") == ("x", "x/plain-v0")
