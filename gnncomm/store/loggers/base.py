"""What a logger is, and all of those of one training together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol, runtime_checkable

from gnncomm.store.metrics import MetricValue

FAULTS: tuple[type[Exception], ...] = (Exception,)
"""What a logger may raise, a full disk or a server that is gone among it: whatever it is, the training goes on."""


@runtime_checkable
class Logger(Protocol):
    """Told of every update. It also gets what no two trainings share: ``seconds`` and ``env_steps_per_second``."""

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        """Take in the metrics of an update that ends at environment step ``step``; NaN where there is no number."""
        ...

    def rewind(self, step: int) -> None:
        """Forget what came after ``step``: a training goes on from there (0: begins), and will log it again."""
        ...

    def close(self) -> None:
        """The training is over, or has failed."""
        ...


@runtime_checkable
class Concludes(Protocol):
    """A logger that wants to know, too, what was measured and drawn when the training was over."""

    def conclude(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        """Take in results by name, and PNG files by what they show. Nothing was logged before, but by another one."""
        ...


class Loggers:
    """Those of one training. One that fails is named once and left alone from then on; it stops no training."""

    def __init__(self, loggers: Iterable[Logger], notice: Callable[[str], None]) -> None:
        self._working, self._notice = list(loggers), notice

    def log(self, step: int, metrics: Mapping[str, MetricValue]) -> None:
        self._each(lambda logger: logger.log(step, metrics))

    def rewind(self, step: int) -> None:
        self._each(lambda logger: logger.rewind(step))

    def conclude(self, step: int, results: Mapping[str, float], figures: Mapping[str, Path]) -> None:
        """Tell those that want to know."""
        self._each(lambda logger: logger.conclude(step, results, figures) if isinstance(logger, Concludes) else None)

    def close(self) -> None:
        self._each(lambda logger: logger.close())

    def _each(self, tell: Callable[[Logger], None]) -> None:
        for logger in list(self._working):
            try:
                tell(logger)
            except FAULTS as error:
                self._working.remove(logger)
                reason = " ".join(str(error).split())[:300] or "no reason given"
                self._notice(
                    f"the logger {type(logger).__name__} failed and hears no more, the training goes on: "
                    f"{type(error).__name__}: {reason}"
                )
