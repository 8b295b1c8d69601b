"""train, eval, plot and replay from outside, in surroundings that nobody chose: the same files, the same pictures.

Each case is one process that runs all four commands, and leaves in ``codes`` how they ended; what cannot hide each
other's faults is tried in one. What they write must not
depend on the surroundings by a byte: numbers are compared with those of a quiet run, and so are the pictures.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

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
    shell: str = "{}"
    """What stands around the command line."""
    codes: Sequence[int] = (0, 0, 0, 0)
    encoding: str = "utf-8"


CASES = (
    Surroundings(
        "latin-1, narrow, brackets",
        {"PYTHONIOENCODING": "latin-1", "MPLBACKEND": NOTEBOOK, "COLUMNS": "40"},
        folder="[bold]a[/b] $x",
        figure="curves[final]",
        encoding="latin-1",
    ),
    Surroundings(
        "ascii, dumb, no home, private, stderr closed",
        {"PYTHONIOENCODING": "ascii", "TERM": "dumb", "NO_COLOR": "1", "MPLBACKEND": "nonsense"}
        | {"HOME": None, "USER": None},
        shell="umask 077; {} 2>&-",
    ),
    Surroundings("stdout closed", shell="{} >&-"),
    Surroundings("disk full", shell="{} >/dev/full", codes=(74, 0, 0, 0)),
    Surroundings("folder for reading only, reader left", shell="cd /proc && {} | true", figure="PLACE/cwd/figure"),
)


def drive(place: Path, case: Surroundings) -> subprocess.CompletedProcess[bytes]:
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
    words = [sys.executable, "-c", PROGRAM, str(place / "codes"), str(place / "runs" / "tiny")]
    words += [case.figure.replace("PLACE", str(place)), *TINY]
    line = case.shell.format('"$@"')
    return subprocess.run(
        ["bash", "-c", line, "bash", *words],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=300,
    )


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


@pytest.fixture(scope="session")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Left:
    place = tmp_path_factory.mktemp("surroundings") / "quiet"
    case = Surroundings("quiet")
    done = drive(place, case)
    assert done.returncode == 0, done.stderr.decode()
    return Left.behind(place, case)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_same_files_in_any_surroundings(
    case: Surroundings, quiet: Left, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.getbasetemp() / "surroundings0" / case.name
    done = drive(place, case)
    said, complaint = done.stdout.decode(case.encoding), done.stderr.decode()
    assert "Traceback" not in complaint
    left = Left.behind(place, case)
    assert left.codes == list(case.codes), complaint
    assert complaint.splitlines() == ["error: standard output: No space left on device" for code in case.codes if code]
    for name in left.files:
        assert left.files[name] == quiet.files[name], f"{name} depends on the surroundings"
    assert json.loads(left.files["eval.json"]) == json.loads(left.files[".json"])
    if case.shell.endswith("{}"):
        for end in (".png", ".pdf", ".gif"):
            assert f" in {case.figure.replace('PLACE', str(place))}{end}\n" in said
        assert "bits per agent and step" in said
    if "COLUMNS" in case.env:
        assert "\u2026" not in said, "cut"
