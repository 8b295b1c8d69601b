"""matplotlib without what the caller's surroundings say: another backend, a style, a file of settings.

Only ``FigureCanvasAgg`` is used. A notebook's ``MPLBACKEND`` that this environment does not have, or nonsense in it, is
no reason to fail; and a program that draws with us keeps its own backend and its own settings.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Iterator

_BACKEND = "MPLBACKEND"


def import_matplotlib() -> None:
    """Import it without ``MPLBACKEND``, and give it that backend afterwards if it knows it."""
    if "matplotlib" in sys.modules:
        return
    wanted = os.environ.pop(_BACKEND, None)
    log = logging.getLogger("matplotlib")
    level = log.level
    log.setLevel(logging.CRITICAL)  # about directories and files of settings that are not ours
    try:
        import matplotlib

        if wanted:
            with contextlib.suppress(ValueError):
                matplotlib.rcParams["backend"] = wanted
    finally:
        log.setLevel(level)
        if wanted is not None:
            os.environ[_BACKEND] = wanted


@contextlib.contextmanager
def plain() -> Iterator[None]:
    """matplotlib as it comes, whatever styles and settings are in force; they are in force again afterwards."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        yield
