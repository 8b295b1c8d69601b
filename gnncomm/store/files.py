"""Files that a kill, a full disk or a planted link cannot turn into harm (POSIX)."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from pathlib import Path
from typing import TypeVar

from gnncomm.errors import CheckpointError, GnnCommError, UnsafeContentError, UnsafePathError

EX_DATAERR = 65
EX_NOINPUT = 66
EX_IOERR = 74

ErrorT = TypeVar("ErrorT", bound=GnnCommError)


def with_exit_code(error: ErrorT, exit_code: int) -> ErrorT:
    """``error`` with an exit code of its own: one class of error may have several causes."""
    error.exit_code = exit_code
    return error


def write_error(target: Path, error: OSError) -> CheckpointError:
    """What the operating system refused, as an error of this library (exit code 74)."""
    reason = error.strerror or str(error)
    return with_exit_code(
        CheckpointError(f"Could not save {target}: {reason}. Earlier checkpoints are intact."), EX_IOERR
    )


def scratch_name(prefix: str = ".tmp") -> str:
    """A name nobody else uses; what begins with ``.tmp-`` is rubbish once its process is gone."""
    return f"{prefix}-{os.getpid()}-{secrets.token_hex(4)}"


def require_directory(path: Path) -> None:
    """Refuse what is not a real directory.

    Raises:
        FileNotFoundError: nothing there.
        UnsafePathError: a file, device, FIFO or symbolic link.
    """
    if not stat.S_ISDIR(os.lstat(path).st_mode):
        raise UnsafePathError(f"{path}: expected a directory, got {_describe(os.lstat(path).st_mode)}.")


def require_unlinked(path: Path) -> None:
    """Refuse a symbolic link, which would lead a write elsewhere; what is not there is none.

    Raises:
        UnsafePathError: names it.
    """
    if path.is_symlink():
        raise UnsafePathError(f"{path}: expected no symbolic link, which leads elsewhere. Remove it.")


def read_regular(path: Path, max_bytes: int, *, follow_symlinks: bool = False) -> bytes:
    """All bytes of a regular file, opened so that a FIFO or device cannot block.

    Raises:
        FileNotFoundError: nothing there.
        UnsafePathError: no regular file; a symbolic link too, unless ``follow_symlinks``.
        UnsafeContentError: more than ``max_bytes``; nothing is read then.
    """
    _require_regular(path, os.stat(path, follow_symlinks=follow_symlinks))
    nofollow = 0 if follow_symlinks else os.O_NOFOLLOW
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | nofollow), "rb") as file:
        status = os.fstat(file.fileno())
        _require_regular(path, status)  # what was looked at before need not be what was opened
        if status.st_size > max_bytes:
            raise UnsafeContentError(f"{path}: expected at most {max_bytes} bytes, got {status.st_size}. Not read.")
        return file.read(status.st_size + 1)


def write_durable(path: Path, data: bytes) -> None:
    """A new file with ``data``, on disk when this returns.

    Raises:
        OSError: it exists already, or could not be written.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        write_all(handle, data)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """``os.write`` until everything is written."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def write_atomic(path: Path, data: bytes) -> None:
    """``data`` under the name ``path``: at any moment the old content is there, or the new one, never a mixture.

    Raises:
        UnsafePathError: a directory, device, pipe or socket lies there, which the file would replace.
    """
    if path.exists():
        _require_regular(path, path.stat(), "Not replaced")
    draft = path.with_name(scratch_name(f".tmp-{path.name}"))
    try:
        write_durable(draft, data)
        os.replace(draft, path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    fsync_directory(path.parent)


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(*directories: Path) -> None:
    """Remove what killed processes left half written. Only for the process that holds the lock of the run."""
    for directory in directories:
        for entry in directory.glob(".tmp-*"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _require_regular(path: Path, status: os.stat_result, consequence: str = "Not opened") -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UnsafePathError(f"{path}: expected a regular file, got {_describe(status.st_mode)}. {consequence}.")


def _describe(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a directory",
        stat.S_IFLNK: "a symbolic link",
        stat.S_IFIFO: "a FIFO",
        stat.S_IFSOCK: "a socket",
        stat.S_IFREG: "a regular file",
    }
    return kinds.get(stat.S_IFMT(mode), "a device")
