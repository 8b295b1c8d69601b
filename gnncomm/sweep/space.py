"""What a sweep tries: for settings of a training, which values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.learn import TrainConfig
from gnncomm.learn.config import SECTIONS, path_of
from gnncomm.run import with_learner, with_method
from gnncomm.store import read_data

Value = bool | int | float | str

SAME_FOR_ALL = ("env.id", "env.settings", "given")
"""Another task is no better setting."""
_OF_RUN = ("run.rollout", "run.precision")
"""The settings of a run that a trial may have otherwise: budget, seeds and evaluations are those of the sweep."""
STEPS = 1, 1_000_000
"""From the lowest to the highest of a range."""
_RANGE = ("low", "high", "log", "step")


class Trial(Protocol):
    """What an Optuna trial suggests."""

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...
    def suggest_int(self, name: str, low: int, high: int, *, step: int, log: bool) -> int: ...
    def suggest_float(self, name: str, low: float, high: float, *, step: float | None, log: bool) -> float: ...


@dataclass(frozen=True)
class Choice:
    """One of these."""

    values: tuple[Value, ...]

    def suggest(self, trial: Trial, path: str) -> Value:
        chosen: Value = trial.suggest_categorical(path, self.values)
        return chosen

    @property
    def ends(self) -> tuple[Value, ...]:
        """Values that show whether all of them are possible."""
        return self.values


@dataclass(frozen=True)
class Range:
    """Between these, both included; whole numbers where the setting is one."""

    low: float
    high: float
    log: bool
    step: float | None
    whole: bool

    def suggest(self, trial: Trial, path: str) -> Value:
        if self.whole:
            return trial.suggest_int(path, int(self.low), int(self.high), step=int(self.step or 1), log=self.log)
        return trial.suggest_float(path, self.low, self.high, step=self.step, log=self.log)

    @property
    def ends(self) -> tuple[Value, ...]:
        return (int(self.low), int(self.high)) if self.whole else (self.low, self.high)


@dataclass(frozen=True)
class Space:
    """Dotted path of a setting -> its values."""

    axes: Mapping[str, Choice | Range]

    def suggest(self, trial: Trial) -> dict[str, Value]:
        """A value for each setting."""
        return {path: axis.suggest(trial, path) for path, axis in self.axes.items()}


def configured(base: TrainConfig, values: Mapping[str, Any]) -> TrainConfig:
    """``base`` with these values. A method as ``policy.comm`` stands for its parts, and is trained as ``base`` is.

    Raises:
        ConfigError: they do not fit together.
    """
    rest = dict(values)
    learner, comm = rest.pop("learner", None), rest.pop("policy.comm", None)
    if learner is not None:
        base = with_learner(base, learner)
    if comm is not None:
        base, layer = with_method(base, {"comm": comm})
        rest |= {f"policy.{name}": value for name, value in layer.items()}
    return base.replace(**rest)


def read_space(path: str | Path, base: TrainConfig) -> Space:
    """The space in a file, see ``space_of``."""
    return space_of(read_data(path), base, str(path))


def space_of(data: Mapping[str, Any], base: TrainConfig, where: str = "space") -> Space:
    """A space from data: ``{"learner.lr": {"low": 1e-4, "high": 1e-2, "log": true}, "comm": ["attention", "mean"]}``.

    Keys are names of options of ``gnncomm train``. A list is a choice; an object with ``low`` and ``high`` a range, in
    equal steps if it has a ``step``, evenly spread over orders of magnitude with ``log``.

    Raises:
        ConfigError: an unknown setting, or one that all trials share; values that it cannot have. Names the key.
    """
    if not data:
        raise ConfigError(f"{where}: expected settings with their values, got none: learner.lr: [1e-3, 3e-3].")
    axes: dict[str, Choice | Range] = {}
    for key, given in data.items():
        path = _path(str(key), where)
        if path in axes:
            raise ConfigError(f"{where}: {key}: expected it once, got {path}, too. Say it in one place.")
        axis = axes[path] = _axis(f"{where}: {key}", given, path, base)
        for value in axis.ends:
            try:
                configured(base, {path: value})
            except ConfigError as error:
                raise ConfigError(f"{where}: {key}: {error}") from error
    return Space(axes)


def _path(key: str, where: str) -> str:
    try:
        path = path_of(key.replace("-", "_"))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
    whole = path in SECTIONS and path != "learner"
    shared = whole or any(path == name or path.startswith(f"{name}.") for name in SAME_FOR_ALL)
    if shared or (path.startswith("run") and path not in _OF_RUN):
        raise ConfigError(
            f"{where}: {key}: expected a setting that trials may differ in, got one that all of them share, or none "
            "would be better for its own sake. Give it as an option of the sweep."
        )
    return path


def _axis(where: str, given: Any, path: str, base: TrainConfig) -> Choice | Range:
    if isinstance(given, list):
        same = len({(type(value), value) for value in given}) < len(given) if _all_plain(given) else False
        if not given or not _all_plain(given) or same:
            raise ConfigError(f"{where}: expected different plain values to choose from, got {given!r:.80}.")
        return Choice(tuple(given))
    if not isinstance(given, Mapping):
        raise ConfigError(f"{where}: expected a list, or an object with low and high, got {given!r:.80}.")
    for name in given:
        if name not in _RANGE:
            raise ConfigError(f"{where}: unknown key {name!r}. {did_you_mean(str(name), _RANGE)}")
    low, high, step, log = given.get("low"), given.get("high"), given.get("step"), given.get("log", False)
    numbers: list[Any] = [low, high] if step is None else [low, high, step]
    if not all(type(number) in (int, float) and math.isfinite(number) for number in numbers):
        raise ConfigError(f"{where}: expected numbers for low, high and step, got {dict(given)!r:.80}.")
    if not numbers[0] < numbers[1] or numbers[-1] <= 0 < len(numbers) - 2:
        raise ConfigError(f"{where}: expected low < high and a step above 0, got {dict(given)!r:.80}.")
    if type(log) is not bool or (log and (numbers[0] <= 0 or step is not None)):
        raise ConfigError(f"{where}: expected low above 0 and no step with log: true, got {dict(given)!r:.80}.")
    if step is not None and not STEPS[0] <= (numbers[1] - numbers[0]) / step <= STEPS[1]:
        raise ConfigError(
            f"{where}: expected a step that goes 1 to {STEPS[1]:,} times from low to high, got {dict(given)!r:.80}."
        )
    whole = all(type(number) is int for number in numbers) and not isinstance(_now(base, path), float)
    return Range(numbers[0], numbers[1], log, step, whole)


def _now(base: TrainConfig, path: str) -> Any:
    """What ``base`` has there; None where another learner has it."""
    value: Any = base
    for part in path.split("."):
        value = getattr(value, part, None)
    return value


def _all_plain(values: list[Any]) -> bool:
    return all(type(value) in (bool, int, float, str) for value in values)
