"""Which runs belong together: those of one configuration, each of another seed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gnncomm import saved
from gnncomm.config import leaves, to_json
from gnncomm.errors import ConfigError
from gnncomm.learn import TrainConfig
from gnncomm.run import config_of
from gnncomm.seeds import planned
from gnncomm.store import RunDir

NOT_THE_METHOD = ("run.seed", "run.save_every", "run.loggers", "run.device", "run.graphs")
"""Settings that runs of one group may have otherwise: they change no more than the draws do."""


@dataclass(frozen=True, eq=False)
class Run:
    """A training of one seed."""

    name: str
    """As short as tells it from the others."""
    path: Path
    home: Path
    """What was named: its own directory, or the one of many seeds."""
    config: TrainConfig

    @property
    def seed(self) -> int:
        return self.config.run.seed

    @property
    def steps(self) -> int:
        """Environment steps so far, as its log says."""
        lines = RunDir.open(self.path).metrics()
        done = lines[-1].get("env_steps") if lines else 0
        return done if isinstance(done, int) else 0

    @property
    def is_finished(self) -> bool:
        """At its planned end, or at one that its evaluations while training brought."""
        return self.steps >= self.config.run.steps or (
            _may_end_early(self.config) and bool(saved.standing(RunDir.open(self.path).latest()[0]).over)
        )


@dataclass(frozen=True)
class Group:
    """Runs of one configuration."""

    label: str
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]
    """Those that tell it from other groups, by their paths."""


def find(names: Iterable[str]) -> list[Run]:
    """The runs that are named, those of many seeds one by one. What is named twice is there once.

    Raises:
        CheckpointError: no run lies there. ConfigError: seeds of which none was begun.
    """
    found: dict[Path, tuple[Path, Path, TrainConfig]] = {}
    for name in names:
        many = planned(name)
        if many is None:
            path = RunDir.open(name).path
            found.setdefault(path.resolve(), (path, path, config_of(name)))
            continue
        folders = [many.folder(seed) for seed in many.seeds if (many.folder(seed) / "config.json").is_file()]
        if not folders:
            raise ConfigError(f"{name}: expected a seed that was begun, got none. Go on with gnncomm resume {name}.")
        for folder in folders:
            found.setdefault(folder.resolve(), (folder, many.path, config_of(folder)))
    short = short_names(list(found))
    return [Run(short[place], *parts) for place, parts in found.items()]


def grouped(runs: Sequence[Run]) -> list[Group]:
    """By configuration but for the seed, in the order of their first runs."""
    together: dict[str, list[Run]] = {}
    for run in runs:
        together.setdefault(json.dumps(_settings(run.config), sort_keys=True, default=str), []).append(run)
    members = list(together.values())
    telling = _differing([_settings(each[0].config) for each in members])
    settings = [{path: _settings(each[0].config).get(path) for path in telling} for each in members]
    labels = _labels(members, settings)
    return [Group(*parts) for parts in zip(labels, map(tuple, members), settings, strict=True)]


def apart(groups: Iterable[Group]) -> list[Group]:
    """The same, but runs of one seed, which are no sample of seeds, are groups of their own."""
    found = []
    for group in groups:
        if len({run.seed for run in group.runs}) == len(group.runs) > 1:
            found.append(group)
        else:
            found += [Group(run.name, (run,), group.settings) for run in group.runs]
    return found


def short_names(paths: Sequence[Path]) -> dict[Path, str]:
    """The last parts of each path, as many as tell it from all others: ``a/seed0`` and ``b/seed0``."""
    names = {}
    for path in paths:
        others = [other.parts for other in paths if other != path]
        count = next(k for k in range(1, len(path.parts) + 1) if path.parts[-k:] not in [o[-k:] for o in others])
        names[path] = str(Path(*path.parts[-count:]))
    return names


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Dotted path -> value as data, without what may differ."""
    given = {f"given.{part}": to_json(mark) for part, mark in config.given.items()}
    same = NOT_THE_METHOD if _may_end_early(config) else (*NOT_THE_METHOD, "run.eval_every", "run.eval_episodes")
    found = {path: value for path, value in leaves(config).items() if path not in (*same, "given")}
    found["learner"] = config.learner.name
    return found | given


def _may_end_early(config: TrainConfig) -> bool:
    return bool(config.run.stop_at or config.run.patience)


def _differing(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    paths = dict.fromkeys(path for each in settings for path in each)
    return [path for path in paths if any(each.get(path) != settings[0].get(path) for each in settings)]


def _labels(members: Sequence[Sequence[Run]], settings: Sequence[Mapping[str, Any]]) -> list[str]:
    if all(len(runs) == 1 for runs in members):
        return [runs[0].name for runs in members]
    told = settings[0] if len(members) > 1 else {}
    if 1 <= len(told) <= 2:
        labels = [", ".join(f"{path.rpartition('.')[2]}={_text(each[path])}" for path in told) for each in settings]
    else:
        labels = [_stem(runs[0]) for runs in members]
    return [
        label if labels.count(label) == 1 else f"{label} ({labels[: place + 1].count(label)})"
        for place, label in enumerate(labels)
    ]


def _text(value: Any) -> str:
    plain = "-" if value is None else str(value)
    return plain if len(plain) <= 40 else f"{plain[:37]}..."


def _stem(run: Run) -> str:
    """The name of the directory, without the seed at its end."""
    name = run.home.name
    for tail in (f"-seed_{run.seed}", f"_seed_{run.seed}", f"-seed{run.seed}", f"-{run.seed}", f"_{run.seed}"):
        if name.endswith(tail) and name != tail:
            return name.removesuffix(tail)
    return name
