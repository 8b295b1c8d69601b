"""``sweep``: trials one after the other, or side by side in processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.store import safe_run_path
from gnncomm.sweep.plan import PLAN, Plan, begun
from gnncomm.sweep.study import Study
from gnncomm.sweep.trial import Done, run_trial

_POLL = 0.2


def sweep(
    plan: Plan,
    out: str | Path,
    trials: int = 0,
    *,
    total: int = 0,
    stop: Callable[[], bool] = lambda: False,
    observer: Callable[[Done], None] = lambda done: None,
    notice: Callable[[str], None] = lambda text: None,
) -> Study:
    """Do ``trials`` more trials of the sweep in ``out``, one after the other; other processes may do so, too.

    Args:
        plan: the same whenever a sweep goes on.
        out: its directory: ``sweep.json``, ``study.db``, ``trial_0000/seed_0``, ..., ``trials.json``, ``best.json``.
        trials: of this call; 0: as many as ``total`` leaves.
        total: no more than these in all, those of other processes included; 0: no limit.
        stop: asked after every update; True saves, and puts the trial back.
        observer: told of each trial that ended.
        notice: see ``gnncomm.train``.

    Raises:
        ConfigError: neither ``trials`` nor ``total``; ``out`` holds another sweep.
        MissingExtraError: Optuna is not installed (``gnncomm[sweep]``).
    """
    study = opened(plan, out, trials, total)
    made = 0
    while not stop() and not (trials and made >= trials):
        claimed = study.claim(total)
        if claimed is None:
            break
        trial, lock = claimed
        try:
            done = run_trial(trial, study, stop, notice)
            if done.state == "stopped":
                study.give_back(trial, lock)
        finally:
            lock.release()
        made += 1
        study.write()
        observer(done)
    study.write()
    return study


def opened(plan: Plan, out: str | Path, trials: int, total: int) -> Study:
    """The study in ``out``, begun if it is not there."""
    if not trials and not total:
        raise ConfigError("sweep: expected how many trials to make, got neither trials nor total. Say --trials 20.")
    folder = safe_run_path(out)
    if folder.exists() and not (folder / PLAN).exists() and any(folder.iterdir()):
        raise ConfigError(
            f"{folder}: expected a sweep or an empty directory, got something else. Choose another --out."
        )
    begun(folder, plan)
    return Study(folder, plan)


def side_by_side(
    words: Sequence[str],
    study: Study,
    trials: int,
    workers: int,
    threads: int,
    stop: Callable[[], bool],
    said: Callable[[str], None],
) -> None:
    """So many workers at a time, each a process that does one trial by the command line, as in a SLURM array.

    A worker that is killed costs a trial some time and nothing else: it is put back.

    Raises:
        GnnCommError: a worker refused to work; with what it said.
    """
    running: dict[subprocess.Popen[bytes], IO[bytes]] = {}
    made, ending = 0, False
    command = [sys.executable, "-m", "gnncomm", "sweep", *words, "--trials", "1", "--workers", "1"]
    around = os.environ | {"OMP_NUM_THREADS": str(threads)}
    try:
        while running or not ending:
            if stop() and not ending:
                for process in running:
                    process.send_signal(signal.SIGINT)
            ending = ending or stop() or bool(trials and made >= trials)
            while len(running) < workers and not ending:
                log = tempfile.TemporaryFile()  # noqa: SIM115  # closed when the process has ended
                process = subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=around, start_new_session=True
                )  # a signal of the terminal comes to it once, from here
                running[process] = log
                made += 1
                ending = bool(trials and made >= trials)
            for process in [each for each in running if each.poll() is not None]:
                lines = _lines(running.pop(process))
                if process.returncode < 0:
                    said("a worker was killed; its trial is tried again")
                    made, ending = made - 1, stop()
                elif process.returncode not in (0, 128 + signal.SIGINT):
                    raise GnnCommError(f"a worker failed: {lines[-1] if lines else process.returncode}")
                told = [line for line in lines if line.startswith("trial ")]
                ending = ending or not told  # nothing was left for it
                for line in told:
                    said(line)
            time.sleep(_POLL)
    finally:
        for process, output in running.items():
            process.kill()
            process.wait()
            output.close()
    study.write()


def _lines(log: IO[bytes]) -> list[str]:
    with log:
        log.seek(0)
        return log.read().decode("utf-8", errors="replace").strip().splitlines()
