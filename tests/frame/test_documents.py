"""The front page, the pinned versions and the continuous-integration script tell the truth."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)
PAGES_WITH_CODE = [page for page in PAGES if PYTHON.search(page.read_text(encoding="utf-8"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SLOW_EXAMPLES = {"lossy_channel.py": 240, "quickstart.py": 600}
"""Seconds allowed to the examples that learn for more than a moment."""


def quick_start() -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    section = re.search(r"^## Quick start$(.*?)(?=^## )", text, re.S | re.M)
    assert section is not None, "README.md has no section 'Quick start'"
    blocks = re.findall(r"^```bash\n(.*?)^```$", section.group(1), re.S | re.M)
    return [line for block in blocks for line in block.splitlines() if line.strip()]


def run(python: Any, program: Path, folder: Path, seconds: float) -> str:
    """What ``program`` says in ``folder``; fails if it fails, warns, or takes more than ``seconds``."""
    done = python.run(program, folder=folder, env=os.environ | {"MPLBACKEND": "agg"}, warn=None, seconds=seconds)
    assert done.returncode == 0, f"ended with {done.returncode}\n{done.stdout}{done.stderr}"
    return str(done.stdout)


def test_what_a_failed_test_began_does_not_answer_the_next_one(python: Any, tmp_path: Path) -> None:
    python.begin("-c", "import time; time.sleep(60)", folder=tmp_path)
    assert python.run("-c", "print('mine')", folder=tmp_path).stdout == "mine\n"


def test_a_served_program_is_alone_strict_and_watched(python: Any, tmp_path: Path) -> None:
    """As if each had a Python of its own: what one leaves behind, the next does not see; faults are seen."""

    def said(*lines: str, seconds: float = 60) -> str:
        (tmp_path / "program.py").write_text("\n".join(lines))
        return run(python, tmp_path / "program.py", tmp_path, seconds)

    assert said("import gnncomm, os, sys", "gnncomm.left = 1", "os.environ['LEFT'] = '1'", "print(__name__)") == (
        "__main__\n"
    )
    alone = "import os, sys; assert 'gnncomm' not in sys.modules; assert 'LEFT' not in os.environ"
    assert said(alone, "print(os.getcwd() == sys.path[0], len(sys.argv))", "print(sys.stdin.read() == '')") == (
        "True 1\nTrue\n"
    )
    with pytest.raises(AssertionError, match=r"(?s)ended with 1\n.*UserWarning: strict"):
        said("import warnings; warnings.warn('strict')")
    with pytest.raises(AssertionError, match="ended with 3"):
        said("raise SystemExit(3)")
    with pytest.raises(AssertionError, match="ended with -14"):
        said("while True: pass", seconds=0.2)


def test_quick_start_is_two_lines_with_environments_of_their_own() -> None:
    first, second = quick_start()
    assert ".venv/bin/gnncomm train predator_prey" in first
    assert ".venv-dev/bin/python -m pytest" in second
    for line, folder in ((first, ".venv"), (second, ".venv-dev")):
        assert line.startswith(f"python3 -m venv {folder} && ")
        assert "-c constraints.txt" in line
        assert set(re.findall(r"\.venv[-\w]*", line)) == {folder}


def test_ci_runs_the_line_of_the_readme() -> None:
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "README.md" in text
    assert quick_start()[1] not in text, ".ci/run copies the line instead of reading it"
    snippet = re.search(r"<<'PYTHON'\n(.*?)^PYTHON$", text, re.S | re.M)
    assert snippet is not None
    done = subprocess.run(
        [sys.executable, "-c", snippet.group(1)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [quick_start()[1]]


@pytest.mark.parametrize("page", PAGES_WITH_CODE, ids=lambda page: str(page.relative_to(ROOT)))
def test_python_blocks_run(page: Path, tmp_path: Path, python: Any) -> None:
    """The blocks of one page, in order, as one program."""
    program = tmp_path / f"page_{page.stem}.py"
    program.write_text("\n".join(PYTHON.findall(page.read_text(encoding="utf-8"))), encoding="utf-8")
    run(python, program, tmp_path, seconds=120)


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(
            path,
            id=path.name,
            marks=[pytest.mark.slow, pytest.mark.timeout(SLOW_EXAMPLES[path.name] + 60)]
            if path.name in SLOW_EXAMPLES
            else [],
        )
        for path in EXAMPLES
    ],
)
def test_example_runs(example: Path, tmp_path: Path, python: Any) -> None:
    run(python, example, tmp_path, SLOW_EXAMPLES.get(example.name, 60))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_is_short(example: Path) -> None:
    assert len(example.read_text(encoding="utf-8").splitlines()) < 60


def pins() -> dict[str, Version]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def test_every_declared_dependency_is_pinned_within_its_range() -> None:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    declared = [Requirement(text) for group in groups for text in group]
    pinned = pins()
    for requirement in declared:
        if requirement.name == PROJECT["name"]:
            continue
        assert canonicalize_name(requirement.name) in pinned, f"constraints.txt lacks {requirement.name}"
        assert requirement.specifier.contains(pinned[canonicalize_name(requirement.name)]), requirement


def test_torch_is_the_tested_release_without_a_build_suffix() -> None:
    assert str(pins()["torch"]) == "2.13.0"


def test_what_runs_is_what_is_pinned() -> None:
    """Guards against a constraints file that nobody installs from."""
    for name in ("torch", "torch-geometric", "numpy", "networkx"):
        assert Version(metadata.version(name)).public == str(pins()[name])


def test_changelog_keeps_its_form() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.M)
    assert headings[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", heading) for heading in headings[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.M))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_license_is_mit() -> None:
    assert PROJECT["license"] == "MIT"
    assert (ROOT / "LICENSE").read_text(encoding="utf-8").startswith("MIT License")


def test_no_machine_in_the_pages() -> None:
    for page in [*PAGES, ROOT / "CHANGELOG.md", ROOT / "constraints.txt", *EXAMPLES]:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(work|root|opt|tmp|home)/", text), page
