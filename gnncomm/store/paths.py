"""Where a run may live: names that every file system and shell reads in the same way.

========================  =============================================================================
given                     meaning
========================  =============================================================================
``NAME``                  ``runs/NAME`` (``base / NAME``)
``some/where/NAME``       below the current directory; every part follows the rule for names
``../some/where/NAME``    to read a run, beside the current directory; not to write one
``/some/where/NAME``      as given, anywhere but in a system directory; NAME follows the rule for names
========================  =============================================================================

A name is 1 to 64 of ``A-Z a-z 0-9 . _ = , -``, begins with a letter or digit, does not end in a dot, is not reserved on
Windows (``CON``, ``nul.txt``), and differs from its neighbours in more than case. ``..`` is refused everywhere but
there, and so is a symbolic link that leads out of the directory the run is meant to be in.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
import unicodedata
from pathlib import Path

from gnncomm.errors import UnsafePathError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=,-]{0,63}")
_RESERVED = {"CON", "PRN", "AUX", "NUL"} | {f"{port}{i}" for port in ("COM", "LPT") for i in range(10)}
_SYSTEM = ("bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr")


def safe_run_path(path: str | Path, base: Path = Path("runs"), *, parents: bool = False) -> Path:
    """The directory of the run that ``path`` names; it need not exist.

    With ``parents``, for reading, it may begin with ``..``.

    Raises:
        UnsafePathError: see the rules at the top of this module.
    """
    text = os.fspath(path)
    if not text or any(unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp") for letter in text):
        raise UnsafePathError(f"Run {text!r}: expected a name, got nothing or invisible characters.")
    given = Path(text)
    if parents and given.parts[:1] == ("..",):
        above = Path(*itertools.takewhile(lambda part: part == "..", given.parts))
        return safe_run_path(above.resolve() / given.relative_to(above), base)
    if ".." in given.parts:
        raise UnsafePathError(f"Run {text!r}: '..' is not allowed. Give the absolute path instead.")
    if given.is_absolute():
        root, target = given.parent, given
        _check_name(given.name, text)
        _refuse_system(given, text)
    else:
        for part in given.parts or (text,):
            _check_name(part, text)
        root, target = _below(given, base)
    if not target.resolve().is_relative_to(root.resolve()):
        raise UnsafePathError(f"Run {text!r}: a symbolic link leads to {target.resolve()}. Give that path itself.")
    _check_place(target, text)
    return target


def _below(given: Path, base: Path) -> tuple[Path, Path]:
    if len(given.parts) == 1:
        return base, base / given
    return (base if given.is_relative_to(base) else Path()), given


def _check_name(name: str, text: str) -> None:
    if not _NAME.fullmatch(name) or name.endswith("."):
        raise UnsafePathError(
            f"Run {text!r}: {name[:80]!r} is not a safe name. Expected 1 to 64 letters, digits, '.', '_', '=', ',' or "
            "'-', beginning with a letter or digit and not ending in a dot."
        )
    if name.split(".")[0].upper() in _RESERVED:
        raise UnsafePathError(f"Run {text!r}: {name!r} is a device on Windows. Choose another name.")


def _refuse_system(given: Path, text: str) -> None:
    resolved = given.resolve()
    for name in _SYSTEM:
        system = Path("/", name)
        if any(place.is_relative_to(system) or place.is_relative_to(system.resolve()) for place in (given, resolved)):
            raise UnsafePathError(f"Run {text!r}: {system} belongs to the system. Choose another directory.")


def _check_place(target: Path, text: str) -> None:
    if target.exists() and not stat.S_ISDIR(target.stat().st_mode):
        raise UnsafePathError(f"Run {text!r}: expected a directory, got a file or device.")
    if not target.parent.is_dir():
        return
    for neighbour in os.listdir(target.parent):
        if neighbour != target.name and neighbour.casefold() == target.name.casefold():
            raise UnsafePathError(
                f"Run {text!r} differs from {neighbour!r} only in case: one directory on some systems, two on others. "
                "Choose another name."
            )
