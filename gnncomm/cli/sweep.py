"""``gnncomm sweep ENV``: search for settings."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
import tyro
from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.parse import most_threads, parse_known
from gnncomm.cli.signals import StopSignal
from gnncomm.cli.training import arguments
from gnncomm.compare.text import plain
from gnncomm.config import require_ranges
from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.store import read_data
from gnncomm.sweep import Done, Plan, Study, sweep
from gnncomm.sweep.search import opened, side_by_side
from gnncomm.sweep.study import TRIALS

_SINGLE = ("--resume", "--overwrite", "--from", "--print-config", "--dry-run")


@dataclass(frozen=True)
class SweepArgs:
    """Search for settings of a training: trials of a space, by Optuna. All options of gnncomm train are taken, too."""

    space: Annotated[str, tyro.conf.arg(metavar="FILE")]
    """What is tried, JSON or YAML: names of options, each with a list or with low, high, log and step."""
    trials: int = 0
    """Trials of this call; 0: as many as --total leaves."""
    total: int = 0
    """No more trials than these in all, whoever makes them; 0: no limit."""
    out: Annotated[str, tyro.conf.arg(metavar="DIR")] = ""
    """Directory of the sweep; default runs/sweep-ENV. Called again, it goes on."""
    metric: Literal["return", "success", "length"] = "return"
    """What is made better (length: shorter), mean over seeds, in the evaluation at the end of each training."""
    seeds: int = 2
    """Trainings of each trial, --seed and those after it."""
    episodes: int = 200
    """Of the evaluation at the end of each training; they occur in no gnncomm eval."""
    workers: int = 1
    """Trials at a time, each in a process of its own; 1 works in this one."""
    threads: int = 1
    """Of torch, of each worker."""
    prune: bool = True
    """End trials whose running metric is below the median of the others at the same step."""

    def __post_init__(self) -> None:
        ranges = {"trials": (0, 10**6), "total": (0, 10**6), "seeds": (1, 2**10), "episodes": (2, 10**6)}
        require_ranges(self, ranges | {"workers": (1, 1024), "threads": (1, most_threads())})


def run(words: list[str]) -> int:
    asks = {"-h", "--help"} & set(words)
    try:
        args, rest = parse_known(SweepArgs, words, "gnncomm sweep")
    except SystemExit as end:
        if end.code or not asks:
            raise
        arguments(words)  # the other half of the help, which ends it
        raise
    single = [word for word in rest if word.removeprefix("--no-") in _SINGLE or word.partition("=")[0] in _SINGLE]
    if single:
        raise ConfigError(f"Expected options of many trainings, got {single[0]}, which is of a single one.")
    base = arguments(rest).tree
    console, plan = (
        make_console(),
        Plan(base, read_data(args.space), args.metric, args.seeds, args.episodes, args.prune),
    )
    out = args.out or f"runs/sweep-{base.env.id.replace('/', '-').replace(':', '-')}"[:64]
    torch.set_num_threads(args.threads)

    def said(line: str) -> None:
        console.print(line, soft_wrap=True)

    with StopSignal() as stop:
        if args.workers == 1:
            study = sweep(
                plan,
                out,
                args.trials,
                total=args.total,
                stop=stop,
                observer=lambda done: said(_line(done)),
                notice=said,
            )
        else:
            study = opened(plan, out, args.trials, args.total)
            side_by_side(words, study, args.trials, args.workers, args.threads, stop, said)
    _conclude(study, out, console)
    if stop():
        said(f"stopped; what was under way is kept in {out} and goes on when the same command is given again")
        return stop.exit_code
    if study.states().keys() <= {"failed"}:
        raise GnnCommError(f"{out}: no trial came to its end; {TRIALS} says why.")
    return 0


def _line(done: Done) -> str:
    settings = "  ".join(f"{path.removeprefix('policy.')}={_short(value)}" for path, value in done.settings.items())
    seeds = f" ({', '.join(f'{value:.3f}' for value in done.seeds)})" if done.seeds else ""
    came = (
        f"{done.value:.4f}{seeds}" if done.value is not None else f"{done.state}{': ' * bool(done.reason)}{done.reason}"
    )
    return plain(f"trial {done.number}: {came}  {settings}")


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _conclude(study: Study, out: str, console: Console) -> None:
    """How many trials of which kind there are, and which was the best."""
    told = study.states()
    console.print(
        f"{study.count} trials in {out}: " + ", ".join(f"{n} {name}" for name, n in told.items()), soft_wrap=True
    )
    if "complete" in told:
        best = study.study.best_trial
        console.print(f"best: {_line(Done(best.number, 'complete', best.params, best.value))}", soft_wrap=True)
        again = f"gnncomm train --config {shlex.quote(f'{out}/best.json')} --seeds 5 --seed 1000"
        console.print(f"it was chosen by its seeds; measure it on others: {again}", soft_wrap=True)
