"""Run as a script by the tests beside it: gnncomm commands on a run of a stranger's, watched by an audit hook.

``hostile.py WATCH COMMAND...``: warms up on nothing hostile first, so that what torch and others do once is over; then
writes what happened to the file WATCH, a line each. Workers are watched through ``sitecustomize`` on ``PYTHONPATH``.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path

from gnncomm.cli.main import main

FORBIDDEN = ("pickle.find_class", "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.remove")
FORBIDDEN += ("socket.connect", "socket.bind", "shutil.rmtree", "os.rename", "os.chmod", "os.link", "os.symlink")
FORBIDDEN += ("os.kill", "ctypes.dlopen")
TRUSTED = {
    "typing",
    "dataclasses",
    "collections",
    "inspect",
    "typing_extensions",
    "tyro",
    "numpy",
    "torch",
    "functools",
}
"""Libraries that make code of their own text."""
events: list[str] = []
armed = False


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if not armed:
        return
    what = str(arguments[0])[:200] if arguments else ""
    if event == "open":
        flags = arguments[2]
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            events.append(f"write {what}")
    elif event == "exec":
        file = getattr(arguments[0], "co_filename", "")
        caller = str(sys._getframe(1).f_globals.get("__name__")).partition(".")[0]
        if file.startswith(os.path.dirname(sys.argv[1])) or (
            file.startswith("<") and caller not in TRUSTED | {"importlib"}
        ):
            events.append(f"exec {file} by {caller}")
    elif event in FORBIDDEN:
        events.append(f"{event} {what}")


def judge(commands: list[list[str]]) -> list[dict[str, object]]:
    """Each command with its exit code, what it said, and what happened."""
    global armed
    found = []
    for words in commands:
        events.clear()
        said, wrong = io.StringIO(), io.StringIO()
        raised = ""
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(wrong):
            armed = True
            try:
                code: object = main(words)
            except BaseException as error:
                code, raised = None, f"{type(error).__name__}: {error}"[:500]
            finally:
                armed = False
        found.append(
            {"words": words, "code": code, "raised": raised, "said": wrong.getvalue()[:2000], "events": list(events)}
        )
    return found


if __name__ == "__main__":
    sys.addaudithook(watch)
    task = json.loads(Path(sys.argv[1]).read_text())
    judge(task["warm"])
    Path(sys.argv[2]).write_text(json.dumps(judge(task["commands"])))
