"""SIGINT, SIGTERM and SIGHUP ask a training to save and stop; a second one stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

HANGUP = getattr(signal, "SIGHUP", None)
"""The terminal is gone; not on every system."""


class StopSignal:
    """In a ``with`` block: ``stop()`` says whether a signal came, ``exit_code`` is 128 + its number then.

    A hangup that is ignored (``nohup``) stays ignored. Only the main thread of a program hears signals; in another one
    nothing is watched.
    """

    def __init__(self) -> None:
        self.exit_code = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM, HANGUP):
                if number is not None and (number != HANGUP or signal.getsignal(number) != signal.SIG_IGN):
                    self._before[number] = signal.signal(number, self._received)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.exit_code != 0

    def _received(self, number: int, frame: FrameType | None) -> None:
        if self.exit_code:
            raise SystemExit(self.exit_code)
        self.exit_code = 128 + number
