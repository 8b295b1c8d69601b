"""The oldest versions that pyproject.toml allows work, and so does the core without any extra.

From a package index, but for torch, which is the one that runs here, and not the oldest one: the index that a machine
has may hold only one build for its processor, and an old one weighs gigabytes.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
TINY = ["--num-envs", "8", "--rollout", "4", "--hidden", "8", "--learner.minibatches", "2", "--episodes", "20"]
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


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_oldest_versions_first_the_core_alone_then_with_figures(tmp_path: Path, fresh_environment: Any) -> None:
    own = {canonicalize_name(Requirement(text).name) for text in PROJECT["dependencies"]}
    place = fresh_environment(linked=["torch"], without=own - {"torch"})
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
    place.gnncomm("replay", "first", "--video", "film.gif", "--html", "page.html")
    place.gnncomm("replay", "first")
    for name in ("curves.png", "episode.pdf", "film.mp4", "film.gif", "page.html", "runs/first/trajectories.png"):
        assert (tmp_path / name).stat().st_size > 1_000, name


def _core_pins(folder: Path) -> Path:
    """So that the extra cannot move the core to newer versions."""
    file = folder / "core.txt"
    file.write_text("\n".join(oldest(PROJECT["dependencies"])), encoding="utf-8")
    return file


def test_bounds_are_read() -> None:
    assert oldest(["tyro>=0.9.27", "torch>=2.6"])[0] == "tyro==0.9.27"
    assert oldest(["torch>=2.6"]) == ["torch==2.13.0"]
