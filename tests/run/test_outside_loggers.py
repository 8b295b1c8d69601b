"""TensorBoard for real, W&B and MLflow by stand-ins with their signatures: each step once, whatever died in between."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gnncomm.cli import main
from gnncomm.errors import ConfigError, MissingExtraError
from gnncomm.learn import TrainConfig, Training
from gnncomm.run import train
from gnncomm.store import RunDir

Tiny = Callable[..., TrainConfig]
STEPS = [12, 24, 36, 48]


def die_at(update: int) -> Callable[[Training, dict[str, float]], None]:
    def observer(training: Training, metrics: dict[str, float]) -> None:
        if metrics["update"] == update:
            raise KeyboardInterrupt

    return observer


def train_twice(config: TrainConfig, out: Path) -> None:
    """Dies in the third update, with a checkpoint of the second, and goes on."""
    with pytest.raises(KeyboardInterrupt):
        train(config, out, observer=die_at(3))
    train(config, out, resume=True)


def read(run: Path) -> EventAccumulator:
    found = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    found.Reload()
    return found


def test_tensorboard_shows_each_step_once(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny(save_every=2, loggers=("tensorboard",), comm="mean")
    train_twice(config, tmp_path / "run")
    seen, logged = read(tmp_path / "run"), RunDir.open(tmp_path / "run").metrics()
    scalars = {tag: [(event.step, event.value) for event in seen.Scalars(tag)] for tag in seen.Tags()["scalars"]}
    for name in ("entropy", "bits_per_agent_step"):
        assert scalars[name] == [(line["env_steps"], pytest.approx(line[name], rel=1e-6)) for line in logged], name
    assert [step for step, _ in scalars["seconds"]] == STEPS
    text = seen.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    told = json.loads("\n".join(line.removeprefix("    ") for line in text.splitlines()))
    assert (told["policy.comm"], told["env.num_envs"]) == ("mean", 4)
    assert any("hparams" in tag for tag in seen.summary_metadata), "the settings are hyperparameters, too"
    train(config, tmp_path / "run", overwrite=True)
    assert [event.step for event in read(tmp_path / "run").Scalars("entropy")] == STEPS, "a new run, not a second one"


@pytest.mark.slow
def test_what_is_measured_and_drawn_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    small = ["--num-envs", "4", "--rollout", "3", "--steps", "24", "--hidden", "8", "--learner.minibatches", "2"]
    words = ["train", "relay", *small, "--episodes", "4", "--out", "run", "--loggers", "tensorboard"]
    assert main(words) == 0
    run = tmp_path / "runs" / "run"
    seen, report = read(run), json.loads((run / "eval.json").read_text())
    (success,) = seen.Scalars("result/success")
    assert (success.step, success.value) == (24, report["trained"]["success"]["mean"])
    (image,) = seen.Images("trajectories")
    assert image.encoded_image_string == (run / "trajectories.png").read_bytes()
    assert image.width > 100


def test_a_link_in_the_run_leads_no_logger_elsewhere(tiny: Tiny, tmp_path: Path) -> None:
    """A directory of somebody else's is resumed: what would be written to or removed lies outside of it."""
    config = tiny(save_every=1, loggers=("tensorboard", "csv"))
    train(config, tmp_path / "run", stop=lambda: True)
    elsewhere, mine = tmp_path / "elsewhere", tmp_path / "mine.csv"
    elsewhere.mkdir()
    run = tmp_path / "run"
    (run / "tensorboard").rename(tmp_path / "old")
    (run / "tensorboard").symlink_to(elsewhere)
    for name in ("metrics.csv", "times.csv"):
        (run / name).rename(mine)
        (run / name).symlink_to(mine)
    before, told = mine.read_bytes(), list[str]()
    train(config, run, resume=True, notice=told.append)
    assert not list(elsewhere.iterdir())
    assert mine.read_bytes() == before
    assert [line.split()[2] for line in told] == ["TensorBoardLogger", "CsvLogger"]
    assert all("symbolic link" in line for line in told)


class Wandb:
    """Stands in for the module; remembers what it was told."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.rows: list[tuple[int, dict[str, Any]]] = []
        self.summary: dict[str, Any] = {}
        self.finished = 0

    def init(
        self,
        *,
        project: str,
        id: str,
        name: str,
        dir: str,
        config: Mapping[str, Any],
        mode: str,
        resume: str | None,
        reinit: str,
        settings: Any,
    ) -> Any:
        self.inits.append({"id": id, "mode": mode, "project": project, "dir": dir, "config": config})

        def log(data: Mapping[str, Any], *, step: int) -> None:
            assert not self.rows or step > self.rows[-1][0], "W&B drops what is not behind the last step"
            self.rows.append((step, dict(data)))

        def finish() -> None:
            self.finished += 1

        return SimpleNamespace(id=id, log=log, summary=self.summary, finish=finish)


class Mlflow:
    """Stands in for the client of a server."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, str, float, int]] = []
        self.params: dict[str, str] = {}
        self.places: list[str] = []
        self.artifacts: list[str] = []
        self.ended: list[str] = []

    def client(self, tracking_uri: str) -> Any:
        self.places.append(tracking_uri)
        return self

    def get_experiment_by_name(self, name: str) -> None:
        return None

    def create_experiment(self, name: str, artifact_location: str | None) -> str:
        self.artifacts.append(str(artifact_location))
        return "1"

    def create_run(self, experiment_id: str, *, run_name: str) -> Any:
        return SimpleNamespace(info=SimpleNamespace(run_id=f"r{len(self.ended)}"))

    def log_batch(self, run_id: str, metrics: tuple[Any, ...] = (), params: tuple[Any, ...] = ()) -> None:
        assert len(params) <= 100
        self.params |= dict(params)
        self.rows += [(run_id, key, value, step) for key, value, _, step in metrics]

    def set_terminated(self, run_id: str) -> None:
        self.ended.append(run_id)


