"""Run as a script by the tests beside it: trains with ``gnncomm train`` in processes that are killed or stopped.

Each life is a process of its own, forked from one that has imported torch already, so that a life costs no imports.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import random
import sys
import time
from pathlib import Path

from gnncomm.cli import main

importlib.import_module("gnncomm.cli.training")

STEPS_PER_UPDATE = 16 * 3
OPTIONS = ["--num-envs", "16", "--rollout", "3", "--hidden", "8", "--save-every", "2", "--episodes", "0"]
OPTIONS += ["--threads", "1", "--learner.epochs", "1", "--learner.minibatches", "2"]


def begin(words: list[str]) -> int:
    """Start ``gnncomm train predator_prey`` in a new process."""
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            code = main(["train", "predator_prey", *OPTIONS, *words])
    finally:
        os._exit(code)


def finish(pid: int) -> int:
    """Exit code, or the negative number of the signal."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def end(pid: int, number: int, run: Path, updates: int, delay: float) -> int:
    """Send a signal ``delay`` seconds after ``updates`` updates were logged, and wait for the end.

    By progress and not by the clock alone: on a busy machine every life still gets somewhere and none arrives.
    """
    while updates_logged(run) < updates:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
    time.sleep(delay)
    os.kill(pid, number)
    return finish(pid)


def updates_logged(run: Path) -> int:
    log = run / "metrics.jsonl"
    return log.read_bytes().count(b"\n") if log.exists() else 0


def final_state(run: Path) -> dict[str, str]:
    """SHA-256 of the metrics and of every file of the newest checkpoint."""
    newest = max((run / "checkpoints").glob("step_*"), key=lambda path: int(path.name[5:]))
    files = [run / "metrics.jsonl", *newest.iterdir()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(files)}


def reference(folder: Path, updates: int) -> tuple[Path, float]:
    """A run that nobody disturbs, and how long it took."""
    run = folder / "reference"
    started = time.monotonic()
    assert finish(begin(["--steps", str(updates * STEPS_PER_UPDATE), "--out", str(run)])) == 0
    return run, time.monotonic() - started


def ended(folder: Path, updates: int, numbers: list[int], seed: int) -> dict[str, object]:
    """End a training once with each signal, resume it each time, and compare where it arrives."""
    undisturbed, seconds = reference(folder, updates)
    run, chance = folder / "run", random.Random(seed)
    words = ["--steps", str(updates * STEPS_PER_UPDATE), "--out", str(run)]
    codes: list[int] = []
    progress: list[int] = []
    for life, number in enumerate(numbers):
        earliest, latest = (updates * (life + part) // (len(numbers) + 1) for part in (0, 1))
        resume = ["--resume"] if (run / "config.json").exists() else []
        delay = chance.uniform(0, 2 * seconds / updates)
        codes.append(end(begin(words + resume), number, run, chance.randint(earliest + 1, latest), delay))
        progress.append(updates_logged(run))
    finished = finish(begin([*words, "--resume"]))
    log = [json.loads(line)["update"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    return {
        "codes": codes,
        "progress": progress,
        "finished": finished,
        "log": log,
        "same": final_state(run) == final_state(undisturbed),
    }


if __name__ == "__main__":
    target, updates, numbers, seed = sys.argv[1:]
    print(json.dumps(ended(Path(target), int(updates), json.loads(numbers), int(seed))))
