"""``gnncomm bench methods``: every method trained on the same task by the same learner, and measured."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.table import Table

from gnncomm.evaluate import Report, evaluate
from gnncomm.learn import TrainConfig
from gnncomm.methods import Method
from gnncomm.run import default_config, load, train
from gnncomm.store import read_json, write_json_atomic

TASKS: dict[str, dict[str, Any]] = {
    "relay": {"env_settings": {"steps": 4}, "steps": 200_000, "rollout": 8},
    "predator_prey": {"steps": 1_000_000},
}
"""Settings of a task that differ from its recipe. relay: four steps, so that messages of the step before arrive."""

SECONDS = "seconds.json"


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
    parameters: int
    steps_per_second: float


def config_of(method: Method, env: str, seed: int, steps: int = 0) -> TrainConfig:
    """The parts of ``method``, with what the recipe of ``env`` says about learning."""
    task = TASKS.get(env, {})
    config = method.config(default_config(env, **task))
    return replace(config, seed=seed, steps=steps or config.steps)


def bench_methods(
    methods: Sequence[Method], env: str, out: str | Path, seed: int = 0, steps: int = 0, episodes: int = 1000
) -> Iterable[MethodRow]:
    """Train each into ``out/ENV-METHOD-SEED`` and evaluate it there; what was trained before is not trained again."""
    for method in methods:
        config = config_of(method, env, seed, steps)
        folder = Path(out) / f"{env.replace('/', '-')}-{method.name}-{seed}"
        spent = _train(config, folder)
        trained = load(folder)
        report = evaluate(trained.policy, trained.make_env(min(episodes, 1000)), episodes=episodes)
        parameters = sum(parameter.numel() for parameter in trained.policy.parameters())
        yield _row(method, config, trained.env_steps, report, parameters, spent)


def _train(config: TrainConfig, folder: Path) -> float:
    """Seconds that the training took, now or when it was done."""
    note = folder / SECONDS
    if note.is_file():
        train(config, folder, resume=True)  # refuses other settings, and has nothing left to do
        return float(read_json(note)["seconds"])
    begin = time.perf_counter()
    train(config, folder, overwrite=folder.exists())
    spent = time.perf_counter() - begin
    write_json_atomic(note, {"seconds": spent})
    return spent


def _row(
    method: Method, config: TrainConfig, env_steps: int, report: Report, parameters: int, spent: float
) -> MethodRow:
    numbers = report.trained.to_dict()
    return MethodRow(
        method.name,
        config.env,
        config.seed,
        env_steps,
        numbers["success"],
        numbers["length"],
        report.muted.success.mean,
        report.gain.mean,
        report.gain.interval.low,
        report.channel_used,
        report.wire.bits_per_agent_step,
        parameters,
        env_steps / spent,
    )


def methods_table(rows: Sequence[MethodRow], titles: Mapping[str, str]) -> Table:
    """For the terminal."""
    table = Table(title=f"{rows[0].env}, {rows[0].env_steps:,} steps" if rows else "", title_justify="left", box=None)
    table.add_column("method")
    for name in ("success", "95 %", "muted", "steps", "gain", "bits", "parameters", "steps/s"):
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
            f"{row.parameters:,}",
            f"{row.steps_per_second:,.0f}",
        )
    return table
