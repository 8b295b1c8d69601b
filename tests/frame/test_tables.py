"""The tables of the documentation say what the code says: settings, defaults, options, names, keys."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gnncomm import channel, codec, environments, layers, methods, schedule, topology
from gnncomm.cli.bench import BenchArgs
from gnncomm.cli.compare import CompareArgs
from gnncomm.cli.eval import EvalArgs
from gnncomm.cli.plot import PlotArgs
from gnncomm.cli.replay import ReplayArgs
from gnncomm.cli.resume import ResumeArgs
from gnncomm.cli.sweep import SweepArgs
from gnncomm.cli.train import TrainArgs
from gnncomm.config import leaves
from gnncomm.evaluation import evaluate
from gnncomm.learn import TrainConfig
from gnncomm.learn.names import LEARNERS
from gnncomm.multiagent import DEFAULT_PPO
from gnncomm.registry import KINDS, described, registry_of
from gnncomm.run import make_env, train

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LEFT_OUT = {"layers": {"CommLayer", "Attention"}, "topologies": {"from_function"}}
"""What is no row: a part with rows of its own, bases, what has no text form."""


def page(name: str) -> str:
    return (DOCS / f"{name}.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    found = re.search(rf"^## {re.escape(heading)}\n(.*?)(?=^## |\Z)", text, re.S | re.M)
    assert found, heading
    return found.group(1)


def rows(text: str) -> list[list[str]]:
    """The cells of the tables in ``text``, without heads and rules."""
    lines = [line.replace(r"\|", "\0") for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip().replace("\0", "|") for cell in line.strip("|").split("|")] for line in lines]
    return [row for number, row in enumerate(cells) if not set(row[0]) <= {"-"} and not _is_head(cells, number)]


def _is_head(cells: list[list[str]], number: int) -> bool:
    return number + 1 < len(cells) and bool(cells[number + 1][0]) and set(cells[number + 1][0]) <= {"-"}


def said(value: Any) -> str:
    """A default as the tables write it."""
    return "none" if isinstance(value, (Mapping, tuple)) and not value else str(value)


def read(cell: str) -> str:
    """A default of a table as ``said`` writes it."""
    text = cell.strip().strip("`").replace(" ", "")
    try:
        return str(float(text)) if re.search(r"[.e]", text) and text[0].isdigit() else text
    except ValueError:
        return text


def test_settings_of_a_training_and_their_defaults() -> None:
    told = {}
    for names, defaults, meaning in rows(section(page("training"), "Settings")):
        found = re.findall(r"`([^`]+)`", names)
        values = [read(value) for value in defaults.split(", ")]
        assert len(found) == len(values), names
        assert meaning or "coef" in names, names
        told |= dict(zip(found, values, strict=True))
    assert told == {path: said(value) for path, value in leaves(TrainConfig()).items()}


def test_what_the_reader_of_defaults_reads() -> None:
    assert [read(text) for text in ("1e-3", "2 000 000", "`gru`", "True", "0.5", "none")] == [
        "0.001",
        "2000000",
        "gru",
        "True",
        "0.5",
        "none",
    ]


OPTIONS = {
    "train": TrainArgs,
    "resume": ResumeArgs,
    "eval": EvalArgs,
    "compare": CompareArgs,
    "sweep": SweepArgs,
    "replay": ReplayArgs,
    "plot": PlotArgs,
    "bench": BenchArgs,
}


@pytest.mark.parametrize("command", OPTIONS)
def test_options_of_a_command(command: str) -> None:
    inherited = (
        {path.rpartition(".")[2] for path in leaves(TrainConfig())} | {"learner"} if command == "train" else set()
    )
    inherited |= {"env_settings", "policy", "wire", "run", "env", "ppo"} if command == "train" else set()
    positional = {"run", "runs", "what"}
    renamed = {"begin": "from"}
    expected = {renamed.get(item.name, item.name) for item in fields(OPTIONS[command])} - inherited - positional
    text = section(page("command_line"), command)
    told = {name for row in rows(text) for name in re.findall(r"`--([a-z-]+)", row[0])}
    assert told - {name.replace("_", "-") for name in inherited} == {name.replace("_", "-") for name in expected}


def test_every_command_is_in_the_overview() -> None:
    from gnncomm.cli.main import COMMANDS

    overview = page("command_line").split("```")[1]
    assert {line.split()[1] for line in overview.strip().splitlines()} == set(COMMANDS)


@pytest.fixture(scope="module")
def tiny() -> tuple[TrainConfig, list[dict[str, float]], Any]:
    config = TrainConfig.of(env="relay", num_envs=4, rollout=2, steps=8, hidden=8)
    logged: list[dict[str, float]] = []
    training = train(config, observer=lambda _, metrics: logged.append(metrics))
    return config, logged, training.policy


class Kept:
    """A logger that keeps its lines."""

    def __init__(self) -> None:
        self.rows: list[Mapping[str, Any]] = []

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.rows.append(metrics)

    def rewind(self, step: int) -> None:
        pass

    def close(self) -> None:
        pass


ALSO = {"iql": "dqn", "vdn": "dqn", "qmix": "dqn", "qplex": "dqn"}
"""Learner -> the one that it is, with other settings."""
REPLAYED = "buffer=4,batch=2,gradient_steps=1"
SMALL = {
    "dqn": f"dqn:{REPLAYED}",
    "maddpg": f"maddpg:{REPLAYED}",
    "pqn": "pqn:minibatches=2",
    "ppo": "ppo:minibatches=2",
}


def metrics_of(learner: str) -> set[str]:
    """What the table says that a training by ``learner`` logs."""
    told = set()
    for names, learners, meaning in rows(section(page("training"), "Metrics")):
        assert meaning
        if learners in ("all", "all by gradients") or learner in re.findall(r"`(\w+)`", learners):
            told |= set(re.findall(r"`(\w+)`", names))
    return told


@pytest.mark.parametrize("learner", sorted(set(LEARNERS.names()) - ALSO.keys()))
def test_metrics_of_a_training(learner: str) -> None:
    settings = {"env": "relay", "env_settings": {"steps": 2, "num_agents": 2}, "eval_every": 4, "eval_episodes": 1}
    config = TrainConfig.of(**settings, num_envs=2, rollout=2, steps=4, hidden=4, learner=SMALL.get(learner, learner))
    logger, lines = Kept(), list[set[str]]()
    train(config, loggers=[logger], observer=lambda _, metrics: lines.append(set(metrics)))
    assert set(logger.rows[0]) == metrics_of(learner)
    assert set(logger.rows[0]) - lines[0] == {"seconds", "env_steps_per_second"}


def test_metrics_of_choices(tiny: tuple[TrainConfig, list[dict[str, float]], Any]) -> None:
    sampled: list[dict[str, float]] = []
    train(tiny[0].replace(scheduler="gate"), observer=lambda _, metrics: sampled.append(metrics))
    told = [row for row in rows(section(page("training"), "Metrics")) if row[1] == "where a scheduler samples"]
    assert set(sampled[0]) - set(tiny[1][0]) == set(re.findall(r"`(\w+)`", told[0][0]))
    assert sampled[0]["gates_open"] < 1 == tiny[1][0]["gates_open"]


def keys(value: Any, prefix: str = "") -> set[str]:
    if not isinstance(value, dict):
        return {prefix}
    return {prefix} | {key for name, item in value.items() for key in keys(item, f"{prefix}.{name}")}


def test_keys_of_an_evaluation(tiny: tuple[TrainConfig, list[dict[str, float]], Any]) -> None:
    config, _, policy = tiny
    told = json.loads(section(page("command_line"), "eval").split("```json\n")[1].split("```")[0])
    for arm in ("muted", "shuffled", "floor", "ceiling"):
        assert told[arm] == {}
        told[arm] = told["trained"]
    assert keys(told) == keys(evaluate(policy.eval(), make_env(config), episodes=4).to_dict())


def test_layers_and_their_names() -> None:
    text = page("layers")
    classes = {name for name in layers.__all__ if name.endswith("Comm") or name in ("CommStack", "CommLayer")}
    table = {match for row in rows(text) for match in re.findall(r"^`(\w+)\(", row[0])}
    assert table == classes - LEFT_OUT["layers"]
    assert {row[0].strip("`"): row[2] for row in rows(section(text, "Names"))} == {
        one.name: ", ".join(f"`{item.name}={item.default}`" for item in one.parameters) for one in described("layer")
    }


@pytest.mark.parametrize(
    ("name", "room"), [("topologies", topology), ("schedulers", schedule), ("codecs", codec), ("channels", channel)]
)
def test_parts_of_the_wire(name: str, room: ModuleType) -> None:
    text = page(name)
    for short, cls in room.listing().items():
        assert cls.__name__ in text, f"docs/{name}.md says nothing about {cls.__name__}"
        names = (short, *getattr(cls, "aliases", ()))
        if short not in LEFT_OUT.get(name, ()):
            assert any(f"`{each}" in text for each in names), f"docs/{name}.md does not say how to name {cls.__name__}"


def test_kinds_and_the_names_of_small_ones() -> None:
    text = section(page("names"), "A name for something of your own")
    told = {row[0].strip("`"): row[1].strip("`") for row in rows(text) if row[1].startswith("`gnncomm.")}
    assert told == {kind.name: kind.group for kind in KINDS.values()}
    small = {row[0]: re.findall(r"`(\w+)`", row[1]) for row in rows(text) if row[0] in KINDS}
    for kind, names in small.items():
        known = registry_of(kind)
        assert sorted(names) == sorted({*known.house, *known.aliases}), kind
    with_a_page = {"env", "recipe", "method", "layer", "topology", "scheduler", "codec", "channel"}
    assert {*small, *with_a_page} == set(KINDS)


def test_methods_and_environments() -> None:
    index = page("methods/index")
    assert {name for name in methods.METHODS if f"`{name}`" not in index} == set()
    index = page("envs/index")
    assert {name for name in environments.summaries() if f"`{name}`" not in index} == set()


def test_defaults_of_the_loop_by_hand() -> None:
    (row,) = [row for row in rows(page("multiagent")) if row[0] == "`ppo`"]
    told = {name: float(value) for name, value in re.findall(r"`(\w+)` ([\d.e-]+)", row[1])}
    assert told
    assert told == {name: getattr(DEFAULT_PPO, name) for name in told}


def test_the_changelog_names_every_environment() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert {name for name in environments.summaries() if f"`{name}`" not in text} == set()


def test_exit_codes_are_all_in_the_table() -> None:
    from gnncomm import errors
    from gnncomm.cli import faults

    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {value.exit_code for value in kinds if issubclass(value, errors.GnnCommError)}
    codes |= {0, 2, 66, *(value for name, value in vars(faults).items() if name.startswith("EX_")), 129, 130, 143}
    told = {
        int(code) for row in rows(section(page("command_line"), "Errors and exit codes")) for code in row[0].split(", ")
    }
    assert codes == told
