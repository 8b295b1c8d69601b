"""Runs: train into a directory, resume from it, load what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from gnncomm import channel as channels
from gnncomm import codec as codecs
from gnncomm import environments
from gnncomm import schedule as schedulers
from gnncomm import topology as topologies
from gnncomm.errors import CheckpointMismatchError, ConfigError, did_you_mean
from gnncomm.learn.build import build_policy
from gnncomm.learn.config import TrainConfig
from gnncomm.learn.resources import require_memory
from gnncomm.learn.training import Training
from gnncomm.policy import CommPolicy
from gnncomm.store import RunDir, require_match
from gnncomm.types import VectorEnv

Observer = Callable[[Training, dict[str, float]], None]
"""Called after every update with the training and its metrics."""

Notice = Callable[[str], None]
"""Called with what a person should know although the work goes on."""

_warn = logging.getLogger("gnncomm").warning
_MAY_CHANGE = ("steps", "save_every")


@dataclass(frozen=True)
class Trained:
    """What a run holds: its configuration and the policy of its newest good checkpoint."""

    config: TrainConfig
    policy: CommPolicy
    env_steps: int
    rejected: tuple[str, ...] = ()
    """Why newer checkpoints were passed over, one line each."""

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
            found = schedulers.resolve(scheduler, old.hidden, self.make_env(1).num_agents)
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
        """``num_envs`` of the environments that the team was trained in."""
        return make_env(replace(self.config, num_envs=num_envs, ppo=replace(self.config.ppo, minibatches=1)))


def make_env(config: TrainConfig) -> VectorEnv:
    """The environments that ``config`` names."""
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
        config: see ``default_config`` for settings that are known to work.
        out: run directory: ``config.json``, ``metrics.jsonl``, ``checkpoints/step_<environment steps>/``.
        resume: continue the run in ``out`` from its newest good checkpoint, bit for bit as if it had never stopped.
        overwrite: replace the run in ``out``.
        observer: called after every update.
        stop: asked after every update; True saves and returns.
        notice: told of each damaged checkpoint that ``resume`` passed over; logs a warning if not given.

    Raises:
        RunExistsError: ``out`` is taken. RunLockedError: another process trains there.
        CheckpointMismatchError: ``resume`` with another configuration than the run has.
        ResourceError: such a training cannot fit into memory; nothing was allocated.
    """
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
        _check_same(run.config(TrainConfig), config)
        training = Training(config, make_env(config))
        _rewind(training, run, notice)
        _run(training, run, observer, stop)
    return training


def load(path: str | Path) -> Trained:
    """The policy of the newest good checkpoint of a run, with its configuration. Runs no code from the run."""
    run = RunDir.open(path)
    config = run.config(TrainConfig)
    checkpoint, rejected = run.latest()
    policy = build_policy(config, make_env(replace(config, num_envs=1, ppo=replace(config.ppo, minibatches=1))))
    require_match(policy.state_dict(), checkpoint.group("model"), str(checkpoint.path))
    policy.load_state_dict(checkpoint.group("model"))
    policy.eval()
    return Trained(config, policy, checkpoint.step, tuple(f"{path}: {reason}" for path, reason in rejected))


def _run(training: Training, run: RunDir | None, observer: Observer | None, stop: Callable[[], bool]) -> None:
    while not training.finished:
        metrics = training.advance()
        stopping = stop()
        if run is not None:
            run.log(metrics)
            if stopping or training.finished or training.learner.updates % training.config.save_every == 0:
                groups, counters = training.state()
                run.save(training.env_steps, groups, counters)
        if observer is not None:
            observer(training, metrics)
        if stopping:
            return


def _rewind(training: Training, run: RunDir, notice: Notice) -> None:
    if not any((run.path / "checkpoints").glob("step_*")):
        run.rewind(None)
        return
    checkpoint, rejected = run.latest()
    for path, reason in rejected:
        notice(f"passed over {path}: {reason}")
    for name, expected in training.state()[0].items():
        if name != "optimizer":  # a new optimiser holds nothing yet
            require_match(expected, checkpoint.group(name), str(checkpoint.path))
    training.restore(checkpoint.tensors, checkpoint.state)
    run.rewind(checkpoint)


def _check_same(old: TrainConfig, new: TrainConfig) -> None:
    changed = [
        f"{item.name}: {getattr(old, item.name)!r} -> {getattr(new, item.name)!r}"
        for item in fields(TrainConfig)
        if item.name not in _MAY_CHANGE and getattr(old, item.name) != getattr(new, item.name)
    ]
    if changed:
        raise CheckpointMismatchError(
            f"A resumed run keeps its configuration (only {' and '.join(_MAY_CHANGE)} may change), but these differ: "
            f"{'; '.join(changed)}. Resume with the old settings, or start a new run with another --out."
        )
