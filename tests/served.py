"""Run as a script by ``conftest.py``: runs one Python program after another, each in a process of its own.

torch and torch_geometric are imported once (3 of the 4 seconds that most programs of the tests took), nothing of
gnncomm is: each program is a fork from that state, with its own folder, surroundings, ``__main__`` and output. One line
of JSON asks (the arguments of ``become``); two numbers answer: the process, and when it has ended its exit status,
negative for a signal.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import tempfile
import types
import warnings

import torch_geometric.nn  # noqa: F401  # imports torch


def become(
    words: list[str], folder: str, output: list[str], env: dict[str, str], warn: str | None, seconds: float
) -> None:
    """This process is as one that was just started with ``python *words``, stdout and stderr to ``output``."""
    signal.setitimer(signal.ITIMER_REAL, seconds)  # ends the process
    for number, path in enumerate([os.devnull, *output]):
        if not path:
            os.close(number)
            sys.stdout = None  # type: ignore[assignment]  # as Python does
            continue
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    tempfile.tempdir = None
    if warn is not None:
        warnings.resetwarnings()
        warnings.simplefilter(warn)  # type: ignore[arg-type]
    sys.argv = words[1:] if words[0] == "-m" else words[:1] + words[2:] if words[0] == "-c" else words
    sys.path[:1] = ["" if words[0].startswith("-") else os.path.dirname(words[0])]
    sys.path[1:1] = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part and part not in sys.path]


def serve() -> list[str]:
    """The words of this fork; returns in the children, and ends the parent when nobody asks any more."""
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        child = os.fork()
        if not child:
            become(**asked)
            return list(asked["words"])
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


def main(words: list[str]) -> None:
    if words[0] == "-c":
        module = sys.modules["__main__"] = types.ModuleType("__main__")
        exec(compile(words[1], "<string>", "exec"), module.__dict__)
    elif words[0] == "-m":
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    main(serve())
