"""Trials of a sweep in an Optuna study that processes share: who takes the next one, what became of those killed."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnncomm import random
from gnncomm.config import to_json
from gnncomm.errors import CheckpointCorruptError, RunLockedError, require_extra
from gnncomm.store import write_json_atomic
from gnncomm.store.files import require_directory, require_unlinked
from gnncomm.store.lock import RunLock
from gnncomm.sweep.plan import Plan
from gnncomm.sweep.space import configured

if TYPE_CHECKING:
    import optuna

DATABASE, BEST, TRIALS = "study.db", "best.json", "trials.json"
LOCK = "trial.lock"
REPORTS = 10
"""Times that a training says how it goes."""
TRIES = 2
"""How often a trial is begun whose process was killed; one that was stopped goes on without limit."""
_STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed", "RUNNING": "running", "WAITING": "put back"}
_WAIT = 60
"""Seconds for a database that others write to."""


class Study:
    """The trials of ``plan`` in ``folder``.

    Every process asks for its next trial under a lock, so that numbers are exact. A trial belongs to who holds the lock
    in its directory; one whose holder is gone is put back, with its trainings, which go on from their checkpoints.

    Raises:
        MissingExtraError: Optuna is not installed (``gnncomm[sweep]``).
    """

    def __init__(self, folder: Path, plan: Plan) -> None:
        require_extra("optuna", "sweep")
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        require_unlinked(folder / DATABASE)
        self.folder, self.plan, self._optuna, self._state = folder, plan, optuna, optuna.trial.TrialState
        with self._alone(), self._readable():
            storage = optuna.storages.RDBStorage(
                f"sqlite:///{(folder / DATABASE).resolve()}", engine_kwargs={"connect_args": {"timeout": _WAIT}}
            )
            self.study = optuna.create_study(
                storage=storage,
                study_name="gnncomm",
                direction="minimize" if plan.metric == "length" else "maximize",
                load_if_exists=True,
                pruner=self._pruner(),
            )
            for trial in self.study.get_trials(False):
                _require_sound(trial, plan)

    def claim(self, total: int) -> tuple[optuna.Trial, RunLock] | None:
        """The next trial, held by this process: one that was put back, if there is any; None if there are ``total``."""
        with self._alone():
            self._put_back_the_killed()
            if total and self.count >= total and not self._in(self._state.WAITING):
                return None
            seed = random.bits(self.plan.config.run.seed, len(self.study.get_trials(False)))
            self.study.sampler = self._optuna.samplers.TPESampler(seed=int(seed) % 2**32)  # no two processes' the same
            trial = self.study.ask()
            home = self.folder_of(trial)
            home.mkdir(exist_ok=True)
            require_directory(home)
            trial.set_user_attr("folder", home.name)
            return trial, RunLock(home / LOCK)

    @property
    def count(self) -> int:
        """Trials, each once however often it was begun."""
        return len({self.folder_of(trial) for trial in self.study.get_trials(False)})

    def states(self) -> dict[str, int]:
        """How many trials there are of which kind; what was put back is told by what became of it."""
        last = {self.folder_of(trial): _STATES[trial.state.name] for trial in self.study.get_trials(False)}
        return {state: list(last.values()).count(state) for state in sorted(set(last.values()))}

    def folder_of(self, trial: Any) -> Path:
        """Where its trainings lie: one that was put back goes on where it was."""
        name: str = trial.user_attrs.get("folder", f"trial_{trial.number:04d}")
        return self.folder / name

    def give_back(self, trial: Any, lock: RunLock) -> None:
        """Of a trial that was stopped: whoever asks next goes on with it."""
        with self._alone():
            lock.release()
            self._put_back(trial, killed=False)

    def _put_back(self, trial: Any, *, killed: bool) -> None:
        """What is left of it is done next; one that was killed ``TRIES`` times has failed."""
        tries = trial.user_attrs.get("tries", 1) + killed
        if tries <= TRIES:
            kept = {"folder": self.folder_of(trial).name, "tries": tries}
            self.study.enqueue_trial(trial.params, user_attrs=kept)
        self.study.tell(trial.number, state=self._state.FAIL)

    def write(self) -> None:
        """``trials.json``, and ``best.json``: a configuration that ``gnncomm train --config`` takes."""
        with self._alone():  # or an older look at them could be written last
            trials = self.study.get_trials(False)
            last = {self.folder_of(trial): trial.number for trial in trials}
            told = [
                {
                    "number": trial.number,
                    "state": _STATES["WAITING" if last[self.folder_of(trial)] != trial.number else trial.state.name],
                    "value": trial.value if trial.state == self._state.COMPLETE else None,
                    "settings": trial.params,
                    **({"reason": "it was stopped, or its process killed"} if trial.state == self._state.FAIL else {}),
                    **trial.user_attrs,
                }
                for trial in trials
            ]
            write_json_atomic(self.folder / TRIALS, {"metric": self.plan.metric, "trials": told})
            if self._in(self._state.COMPLETE):
                best = configured(self.plan.config, self.study.best_trial.params)
                write_json_atomic(self.folder / BEST, to_json(best))

    def _in(self, state: optuna.trial.TrialState) -> list[optuna.trial.FrozenTrial]:
        return self.study.get_trials(False, (state,))

    def _pruner(self) -> optuna.pruners.BasePruner:
        if not self.plan.prune:
            return self._optuna.pruners.NopPruner()
        return self._optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=REPORTS // 3)

    def _put_back_the_killed(self) -> None:
        for trial in self._in(self._state.RUNNING):
            home = self.folder_of(trial)
            home.mkdir(exist_ok=True)  # killed before it had one
            with contextlib.suppress(RunLockedError):
                RunLock(home / LOCK).release()
                self._put_back(trial, killed=True)

    @contextlib.contextmanager
    def _readable(self) -> Iterator[None]:
        """Whatever a damaged database makes Optuna raise is said in one way."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            yield
        except (SQLAlchemyError, KeyError, TypeError, ValueError) as error:
            cause = getattr(error, "orig", None) or error
            raise CheckpointCorruptError(
                f"{self.folder / DATABASE}: expected trials of this sweep, got something else ({cause}). Move it "
                "away to begin anew."
            ) from error

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at a time."""
        handle = os.open(self.folder / "sweep.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _require_sound(trial: optuna.trial.FrozenTrial, plan: Plan) -> None:
    """Refuse what no process of ours has written: above all a folder elsewhere."""
    told = trial.user_attrs
    folder, tries, value = told.get("folder", "trial_0000"), told.get("tries", 1), trial.values
    if type(folder) is not str or not re.fullmatch(r"trial_\d{4,}", folder) or type(tries) is not int:
        raise ValueError(f"trial {trial.number}: folder {folder!r:.80}, tries {tries!r:.80}")
    if value is not None and not all(type(number) is float and math.isfinite(number) for number in value):
        raise ValueError(f"trial {trial.number}: value {value!r:.80}")
    if not trial.params.keys() <= plan.axes.axes.keys():
        raise ValueError(f"trial {trial.number}: settings {sorted(trial.params)!r:.80}")
    configured(plan.config, trial.params)
