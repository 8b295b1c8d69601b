"""Real virtual environments, for what only an installation can show."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def with_their_needs(names: Iterable[str], without: Collection[str]) -> list[Distribution]:
    """``names`` and all that they require, as they are installed here; ``without`` some, and what these alone need."""
    found: dict[str, Distribution] = {}
    wanted = list(names)
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found or name in without:
            continue
        found[name] = distribution(name)
        needs = map(Requirement, found[name].requires or [])
        wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return list(found.values())


class Environment:
    """A new virtual environment, which sees some of what is installed here through links, and nothing else of it."""

    def __init__(self, folder: Path, linked: Iterable[Distribution]) -> None:
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        # Not in the environment itself: pip touches nothing that is outside of it.
        self._link(linked, folder / "linked")
        (site,) = (folder / "venv").glob("[Ll]ib/**/site-packages")
        (site / "linked.pth").write_text(f"{folder / 'linked'}\n", encoding="utf-8")

    @staticmethod
    def _link(distributions: Iterable[Distribution], place: Path) -> None:
        place.mkdir()
        for each in distributions:
            tops = {file.parts[0] for file in each.files or [] if file.parts[0] not in ("..", "__pycache__")}
            for top in tops:
                (place / top).symlink_to(Path(str(each.locate_file(top))).resolve())

    def pip(self, *words: str) -> None:
        done = self._run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *words)
        if "(from versions: none)" in done.stderr or "Errno -3" in done.stderr or "No space left" in done.stderr:
            pytest.skip(f"pip cannot install here: {done.stderr.strip().splitlines()[-1][:200]}")
        assert done.returncode == 0, done.stderr

    def gnncomm(self, *words: str, code: int = 0, folder: Path | None = None) -> str:
        done = self._run("gnncomm", *words, folder=folder)
        assert done.returncode == code, f"gnncomm {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def python(self, *words: str, folder: Path | None = None) -> str:
        done = self._run("python", *words, folder=folder)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def _run(self, program: str, *words: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        return subprocess.run(
            [str(self.bin / program), *words],
            cwd=folder or self.folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.fixture
def fresh_environment(tmp_path: Path) -> Callable[..., Environment]:
    """``fresh_environment(linked=["torch"])``: a virtual environment in ``tmp_path``."""
    return lambda linked, without=(): Environment(tmp_path, with_their_needs(linked, without))
