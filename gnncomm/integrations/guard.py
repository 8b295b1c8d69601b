"""Stands between the training and a worker: ``python -m gnncomm.integrations.guard DESCRIPTOR``.

The guard starts the worker and waits until the worker ends or the training lets go of the guard's standard input,
whichever comes first. Then it kills all that the worker's environments have started, in whatever group or session, and
ends as the worker did. On Linux orphans among its descendants become its children (``PR_SET_CHILD_SUBREAPER``), so none
escapes by losing its parent; elsewhere it kills the worker's process group.
"""

from __future__ import annotations

import ctypes
import os
import resource
import select
import signal
import socket
import struct
import sys

from gnncomm.integrations.words import HELLO

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(descriptor: int) -> int:
    """Exit code of the worker; never returns where a signal ended it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the training decides
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    worker = os.fork()
    if worker == 0:
        _become_worker(descriptor)
    _say(descriptor, HELLO + str(worker).encode())
    os.close(descriptor)
    status = _wait(worker, ended)
    _end_all(worker)
    return _end_like(status)


def _become_worker(descriptor: int) -> None:
    """In the new process: a session of its own, nothing to read, and what it prints is no output of the training."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    os.set_inheritable(descriptor, False)
    code = 1
    try:
        from gnncomm.integrations import serve

        serve.main(descriptor)
        code = 0
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _wait(worker: int, ended: int) -> int:
    """Status of the worker; that of SIGKILL where the training let go first."""
    while True:
        ready, _, _ = select.select([0, ended], [], [])
        if ended in ready:
            os.read(ended, 4096)
            done, status = os.waitpid(worker, os.WNOHANG)
            if done:
                return status
        if 0 in ready and not os.read(0, 1):
            return signal.SIGKILL


def _end_all(worker: int) -> None:
    """Kill whatever is left, children of children as soon as they become ours."""
    while True:
        for process in (*_children(), -worker):
            try:
                (os.killpg if process < 0 else os.kill)(abs(process), signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        with open(f"/proc/self/task/{os.getpid()}/children", encoding="ascii") as file:
            return [int(word) for word in file.read().split()]
    except OSError:  # no Linux
        return []


def _end_like(status: int) -> int:
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the worker has left its own
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    return code


def _say(descriptor: int, message: bytes) -> None:
    """In the form of ``multiprocessing.connection``, which would take longer to import than all of this."""
    with socket.socket(fileno=os.dup(descriptor)) as channel:
        channel.sendall(struct.pack("!i", len(message)) + message)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
