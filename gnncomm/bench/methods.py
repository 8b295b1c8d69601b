"""``gnncomm bench methods``: every method trained on the same task, by one learner or by its own, and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any, Literal

import torch
from rich.table import Table

from gnncomm.bench.measure import interleaved
from gnncomm.config.data import decode_fields
from gnncomm.errors import ConfigError
from gnncomm.evaluation import Report, evaluate
from gnncomm.evaluation.report import percent
from gnncomm.learn import TrainConfig, Training
from gnncomm.methods import Method
from gnncomm.run import default_config, load, train, with_learner
from gnncomm.saved import fingerprint
from gnncomm.store import read_json, safe_run_path, write_json_atomic

TASKS: dict[str, dict[str, Any]] = {
    "relay": {"env_settings": {"steps": 4}, "steps": 200_000, "rollout": 8},
    "predator_prey": {"steps": 1_000_000},
}
"""Settings of a task that differ from its recipe. relay: four steps, so that messages of the step before arrive."""


NO_COMM = Method(
    "no_comm", "No communication", "", {"comm": "none"}, "what can be had without a message", learner="pqn:mixer=qmix"
)
"""The baseline that says nothing: by its own training one of values."""

HowTrained = Literal["common", "own"]
"""By the learner of the recipe, the same for all, or by the one nearest to that of the paper, with its losses."""


@dataclass(frozen=True)
class MethodRow:
    """One training."""

    method: str
    training: HowTrained
    learner: str
    """Its name."""
    env: str
    seed: int
    env_steps: int
    success: dict[str, float | None]
    """Mean and 95 % interval of the trained team; None where the environment knows no success."""
    length: dict[str, float | None]
    muted: float | None
    """Success without messages."""
    gain: float
    """Return over shuffled messages."""
    gain_low: float
    channel_used: bool
    bits: float
    """Per agent and step."""
    beta: float
    """Share of the budget, see ``gnncomm.evaluation.traffic.Traffic``."""
    parameters: int
    episodes: int
    """Of the evaluation."""
    settings: str
    """SHA-256 of those of the training, without its length."""
    steps_per_second: float | None = None
    """Of training, see ``bench_speed``."""

    @property
    def cell(self) -> tuple[str, str, int]:
        """Its place in a table."""
        return self.method, self.training, self.seed


def config_of(method: Method, env: str, seed: int, steps: int = 0, training: HowTrained = "common") -> TrainConfig:
    """The parts of ``method``, with what the recipe of ``env`` says about learning, or what its paper says."""
    task = TASKS.get(env, {})
    known = default_config(env, **task)
    if training == "own":
        config = with_learner(method.config(known, own_training=True).replace(learner=known.learner), method.learner)
    else:
        config = method.config(known)
    return config.replace(seed=seed, steps=steps or config.run.steps)


def bench_methods(
    methods: Sequence[Method],
    env: str,
    out: str | Path,
    seeds: Sequence[int] = (0,),
    steps: int = 0,
    episodes: int = 1000,
    trainings: Sequence[HowTrained] = ("common",),
    file: Path | None = None,
) -> Iterable[MethodRow]:
    """Train each into ``out/ENV-METHOD-SEED`` (its own training: ``ENV-METHOD-own-SEED``) and evaluate it there.

    What was trained before is not trained again, and what was begun is continued. ``file`` is written after each row;
    what it holds is not measured again, and rows of other methods and seeds stay in it.

    Raises:
        ConfigError: ``file`` holds something else, or rows that were measured with other settings; before any training.
    """
    cells = list(product(seeds, methods, trainings))
    configs = [config_of(method, env, seed, steps, training) for seed, method, training in cells]
    held = {row.cell: row for row in (read_rows(file) if file is not None and file.exists() else ())}
    for row in held.values():
        _require_same(row, file, {"env": env, "episodes": episodes})
    for (seed, method, training), config in zip(cells, configs, strict=True):
        if (known := held.get((method.name, training, seed))) is not None:
            _require_same(known, file, {"settings": fingerprint(config), "env_steps": _env_steps(config)})
    for (seed, method, training), config in zip(cells, configs, strict=True):
        if (known := held.get((method.name, training, seed))) is not None:
            yield known
            continue
        name = "-".join([env.replace("/", "-"), method.name, *(["own"] if training == "own" else []), str(seed)])
        folder = safe_run_path(Path(out) / name)
        train(config, folder, resume=folder.exists())
        trained = load(folder)
        report = evaluate(trained.policy, trained.evaluation_env(episodes), episodes=episodes)
        parameters = sum(parameter.numel() for parameter in trained.policy.parameters())
        row = _row(method, training, config, trained.env_steps, report, parameters)
        held[row.cell] = row
        if file is not None:
            write_json_atomic(file, rows_as_data(held.values()))
        yield row


def rows_as_data(rows: Iterable[MethodRow]) -> dict[str, Any]:
    """What ``read_rows`` reads."""
    about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
    return about | {"methods": [asdict(row) for row in rows]}


def read_rows(file: Path) -> list[MethodRow]:
    """The rows in a file of ``rows_as_data``.

    Raises:
        ConfigError: no such file, or another one.
    """
    rows = read_json(file, max_bytes=1 << 26).get("methods")
    try:
        return [decode_fields(MethodRow, row, f"methods[{number}]") for number, row in enumerate(rows or ())]
    except ConfigError as error:
        raise ConfigError(
            f"{file}: expected measurements of methods to go on with, got other ones ({error}). Name another file."
        ) from error


def _require_same(row: MethodRow, file: Path | None, wanted: Mapping[str, Any]) -> None:
    for name, value in wanted.items():
        if (found := getattr(row, name)) != value:
            raise ConfigError(
                f"{file}: expected {row.method} ({row.training}, seed {row.seed}) as it is measured now, with {name} "
                f"{value}, got {found}. Name another file, or give the settings of then."
            )


def _env_steps(config: TrainConfig) -> int:
    return config.updates * config.env.num_envs * config.run.rollout


def bench_speed(methods: Sequence[Method], env: str, repeats: int = 5) -> dict[str, float]:
    """Environment steps per second of training with each method: one update of each in turn, the median of each.

    With one thread the seconds are those of the processor, so other programs do not change what is compared.
    """
    endless = {method.name: config_of(method, env, seed=0).replace(steps=10**9) for method in methods}
    trainings = {name: Training.of(config) for name, config in endless.items()}
    seconds = interleaved({name: training.advance for name, training in trainings.items()}, repeats)
    return {name: trainings[name].steps_per_update / spent for name, spent in seconds.items()}


def _row(
    method: Method, training: HowTrained, config: TrainConfig, env_steps: int, report: Report, parameters: int
) -> MethodRow:
    numbers = report.trained.to_dict()
    return MethodRow(
        method.name,
        training,
        config.learner.name,
        config.env.id,
        config.run.seed,
        env_steps,
        numbers["success"],
        numbers["length"],
        report.muted.to_dict()["success"]["mean"],
        report.gain.mean,
        report.gain.interval.low,
        report.channel_used,
        report.wire.bits_per_agent_step,
        report.wire.beta,
        parameters,
        report.episodes,
        fingerprint(config),
    )


def methods_table(rows: Sequence[MethodRow], titles: Mapping[str, str]) -> Table:
    """For the terminal: a line for each method and training, means over the seeds.

    The interval is that of one seed, of several the lowest and the highest.
    """
    table = Table(title=f"{rows[0].env}, {rows[0].env_steps:,} steps" if rows else "", title_justify="left", box=None)
    table.add_column("method")
    table.add_column("learner")
    for name in ("seeds", "success", "95 %", "muted", "steps", "gain", "bits", "beta", "parameters", "steps/s"):
        table.add_column(name, justify="right")
    for method, training in dict.fromkeys((row.method, row.training) for row in rows):
        mine = [row for row in rows if (row.method, row.training) == (method, training)]
        first, length = mine[0], [row.length["mean"] or 0.0 for row in mine]
        table.add_row(
            titles.get(method, method),
            first.learner,
            str(len(mine)),
            *_success(mine),
            f"{mean(length):.2f}",
            f"{mean(row.gain for row in mine):+.3f}" + ("" if any(row.channel_used for row in mine) else " unused"),
            f"{mean(row.bits for row in mine):,.0f}",
            f"{mean(row.beta for row in mine):.3f}",
            f"{first.parameters:,}",
            "" if first.steps_per_second is None else f"{first.steps_per_second:,.0f}",
        )
    return table


def _success(rows: Sequence[MethodRow]) -> tuple[str, str, str]:
    """Its mean, the interval, and the mean without messages; the environment knows one or not for all rows."""
    means, muted = ([value for value in values if value is not None] for values in _successes(rows))
    low, high = rows[0].success["low"], rows[0].success["high"]
    if not means or low is None or high is None:
        return "n/a", "", "n/a"
    low, high = (min(means), max(means)) if len(means) > 1 else (low, high)
    return percent(mean(means)), f"{100 * low:.1f} – {100 * high:.1f}", percent(mean(muted))


def _successes(rows: Sequence[MethodRow]) -> tuple[list[float | None], list[float | None]]:
    return [row.success["mean"] for row in rows], [row.muted for row in rows]
