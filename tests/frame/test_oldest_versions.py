"""The oldest versions that pyproject.toml allows work, and so does the core without any extra.

A real virtual environment, from a package index. torch is the one that runs here, and not the oldest one: the index
that a machine has may hold only one build for its processor, and an old one weighs gigabytes. The environment sees it
and what it alone needs through links; nothing else that is installed here can be imported there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TINY = ["--num-envs", "8", "--rollout", "4", "--hidden", "8", "--ppo.minibatches", "2", "--episodes", "20"]
TRAIN = ["train", "relay", *TINY, "--out", "first"]


def oldest(requirements: Iterable[str]) -> list[str]:
    """``name>=1.2`` as ``name==1.2``; torch as it is pinned."""
    pinned = re.search(r"^torch==\S+$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    assert pinned is not None
    found = []
    for requirement in map(Requirement, requirements):
        (bound,) = requirement.specifier
        assert bound.operator == ">=", requirement
        found.append(pinned[0] if requirement.name == "torch" else f"{requirement.name}=={bound.version}")
    return found


def torch_and_its_needs() -> list[Distribution]:
    """What is installed of them here, but for what the project declares: of that, the oldest version is wanted."""
    own = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]} - {"torch"}
    found: dict[str, Distribution] = {}
    wanted = ["torch"]
    while wanted:
        name = canonicalize_name(wanted.pop())
        if name in found or name in own:
            continue
        found[name] = distribution(name)
        needs = map(Requirement, found[name].requires or [])
        wanted += [need.name for need in needs if need.marker is None or need.marker.evaluate({"extra": ""})]
    return list(found.values())


class Installation:
    def __init__(self, folder: Path) -> None:
        self.bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        self.folder = folder
        subprocess.run([sys.executable, "-m", "venv", str(folder / "venv")], check=True)
        # Not in the environment itself: pip touches nothing that is outside of it.
        self._link(torch_and_its_needs(), folder / "linked")
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

    def gnncomm(self, *words: str, code: int = 0) -> str:
        done = self._run("gnncomm", *words)
        assert done.returncode == code, f"gnncomm {' '.join(words)}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    def _run(self, program: str, *words: str) -> subprocess.CompletedProcess[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PYTEST"))}
        return subprocess.run(
            [str(self.bin / program), *words],
            cwd=self.folder,
            env=clean,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=900,
        )


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_oldest_versions_first_the_core_alone_then_with_figures(tmp_path: Path) -> None:
    place = Installation(tmp_path)
    place.pip(*oldest(PROJECT["dependencies"]))
    place.pip("--no-deps", str(ROOT))

    said = place.gnncomm(*TRAIN, "--steps", "64")
    assert "no figure: " in said
    assert "pip install 'gnncomm[viz]'" in said
    assert "128 steps" in place.gnncomm(*TRAIN, "--steps", "128", "--resume")
    assert "numbers in" in place.gnncomm("eval", "first", "--episodes", "20", "--json", "numbers.json")
    assert "gnncomm[viz]" in place.gnncomm("plot", "first", code=69)
    assert "gnncomm[viz]" in place.gnncomm("replay", "first", code=69)
    assert "transformer_block" in place.gnncomm("list")
    assert "--num-envs" in place.gnncomm("train", "relay", "--help")
    assert "error: Error parsing --steps" in place.gnncomm("train", "relay", "--steps", "1_0", code=2)

    place.pip(*oldest(PROJECT["optional-dependencies"]["viz"]), "--constraint", str(_core_pins(tmp_path)))
    place.gnncomm("plot", "first")
    place.gnncomm("replay", "first", "--video", "film.mp4", "--figure", "episode.pdf")
    place.gnncomm("replay", "first", "--video", "film.gif")
    for name in ("curves.png", "episode.pdf", "film.mp4", "film.gif", "runs/first/trajectories.png"):
        assert (tmp_path / name).stat().st_size > 1_000, name


def _core_pins(folder: Path) -> Path:
    """So that the extra cannot move the core to newer versions."""
    file = folder / "core.txt"
    file.write_text("\n".join(oldest(PROJECT["dependencies"])), encoding="utf-8")
    return file


def test_bounds_are_read() -> None:
    assert oldest(["tyro>=0.9.27", "torch>=2.6"])[0] == "tyro==0.9.27"
    assert oldest(["torch>=2.6"]) == ["torch==2.13.0"]
