"""What a sweep is about: kept in its directory, and the same whenever it goes on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from gnncomm import environments
from gnncomm.config import from_json, leaves, to_json
from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.learn import TrainConfig
from gnncomm.learn.build import build
from gnncomm.store import read_data, write_json_atomic
from gnncomm.sweep.space import Space, configured, space_of

PLAN = "sweep.json"
KIND = "sweep"
Metric = Literal["return", "success", "length"]


@dataclass(frozen=True)
class Plan:
    """The same for all trials of a sweep."""

    config: TrainConfig
    """What trials begin from; its seed is the first."""
    space: Mapping[str, Any]
    """See ``space_of``."""
    metric: Metric = "return"
    """What is made better: of the evaluation at the end of each training, mean over ``seeds``; less of ``length``."""
    seeds: int = 2
    """Trainings of each trial."""
    episodes: int = 200
    """Of the evaluation at the end of each: they occur neither in trainings nor in ``gnncomm eval``."""
    prune: bool = True
    """End trials whose running metric is below the median of others at the same step."""

    def __post_init__(self) -> None:
        space_of(self.space, self.config)

    @property
    def axes(self) -> Space:
        return space_of(self.space, self.config)

    def training(self, values: Mapping[str, Any], number: int) -> TrainConfig:
        """That of the seed with this number, in a trial with these values."""
        config = configured(self.config, values)
        run = config.run
        return config.replace(
            seed=run.seed + number, eval_every=run.eval_every or run.steps, eval_episodes=self.episodes
        )

    def to_data(self) -> dict[str, Any]:
        names = ("metric", "seeds", "episodes", "prune")
        told = {name: getattr(self, name) for name in names}
        return {"kind": KIND, "config": to_json(self.config), "space": dict(self.space), **told}

    @classmethod
    def of_data(cls, data: Mapping[str, Any], path: str) -> Plan:
        """
        Raises:
            ConfigError: no plan of a sweep.
        """
        names = {"kind", "config", "space", "metric", "seeds", "episodes", "prune"}
        if data.get("kind") != KIND or data.keys() != names:
            raise ConfigError(f"{path}: expected a sweep ({', '.join(sorted(names))}), got {str(dict(data))[:80]}.")
        rest = {name: data[name] for name in ("space", "metric", "seeds", "episodes", "prune")}
        return cls(from_json(TrainConfig, data["config"]), **rest)


def _require_made(plan: Plan) -> None:
    """Refuse values that nothing can be made of, each for itself: names, and sizes that do not fit."""
    if environments.is_foreign(plan.config.env.id):
        return  # in processes, whose start costs more than a trial that fails
    for path, axis in plan.axes.axes.items():
        for value in axis.ends:
            try:
                build(plan.training({path: value}, 0), {})
            except GnnCommError as error:
                raise ConfigError(f"space: {path}: {value!r}: {error}") from error


def begun(folder: Path, plan: Plan) -> None:
    """Keep ``plan`` in ``folder``, or see that it is the one which is there.

    Raises:
        ConfigError: another one is there; names what differs.
    """
    file = folder / PLAN
    if not file.exists():
        _require_made(plan)
        folder.mkdir(parents=True, exist_ok=True)
        write_json_atomic(file, plan.to_data())
        return
    old = Plan.of_data(read_data(file), str(file))
    was, now = ({**leaves(each.config), **each.to_data()} for each in (old, plan))
    changed = [name for name in now if name != "config" and was.get(name) != now[name]]
    if changed or was.keys() != now.keys():
        told = "; ".join(f"{name}: {was.get(name)!r:.60} -> {now[name]!r:.60}" for name in changed)
        raise ConfigError(
            f"{folder}: expected the sweep that was begun there, got another one ({told or 'another learner'}). Go on "
            "with the same options, or choose another --out."
        )