def module(monkeypatch: pytest.MonkeyPatch, name: str, **values: Any) -> None:
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, None)
    vars(made).update(values)
    monkeypatch.setitem(sys.modules, name, made)


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> Wandb:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    told = Wandb()
    module(monkeypatch, "wandb", init=told.init, Settings=lambda **given: given, Image=lambda path: path)
    return told


def test_wandb_gets_each_step_once_and_stays_offline(tiny: Tiny, tmp_path: Path, wandb: Wandb) -> None:
    train_twice(tiny(save_every=2, loggers=("wandb:project=mine",)), tmp_path / "run")
    assert [step for step, _ in wandb.rows] == STEPS
    first, second = wandb.inits
    assert first["id"] == second["id"], "one run of W&B, too"
    assert {(one["mode"], one["project"], one["dir"]) for one in wandb.inits} == {
        ("offline", "mine", str(tmp_path / "run"))
    }
    assert first["config"]["env.id"] == "predator_prey"
    assert wandb.finished == 2
    assert all(value == value for _, row in wandb.rows for value in row.values()), "no NaN"
    train(tiny(loggers=("wandb",)), tmp_path / "other", stop=lambda: True)
    assert wandb.inits[-1]["id"] != first["id"]


def test_only_the_surroundings_send_anything(
    tiny: Tiny, tmp_path: Path, wandb: Wandb, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration of somebody else's cannot."""
    for text in ("wandb:mode=online", "wandb:folder=/tmp", "mlflow:uri=http://x"):
        with pytest.raises(ConfigError):
            train(tiny(loggers=(text,)), tmp_path / "run")
    monkeypatch.setenv("WANDB_MODE", "online")
    train(tiny(loggers=("wandb",)), tmp_path / "run", stop=lambda: True)
    assert wandb.inits[-1]["mode"] == "online"


def test_mlflow_gets_each_step_once(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    told = Mlflow()
    module(monkeypatch, "mlflow", MlflowClient=told.client)
    module(monkeypatch, "mlflow.entities", Param=lambda *given: given, Metric=lambda *given: given)
    train_twice(tiny(save_every=2, loggers=("mlflow",)), tmp_path / "run")
    assert [(run, step) for run, key, _, step in told.rows if key == "update"] == [("r0", step) for step in STEPS]
    assert set(told.places) == {f"sqlite:///{tmp_path / 'run' / 'mlflow.db'}"}
    assert told.artifacts == [(tmp_path / "run" / "mlartifacts").as_uri()]
    assert told.params["env.num_envs"] == "4"
    assert told.ended == ["r0", "r0"]


@pytest.mark.parametrize("name", ["tensorboard", "wandb", "mlflow"])
def test_a_package_that_is_missing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'gnncomm\[{name}\]'"):
        train(tiny(loggers=(name,)), tmp_path / "run")
    assert not (tmp_path / "run").exists()


class Broken:
    """Fails from its second row on."""

    def __init__(self) -> None:
        self.rows = 0

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.rows += 1
        if self.rows > 1:
            raise RuntimeError("the server\nis gone")

    def rewind(self, step: int) -> None:
        pass

    def close(self) -> None:
        raise AssertionError("nobody speaks to it any more")


def test_a_logger_that_fails_stops_no_training(tiny: Tiny, tmp_path: Path) -> None:
    broken, told = Broken(), list[str]()
    done = train(tiny(), tmp_path / "run", loggers=[broken, "csv"], notice=told.append)
    assert done.finished
    assert broken.rows == 2
    (line,) = told
    assert "Broken" in line
    assert "RuntimeError: the server is gone" in line
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 5, "the other one hears all"


@pytest.mark.slow
def test_times_add_up_over_processes(tiny: Tiny, tmp_path: Path) -> None:
    train_twice(tiny(save_every=2), tmp_path / "run")
    lines = [line.split(",") for line in (tmp_path / "run" / "times.csv").read_text().splitlines()]
    assert lines[0] == ["step", "seconds", "env_steps_per_second"]
    assert [int(line[0]) for line in lines[1:]] == STEPS
    seconds = [float(line[1]) for line in lines[1:]]
    assert seconds == sorted(seconds)
    (tmp_path / "run" / "times.csv").write_text("what\n1\n")  # of no worth: the training goes on without
    train(tiny(save_every=2, steps=60), tmp_path / "run", resume=True, notice=lambda text: None)
    assert (tmp_path / "run" / "times.csv").read_text().splitlines()[1].startswith("60,")
