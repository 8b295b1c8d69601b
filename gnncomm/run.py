"""Runs: train into a directory, resume from it, load what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gnncomm import channel as channels
from gnncomm import codec as codecs
from gnncomm import environments, saved
from gnncomm import schedule as schedulers
from gnncomm import topology as topologies
from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
    did_you_mean,
)
from gnncomm.learn.config import TrainConfig
from gnncomm.learn.resources import require_memory
from gnncomm.learn.training import Training
from gnncomm.policy import CommPolicy
from gnncomm.store import Checkpoint, RunDir, list_checkpoints
from gnncomm.store.files import EX_NOINPUT, with_exit_code
from gnncomm.types import VectorEnv

Observer = Callable[[Training, dict[str, float]], None]
"""Called after every update with the training and its metrics."""

Notice = Callable[[str], None]
"""Called with what a person should know although the work goes on."""

_warn = logging.getLogger("gnncomm").warning


@dataclass(frozen=True)
class Trained:
    """What a run holds: its configuration and the policy of its newest good checkpoint."""

    config: TrainConfig
    policy: CommPolicy
    env_steps: int
    num_agents: int
    """N of the team in training."""
    rejected: tuple[str, ...] = ()
    """Why newer checkpoints were passed over, one line each."""
    trust_env: bool = False
    """Whether ``make_env`` may run code of another package that the configuration names."""

    def with_wire(
        self,
        topology: str | None = None,
        scheduler: str | None = None,
        codec: str | None = None,
        channel: str | None = None,
    ) -> Trained:
        """The same weights on another wire, as they are: to see what a team makes of one that it was not trained on.

        ``config`` says so, too. What is None stays.

        Raises:
            ConfigError: an unknown name or parameter, or a scheduler with weights, which nobody trained.
        """
        old, wire = self.config, self.policy.wire
        if topology is not None:
            wire = replace(wire, topology=topologies.resolve(topology))
        if scheduler is not None:
            found = schedulers.resolve(scheduler, old.hidden, self.num_agents)
            if any(True for _ in found.parameters()):
                raise ConfigError(
                    f"scheduler: expected one without weights on a trained team, got {scheduler!r}, whose weights "
                    "nobody trained with it. Train with it, or choose another."
                )
            wire = replace(wire, scheduler=found)
        if codec is not None:
            wire = replace(wire, codec=codecs.resolve(codec))
        if channel is not None:
            wire = replace(wire, channel=channels.resolve(channel))
        config = replace(
            old,
            topology=topology or old.topology,
            scheduler=scheduler or old.scheduler,
            codec=codec or old.codec,
            channel=channel or old.channel,
        )
        return replace(self, config=config, policy=self.policy.with_wire(wire).eval())

    def evaluation_env(self, episodes: int) -> VectorEnv:
        """Environments for ``evaluate``: up to 1000 side by side, of other libraries as many as in training."""
        most = self.config.num_envs if environments.is_foreign(self.config.env) else 1000
        return self.make_env(max(2, min(episodes, most)))

    def make_env(self, num_envs: int) -> VectorEnv:
        """``num_envs`` of the environments that the team was trained in.

        Raises:
            TrustError: the run names an environment (or a function) of another package, and ``trust_env`` is False.
            ResourceError: they cannot fit into memory.
        """
        if not self.trust_env:
            environments.require_trust(self.config.env, self.config.env_settings)
        config = replace(self.config, num_envs=num_envs, rollout=1, ppo=replace(self.config.ppo, minibatches=1))
        require_memory(config)
        return make_env(config)


def make_env(config: TrainConfig) -> VectorEnv:
    """The environments that ``config`` names. Whoever calls vouches for code that it names, see ``load``."""
    return environments.make(
        config.env, config.num_envs, config.device, config.observation, **dict(config.env_settings)
    )


def default_config(env: str, **changes: Any) -> TrainConfig:
    """The settings that are known to work for ``env``, with ``changes``.

    Raises:
        ConfigError: an unknown environment or setting, or a value out of range.
    """
    recipe = dict(environments.recipe(env))
    known = [item.name for item in fields(TrainConfig)]
    for name in (*recipe, *changes):
        if name not in known:
            raise ConfigError(f"Expected a setting of a training, got {name!r}. {did_you_mean(name, known)}")
    base = TrainConfig(env=env)
    ppo = replace(base.ppo, **recipe.pop("ppo", {}))
    return replace(base, **recipe | {"ppo": ppo} | changes)


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    notice: Notice = _warn,
) -> Training:
    """Train as ``config`` says, and keep the run in ``out`` (None keeps nothing).

    Args:
        config: see ``default_config`` for settings that are known to work, ``config_of`` for those of a run.
        out: run directory: ``config.json``, ``metrics.jsonl``, ``checkpoints/step_<environment steps>/``.
        resume: continue the run in ``out`` from its newest good checkpoint, bit for bit as if it had never stopped. A
            finished run stays as it is. Other ``steps`` than the run was planned with become its new end.
        overwrite: replace the run in ``out``.
        observer: called after every update.
        stop: asked after every update; True saves and returns.
        notice: told of each damaged checkpoint that ``resume`` passed over, of another end, of another version of torch
            or number of threads; logs a warning if not given.

    Raises:
        RunExistsError: ``out`` is taken. RunLockedError: another process trains there.
        CheckpointMismatchError: ``resume`` with another configuration than the run has.
        CheckpointError: ``resume`` of a run that has lost its checkpoints, or has no good one; nothing is touched.
        ConfigError: ``resume`` together with ``overwrite``, or with fewer ``steps`` than are done.
        ResourceError: such a training cannot fit into memory; nothing was allocated.
    """
    if resume and overwrite:
        raise ConfigError("Expected resume or overwrite, got both: continue the run, or replace it.")
    require_memory(config)
    if out is None:
        training = Training(config, make_env(config))
        _run(training, None, observer, stop)
        return training
    if not resume:
        training = Training(config, make_env(config))
        with RunDir.create(out, config, overwrite) as run:
            _run(training, run, observer, stop)
        return training
    with RunDir.open(out, write=True) as run:
        old = _config_of(run)
        _check_same(old, config)
        training = _resumed(config, old, run, notice)
        if config != old:
            _change_end(training, old, run, notice)
        _run(training, run, observer, stop)
    return training


def config_of(path: str | Path) -> TrainConfig:
    """The configuration of a run. Data only: nothing is imported or run, whoever wrote it."""
    return _config_of(RunDir.open(path))


def load(path: str | Path, *, trust_env: bool = False) -> Trained:
    """The policy of the newest good checkpoint of a run, with its configuration.

    Runs no code that the run names, and makes no environment. ``Trained.make_env`` does: bundled and installed ones
    freely, those of other libraries (``pettingzoo:MODULE``) only with ``trust_env``, as a module that is imported can
    do whatever you can.
    """
    run = RunDir.open(path)
    config = _config_of(run)
    found: list[CommPolicy] = []
    checkpoint, rejected = run.latest(lambda candidate: found.append(saved.policy_of(config, candidate)))
    reasons = tuple(f"{path}: {reason}" for path, reason in rejected)
    return Trained(config, found[-1], checkpoint.step, saved.num_agents(checkpoint), reasons, trust_env)


def _run(training: Training, run: RunDir | None, observer: Observer | None, stop: Callable[[], bool]) -> None:
    while not training.finished:
        metrics = training.advance()
        stopping = stop()
        if run is not None:
            run.log(metrics)
            if stopping or training.finished or training.learner.updates % training.config.save_every == 0:
                groups, counters = training.state()
                run.save(training.env_steps, groups, counters | saved.facts(training))
        if observer is not None:
            observer(training, metrics)
        if stopping:
            return


def _resumed(config: TrainConfig, old: TrainConfig, run: RunDir, notice: Notice) -> Training:
    """The training where the newest good checkpoint of ``run`` stands; the run is put there, too."""
    if not list_checkpoints(run.path):
        _require_nothing_lost(run, max(config.save_every, old.save_every))
        training = Training(config, make_env(config))
        run.rewind(None)
        return training
    made: list[Training] = []

    def accept(checkpoint: Checkpoint) -> None:
        saved.require_fit(config, checkpoint)
        saved.require_rows(config, checkpoint)
        if not made:
            made.append(Training(config, make_env(config)))
        saved.restore(made[0], checkpoint)

    checkpoint, rejected = run.latest(accept)
    for path, reason in rejected:
        notice(f"passed over {path}: {reason}")
    run.rewind(checkpoint)
    try:
        run.metrics()
    except CheckpointCorruptError as error:
        notice(f"{error} The training goes on, its curve cannot be drawn.")
    changed = saved.changed_surroundings(checkpoint)
    if changed:
        notice(f"goes on, but sums may be rounded otherwise than before: {', '.join(changed)}")
    return made[0]


def _require_nothing_lost(run: RunDir, save_every: int) -> None:
    """A run without checkpoints may begin again if it was stopped before the first one, and only then."""
    logged = len(run.metrics())
    if logged and (run.has_lost_checkpoints or logged > save_every):
        raise with_exit_code(
            CheckpointError(
                f"{run.path} logged {logged} updates but has no checkpoint: expected one to resume from, and training "
                "from the beginning would lose the log. Put the directory checkpoints back, or replace the run with "
                "--overwrite (overwrite=True)."
            ),
            EX_NOINPUT,
        )


def _change_end(training: Training, old: TrainConfig, run: RunDir, notice: Notice) -> None:
    new = training.config
    if new.steps < old.steps and training.finished:
        raise ConfigError(
            f"steps: expected more than the {training.env_steps:,} that {run.path} has already, got {new.steps:,}. "
            "Leave steps out to go on as planned."
        )
    if new.steps != old.steps:
        notice(f"planned for {old.steps:,} steps, goes on to {new.steps:,}; schedules follow the new end")
    run.amend(new)


def _config_of(run: RunDir) -> TrainConfig:
    return run.config(TrainConfig)


def _check_same(old: TrainConfig, new: TrainConfig) -> None:
    if old.version != new.version:
        raise CheckpointMismatchError(
            f"This run has settings of version {old.version}, but this gnncomm trains version {new.version}: the same "
            "settings now give another training, so it cannot go on as it began. Finish it with the gnncomm that wrote "
            "it, or start a new run with another --out. It can be loaded and evaluated here."
        )
    changed = [
        f"{item.name}: {getattr(old, item.name)!r} -> {getattr(new, item.name)!r}"
        for item in fields(TrainConfig)
        if item.name not in saved.MAY_CHANGE and getattr(old, item.name) != getattr(new, item.name)
    ]
    if changed:
        raise CheckpointMismatchError(
            f"A resumed run keeps its configuration (only {' and '.join(saved.MAY_CHANGE)} may change), but these "
            f"differ: {'; '.join(changed)}. Resume with the old settings, or start a new run with another --out."
        )
