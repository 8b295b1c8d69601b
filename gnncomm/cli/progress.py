"""What training shows: steps per second, success, return, time left."""

from __future__ import annotations

import math
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from gnncomm.learn import Training


class TrainingProgress:
    """A live bar on a terminal; elsewhere one line about every ten seconds."""

    def __init__(self, console: Console, total_steps: int) -> None:
        self.console = console
        self.started = self.last_line = time.monotonic()
        self.first_step: int | None = None
        self.steps_per_second = math.nan
        self.latest = {"success": math.nan, "return": math.nan, "length": math.nan}
        self.bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.completed:>9,} / {task.total:,} steps"),
            BarColumn(),
            TextColumn("{task.fields[numbers]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task("train", total=total_steps, numbers="")

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        self.console.print(text, soft_wrap=True)

    def __enter__(self) -> Self:
        self.bar.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.__exit__(kind, error, trace)

    def __call__(self, training: Training, metrics: dict[str, float]) -> None:
        if self.first_step is None:
            per_update = training.config.num_envs * training.config.rollout
            self.first_step = training.env_steps - per_update
        seconds = time.monotonic() - self.started
        self.steps_per_second = (training.env_steps - self.first_step) / max(seconds, 1e-9)
        self.latest = {
            name: metrics[name] if metrics[name] == metrics[name] else old for name, old in self.latest.items()
        }
        text = (
            f"{self.steps_per_second:,.0f} steps/s  success {self.latest['success']:.1%}  "
            f"return {self.latest['return']:.2f}  length {self.latest['length']:.1f}"
        )
        self.bar.update(self.task, completed=training.env_steps, numbers=text)
        if not self.console.is_terminal and time.monotonic() - self.last_line > 10:
            self.last_line = time.monotonic()
            left = training.config.updates * training.config.num_envs * training.config.rollout - training.env_steps
            self.console.print(
                f"{training.env_steps:>10,} steps  {text}  {left / self.steps_per_second:.0f} s left", soft_wrap=True
            )
