"""What training shows: steps per second, success, return, time left."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from gnncomm.evaluation.report import percent
from gnncomm.learn import Training

_CLOCK = 9
"""Columns for the time left."""
_BAR = 40


class TrainingProgress:
    """A live bar on a terminal, whose parts yield to its width by importance; elsewhere a line about every ten seconds.

    The steps done and the time left always stay; speed, success, return, length and the bar follow as they fit.
    """

    def __init__(self, console: Console, total_steps: int) -> None:
        self.console = console
        self.total = total_steps
        self.started = self.last_line = time.monotonic()
        self.first_step: int | None = None
        self.steps_per_second = math.nan
        self.latest = {"success": math.nan, "return": math.nan, "length": math.nan}
        self._blocks = BarColumn()
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[done]}", markup=False),
            self._blocks,
            TextColumn("{task.fields[numbers]}", markup=False),
            TimeRemainingColumn(),
            console=console,
        )
        self.task = self.bar.add_task("train", total=total_steps, **self._fitted(0, []))

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self.console.print(text, soft_wrap=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.bar.stop()

    def __call__(self, training: Training, metrics: dict[str, float]) -> None:
        if self.first_step is None:
            self.first_step = training.env_steps - training.steps_per_update
        seconds = time.monotonic() - self.started
        self.steps_per_second = (training.env_steps - self.first_step) / max(seconds, 1e-9)
        self.latest = {
            name: metrics[name] if metrics[name] == metrics[name] else old for name, old in self.latest.items()
        }
        parts = [
            f"{self.steps_per_second:,.0f} steps/s",
            f"success {percent(self.latest['success'])}",
            f"return {self.latest['return']:.2f}",
            f"length {self.latest['length']:.1f}",
        ]
        if self.console.is_terminal:
            self.bar.update(self.task, completed=training.env_steps, **self._fitted(training.env_steps, parts))
        elif time.monotonic() - self.last_line > 10:
            self.last_line = time.monotonic()
            left = (self.total - training.env_steps) / self.steps_per_second
            text = "  ".join(parts)
            self.console.print(f"{training.env_steps:>10,} steps  {text}  {left:.0f} s left", soft_wrap=True)

    def _fitted(self, steps: int, parts: list[str]) -> dict[str, Any]:
        """The texts of the bar for the width of the window now; what is left over is for its blocks."""
        width = self.console.width
        done = f"{steps:,} / {self.total:,} steps" if width >= 100 else f"{short(steps)} / {short(self.total)}"
        room = width - len("s ") - len(done) - len("  ") - _CLOCK - 1
        shown: list[str] = []
        for part in parts:
            if len(part) + 2 > room:
                break
            shown.append(part)
            room -= len(part) + 2
        self._blocks.bar_width = max(1, min(_BAR, room - 1))
        return {"done": done, "numbers": "  ".join(shown)}


def short(steps: int) -> str:
    """980 -> 980, 12345 -> 12.3k, 2400000 -> 2.4M."""
    for size, letter in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if steps >= size:
            return f"{steps / size:.1f}{letter}"
    return str(steps)
