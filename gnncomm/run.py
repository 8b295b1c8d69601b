"""Runs: train into a directory, resume from it, load what it holds."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

from gnncomm import channel as channels
from gnncomm import codec as codecs
from gnncomm import environments, methods, saved
from gnncomm import schedule as schedulers
from gnncomm import topology as topologies
from gnncomm.channel import Channel
from gnncomm.codec import Codec
from gnncomm.config import from_json, leaves, to_json
from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
)
from gnncomm.evaluation import Selection, Standing
from gnncomm.learn.build import make_env, unlike
from gnncomm.learn.config import EnvConfig, TrainConfig
from gnncomm.learn.naming import name_of, of_environment
from gnncomm.learn.parts import Parts, is_made, kept, require_given, require_same, taken, without_weights
from gnncomm.learn.resources import require_memory
from gnncomm.learn.settings import LearnerConfig
from gnncomm.learn.training import Training
from gnncomm.policy import CommPolicy, PerAgent
from gnncomm.recipes import recipe_of
from gnncomm.schedule import Scheduler
from gnncomm.store import Checkpoint, Logger, RunDir, list_checkpoints, read_data, safe_run_path
from gnncomm.store.files import EX_NOINPUT, with_exit_code
from gnncomm.store.loggers import LOGGERS, Clock, Loggers
from gnncomm.store.run import KIND as RUN
from gnncomm.topology import Topology
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
    spoken: frozenset[str] = frozenset()
    """Code of other packages that was named by the caller, see ``with_env``."""
    parts: Parts = field(default_factory=Parts)
    """Objects that were given for what the run cannot make by itself."""

    def with_wire(
        self,
        topology: Topology | str | None = None,
        scheduler: Scheduler | str | None = None,
        codec: Codec | str | None = None,
        channel: Channel | str | None = None,
    ) -> Trained:
        """The same weights on another wire, as they are: to see what a team makes of one that it was not trained on.

        ``config`` says so, too. What is None stays.

        Raises:
            ConfigError: an unknown name or parameter, or a scheduler with weights, which nobody trained.
        """
        wire = self.policy.wire
        if topology is not None:
            wire = replace(wire, topology=topologies.resolve(topology))
        if scheduler is not None:
            found = schedulers.resolve(scheduler, self.config.policy.hidden, self.num_agents)
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
        policy = self.policy.with_wire(wire).eval()
        changed = {"topology": topology, "scheduler": scheduler, "codec": codec, "channel": channel}
        names: dict[str, Any] = {
            part: given
            if isinstance(given, str)
            else name_of(part, policy, self.num_agents) or type(given).__qualname__
            for part, given in changed.items()
            if given is not None
        }
        return replace(self, config=self.config.replace(**names), policy=policy)

    def with_env(self, env: str | None = None, **settings: Any) -> Trained:
        """The same team in another environment, or in the same one with other ``settings``: ``num_agents=6``.

        Whether it fits is seen when it is made, see ``make_env``. What is named here needs no ``trust_env``.
        """
        own = self.config.env
        another = env is not None and env != own.id
        name, kept = env or own.id, {} if another else dict(own.settings)
        given = {part: mark for part, mark in self.config.given.items() if not (another and part == "env")}
        changes = {"env.id": name, "env.settings": {**kept, **settings}, "given": given}
        if environments.is_foreign(name):
            changes["env.observation"] = "flat"
        config = self.config.replace(**changes)
        spoken = environments.named_code(name, settings) - (frozenset() if env else {name})
        return replace(self, config=config, spoken=self.spoken | spoken)

    def evaluation_env(self, episodes: int) -> VectorEnv:
        """Environments for ``evaluate``: up to 1000 side by side, of other libraries as many as in training."""
        most = self.config.env.num_envs if environments.is_foreign(self.config.env.id) else 1000
        return self.make_env(max(2, min(episodes, most)))

    def make_env(self, num_envs: int) -> VectorEnv:
        """``num_envs`` of the environments that the team was trained in.

        Raises:
            TrustError: the run names an environment (or a function) of another package, and ``trust_env`` is False.
            ConfigError: an own environment that ``load`` was not given, or another one; observations or actions of
                another width than the team was trained for.
            ResourceError: they cannot fit into memory.
        """
        config = self.config.replace(num_envs=num_envs)
        if "env" in config.given:
            require_given(config.replace(given={"env": config.given["env"]}), self.parts, every=True)
            env = make_env(config, self.parts)
            require_same(config, {"env": of_environment(env)})
            return env
        if not self.trust_env:
            environments.require_trust(config.env.id, config.env.settings, self.spoken)
        require_memory(config.replace(rollout=1))
        return self._fitting(make_env(config))

    def _fitting(self, env: VectorEnv) -> VectorEnv:
        for name in ("obs_dim", "num_actions"):
            mine, theirs = getattr(self.policy, name), getattr(env, name)
            if mine != theirs:
                raise ConfigError(
                    f"{env.id}: expected {name} {mine}, for which this team was trained, got {theirs} with "
                    f"{dict(self.config.env.settings)}. Choose an environment or settings with the same width."
                )
        rigid = [name for name, part in self.policy.named_children() if isinstance(part, PerAgent)]
        if rigid and env.num_agents != self.num_agents:
            raise ConfigError(
                f"{env.id}: expected num_agents {self.num_agents}, as the {rigid[0]} of this team tells them apart, "
                f"got {env.num_agents}. Train with share='all' and without agent_id."
            )
        return env


def default_config(env: str, **changes: Any) -> TrainConfig:
    """The settings that are known to work for ``env``, with ``changes``, see ``TrainConfig.replace``.

    ``comm`` may name a method (``"tarmac"``), which stands for its parts, and unless there is a ``learner``, for the
    training of its paper, as far as that is here.

    Raises:
        ConfigError: an unknown environment or setting, or a value out of range.
    """
    base = recipe_of(env)
    base = base.replace(**{"env.id": env, "env_settings": changes.get("env_settings", base.env.settings)})
    learner = changes.pop("learner", None)
    base, changes = with_method(base, changes, own=learner is None)
    if learner is not None:
        base = with_learner(base, learner)
    return base.replace(**changes)


def with_method(
    base: TrainConfig, said: Mapping[str, Any], *, own: bool = False, begun: bool = False
) -> tuple[TrainConfig, dict[str, Any]]:
    """``base`` with the parts of the method that ``said["comm"]`` names, if it is one, and what is said beside it.

    Args:
        base: the rest.
        said: changes.
        own: whether it is trained as in its paper, as far as that is here.
        begun: ``base`` is of a run that was begun, which decides that.
    """
    name = said.get("comm")
    if not isinstance(name, str) or name not in methods.names():
        return base, dict(said)
    method, rest = methods.resolve(name), {key: value for key, value in said.items() if key != "comm"}
    plain, paper = method.config(base), method.config(base, own_training=True)
    if begun:
        own = base != plain and (paper.learner, paper.policy.losses) == (base.learner, base.policy.losses)
    if not own:
        return plain, rest
    return (paper if begun else with_learner(paper.replace(learner=base.learner), paper.learner)), rest


def with_learner(config: TrainConfig, learner: LearnerConfig | str) -> TrainConfig:
    """A recipe with another learner, and with what this one needs otherwise than the recipe says."""
    learner = config.learner.named(learner) if isinstance(learner, str) else learner
    if type(learner) is type(config.learner) or environments.is_foreign(config.env.id):
        return config.replace(learner=learner)
    settings: dict[str, Any] = dict(config.env.settings)
    length = environments.make(config.env.id, 1, **settings).max_steps
    return config.replace(learner=learner, **learner.suited(length))


def train(
    config: TrainConfig,
    out: str | Path | None = None,
    *,
    resume: bool = False,
    overwrite: bool = False,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    notice: Notice = _warn,
    loggers: Sequence[Logger | str] = (),
    **parts: Unpack[Parts],
) -> Training:
    """Train as ``config`` says, and keep the run in ``out`` (None keeps nothing).

    Whatever ``config`` names can be given as an object instead: ``train(config, out, comm=GatedSum, env=MyEnv)``. The
    run is the same: its directory, its metrics, and resuming to the bit. What has a name is kept by name; of what has
    none the run keeps a ``Fingerprint``, and asks for it: ``load(out, comm=GatedSum)``.

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
        loggers: further places for the metrics, with times: a name (``csv``, ``tensorboard``, ``wandb``, ``mlflow``) or
            a ``gnncomm.store.Logger``. By name only with ``out``. On ``resume`` they are told to go back to where the
            training goes on. One that fails is named to ``notice``, and the training goes on.
        parts: objects, or classes and functions that make them, in place of names; see ``gnncomm.learn.Parts``.

    Raises:
        RunExistsError: ``out`` is taken. RunLockedError: another process trains there.
        CheckpointMismatchError: ``resume`` with another configuration than the run has.
        CheckpointError: ``resume`` of a run that has lost its checkpoints, or has no good one; nothing is touched.
        ConfigError: ``resume`` together with ``overwrite``, or with fewer ``steps`` than are done, or without the
            objects (or with others) that the run was trained with; parts that do not fit together.
        ResourceError: such a training cannot fit into memory; nothing was allocated.
    """
    if resume and overwrite:
        raise ConfigError("Expected resume or overwrite, got both: continue the run, or replace it.")
    if not isinstance(config, TrainConfig):
        raise ConfigError(f"Expected a TrainConfig, got {config!r}. Begin with gnncomm.default_config('relay').")
    config, objects = taken(*with_method(config, parts))
    told = Loggers(loggers_of(config, out, loggers), notice)
    if "env" not in objects:
        require_memory(config)
    selection = _selection(config, objects)
    if out is None or not resume:
        require_given(config, objects, every=True)
        training, config = Training.described(config, objects)
        if "weights" in objects and (anew := unlike(training.policy, objects["weights"])):
            notice(f"of the critic, these weights do not fit and begin anew: {', '.join(anew)}")
        with nullcontext() if out is None else RunDir.create(out, config, overwrite) as created:
            course = _Course(config, training, created, selection, told, notice)
            if "weights" in objects:
                course.save()  # nothing else could bring them back
            course.follow(observer, stop)
        return training
    with RunDir.open(out, write=True) as run:
        old = _config_of(run)
        require_given(old, objects, every=True, begun=True)
        config = kept(old, config, objects)
        _check_same(old, config)
        training, standing = _resumed(config, objects, old, run, notice)
        if config != old:
            _change_end(config, training, old, run, notice)
        if selection is not None:
            selection.standing = standing
        _Course(config, training, run, selection, told, notice).follow(observer, stop)
    return training


def config_of(path: str | Path) -> TrainConfig:
    """The configuration of a run. Data only: nothing is imported or run, whoever wrote it."""
    return _config_of(RunDir.open(path))


def read_config(path: str | Path) -> TrainConfig:
    """The configuration in a file: JSON, or YAML (``.yaml``, ``.yml``; needs PyYAML).

    A file of one's own says what differs from the recipe of its environment, as a tree (``{"wire": {"topology":
    "ring"}}``) or by the names of leaves (``topology: ring``). ``config.json`` of a run says all of it.

    Raises:
        ConfigError: no such file, or one that is no configuration; names the dotted path.
    """
    data = read_data(path)
    if data.get("kind") == RUN and isinstance(data.get("config"), dict):
        return from_json(TrainConfig, data["config"])
    env = data.get("env", {})
    named = env.get("id", EnvConfig.id) if isinstance(env, dict) else env
    base, own = default_config(named if isinstance(named, str) else EnvConfig.id), not {"learner", "ppo"} & data.keys()
    settings = data.get("env_settings", env.get("settings") if isinstance(env, dict) else None)
    if isinstance(settings, dict):
        base = base.replace(env_settings=settings)
    base, data = with_method(base, data, own=own)
    if isinstance(policy := data.get("policy"), dict):
        base, data["policy"] = with_method(base, policy, own=own)
    return base.merged(data)


def load(
    path: str | Path, *, trust_env: bool = False, checkpoint: str | int = "last", **parts: Unpack[Parts]
) -> Trained:
    """The policy of the newest good checkpoint of a run, with its configuration.

    Runs no code that the run names, and makes no environment. ``Trained.make_env`` does: bundled and installed ones
    freely, those of other libraries (``pettingzoo:MODULE``) only with ``trust_env``, as a module that is imported can
    do whatever you can.

    Args:
        path: run directory.
        trust_env: see above.
        checkpoint: ``last``, ``best`` by the evaluations while it trained (``run.eval_every``), or that of so many
            environment steps.
        parts: objects that the run was trained with and cannot make by itself, those of the policy, and ``env`` for
            ``make_env``. Their weights become those of the run.

    Raises:
        ConfigError: such an object is missing, or is not the one that the run was trained with; says in what.
    """
    run = RunDir.open(path)
    config = _config_of(run)
    objects = without_weights(taken(config, parts)[1])
    require_given(config, objects)
    if checkpoint != "last":
        one = run.checkpoint(saved.best_step(run.latest()[0]) if checkpoint == "best" else _step_of(checkpoint))
        policy = saved.policy_of(config, one, objects)
        return Trained(config, policy, one.step, saved.num_agents(one), (), trust_env, parts=objects)
    found: list[CommPolicy] = []
    newest, rejected = run.latest(lambda candidate: found.append(saved.policy_of(config, candidate, objects)))
    reasons = tuple(f"{path}: {reason}" for path, reason in rejected)
    return Trained(config, found[-1], newest.step, saved.num_agents(newest), reasons, trust_env, parts=objects)


def _step_of(text: str | int) -> int:
    try:
        return int(str(text).removeprefix("step_"))
    except ValueError as error:
        raise ConfigError(f"checkpoint: expected last, best or a number of steps, got {text!r}.") from error


def loggers_of(config: TrainConfig, out: str | Path | None, more: Sequence[Logger | str] = ()) -> list[Logger]:
    """Those that ``config`` names for the run ``out``, and ``more``.

    Raises:
        ConfigError: an unknown name, or a name without a run. MissingExtraError: a package is not installed.
    """
    given = [*config.run.loggers, *more]
    for logger in given:
        if isinstance(logger, str) and out is None:
            raise ConfigError(f"loggers: expected a run directory for {logger!r}, got none. Give out, or an object.")
        if not isinstance(logger, (str, Logger)):
            raise ConfigError(f"loggers: expected a gnncomm.store.Logger or its name, got {type(logger).__name__}.")
    told = {"folder": None if out is None else safe_run_path(out), "config": leaves(config)}
    return [LOGGERS.resolve(one, **told) if isinstance(one, str) else one for one in given]


def _selection(config: TrainConfig, objects: Parts) -> Selection | None:
    """Who evaluates while the team trains, in environments of its own; None where nobody asked."""
    if not config.run.eval_every:
        return None
    if is_made(objects.get("env"), VectorEnv):
        raise ConfigError(
            "run.eval_every: evaluations need environments of their own, expected env as a name, or as a class or "
            f"function that makes them, got the object {type(objects['env']).__name__}."
        )
    own = "env" in objects or environments.is_foreign(config.env.id)
    most = config.env.num_envs if own else 1000
    return Selection(config.run, make_env(config.replace(num_envs=min(config.run.eval_episodes, most)), objects))


@dataclass
class _Course:
    """A training with what is kept of it."""

    config: TrainConfig
    training: Training
    run: RunDir | None
    selection: Selection | None
    loggers: Loggers
    notice: Notice

    def follow(self, observer: Observer | None, stop: Callable[[], bool]) -> None:
        """Train to the end, or until ``stop``."""
        if self.config.run.precision != "float32":
            self.notice(
                f"products of float32 matrices are made in {self.config.run.precision}: faster, and other numbers"
            )
        training, told = self.training, set[str]()
        try:
            self.loggers.rewind(training.env_steps)
            clock = Clock(None if self.run is None else self.run.path, training.env_steps)
            while not (training.finished or self.over):
                metrics = self._advance()
                self._tell_graphs(told)
                stopping = stop()
                if self.run is not None:
                    self.run.log(metrics)
                self.loggers.log(training.env_steps, metrics | clock.tick(training.env_steps))
                if stopping or self._wants_saving(metrics):
                    self.save()
                if observer is not None:
                    observer(training, metrics)
                if stopping:
                    return
            self._tell_selection()
        finally:
            self.loggers.close()

    @property
    def over(self) -> str:
        """Why the training ends early."""
        return "" if self.selection is None else self.selection.standing.over

    def save(self) -> None:
        """Keep a checkpoint; that of the best evaluation stays beside the newest ones."""
        if self.run is None:
            return
        groups, counters = self.training.state()
        state, best = counters | saved.facts(self.config, self.training), []
        if self.selection is not None:
            state[saved.STANDING], best = to_json(self.selection.standing), [self.selection.standing.best_step]
        self.run.save(self.training.env_steps, groups, state, keep=best)

    def _advance(self) -> dict[str, float]:
        before, training = self.training.env_steps, self.training
        metrics = training.advance()
        if self.selection is not None and self.selection.due(before, training.env_steps, training.finished):
            metrics |= self.selection.evaluate(training.policy, training.env_steps)
        return metrics

    def _wants_saving(self, metrics: Mapping[str, float]) -> bool:
        if self.training.finished or self.over or self.training.learner.updates % self.config.run.save_every == 0:
            return True
        return self.selection is not None and "eval_success" in metrics and self.selection.is_best

    def _tell_selection(self) -> None:
        if self.over:
            self.notice(f"ended at {self.training.env_steps:,} steps: {self.over}")
        if self.selection is not None and self.selection.standing.best_step:
            now = self.selection.standing
            self.notice(
                f"best of {now.evaluations} evaluations: success {now.success:.4g}, return {now.returned:.4g} at "
                f"{now.best_step:,} steps, kept as the checkpoint best"
            )

    def _tell_graphs(self, told: set[str]) -> None:
        for what, state in self.training.graphs.items():
            if state not in {"off", "not yet", "recorded"} | told:
                told.add(state)
                self.notice(f"no CUDA graph of the {what}: {state}")


def _resumed(
    config: TrainConfig, objects: Parts, old: TrainConfig, run: RunDir, notice: Notice
) -> tuple[Training, Standing]:
    """The training where the newest good checkpoint of ``run`` stands; the run is put there, too."""
    if not list_checkpoints(run.path):
        _require_nothing_lost(run, max(config.run.save_every, old.run.save_every))
        require_given(config, objects, every=True)
        training = _begun(config, objects)
        run.rewind(None)
        return training, Standing()
    made: list[Training] = []
    objects = without_weights(objects)

    def accept(checkpoint: Checkpoint) -> None:
        saved.require_fit(config, checkpoint, objects)
        saved.require_rows(config, checkpoint)
        if not made:
            made.append(_begun(config, objects))
        saved.standing(checkpoint)
        saved.restore(config, made[0], checkpoint)

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
    return made[0], saved.standing(checkpoint)


def _begun(config: TrainConfig, objects: Parts) -> Training:
    """The training of a run, of objects that are those it was begun with."""
    training, found = Training.described(config, objects)
    require_same(config, found.given)
    _check_same(config, found.replace(given=config.given))
    return training


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


def _change_end(new: TrainConfig, training: Training, old: TrainConfig, run: RunDir, notice: Notice) -> None:
    if new.run.steps < old.run.steps and training.finished:
        raise ConfigError(
            f"run.steps: expected more than the {training.env_steps:,} that {run.path} has already, got "
            f"{new.run.steps:,}. Leave steps out to go on as planned."
        )
    if new.run.steps != old.run.steps:
        notice(f"planned for {old.run.steps:,} steps, goes on to {new.run.steps:,}; schedules follow the new end")
    run.amend(new)


def _config_of(run: RunDir) -> TrainConfig:
    if (kind := run.config().get("kind")) is not None:
        raise ConfigError(
            f"{run.path}: expected a run of gnncomm.train, got a team of {str(kind)[:40]}. Load it with "
            "MultiAgentLearner.load(path)."
        )
    return run.config(TrainConfig)


def _check_same(old: TrainConfig, new: TrainConfig) -> None:
    if old.run.version != new.run.version:
        raise CheckpointMismatchError(
            f"This run has settings of version {old.run.version}, but this gnncomm trains version {new.run.version}: "
            "the same settings now give another training, so it cannot go on as it began. Finish it with the gnncomm "
            "that wrote it, or start a new run with another --out. It can be loaded and evaluated here."
        )
    was, now = leaves(old), leaves(new)
    changed = [
        f"{path}: {was.get(path)!r} -> {now.get(path)!r}"
        for path in dict.fromkeys([*was, *now])
        if path not in saved.MAY_CHANGE and was.get(path) != now.get(path)
    ]
    if changed:
        raise CheckpointMismatchError(
            f"A resumed run keeps its configuration (only {' and '.join(saved.MAY_CHANGE)} may change), but these "
            f"differ: {'; '.join(changed)}. Resume with the old settings, or start a new run with another --out."
        )
