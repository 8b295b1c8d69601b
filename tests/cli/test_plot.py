"""``gnncomm plot``: what a run logged, as a figure."""

from __future__ import annotations

from pathlib import Path

import pytest

from gnncomm.cli.main import main
from gnncomm.cli.plot import curve_of
from gnncomm.store import RunDir


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDir.create(tmp_path / "team", {"env": "relay"}) as store:
        store.log({"env_steps": 10, "success": 0.25, "return": -1.0})
        store.log({"env_steps": 20, "success": float("nan"), "return": -0.5})
        store.log({"env_steps": 30, "success": 0.75, "return": 0.5})
    return tmp_path / "team"


def test_values_that_are_no_numbers_are_left_out(run: Path) -> None:
    assert curve_of(str(run), "success") == ([10.0, 30.0], [0.25, 0.75])
    assert curve_of(str(run), "return") == ([10.0, 20.0, 30.0], [-1.0, -0.5, 0.5])


def test_a_figure_is_written(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", str(run), "--metric", "return", "--figure", str(tmp_path / "new" / "c.png")]) == 0
    assert (tmp_path / "new" / "c.png").stat().st_size > 5_000
    assert "figure in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["RUN", "--metric", "sucess"], "no metric 'sucess'. Did you mean 'success'?"),
        (["nowhere"], "There is no run"),
        ([], "at least one run"),
    ],
)
def test_what_cannot_be_drawn_is_told_in_a_line(
    run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(run) if word == "RUN" else word for word in words]
    assert main(["plot", *words]) > 0
    assert said in capsys.readouterr().err
