"""Environments spread over worker processes, and what happens when one of these fails."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gnncomm.errors import ConfigError, EnvContractError, GnnCommError, StateError
from gnncomm.integrations.form import NO_SEED, Form, Task
from gnncomm.integrations.words import ALIVE, ANSWER, FAILED, FORM, HELLO, PICTURE, RESET, STEP

_START_SECONDS = 60.0  # to load the environment's package
_GRACE_SECONDS = 2.0  # to close the environments
_MOST_WORDS = 1 << 22  # bytes of a form or a report
_MOST_BYTES = 8 << 30  # of what all environments say at once


class WorkerError(GnnCommError, RuntimeError):
    """A worker process that died, did not answer in time, or whose environment raised an error."""


@dataclass(eq=False)
class _Worker:
    number: int
    first: int  # its environments: first ... first + count - 1
    count: int
    process: subprocess.Popen[bytes]  # its guard, which ends as it does
    channel: Connection
    pid: int = 0  # its own, as soon as the guard has told

    def __str__(self) -> str:
        last = self.first + self.count - 1
        which = f"environment {self.first}" if self.count == 1 else f"environments {self.first} to {last}"
        return f"worker {self.number} ({which}, process {self.pid or self.process.pid})"


class Workers:
    """B environments in W processes. ``records`` holds what each said last.

    Args:
        task: what to build; ``first`` and ``count`` are filled in here.
        num_envs: B.
        num_workers: W, at most B.
        timeout: seconds without a sign of life after which a worker counts as hanging; it gives one after each call
            of an environment. Loading the package may take a minute, or ``timeout`` where that is longer.

    Raises:
        WorkerError, EnvContractError, ConfigError: what a worker reports; all workers are ended then.
    """

    def __init__(self, task: Task, num_envs: int, num_workers: int, timeout: float) -> None:
        self.name = f"{task.kind}:{task.source}"
        self.timeout = timeout
        bounds = np.linspace(0, num_envs, num_workers + 1).astype(int).tolist()
        self._workers: list[_Worker] = []
        self._end = weakref.finalize(self, _shut_down, self._workers, os.getpid())
        self._why_closed = "it was closed"
        try:
            for number, (first, end) in enumerate(pairwise(bounds)):
                self._workers.append(_start(number, first, end - first, timeout))
        except BaseException:
            self.close()
            raise
        tasks = {w.number: replace(task, first=w.first, count=w.count).encode() for w in self._workers}
        self._answer_bytes = _MOST_WORDS
        answers = self._exchange(tasks, FORM, max(timeout, _START_SECONDS), "start")
        self.form = self._common_form(answers)
        self._answer_bytes = self.form.record().itemsize
        self.records: NDArray[np.void] = np.zeros(num_envs, self.form.record())

    @property
    def processes(self) -> list[int]:
        """Process numbers of the workers."""
        return [worker.pid for worker in self._workers]

    @property
    def guards(self) -> list[int]:
        """Process numbers of their guards, see ``gnncomm.integrations.guard``."""
        return [worker.process.pid for worker in self._workers]

    def reset(self, seeds: NDArray[np.int64]) -> None:
        """Begin an episode in each environment whose ``seeds [B]`` is not ``NO_SEED``."""
        requests = {}
        for worker in self._workers:
            mine = seeds[worker.first : worker.first + worker.count]
            if (mine != NO_SEED).any():
                requests[worker.number] = RESET + mine.astype("<i8").tobytes()
        self._keep(self._exchange(requests, ANSWER, self.timeout, "reset"))

    def step(self, due: NDArray[np.bool_], actions: NDArray[Any]) -> None:
        """Advance the environments where ``due [B]`` is True by ``actions [B, N]``, or ``[B, N, A]`` numbers."""
        requests = {}
        for worker in self._workers:
            mine = slice(worker.first, worker.first + worker.count)
            if due[mine].any():
                requests[worker.number] = (
                    STEP + due[mine].tobytes() + actions[mine].astype(self.form.action[0]).tobytes()
                )
        self._keep(self._exchange(requests, ANSWER, self.timeout, "step"))

    def picture(self) -> NDArray[np.uint8] | None:
        """``[height, width, 3]`` as environment 0 draws itself now; None where it does not."""
        answer = self._exchange({0: PICTURE}, ANSWER, self.timeout, "picture")[0]
        if not answer:
            return None
        height, width = np.frombuffer(answer[:8], "<i4").tolist() if len(answer) >= 8 else (0, 0)
        if len(answer) != 8 + 3 * height * width or min(height, width) < 1:
            raise self._ended_by(self._garbled(self._workers[0], "picture"))
        return np.frombuffer(answer[8:], np.uint8).reshape(height, width, 3)

    def close(self) -> None:
        """End all processes; does nothing the second time."""
        self._end()

    def _common_form(self, answers: Mapping[int, bytes]) -> Form:
        """What the environments of all workers are like; other processes say it, so it is looked at."""
        forms = {}
        for number, answer in answers.items():
            try:
                forms[number] = Form.decode(answer)
            except (ValueError, TypeError) as error:
                raise self._ended_by(self._garbled(self._workers[number], "start")) from error
        for number, form in forms.items():
            if form != forms[0]:
                name = next(name for name, value in vars(form).items() if value != getattr(forms[0], name))
                raise self._ended_by(
                    EnvContractError(
                        f"{self.name}: expected {name} to be the same in all environments, got another in "
                        f"{self._workers[number]} than in {self._workers[0]}. Mend the environment."
                    )
                )
        size, count = forms[0].record().itemsize, sum(worker.count for worker in self._workers)
        if size * count > _MOST_BYTES:
            raise self._ended_by(
                ConfigError(
                    f"{self.name}: expected observations that fit into {_MOST_BYTES >> 30} GiB, got {size} bytes for "
                    f"each of {count} environments. Use fewer, or smaller observations."
                )
            )
        return forms[0]

    def _ended_by(self, error: GnnCommError) -> GnnCommError:
        """``error``, after all processes have ended."""
        self._why_closed = f"they were ended after an error ({type(error).__name__})"
        for worker in self._workers:
            _kill(worker)
        self.close()
        return error

    def _keep(self, answers: Mapping[int, bytes]) -> None:
        for number, answer in answers.items():
            worker = self._workers[number]
            if len(answer) != worker.count * self.form.record().itemsize:
                raise self._ended_by(self._garbled(worker, "answer"))
            said = np.frombuffer(answer, self.form.record())
            self.records[worker.first : worker.first + worker.count] = said

    def _exchange(self, requests: Mapping[int, bytes], want: bytes, timeout: float, verb: str) -> dict[int, bytes]:
        """Send to workers and wait for all their answers. After any failure, Ctrl-C included, all processes end."""
        if not self._end.alive:
            raise StateError(
                f"{verb}: expected running workers of {self.name!r}, but {self._why_closed}. Make it anew."
            )
        try:
            for number, request in requests.items():
                self._send(self._workers[number], request, verb)
            return self._collect(set(requests), want, timeout, verb)
        except BaseException as error:
            self._why_closed = f"they were ended after an error ({type(error).__name__})"
            for worker in self._workers:
                _kill(worker)
            self.close()
            raise

    def _send(self, worker: _Worker, request: bytes, verb: str) -> None:
        try:
            worker.channel.send_bytes(request)
        except BlockingIOError as error:
            raise self._hangs(worker, verb) from error
        except OSError as error:
            raise self._died(worker, verb) from error

    def _collect(self, open_: set[int], want: bytes, timeout: float, verb: str) -> dict[int, bytes]:
        answers: dict[int, bytes] = {}
        last_sign = dict.fromkeys(open_, time.monotonic())
        by_channel: dict[object, _Worker] = {worker.channel: worker for worker in self._workers}
        while open_:
            overdue = min(last_sign[number] for number in open_) + timeout - time.monotonic()
            ready = wait([self._workers[number].channel for number in open_], max(overdue, 0.0))
            for channel in ready:
                worker = by_channel[channel]
                message = self._receive(worker, verb)
                last_sign[worker.number] = time.monotonic()
                kind, content = message[:1], message[1:]
                if kind == FAILED:
                    raise self._failure(worker, content)
                if kind == HELLO and not worker.pid and content.isdigit():
                    worker.pid = int(content)
                elif kind == want:
                    answers[worker.number] = content
                    open_.discard(worker.number)
                elif kind != ALIVE:
                    raise self._garbled(worker, verb)
            for number in open_:
                if time.monotonic() - last_sign[number] >= timeout:
                    raise self._hangs(self._workers[number], verb)
        return answers

    def _receive(self, worker: _Worker, verb: str) -> bytes:
        try:
            return worker.channel.recv_bytes(max(_MOST_WORDS, worker.count * self._answer_bytes + 1))
        except BlockingIOError as error:
            raise self._hangs(worker, verb) from error
        except (EOFError, OSError) as error:
            if isinstance(error, OSError) and str(error) == "bad message length":
                raise self._garbled(worker, verb) from error
            raise self._died(worker, verb) from error

    def _died(self, worker: _Worker, verb: str) -> WorkerError:
        try:
            code = worker.process.wait(_GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        how = "closed its pipe" if code is None else f"exit code {code}"
        if code is not None and code < 0:
            how = f"signal {signal.Signals(-code).name}"
        return WorkerError(
            f"{verb}: expected {worker} of {self.name!r} to answer, but it died ({how}). Look for its last words on "
            "the standard error, and whether memory ran out; then make the environment anew."
        )

    def _hangs(self, worker: _Worker, verb: str) -> WorkerError:
        return WorkerError(
            f"{verb}: expected {worker} of {self.name!r} to answer, but there was no sign of life for {self.timeout:g} "
            "s. If a single call of the environment may take longer, pass a larger timeout; else mend the environment."
        )

    def _garbled(self, worker: _Worker, verb: str) -> WorkerError:
        return WorkerError(
            f"{verb}: expected {worker} of {self.name!r} to answer in the form of gnncomm, got something else. Does "
            "the environment write to file descriptors which it has not opened? Mend it."
        )

    def _failure(self, worker: _Worker, content: bytes) -> GnnCommError:
        try:
            report: Mapping[str, Any] = json.loads(content)
            where = f"environment {worker.first + int(report['env'] or 0)}, {report['at']}"
        except (ValueError, TypeError, KeyError):
            return self._garbled(worker, "failure")
        error: GnnCommError
        if report["kind"] == "setting":
            error = ConfigError(f"{self.name}: {report['text']}")
        elif report["kind"] == "breach":
            agent = "" if report["agent"] is None else f", agent {report['agent']!r}"
            error = EnvContractError(
                f"{self.name}: {where}{agent}, {report['field']}: {report['text']}. Mend the environment."
            )
        else:
            error = WorkerError(
                f"{self.name}: {where}: expected no error, got {report['text']}. Mend the environment or its settings."
            )
        error.add_note(f"In {worker}:\n{report['traceback']}")
        return error


def _start(number: int, first: int, count: int, timeout: float) -> _Worker:
    ours, theirs = socket.socketpair()
    seconds = max(timeout, 0.01)  # 0 would be for ever
    patience = struct.pack("ll", int(seconds), int(seconds % 1 * 1e6))  # for one that stops half-way through a message
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, patience)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, patience)
    surroundings = {"OMP_NUM_THREADS": "1", "SDL_VIDEODRIVER": "dummy", "PYGAME_HIDE_SUPPORT_PROMPT": "1"} | os.environ
    surroundings["PYTHONPATH"] = os.pathsep.join(path or os.getcwd() for path in sys.path)
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "gnncomm.integrations.guard", str(theirs.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[theirs.fileno()],
            env=surroundings,
            start_new_session=True,  # Ctrl-C in a terminal is the parent's business
        )
    finally:
        theirs.close()
    return _Worker(number, first, count, process, Connection(ours.detach()))


def _kill(worker: _Worker) -> None:
    """Let go of the guard: it kills the worker and all that its environments have started."""
    assert worker.process.stdin is not None  # a pipe
    worker.process.stdin.close()


def _shut_down(workers: list[_Worker], owner: int) -> None:
    """Close the pipes, give the environments a moment to close, kill what is left; no process remains."""
    if os.getpid() != owner:  # a fork of the process that started them
        return
    for worker in workers:
        worker.channel.close()
    deadline = time.monotonic() + _GRACE_SECONDS
    for worker in workers:
        try:
            worker.process.wait(max(deadline - time.monotonic(), 0.0))
        except subprocess.TimeoutExpired:
            _kill(worker)
            _wait_for_guard(worker)
        _kill(worker)


def _wait_for_guard(worker: _Worker) -> None:
    """Until all is quiet; a guard that an environment has stopped cannot do its work, and is killed with the worker."""
    try:
        worker.process.wait(_GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        worker.process.kill()
        worker.process.wait()
