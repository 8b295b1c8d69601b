"""Run as a script by the tests beside it: runs one Python program after another, each in a process of its own.

torch and torch_geometric are imported once (3 of the 4 seconds that a page of the documentation took), nothing of
gnncomm is: each program is a fork from that state, with its own folder, ``__main__`` and output. One line of JSON asks
(``program``, ``folder``, ``output``, ``seconds``), one number answers: the exit status, negative for a signal.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys

import torch_geometric.nn  # noqa: F401  # imports torch


def become(program: str, folder: str, output: str, seconds: float) -> None:
    """This process is as one that was just started with ``python program``."""
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        file = os.open(path, flags, 0o600)
        os.dup2(file, number)
        os.close(file)
    os.dup2(1, 2)
    os.chdir(folder)
    sys.argv, sys.path[0] = [program], os.path.dirname(program)
    signal.setitimer(signal.ITIMER_REAL, seconds)  # ends the process


def serve() -> str:
    """The program of this fork; returns in the children, and ends the parent when nobody asks any more."""
    for line in iter(sys.stdin.readline, ""):
        asked = json.loads(line)
        child = os.fork()
        if not child:
            become(**asked)
            return str(asked["program"])
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    sys.exit()


if __name__ == "__main__":
    runpy.run_path(serve(), run_name="__main__")
