"""train, eval, plot and replay from outside, in surroundings that nobody chose: the same files, the same pictures.

Each case is one process that runs all four commands, and leaves in ``codes`` how they ended; what cannot hide each
other's faults is tried in one. What they write must not depend on the surroundings by a byte: numbers are compared with
those of a quiet run, and so are the pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
TINY = ["--num-envs", "8", "--rollout", "4", "--steps", "64", "--hidden", "8", "--learner.minibatches", "2"]
PROGRAM = """
import pathlib, sys
from gnncomm.cli import main
codes, run, figure = sys.argv[1:4]
plan = [
    ["train", "relay", "--out", run, "--episodes", "20", *sys.argv[4:]],
    ["eval", run, "--episodes", "20", "--json", figure + ".json"],
    ["plot", run, "--figure", figure + ".png"],
    ["replay", run, "--figure", figure + ".pdf", "--video", figure + ".gif"],
]
ended = [main(words) for words in plan]
pathlib.Path(codes).write_text(" ".join(map(str, ended)))
"""
RC = "figure.facecolor: red\nlines.linewidth: 9\nfont.size: 30\nsavefig.dpi: 7\nno.such.key: 1\nlines.color: [oops\n"
NOTEBOOK = "module://matplotlib_inline.backend_inline"


@dataclass(frozen=True)
class Surroundings:
    name: str
    env: dict[str, str | None] = field(default_factory=dict)
    folder: str = "cwd"
    figure: str = "figure"
    """Without its suffix; PLACE is the directory of the case."""
    shell: str = ""
    """What stands around the command line. Without: a fork that need not import torch, since nothing of the case is
    settled while Python starts."""
    out: str | None = None
    """Where stdout leads."""
    codes: Sequence[int] = (0, 0, 0, 0)
    encoding: str = "utf-8"


CASES = (
    Surroundings(
        "latin-1, narrow, brackets",
        {"PYTHONIOENCODING": "latin-1", "MPLBACKEND": NOTEBOOK, "COLUMNS": "40"},
        folder="[bold]a[/b] $x",
        figure="curves[final]",
        shell="{}",
        encoding="latin-1",
    ),
    Surroundings(
        "ascii, dumb, no home, private, stderr closed",
        {"PYTHONIOENCODING": "ascii", "TERM": "dumb", "NO_COLOR": "1", "MPLBACKEND": "nonsense"}
        | {"HOME": None, "USER": None},
        shell="umask 077; {} 2>&-",
    ),
    Surroundings("stdout closed", out=""),
    Surroundings("disk full", out="/dev/full", codes=(74, 0, 0, 0)),
    Surroundings("folder for reading only, reader left", figure="PLACE/cwd/figure", out="PLACE/left"),
)


def drive(place: Path, case: Surroundings, python: Any) -> subprocess.CompletedProcess[str]:
    folder = place / case.folder
    folder.mkdir(parents=True)
    (folder / "matplotlibrc").write_text("" if case.name == "quiet" else RC)
    (place / "tmp").mkdir()
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONWARNINGS": "ignore",
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLCONFIGDIR": str(place.parent / "matplotlib"),  # the list of fonts is made once
        "TMPDIR": str(place / "tmp"),
    }
    for name in ("MPLBACKEND", "COLUMNS", "GNNCOMM_DEBUG", "PYTHONUTF8"):
        environment.pop(name, None)
    for name, value in case.env.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    words = ["-c", PROGRAM, str(place / "codes"), str(place / "runs" / "tiny")]
    words += [case.figure.replace("PLACE", str(place)), *TINY]
    if not case.shell:
        there = Path("/proc") if "reading only" in case.name else folder
        out = case.out and case.out.replace("PLACE", str(place))
        if "reader left" in case.name:
            os.mkfifo(place / "left")
            reader = os.open(place / "left", os.O_RDONLY | os.O_NONBLOCK)
        python.begin(*words, folder=there, env=environment, out=out)
        if "reader left" in case.name:
            await_writer(reader)
            os.close(reader)
        done: subprocess.CompletedProcess[str] = python.end()
        return done
    return subprocess.run(
        ["bash", "-c", case.shell.format('"$@"'), "bash", sys.executable, *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding=case.encoding,
        timeout=300,
    )


def await_writer(reader: int) -> None:
    """Until the program has opened the other end of a pipe with a name, which it waits in while nobody reads."""
    while True:
        try:
            if os.read(reader, 1):
                return
        except BlockingIOError:
            return
        time.sleep(0.01)


@dataclass(frozen=True)
class Left:
    """What the commands left."""

    files: dict[str, bytes]
    codes: list[int]

    @classmethod
    def behind(cls, place: Path, case: Surroundings) -> Left:
        run = place / "runs" / "tiny"
        kept = {name: run / name for name in ("eval.json", "trajectories.png", "metrics.jsonl")}
        figure = place / case.folder / case.figure.replace("PLACE", str(place))
        kept |= {end: figure.with_name(figure.name + end) for end in (".json", ".png", ".gif")}
        files = {name: path.read_bytes() for name, path in kept.items()}
        assert figure.with_name(f"{figure.name}.pdf").stat().st_size > 5_000
        return cls(files, [int(word) for word in (place / "codes").read_text().split()])


@pytest.mark.timeout(600)
def test_the_same_files_in_any_surroundings(python: Any, tmp_path: Path) -> None:
    """In one test, so that the quiet run is there once."""
    quiet = Surroundings("quiet")
    done = drive(tmp_path / "quiet", quiet, python)
    assert done.returncode == 0, done.stderr
    files = Left.behind(tmp_path / "quiet", quiet).files
    for case in CASES:
        place = tmp_path / case.name
        done = drive(place, case, python)
        assert "Traceback" not in done.stderr, case.name
        left = Left.behind(place, case)
        assert left.codes == list(case.codes), (case.name, done.stderr)
        full = ["error: standard output: No space left on device" for code in case.codes if code]
        assert done.stderr.splitlines() == full, case.name
        for name in left.files:
            assert left.files[name] == files[name], f"{name} depends on the surroundings {case.name}"
        assert json.loads(left.files["eval.json"]) == json.loads(left.files[".json"])
        if case.shell == "{}":
            for end in (".png", ".pdf", ".gif"):
                assert f" in {case.figure.replace('PLACE', str(place))}{end}\n" in done.stdout
            assert "bits per agent and step" in done.stdout
            assert "\u2026" not in done.stdout, "cut"
