"""``gnncomm plot``: what a run logged, as a figure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnncomm.cli.main import main
from gnncomm.compare import find
from gnncomm.compare.curves import curve_of
from gnncomm.store import RunDir
from tests.compare.measured import a_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    with RunDir.create(tmp_path / "team", {"env": "relay"}) as store:
        store.log({"env_steps": 10, "success": 0.25, "return": -1.0})
        store.log({"env_steps": 20, "success": float("nan"), "return": -0.5})
        store.log({"env_steps": 30, "success": 0.75, "return": 0.5})
    return tmp_path / "team"


def test_values_that_are_no_numbers_are_left_out(run: Path) -> None:
    (found,) = find([str(run)])
    np.testing.assert_array_equal(curve_of(found, "success"), ([10.0, 30.0], [0.25, 0.75]))
    np.testing.assert_array_equal(curve_of(found, "return"), ([10.0, 20.0, 30.0], [-1.0, -0.5, 0.5]))


def drawn(monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Curves, and how they are drawn."""
    seen: list[tuple[dict[str, Any], dict[str, Any]]] = []
    monkeypatch.setattr("gnncomm.cli.plotting.learning_curves", lambda curves, *_, **how: seen.append((curves, how)))
    assert main(["plot", *words]) == 0
    return seen[0]


def test_seeds_of_one_configuration_are_one_curve_with_a_band(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Success rises to twice the given share: at the end the seeds of x stand at 0.2, 0.6 and 1.0."""
    names = [str(a_run(tmp_path / f"x-{seed}", seed, share)) for seed, share in enumerate((0.1, 0.3, 0.5))]
    names.append(str(a_run(tmp_path / "y", 7, 0.2, done=500, hidden=8)))
    curves, how = drawn(monkeypatch, *names, "--figure", str(tmp_path / "c.png"))
    assert list(curves) == ["hidden=64 (n=3)", "y, unfinished"]
    x, y = curves["hidden=64 (n=3)"]
    assert (x[-1], y[-1]) == (1000, pytest.approx(0.6))
    low, high = how["bands"]["hidden=64 (n=3)"]
    assert (low[-1], high[-1]) == pytest.approx((0.2, 1.0))
    assert [seed[1][-1] for seed in how["behind"]["hidden=64 (n=3)"]] == pytest.approx([0.2, 0.6, 1.0])
    assert curves["y, unfinished"][0][-1] == 500
    assert how["ylabel"].startswith("relay: mean of seeds, 95 % bootstrap")
    assert how["xlabel"] == "environment steps"


def test_smoothing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = str(a_run(tmp_path / "x", 0, 0.5))
    curves, how = drawn(monkeypatch, name, "--smooth", "4", "--figure", str(tmp_path / "c.png"))
    assert curves["x"][1][:5] == pytest.approx([0.05, 0.075, 0.1, 0.125, 0.175])
    assert "each point the mean of the last 4 updates" in how["ylabel"]


def test_curves_over_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """10 s to step 500, another 30 s to step 1000: between rows as much as there are steps."""
    run = a_run(tmp_path / "x", 0, 0.5)
    words = [str(run), "--x", "wall", "--figure", str(tmp_path / "c.png")]
    assert main(["plot", *words]) == 78
    assert "times.csv" in capsys.readouterr().err
    (run / "times.csv").write_text("step,seconds\n50,1\n500,10\n1000,40\n")
    curves, how = drawn(monkeypatch, *words)
    x = curves["x"][0]
    assert (x[0], x[9], x[10], x[-1]) == pytest.approx((1, 10, 13, 40))
    assert how["xlabel"] == "seconds of training"


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
