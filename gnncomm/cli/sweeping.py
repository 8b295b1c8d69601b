"""What ``gnncomm sweep`` does once its options are read."""

from __future__ import annotations

import shlex

import torch
from rich.console import Console

from gnncomm.cli.console import make_console
from gnncomm.cli.signals import StopSignal
from gnncomm.cli.sweep import SweepArgs
from gnncomm.cli.training import arguments
from gnncomm.compare.text import plain
from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.store import read_data
from gnncomm.sweep import Done, Plan, Study, sweep
from gnncomm.sweep.search import opened, side_by_side
from gnncomm.sweep.study import TRIALS

_SINGLE = ("--resume", "--overwrite", "--from", "--print-config", "--dry-run")


def run(args: SweepArgs, rest: list[str], words: list[str]) -> int:
    """Search as ``args`` say, with the options ``rest`` of a training, of all ``words``; the exit code."""
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
