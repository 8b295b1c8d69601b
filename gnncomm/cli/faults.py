"""From an exception to one line and an exit code, whatever it is."""

from __future__ import annotations

import os
import re
import traceback
from importlib import metadata
from pathlib import Path

from gnncomm.errors import GnnCommError
from gnncomm.registry.table import strangers

UNEXPECTED: tuple[type[Exception], ...] = (Exception,)
"""What the last net around a command catches. The tests empty it, so that a fault of gnncomm fails them."""

EXPECTED: tuple[type[Exception], ...] = (GnnCommError, OSError, MemoryError, ModuleNotFoundError)
"""What surroundings and users cause: told in one line even where the net is empty."""

EX_UNAVAILABLE, EX_SOFTWARE, EX_OSERR, EX_IOERR = 69, 70, 71, 74
DEBUG = "GNNCOMM_DEBUG"
LONGEST = 1000
"""Letters of an error line; a longer one loses its middle."""

_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|bad_alloc", re.I)
_DISTRIBUTIONS = {
    "PIL": "pillow",
    "torch_geometric": "torch-geometric",
    "imageio_ffmpeg": "imageio-ffmpeg",
    "yaml": "PyYAML",
}


def wants_debug() -> bool:
    """Whether the environment asks for tracebacks: ``GNNCOMM_DEBUG`` is set to something but 0."""
    return os.environ.get(DEBUG, "0") not in ("", "0")


def one_line(text: str) -> str:
    """``text`` on one line of at most ``LONGEST`` letters, all of which can be printed."""
    text = " ".join(text.split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    if len(text) <= LONGEST:
        return text
    head, tail = text[: LONGEST * 2 // 3], text[-LONGEST // 4 :]
    return f"{head} [... {len(text) - len(head) - len(tail):,} letters ...] {tail}"


def explain(error: Exception) -> tuple[str, int]:
    """``(line, exit code)`` for what a command raised."""
    if isinstance(error, GnnCommError):
        return str(error), error.exit_code
    if isinstance(error, ModuleNotFoundError) and not _is_ours(error.name):
        return f"this needs the package {error.name}: {_pip_install(error.name or '')}", EX_UNAVAILABLE
    if isinstance(error, OSError):
        return f"{error.filename or 'input or output'}: {error.strerror or error}", EX_IOERR
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(str(error))):
        return (
            f"not enough memory: {_first_line(error) or 'Python could not get more'}. Use fewer environments, a "
            "shorter rollout, smaller settings of the environment or a smaller hidden width.",
            EX_OSERR,
        )
    where, whose = _place(error)
    told = "please report it with its traceback, which" if whose == "gnncomm" else "its traceback, which"
    return (
        f"unexpected {type(error).__name__}{f' in {where}' if where else ''}: {_first_line(error)[:300]}. This is a "
        f"fault of {whose}: {told} --debug or {DEBUG}=1 shows{'' if whose == 'gnncomm' else ', says where'}.",
        EX_SOFTWARE,
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "").rstrip(".")


def _is_ours(name: str | None) -> bool:
    return (name or "").partition(".")[0] == "gnncomm"


def _place(error: Exception) -> tuple[str, str]:
    """The innermost line of ours, or of a package whose things have names here, that took part; and whose it is."""
    home, found, packages = Path(__file__).parents[2], ("", "gnncomm"), strangers()
    for frame, line in traceback.walk_tb(error.__traceback__):
        path, module = Path(frame.f_code.co_filename), frame.f_globals.get("__name__") or ""
        if _is_ours(module) and path.is_relative_to(home):
            found = f"{path.relative_to(home)}:{line}", "gnncomm"
        elif whose := packages.get(module.partition(".")[0]):
            found = f"{path}:{line}", whose
    return found


def _pip_install(module: str) -> str:
    """What to type: the extra that brings ``module``, or the requirement of gnncomm itself."""
    root = module.partition(".")[0]
    wanted = re.sub(r"[-_.]+", "-", _DISTRIBUTIONS.get(root, root)).lower()
    try:
        required = metadata.requires("gnncomm") or []
    except metadata.PackageNotFoundError:
        required = []
    extras = []
    for text in required:
        requirement, _, marker = text.partition(";")
        found = re.match(r"[\w.-]+", requirement)
        if found and re.sub(r"[-_.]+", "-", found[0]).lower() == wanted:
            extra = re.search(r"extra == ['\"](\w+)['\"]", marker)
            if not extra:
                return f"pip install '{requirement.strip()}'"
            extras.append(extra[1])
    narrow = [extra for extra in extras if extra not in ("all", "dev")]
    return f"pip install 'gnncomm[{narrow[0]}]'" if narrow else f"pip install {wanted}"
