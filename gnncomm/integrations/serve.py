"""The worker's side of the pipe: ``python -m gnncomm.integrations.serve DESCRIPTOR``.

A worker is a process of its own, not a copy of the one that started it: it loads neither torch nor the user's main
module. It ends when its pipe closes; while an environment keeps it busy, when its standard input does, which the parent
holds open for as long as it lives.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from multiprocessing.connection import Connection

import numpy as np

from gnncomm.integrations.foreign import Array, Slot
from gnncomm.integrations.form import ALIVE, ANSWER, FAILED, FORM, NO_SEED, STEP, Form, Task
from gnncomm.integrations.sources import BreachError, SettingError, build

_PULSE = 0.5  # seconds between signs of life


class Worker:
    """Environments ``task.first`` and following."""

    def __init__(self, channel: Connection) -> None:
        self.channel = channel
        self.doing: tuple[int | None, str] = (None, "start")
        self.steps: list[int] = []
        self.slots: list[Slot] = []
        self._said = time.monotonic()

    def run(self) -> None:
        """Answer requests until the pipe closes."""
        try:
            task = Task.decode(self.channel.recv_bytes())
            form = self._build(task)
            self.steps = [0] * task.count
            records = np.zeros(task.count, form.record())
            self.channel.send_bytes(FORM + form.encode())
            while True:
                self._answer(self.channel.recv_bytes(), form, records)
                self.channel.send_bytes(ANSWER + records.tobytes())
        except (EOFError, ConnectionError):
            for slot in self.slots:
                slot.env.close()
        except BaseException as error:
            self.channel.send_bytes(FAILED + json.dumps(self._report(error)).encode())
            sys.excepthook = lambda *_: None  # the parent has the report and raises it
            raise

    def _build(self, task: Task) -> Form:
        for number in range(task.count):
            self._begin(number, "start")
            self.slots.append(Slot(build(task), task))
        first = self.slots[0]
        self._begin(0, "reset")
        form = Form(**{**vars(first.form), "coordinates": first.measure_positions()})
        for slot in self.slots:
            slot.form = form
        return form

    def _answer(self, request: bytes, form: Form, records: Array) -> None:
        count = len(self.slots)
        body = memoryview(request)[1:]
        if request[:1] == STEP:
            due = np.frombuffer(body[:count], dtype=np.bool_)
            actions = np.frombuffer(body[count:], dtype="<i4").reshape(count, len(form.agents))
            for number in np.flatnonzero(due).tolist():
                self.steps[number] += 1
                self._begin(number, f"step {self.steps[number]}")
                self.slots[number].step(actions[number], records, number)
            return
        for number, seed in enumerate(np.frombuffer(body, dtype="<i8").tolist()):
            if seed != NO_SEED:
                self.steps[number] = 0
                self._begin(number, "reset")
                random.seed(seed)  # for environments that draw from the global generators; see the page
                np.random.seed(seed)
                self.slots[number].reset(seed, records, number)

    def _begin(self, number: int, what: str) -> None:
        """Note what comes now, for error messages, and give a sign of life now and then."""
        self.doing = (number, what)
        if time.monotonic() - self._said > _PULSE:
            self._said = time.monotonic()
            self.channel.send_bytes(ALIVE)

    def _report(self, error: BaseException) -> dict[str, object]:
        number, what = self.doing
        report: dict[str, object] = {"env": number, "at": what, "kind": "raised", "agent": None, "field": None}
        report["text"] = f"{type(error).__name__}: {error}"
        report["traceback"] = "".join(traceback.format_exception(error))
        if isinstance(error, BreachError):
            report |= {"kind": "breach", "agent": error.agent, "field": error.field, "text": error.text}
        elif isinstance(error, SettingError):
            report |= {"kind": "setting", "text": str(error)}
        return report


def _end_with_parent() -> None:
    """Wait until the parent lets go of the standard input, then end at once, whatever the environment is doing."""
    while os.read(0, 1):
        pass
    os._exit(1)


def main(descriptor: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    Worker(Connection(descriptor)).run()


if __name__ == "__main__":
    main(int(sys.argv[1]))
