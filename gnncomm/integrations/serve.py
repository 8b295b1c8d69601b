"""The worker's side of the pipe, in the process that ``gnncomm.integrations.guard`` makes for it.

A worker is a process of its own, not a copy of the training: it loads neither torch nor the user's main module. It ends
when its pipe closes; while an environment keeps it busy, its guard ends it.
"""

from __future__ import annotations

import json
import random
import sys
import time
import traceback
from multiprocessing.connection import Connection

import numpy as np

from gnncomm.integrations.foreign import Array, Slot
from gnncomm.integrations.form import NO_SEED, Form, Task
from gnncomm.integrations.sources import BreachError, SettingError, build
from gnncomm.integrations.words import ALIVE, ANSWER, FAILED, FORM, PICTURE, STEP

_PULSE = 0.5  # seconds between signs of life
_MOST_TEXT, _MOST_TRACEBACK = 2000, 20_000  # letters of an error message


class _ClosedError(Exception):
    """The training has closed the pipe. (An environment may raise EOFError and ConnectionError itself.)"""


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
            task = Task.decode(self._hear())
            form = self._build(task)
            self.steps = [0] * task.count
            records = np.zeros(task.count, form.record())
            self._say(FORM + form.encode())
            while True:
                request = self._hear()
                if request == PICTURE:
                    self._say(ANSWER + self._picture())
                else:
                    self._answer(request, form, records)
                    self._say(ANSWER + records.tobytes())
        except _ClosedError:
            for slot in self.slots:
                slot.env.close()
        except BaseException as error:
            self._say(FAILED + json.dumps(self._report(error)).encode())
            sys.excepthook = lambda *_: None  # the parent has the report and raises it
            raise

    def _build(self, task: Task) -> Form:
        for number in range(task.count):
            self._begin(number, "start")
            self.slots.append(Slot(build(task), task))
        first = self.slots[0]
        for number, slot in enumerate(self.slots):
            self._begin(number, "start")
            slot.require_form(first.form)
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
            dtype, shape = form.action
            actions = np.frombuffer(body[count:], dtype=dtype).reshape(count, *shape)
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

    def _picture(self) -> bytes:
        """Height and width, and the points of the first environment; nothing where it does not draw itself."""
        self._begin(0, "render")
        picture = self.slots[0].picture()
        return b"" if picture is None else np.array(picture.shape[:2], "<i4").tobytes() + picture.tobytes()

    def _begin(self, number: int, what: str) -> None:
        """Note what comes now, for error messages, and give a sign of life now and then."""
        self.doing = (number, what)
        if time.monotonic() - self._said > _PULSE:
            self._said = time.monotonic()
            self._say(ALIVE)

    def _hear(self) -> bytes:
        try:
            return self.channel.recv_bytes()
        except (EOFError, ConnectionError) as error:
            raise _ClosedError from error

    def _say(self, message: bytes) -> None:
        try:
            self.channel.send_bytes(message)
        except ConnectionError as error:
            raise _ClosedError from error

    def _report(self, error: BaseException) -> dict[str, object]:
        number, what = self.doing
        report: dict[str, object] = {"env": number, "at": what, "kind": "raised", "agent": None, "field": None}
        report["text"] = "".join(traceback.format_exception_only(error)).strip()
        report["traceback"] = _bounded("".join(traceback.format_exception(error)), _MOST_TRACEBACK)
        if isinstance(error, BreachError):
            report |= {"kind": "breach", "agent": error.agent, "field": error.field, "text": error.text}
        elif isinstance(error, SettingError):
            report |= {"kind": "setting", "text": str(error)}
        report |= {
            key: _bounded(value, _MOST_TEXT) for key in ("text", "agent") if isinstance(value := report[key], str)
        }
        return report


def _bounded(text: str, most: int) -> str:
    """The beginning and the end of a text."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


def main(descriptor: int) -> None:
    Worker(Connection(descriptor)).run()
