"""``gnncomm bench methods``: every method trained on the same task by the same learner, and measured."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from gnncomm.bench.measure import interleaved
from gnncomm.evaluation import Report, evaluate
from gnncomm.learn import TrainConfig, Training
from gnncomm.methods import Method
from gnncomm.run import default_config, load, train
from gnncomm.store import safe_run_path

TASKS: dict[str, dict[str, Any]] = {
    "relay": {"env_settings": {"steps": 4}, "steps": 200_000, "rollout": 8},
    "predator_prey": {"steps": 1_000_000},
}
"""Settings of a task that differ from its recipe. relay: four steps, so that messages of the step before arrive."""


@dataclass(frozen=True)
class MethodRow:
    """One line of the table."""

    method: str
    env: str
    seed: int
    env_steps: int
    success: dict[str, float]
    """Mean and 95 % interval of the trained team."""
    length: dict[str, float]
    muted: float
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
    steps_per_second: float | None = None
    """Of training, see ``bench_speed``."""


def config_of(method: Method, env: str, seed: int, steps: int = 0) -> TrainConfig:
    """The parts of ``method``, with what the recipe of ``env`` says about learning."""
    task = TASKS.get(env, {})
    config = method.config(default_config(env, **task))
    return config.replace(seed=seed, steps=steps or config.run.steps)


def bench_methods(
    methods: Sequence[Method], env: str, out: str | Path, seed: int = 0, steps: int = 0, episodes: int = 1000
) -> Iterable[MethodRow]:
    """Train each into ``out/ENV-METHOD-SEED`` and evaluate it there; what was trained before is not trained again."""
    for method in methods:
        config = config_of(method, env, seed, steps)
        folder = safe_run_path(Path(out) / f"{env.replace('/', '-')}-{method.name}-{seed}")
        train(config, folder, resume=folder.exists())
        trained = load(folder)
        report = evaluate(trained.policy, trained.evaluation_env(episodes), episodes=episodes)
        parameters = sum(parameter.numel() for parameter in trained.policy.parameters())
        yield _row(method, config, trained.env_steps, report, parameters)


def bench_speed(methods: Sequence[Method], env: str, repeats: int = 5) -> dict[str, float]:
    """Environment steps per second of training with each method: one update of each in turn, the median of each.

    With one thread the seconds are those of the processor, so other programs do not change what is compared.
    """
    endless = {method.name: config_of(method, env, seed=0).replace(steps=10**9) for method in methods}
    trainings = {name: Training.of(config) for name, config in endless.items()}
    seconds = interleaved({name: training.advance for name, training in trainings.items()}, repeats)
    return {name: trainings[name].steps_per_update / spent for name, spent in seconds.items()}


def _row(method: Method, config: TrainConfig, env_steps: int, report: Report, parameters: int) -> MethodRow:
    numbers = report.trained.to_dict()
    return MethodRow(
        method.name,
        config.env.id,
        config.run.seed,
        env_steps,
        numbers["success"],
        numbers["length"],
        report.muted.success.mean,
        report.gain.mean,
        report.gain.interval.low,
        report.channel_used,
        report.wire.bits_per_agent_step,
        report.wire.beta,
        parameters,
    )


def methods_table(rows: Sequence[MethodRow], titles: Mapping[str, str]) -> Table:
    """For the terminal."""
    table = Table(title=f"{rows[0].env}, {rows[0].env_steps:,} steps" if rows else "", title_justify="left", box=None)
    table.add_column("method")
    for name in ("success", "95 %", "muted", "steps", "gain", "bits", "beta", "parameters", "steps/s"):
        table.add_column(name, justify="right")
    for row in rows:
        table.add_row(
            titles.get(row.method, row.method),
            f"{row.success['mean']:.1%}",
            f"{100 * row.success['low']:.1f} – {100 * row.success['high']:.1f}",
            f"{row.muted:.1%}",
            f"{row.length['mean']:.2f}",
            f"{row.gain:+.3f}" + ("" if row.channel_used else " unused"),
            f"{row.bits:,.0f}",
            f"{row.beta:.3f}",
            f"{row.parameters:,}",
            "" if row.steps_per_second is None else f"{row.steps_per_second:,.0f}",
        )
    return table
