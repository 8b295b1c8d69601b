"""One writer per run directory.

The file ``run.lock`` names its owner: host, process id and when that process began (a process id alone may be reused).
An owner that is gone loses the lock without ceremony. ``flock`` guards only the moment of taking it, so that two
processes cannot both take over the same stale lock; it is not held, because forked children would inherit it.
"""

from __future__ import annotations

import fcntl
import os
import platform
import time
import weakref
from pathlib import Path
from typing import Any

from gnncomm.errors import RunLockedError, UnsafePathError
from gnncomm.store import strict_json
from gnncomm.store.files import write_all

_MAX_BYTES = 4096
_PATIENCE_S = 2.0


class RunLock:
    """Holds ``path`` until ``release``, garbage collection or the end of the process.

    Raises:
        RunLockedError: a living process, or one of another host, holds it.
        UnsafePathError: ``path`` is a symbolic link, FIFO or device.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner = _this_process()
        with _Guarded(path) as file:
            owner = file.read()
            if owner is not None and _is_alive(owner):
                raise RunLockedError(_refusal(path, owner))
            file.write(strict_json.dump(self._owner))
        self.release = weakref.finalize(self, _release, path, self._owner)

    def require(self) -> None:
        """Refuse to go on without the lock.

        Raises:
            RunLockedError: it was released, removed or taken over, or this is a forked child of the owner.
        """
        with _Guarded(self.path) as file:
            owner = file.read()
        if not self.release.alive or owner != self._owner or owner != _this_process():
            raise RunLockedError(
                f"{self.path} no longer names this process. Another may write here; open the run again."
            )


class _Guarded:
    """The lock file under ``flock``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> _Guarded:
        if self.path.is_symlink() or (self.path.exists() and not self.path.is_file()):
            raise UnsafePathError(f"{self.path}: expected a regular file. Remove it.")
        self._handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return self
            except BlockingIOError as error:
                if time.monotonic() > deadline:
                    os.close(self._handle)
                    raise RunLockedError(f"{self.path}: another process is taking it right now. Try again.") from error
                time.sleep(0.01)

    def __exit__(self, *_: object) -> None:
        os.close(self._handle)

    def read(self) -> dict[str, Any] | None:
        """The owner; None if free, or if its writer was killed while writing."""
        try:
            owner = strict_json.parse(os.pread(self._handle, _MAX_BYTES, 0))
        except (strict_json.MalformedJsonError, strict_json.ForbiddenJsonError):
            return None
        return owner if isinstance(owner, dict) else None

    def write(self, raw: bytes) -> None:
        os.ftruncate(self._handle, 0)
        write_all(self._handle, raw)


def process_start(pid: int) -> str | None:
    """An identity of the process beyond its number: boot and clock tick of its start.

    "" if it is gone (also if it only waits to be reaped), None on systems without ``/proc``.
    """
    if not os.path.exists("/proc/self/stat"):
        return None
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            columns = file.read().rpartition(b")")[2].split()  # the name before it may hold blanks and brackets
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            boot = file.read().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if columns[0] in (b"Z", b"X") else f"{boot}/{int(columns[19])}"


def _this_process() -> dict[str, Any]:
    pid = os.getpid()
    return {"host": platform.node(), "pid": pid, "start": process_start(pid)}


def _is_alive(owner: dict[str, Any]) -> bool:
    pid = owner.get("pid")
    if type(pid) is not int or not 0 < pid < 2**31:
        return False
    if owner.get("host") != platform.node():
        return True  # nobody here can tell
    start = process_start(pid)
    if start is not None:
        return start == owner.get("start")
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _refusal(path: Path, owner: dict[str, Any]) -> str:
    if owner.get("host") != platform.node():
        return (
            f"{path.parent} was locked by process {owner['pid']} on host {owner.get('host')!r}, which cannot be asked "
            f"from here. If it has ended, remove {path}."
        )
    return f"{path.parent} is being written by process {owner['pid']}. Wait for it, stop it, or use another run name."


def _release(path: Path, owner: dict[str, Any]) -> None:
    if os.getpid() != owner["pid"] or not path.is_file():
        return
    with _Guarded(path) as file:
        if file.read() == owner:
            file.write(b"")
