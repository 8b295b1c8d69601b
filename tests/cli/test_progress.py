"""The bar keeps what matters at any width."""

from __future__ import annotations

import io
from types import SimpleNamespace

import pytest
from rich.console import Console

from gnncomm.cli.evaluating import show
from gnncomm.cli.progress import TrainingProgress, short
from gnncomm.evaluation import Arm, Difference, Interval, Report, WireUse


@pytest.mark.parametrize(
    ("width", "kept", "gone"),
    [
        (40, [], ["success"]),
        (60, ["steps/s"], ["length"]),
        (80, ["steps/s", "success 87.3%"], []),
        (160, ["1,205,120 / 2,400,000 steps", "success 87.3%", "return -0.31", "length 8.1"], []),
    ],
)
def test_steps_and_time_left_stay_at_any_width(width: int, kept: list[str], gone: list[str]) -> None:
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=True, color_system=None)
    metrics = {"success": 0.873, "return": -0.31, "length": 8.1}
    with TrainingProgress(console, 2_400_000) as progress:
        for steps in (1_200_000, 1_202_560, 1_205_120):
            training = SimpleNamespace(env_steps=steps, steps_per_update=2560)
            progress(training, metrics)  # type: ignore[arg-type]  # as much of a training as it looks at
        screen.truncate(0)
        progress.bar.refresh()
    line = next(line for line in screen.getvalue().splitlines() if "1.2M" in line or "1,205,120" in line)
    assert "\u2026" not in line, "cut"
    assert ":" in line.split()[-1], "the time left"
    assert len(line.strip()) <= width + 8  # and control codes
    for text in kept:
        assert text in line
    for text in gone:
        assert text not in line


def test_large_counts_are_short() -> None:
    assert [short(n) for n in (0, 999, 12_345, 2_400_000, 3 * 10**9)] == ["0", "999", "12.3k", "2.4M", "3.0G"]


def _report() -> Report:
    ones = Interval(1.0, 0.9, 1.0)
    arm = Arm(ones, ones, ones)
    arms = dict.fromkeys(("trained", "muted", "shuffled", "floor", "ceiling"), arm)
    gain, wire = Difference(0.5, 0.1, ones), WireUse(32.0, 1.0, 1)
    return Report("relay", 10, 0, True, gain=gain, without_partner=0.012, wire=wire, **arms)


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_the_table_of_an_evaluation_is_whole_at_any_width(width: int) -> None:
    screen = io.StringIO()
    show(_report(), Console(file=screen, width=width, force_terminal=True, color_system=None))
    text = " ".join(screen.getvalue().split())
    assert "\u2026" not in text, "cut"
    said = (
        "reference (sees all)",
        "muted",
        "100.0",
        "Communication gains",
        "32 bits per agent and step",
        "1.2 % of the",
    )
    for word in said:
        assert word in text
