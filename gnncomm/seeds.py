"""Many seeds of one training, side by side: each a run of its own, in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from gnncomm.config import from_json, leaves, to_json
from gnncomm.errors import ConfigError, GnnCommError, RunExistsError
from gnncomm.evaluation import mean_interval
from gnncomm.learn import TrainConfig
from gnncomm.registry.table import of_this_process
from gnncomm.store import read_data, safe_run_path, write_json_atomic

KIND = "seeds"
PLAN, SUMMARY, CONFIG = "seeds.json", "summary.json", "train.json"
MEASURED = ("success", "return", "length")
_POLL = 0.1
"""Seconds between two looks at the processes."""


@dataclass(frozen=True)
class Seeds:
    """A training for each of ``seeds``, in ``path/seed_<number>``."""

    path: Path
    config: TrainConfig
    seeds: tuple[int, ...]
    episodes: int = 1000
    """Of the evaluation of each; 0 for none."""
    stopped: bool = False
    """Whether some were stopped before their end; what they did is saved."""
    failed: Mapping[int, str] = field(default_factory=dict)
    """Why a seed has no end, by its number."""

    def folder(self, seed: int) -> Path:
        return self.path / f"seed_{seed}"

    def measured(self) -> dict[int, dict[str, Any]]:
        """The evaluation (``eval.json``) of each seed that has one."""
        files = {seed: self.folder(seed) / "eval.json" for seed in self.seeds if seed not in self.failed}
        return {seed: json.loads(file.read_text(encoding="utf-8")) for seed, file in files.items() if file.is_file()}

    def summary(self, reports: Mapping[int, Mapping[str, Any]] | None = None) -> dict[str, Any]:
        """Each seed's numbers of the trained team, and their mean with Student's 95 % interval, where there are two.

        Args:
            reports: evaluations (``Report.to_dict``) by seed; None takes those that the runs keep.
        """
        each = {}
        for seed, report in (self.measured() if reports is None else reports).items():
            values = {name: report["trained"][name]["mean"] for name in MEASURED}
            each[seed] = values | {"communication_gain": report["communication_gain"]}
        over: dict[str, Any] = {}
        for name in (*MEASURED, "communication_gain") if len(each) > 1 else ():
            known = [values[name] for values in each.values()]
            if None in known:  # the environment knows no success
                continue
            interval = mean_interval(torch.tensor(known, dtype=torch.float64))
            over[name] = {"mean": interval.mean, "low": interval.low, "high": interval.high}
        return {"seeds": {str(seed): values for seed, values in each.items()}, "over_seeds": over}


def train_seeds(
    config: TrainConfig, seeds: Sequence[int], out: str | Path, *, episodes: int = 1000, **how: Any
) -> Seeds:
    """Train ``config`` with each of ``seeds``: the runs that ``gnncomm train --threads 1`` makes of them, bit for bit.

    ``out`` gets a run for each (``seed_<number>``), what each said (``seed_<number>.log``) and ``summary.json``. What
    was stopped goes on with ``resume_seeds``.

    Args:
        config: its seed is of no matter. Other processes must know what it names: by what is installed.
        seeds: two different ones at least.
        out: a directory that is not there yet.
        episodes: of the evaluation of each; 0 for none.
        how: see ``resume_seeds``.

    Raises:
        ConfigError: fewer than two seeds, one twice, or objects without a name. RunExistsError: ``out`` is taken.
    """
    if len(seeds) < 2 or len(set(seeds)) != len(seeds):
        raise ConfigError(f"seeds: expected two different seeds at least, got {list(seeds)}. Use train for one.")
    if config.given:
        raise ConfigError(
            f"seeds: expected names that other processes know, too, got objects for {', '.join(config.given)}. "
            "Register them in an installed package, or train one seed after the other."
        )
    _require_known_elsewhere(config)
    path = safe_run_path(out)
    if path.exists():
        raise RunExistsError(f"{path} exists: continue it with gnncomm resume {path}, or choose another --out.")
    path.mkdir(parents=True)
    write_json_atomic(path / CONFIG, to_json(config))
    write_json_atomic(path / PLAN, {"kind": KIND, "seeds": list(seeds), "episodes": episodes})
    return resume_seeds(path, **how)


def _require_known_elsewhere(config: TrainConfig) -> None:
    said = {word for text in leaves(config).values() for word in re.findall(r"[\w-]+", str(text))}
    mine = [name for name in of_this_process() if name in said]
    if mine:
        raise ConfigError(
            f"seeds: expected names that other processes know, too, got {mine[0]!r}, which register() gave in this one "
            "only. Name it by an entry point of an installed package, or train one seed after the other."
        )


def planned(out: str | Path) -> Seeds | None:
    """What was begun in ``out``; None where that is something else than many seeds."""
    path = safe_run_path(out, parents=True)
    if not (path / PLAN).is_file():
        return None
    plan = read_data(path / PLAN)
    seeds, episodes = plan.get("seeds"), plan.get("episodes")
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds) and type(episodes) is int
    if plan.get("kind") != KIND or not whole:
        raise ConfigError(f"{path / PLAN}: expected kind {KIND!r} with seeds and episodes, got {str(plan)[:80]}.")
    return Seeds(path, from_json(TrainConfig, read_data(path / CONFIG)), tuple(seeds or ()), int(episodes or 0))


def resume_seeds(
    out: str | Path,
    *,
    processes: int = 0,
    threads: int = 1,
    trust_env: bool = False,
    stop: Callable[[], bool] = lambda: False,
    observer: Callable[[Mapping[int, int]], None] = lambda steps: None,
) -> Seeds:
    """Begin what was not begun in ``out``, and go on with what was.

    Args:
        out: see ``train_seeds``.
        processes: how many seeds at a time; 0: as many as there are processors for ``threads`` each.
        threads: of each process. Sums of several threads have other bits than those of one.
        trust_env: let the processes run code of another package that the configuration names.
        stop: asked often; True stops all, and what they did is saved.
        observer: told the environment steps of each seed that runs, now and then.

    Raises:
        ConfigError: ``out`` holds no such plan.
        GnnCommError: seeds that failed, by number, with what they said; the others are trained and kept.
    """
    plan = planned(out)
    if plan is None:
        raise ConfigError(
            f"{out}: expected many seeds of a training, got none. gnncomm train ENV --seeds 5 begins some."
        )
    most = processes or max(1, (os.cpu_count() or 1) // threads)
    pool = _Pool(plan, threads, trust_env)
    try:
        while pool.waiting or pool.running:
            stopping = stop()
            if stopping:
                pool.stop()
            while pool.waiting and len(pool.running) < most:
                pool.start(pool.waiting.pop(0))
            pool.look()
            observer({seed: _steps(plan.folder(seed)) for seed in pool.running})
            time.sleep(_POLL)
    finally:
        pool.kill()
    done = Seeds(plan.path, plan.config, plan.seeds, plan.episodes, pool.stopping, pool.failed)
    write_json_atomic(plan.path / SUMMARY, done.summary())
    if pool.failed:
        told = "; ".join(f"seed {seed}: {line}" for seed, line in pool.failed.items())
        raise GnnCommError(
            f"{len(pool.failed)} of {len(plan.seeds)} seeds failed, the others are kept in {out}. {told}"
        )
    return done


class _Pool:
    """Processes, each of which trains a seed by the command line."""

    def __init__(self, plan: Seeds, threads: int, trust_env: bool) -> None:
        self.plan, self.threads, self.trust_env = plan, threads, trust_env
        self.waiting = list(plan.seeds)
        self.running: dict[int, subprocess.Popen[bytes]] = {}
        self.failed: dict[int, str] = {}
        self.stopping = False

    def start(self, seed: int) -> None:
        folder = self.plan.folder(seed)
        begun = (folder / "config.json").is_file()
        goes_on = ["resume", str(folder)]
        begins = ["train", "--config", str(self.plan.path / CONFIG), "--seed", str(seed), "--out", str(folder)]
        words = [*(goes_on if begun else begins), "--threads", str(self.threads)]
        words += ["--episodes", str(self.plan.episodes), *(["--trust-env"] if self.trust_env else [])]
        around = os.environ | {"OMP_NUM_THREADS": str(self.threads)}
        with self._log(seed).open("ab") as log:
            self.running[seed] = subprocess.Popen(
                [sys.executable, "-m", "gnncomm", *words],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=around,
                start_new_session=True,  # a signal of the terminal comes to it once, from here
            )

    def look(self) -> None:
        """Take note of those that ended."""
        for seed, process in list(self.running.items()):
            code = process.poll()
            if code is None:
                continue
            del self.running[seed]
            stopped = self.stopping and code in (128 + signal.SIGINT, -signal.SIGINT)
            if code and not stopped:
                lines = self._log(seed).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                self.failed[seed] = lines[-1] if lines else f"ended with {code}"

    def stop(self) -> None:
        """Ask all to save and end; nothing begins any more."""
        if not self.stopping:
            self.stopping, self.waiting = True, []
            for process in self.running.values():
                process.send_signal(signal.SIGINT)

    def kill(self) -> None:
        """What still runs ends at once: something went wrong here."""
        for process in self.running.values():
            process.kill()
            process.wait()

    def _log(self, seed: int) -> Path:
        return self.plan.path / f"seed_{seed}.log"


def _steps(folder: Path) -> int:
    """The environment steps in the last whole line of the metrics."""
    file = folder / "metrics.jsonl"
    if not file.is_file():
        return 0
    with file.open("rb") as lines:
        lines.seek(max(0, file.stat().st_size - 4096))
        whole = lines.read().split(b"\n")[:-1]
    found = json.loads(whole[-1]).get("env_steps", 0) if whole and whole[-1].startswith(b"{") else 0
    return int(found)
