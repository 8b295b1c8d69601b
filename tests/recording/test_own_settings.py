"""Whoever draws with us keeps the settings of matplotlib that are in force, and they do not reach our pictures."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from gnncomm.errors import ConfigError
from gnncomm.recording import learning_curves

CURVES = {"one $x": ([0.0, 1.0, 2.0], [0.0, 0.5, 1.0]), "two": ([0.0, 2.0], [1.0, 0.0])}
ROOT = Path(__file__).resolve().parents[2]


def test_settings_of_the_caller_stay_and_do_not_reach_the_picture(tmp_path: Path) -> None:
    learning_curves(CURVES, tmp_path / "plain.png", ylabel="a $ in a name")
    with matplotlib.rc_context({"lines.linewidth": 17, "font.size": 31, "savefig.facecolor": "red"}):
        learning_curves(CURVES, tmp_path / "styled.png", ylabel="a $ in a name")
        assert matplotlib.rcParams["font.size"] == 31
    assert (tmp_path / "plain.png").read_bytes() == (tmp_path / "styled.png").read_bytes()


@pytest.mark.parametrize("name", ["folder", "no_suffix", "curve.exe", "curve.png/"])
def test_what_is_no_figure_is_refused_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "curve.png").mkdir()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="ends in one of"):
        learning_curves(CURVES, tmp_path / name)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("given", "kept"), [("svg", "svg"), ("nonsense", None), ("module://nowhere.backend", "module://nowhere.backend")]
)
def test_the_backend_of_the_caller_is_kept_where_it_is_one(
    given: str, kept: str | None, python: Any, tmp_path: Path
) -> None:
    code = (
        "import os, gnncomm.recording.drawing, matplotlib\n"
        "print(os.environ['MPLBACKEND'], dict.__getitem__(matplotlib.rcParams, 'backend'))"
    )
    done = python.run("-c", code, folder=tmp_path, env=os.environ | {"MPLBACKEND": given})
    assert done.returncode == 0, done.stderr
    variable, _, backend = done.stdout.strip().partition(" ")
    assert variable == given
    assert backend == kept if kept else "sentinel" in backend or "object" in backend
