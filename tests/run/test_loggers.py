"""Loggers hear of every update once, also of a run that died in between; the log of the run itself holds no times."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from gnncomm.cli import main
from gnncomm.errors import CheckpointCorruptError, ConfigError
from gnncomm.learn import TrainConfig, Training
from gnncomm.run import train
from gnncomm.store import CsvLogger, RunDir

Tiny = Callable[..., TrainConfig]
TIMES = {"seconds", "env_steps_per_second"}


class Ear:
    """Hears all."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, Any]] = []

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.heard.append(("log", step))
        self.last = dict(metrics)

    def rewind(self, step: int) -> None:
        self.heard.append(("rewind", step))

    def close(self) -> None:
        self.heard.append(("close", None))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_logger_is_told_where_the_training_stands(tiny: Tiny, tmp_path: Path) -> None:
    ear, updates = Ear(), iter(range(1, 9))
    train(tiny(comm="mean"), tmp_path / "run", loggers=[ear], stop=lambda: next(updates) == 2)
    assert ear.heard == [("rewind", 0), ("log", 12), ("log", 24), ("close", None)]
    assert ear.last["seconds"] > 0
    assert ear.last["env_steps_per_second"] == pytest.approx(24 / ear.last["seconds"])
    ear = Ear()
    train(tiny(comm="mean"), tmp_path / "run", resume=True, loggers=[ear])
    assert ear.heard == [("rewind", 24), ("log", 36), ("log", 48), ("close", None)]
    logged = RunDir.open(tmp_path / "run").metrics()
    assert all(line.keys() == ear.last.keys() - TIMES for line in logged), "what a run repeats holds no time"
    assert {"bits_per_agent_step", "explained_variance"} <= logged[0].keys()
    assert logged[0]["bits_per_agent_step"] == 32 * 8, "8 numbers of 32 bits, one round"


def test_a_logger_is_closed_whatever_happens(tiny: Tiny) -> None:
    ear = Ear()

    def die(training: Training, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tiny(), loggers=[ear], observer=die)
    assert ear.heard[-1] == ("close", None)


def test_the_table_of_a_run_that_died_is_that_of_one_that_did_not(tiny: Tiny, tmp_path: Path) -> None:
    """Rows after the newest checkpoint are written again, and no row stands twice."""

    def die(training: Training, metrics: dict[str, float]) -> None:
        if metrics["update"] == 3:
            raise KeyboardInterrupt

    config = tiny(save_every=2)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "died", loggers=["csv"], observer=die)
    assert [row["step"] for row in table(tmp_path / "died" / "metrics.csv")] == ["12", "24", "36"]
    train(config, tmp_path / "died", loggers=["csv"], resume=True)
    train(config, tmp_path / "straight", loggers=["csv"])
    died, straight = (table(tmp_path / name / "metrics.csv") for name in ("died", "straight"))
    assert [row["step"] for row in died] == ["12", "24", "36", "48"]
    for one, other in zip(died, straight, strict=True):
        assert one.keys() == other.keys()
        assert {name: value for name, value in one.items() if name not in TIMES} == {
            name: value for name, value in other.items() if name not in TIMES
        }
    train(config, tmp_path / "died", loggers=["csv"], overwrite=True)
    assert len(table(tmp_path / "died" / "metrics.csv")) == 4


def test_cells_by_hand(tmp_path: Path) -> None:
    logger = CsvLogger(tmp_path)
    logger.log(1, {"return": 0.5, "length": math.nan})
    logger.log(2, {"return": 0.1, "name": 'a "b", c'})
    assert (tmp_path / "metrics.csv").read_text() == (
        'step,return,length,name\n1,0.5,,\n2,0.1,,"a ""b"", c"\n'  # a new metric is a new column
    )
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write("3,0.")  # a kill in the middle of a row
    again = CsvLogger(tmp_path)
    again.rewind(1)
    again.log(2, {"return": 0.25, "length": 3.0})
    assert table(tmp_path / "metrics.csv") == [
        {"step": "1", "return": "0.5", "length": "", "name": ""},
        {"step": "2", "return": "0.25", "length": "3.0", "name": ""},
    ]


def test_loggers_that_are_none(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"Unknown logger 'cvs'\. Did you mean 'csv'"):
        train(tiny(), tmp_path / "run", loggers=["cvs"])
    assert not (tmp_path / "run").exists()
    with pytest.raises(ConfigError, match="expected a run directory for 'csv'"):
        train(tiny(), loggers=["csv"])
    with pytest.raises(ConfigError, match=r"expected a gnncomm\.store\.Logger or its name, got int"):
        train(tiny(), loggers=[3])  # type: ignore[list-item]


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--num-envs", "4", "--rollout", "3", "--steps", "24", "--hidden", "8", "--learner.minibatches", "2"]
    assert main(["train", "relay", *small, "--episodes", "0", "--out", "run", "--loggers", "csv"]) == 0
    assert [row["update"] for row in table(tmp_path / "runs" / "run" / "metrics.csv")] == ["1", "2"]
    assert main(["train", "relay", *small, "--dry-run", "--loggers", "csvv"]) == 78


@pytest.mark.parametrize(
    "text",
    [
        "csv:file=../mine.csv",
        "csv:folder=.,file=mine.csv",
        "csv:file=config.json",
        "csv:file=metrics.jsonl",
        "csv:file=..",
    ],
)
def test_a_configuration_names_no_file_outside_the_run(tiny: Tiny, tmp_path: Path, text: str) -> None:
    """A stranger's file says where a table goes; before, one elsewhere was written to, or removed as empty."""
    mine = tmp_path / "mine.csv"
    mine.write_text("my only copy")
    with pytest.raises(ConfigError):
        train(tiny(loggers=(text,)), tmp_path / "run")
    assert mine.read_text() == "my only copy"
    assert not (tmp_path / "run").exists()


def test_another_table_stays_as_it_is(tmp_path: Path) -> None:
    for text in ("time;value\n1;2\n", "step,value\nfirst,2\n"):
        (tmp_path / "mine.csv").write_text(text)
        with pytest.raises(CheckpointCorruptError, match="Move it away"):
            CsvLogger(tmp_path, "mine.csv").rewind(0)
        assert (tmp_path / "mine.csv").read_text() == text
