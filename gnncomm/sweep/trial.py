"""One trial: its seeds trained one after the other, watched, and measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.learn.training import Training
from gnncomm.run import train
from gnncomm.store import RunDir
from gnncomm.sweep.plan import Plan
from gnncomm.sweep.study import REPORTS, Study

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class Done:
    """What became of a trial."""

    number: int
    state: str
    """``complete``, ``pruned``, ``failed`` or ``stopped``."""
    settings: Mapping[str, Any]
    value: float | None = None
    seeds: tuple[float, ...] = ()
    """What each seed came to."""
    reason: str = ""


@dataclass
class _Watch:
    """Reports the running metric, and asks whether it is worth going on."""

    trial: optuna.Trial
    plan: Plan
    number: int
    """Of the seed."""
    values: list[float] = field(default_factory=list)
    said: int = 0
    hopeless: bool = False

    def __call__(self, training: Training, metrics: dict[str, float]) -> None:
        value = metrics.get(self.plan.metric, math.nan)
        self.values += [value] if math.isfinite(value) else []
        part = training.learner.updates * REPORTS // training.updates
        if part > self.said and self.values:
            self.said = part
            step = self.number * REPORTS + part
            self.trial.report(float(np.mean(self.values)), step)
            self.values.clear()
            self.hopeless = self.trial.should_prune()


def run_trial(trial: optuna.Trial, study: Study, stop: Callable[[], bool], notice: Callable[[str], None]) -> Done:
    """Train and measure the seeds of a trial, and tell the study."""
    import optuna

    plan, folder = study.plan, study.folder_of(trial)
    found: list[float] = []
    settings: Mapping[str, Any] = plan.axes.suggest(trial)
    try:
        for number in range(plan.seeds):
            watch = _Watch(trial, plan, number)
            found.append(_trained(plan, settings, folder, watch, stop, notice))
            ended = math.isfinite(found[-1])
            if watch.hopeless and not (ended and number + 1 == plan.seeds):
                reason = f"below the median of others at {watch.said * 100 // REPORTS} % of its training {number + 1}"
                trial.set_user_attr("reason", reason)
                study.study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                return Done(trial.number, "pruned", settings, reason=reason)
            if not ended or (stop() and number + 1 < plan.seeds):
                return Done(trial.number, "stopped", settings)
    except GnnCommError as error:
        trial.set_user_attr("reason", str(error)[:500])
        study.study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return Done(trial.number, "failed", settings, reason=str(error))
    value = float(np.mean(found))
    trial.set_user_attr("seeds", found)
    study.study.tell(trial, value)
    return Done(trial.number, "complete", settings, value, tuple(found))


def _trained(
    plan: Plan,
    settings: Mapping[str, Any],
    folder: Path,
    watch: _Watch,
    stop: Callable[[], bool],
    notice: Callable[[str], None],
) -> float:
    """The metric of its evaluation at the end; NaN of a training that did not get there."""
    config = plan.training(settings, watch.number)
    out = folder / f"seed_{config.run.seed}"
    begun = (out / "config.json").is_file()
    train(config, out, resume=begun, observer=watch, stop=lambda: watch.hopeless or stop(), notice=notice)
    last = RunDir.open(out).metrics()[-1]
    if last.get("eval_return") is None:
        return math.nan
    if last.get(f"eval_{plan.metric}") is None:
        raise ConfigError(f"metric: {config.env.id} knows no {plan.metric}. Make --metric return better.")
    return float(last[f"eval_{plan.metric}"])
