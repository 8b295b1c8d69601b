"""Teams on disk: directories as those of runs, without pickle."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from gnncomm.errors import CheckpointMismatchError, ConfigError, RunExistsError
from gnncomm.learn import Parts
from gnncomm.learn.parts import require_same as require_same_parts
from gnncomm.learn.parts import taken
from gnncomm.multiagent.course import Course
from gnncomm.multiagent.settings import TeamConfig
from gnncomm.store import (
    Checkpoint,
    RunDir,
    from_json,
    list_checkpoints,
    require_finite,
    require_match,
    safe_run_path,
    to_json,
)

_warn = logging.getLogger("gnncomm").warning


@dataclass(frozen=True)
class Position:
    """Where a loop stands."""

    episode: int
    time: int
    metrics: Mapping[str, float | None]
    """Of the last update; None for what is no number."""

    @classmethod
    def of(cls, course: Course, metrics: Mapping[str, float]) -> Position:
        told = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        return cls(course.episode, course.time, told)

    @property
    def numbers(self) -> dict[str, float]:
        """The metrics as they were."""
        return {name: math.nan if value is None else value for name, value in self.metrics.items()}


def write(
    path: str | Path,
    config: TeamConfig,
    steps: int,
    groups: Mapping[str, Mapping[str, Tensor]],
    counters: Mapping[str, Any],
    position: Position,
    overwrite: bool,
) -> Path:
    """A checkpoint at ``steps``, in a directory of its own or among earlier ones of the same team."""
    with _opened(safe_run_path(path), config, steps, overwrite) as run:
        return run.save(steps, groups, {**counters, "loop": to_json(position)})


def _opened(path: Path, config: TeamConfig, steps: int, overwrite: bool) -> RunDir:
    if overwrite or not (path / "config.json").exists():
        return RunDir.create(path, config, overwrite)
    run = RunDir.open(path, write=True)
    try:
        if not _is_team(run) or _anywhere(run.config(TeamConfig)) != _anywhere(config):
            raise RunExistsError(f"{path} holds another team or run. Choose another name, or say overwrite=True.")
        if later := [step for step, _ in list_checkpoints(path) if step > steps]:
            raise RunExistsError(
                f"{path} holds a later state of this team, of step {later[-1]}; this one is of step {steps}. Choose "
                "another name, or say overwrite=True."
            )
    except BaseException:
        run.close()
        raise
    return run


def read(path: str | Path, device: str | None, parts: Mapping[str, Any]) -> tuple[TeamConfig, Parts, RunDir]:
    """What a saved team is made of, and ``parts``, which it needs.

    Raises:
        ConfigError: no team, a part that is missing, or one by name: a saved team keeps those.
    """
    run = RunDir.open(path)
    if not _is_team(run):
        raise ConfigError(
            f"{path}: expected a team that MultiAgentLearner.save kept, got a run of gnncomm.train. Use "
            "gnncomm.load(path)."
        )
    config = run.config(TeamConfig)
    training = config.training()
    named, objects = taken(training, parts)
    if named != training:
        raise ConfigError(
            f"A saved team keeps its parts: expected objects that no name stands for, got {', '.join(sorted(parts))}."
        )
    for name, fingerprint in config.given.items():
        if name not in objects:
            raise ConfigError(
                f"This team was made with {name}={fingerprint}, an object that no name stands for and that no file can "
                f"bring back: expected it, got nothing. Give it: MultiAgentLearner.load(path, {name}=...)."
            )
    if device is not None:
        config = replace(config, settings={**config.settings, "device": device})
    return config, objects, run


def require_same(config: TeamConfig, made: TeamConfig) -> None:
    """Refuse parts with which another team was ``made``.

    Raises:
        ConfigError: says in what they differ.
    """
    require_same_parts(config.training(), made.given)
    if made != config:
        both = config.settings.keys() | made.settings.keys()
        lines = [f"{x}: {config.settings.get(x)} -> {made.settings.get(x)}" for x in sorted(both)]
        changed = [line for line in lines if len(set(line.partition(": ")[2].split(" -> "))) > 1]
        raise ConfigError(f"This team was made with other parts: {'; '.join(changed)}. Give those.")


def newest(run: RunDir, accept: Callable[[Checkpoint], None]) -> None:
    """The newest good checkpoint that ``accept`` takes; those passed over are logged."""
    _, rejected = run.latest(accept)
    for path, reason in rejected:
        _warn(f"passed over {path}: {reason}")


def position_of(
    checkpoint: Checkpoint, mine: Mapping[str, Mapping[str, Tensor]], counters: Mapping[str, Any]
) -> Position:
    """Where a checkpoint stands, whose tensors are like ``mine``, and whose counters have the names of ``counters``.

    Raises:
        CheckpointMismatchError: other tensors or counters; names them. NonFiniteError: NaN or infinity.
    """
    for name, expected in mine.items():
        require_match(expected, checkpoint.group(name), f"{checkpoint.path}: {name!r}")
        require_finite(checkpoint.group(name), f"{checkpoint.path}: {name!r}")
    file = checkpoint.path / "state.json"
    if missing := counters.keys() - checkpoint.state.keys():
        raise CheckpointMismatchError(f"{file}: expected {', '.join(sorted(missing))}, got none.")
    try:
        found = from_json(Position, checkpoint.state.get("loop"))
    except ConfigError as error:
        raise CheckpointMismatchError(f"{file}: expected where the loop stands: {error}") from error
    if not (0 <= found.episode <= checkpoint.step and 0 <= found.time <= checkpoint.step):
        raise CheckpointMismatchError(
            f"{file}: expected episode and time from 0 to {checkpoint.step}, got {found.episode} and {found.time}."
        )
    return found


def _is_team(run: RunDir) -> bool:
    return bool(run.config().get("kind") == TeamConfig.kind)


def _anywhere(config: TeamConfig) -> TeamConfig:
    """``config`` on whatever device."""
    return replace(config, settings={**config.settings, "device": "cpu"})
