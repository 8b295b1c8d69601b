"""Checkpoints whose hashes are right and whose content is not: named, passed over, and never the end of a run."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.errors import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
    ResourceError,
)
from gnncomm.learn import TrainConfig
from gnncomm.run import config_of, load, train
from gnncomm.store import RunDir

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]
Spoil = Callable[[Any, Path], None]


def _state(**changes: Any) -> Spoil:
    return lambda forge, checkpoint: forge.state(checkpoint, **changes)


def _tensors(group: str, change: Callable[[dict[str, Tensor]], Any]) -> Spoil:
    return lambda forge, checkpoint: forge.tensors(checkpoint, group, change)


def _set(group: str, name: str, value: Any, at: int | None = None) -> Spoil:
    """Another number in the first tensor whose name begins with ``name``."""

    def change(tensors: dict[str, Tensor]) -> None:
        chosen = min(key for key in tensors if key.startswith(name))
        if at is None:
            tensors[chosen].fill_(value)
        else:
            tensors[chosen].view(-1)[at] = value

    return _tensors(group, change)


STRIDES = b'{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}'

BOTH: dict[str, tuple[Spoil, str]] = {
    "strides overflow": (
        lambda forge, path: forge.raw(path, "model.safetensors", len(STRIDES).to_bytes(8, "little") + STRIDES),
        "shape",
    ),
    "no model": (lambda forge, path: forge.raw(path, "model.safetensors", None), "holds no 'model'"),
    "a weight missing": (_tensors("model", lambda t: t.pop("actor.bias")), r"missing 'actor\.bias'"),
    "a weight too many": (_tensors("model", lambda t: t.update(more=torch.zeros(1))), "unexpected 'more'"),
    "a weight not finite": (_set("model", "actor.bias", float("nan"), 0), "NaN or infinity"),
    "no updates": (_state(updates=...), "expected updates = 3"),
    "updates in words": (_state(updates="3"), "expected updates = 3"),
    "updates null": (_state(updates=None), "expected updates = 3"),
    "updates a float": (_state(updates=3.0), "expected updates = 3"),
    "updates beyond all": (_state(updates=1e18), "expected updates = 3"),
    "updates of another step": (_state(updates=2), "expected updates = 3"),
    "updates negative": (_state(updates=-3), "expected updates = 3"),
    "steps of another step": (_state(env_steps=24), "expected env_steps = 36"),
    "another configuration": (_state(config_sha256="0" * 64), "other settings"),
    "no sizes": (_state(sizes=...), "expected sizes"),
    "sizes that are none": (_state(sizes={"obs_dim": -1, "num_actions": 5, "num_agents": 3}), "expected sizes"),
    "sizes beyond memory": (
        _state(sizes={"obs_dim": 2**40, "num_actions": 5, "num_agents": 3}),
        r"encoder\.weight|obs_dim",
    ),
    "sizes beyond counting": (_state(sizes={"obs_dim": 2**62, "num_actions": 5, "num_agents": 3}), "sizes|obs_dim"),
}

RESUME: dict[str, tuple[Spoil, str]] = {
    "a slot missing": (_tensors("optimizer", lambda t: t.pop("0.exp_avg")), r"missing '0\.exp_avg'"),
    "all slots missing": (_tensors("optimizer", dict.clear), r"'optimizer' does not fit: missing '0\.exp_avg'"),
    "a slot of another shape": (
        _tensors("optimizer", lambda t: t.update({"0.exp_avg": torch.zeros(3, 3)})),
        r"'0\.exp_avg': expected .* got \(3, 3\)",
    ),
    "a slot of no parameter": (
        _tensors("optimizer", lambda t: t.update({"999.exp_avg": torch.zeros(1)})),
        r"unexpected '999\.exp_avg'",
    ),
    "a slot of no number": (
        _tensors("optimizer", lambda t: t.update({"abc.exp_avg": torch.zeros(1)})),
        r"unexpected 'abc\.exp_avg'",
    ),
    "a slot not finite": (_set("optimizer", "0.exp_avg", float("inf"), 0), "'0.exp_avg'"),
    "a count beyond all": (_set("optimizer", "0.step", 1e30), r"0\.step"),
    "half an update": (_set("optimizer", "0.step", 0.5), r"0\.step"),
    "a negative square": (_set("optimizer", "0.exp_avg_sq", -1.0, 0), "0.exp_avg_sq"),
    "no optimiser": (lambda forge, path: forge.raw(path, "optimizer.safetensors", None), "holds no 'optimizer'"),
    "no environments": (lambda forge, path: forge.raw(path, "env.safetensors", None), "holds no 'env'"),
    "no carry": (lambda forge, path: forge.raw(path, "carry.safetensors", None), "holds no 'carry'"),
    "memory not finite": (_set("carry", "state.memory", float("inf"), 5), "state.memory"),
    "a return not finite": (_set("carry", "running_return", float("nan"), 0), "running_return"),
    "normaliser not finite": (_set("returns", "second", float("inf")), "second"),
    "observation not finite": (_set("carry", "timestep.obs.value", float("inf"), 0), "timestep.obs.value|obs.value"),
    "observation of no cell": (_set("carry", "timestep.obs.index", 2**40, 0), "obs.index"),
    "a flipped flag": (_set("carry", "timestep.alive", False, 0), "alive"),
    "another episode": (_set("carry", "timestep.key", 7, 0), "key"),
    "a time before the beginning": (_set("env", "step", -7, 0), "first|step"),
    "an episode beyond all": (_set("env", "episode", 2**62, 0), "key"),
    "a place off the map": (_set("env", "state.", 2**40, 0), "env|continue"),
    "a place before the map": (_set("env", "state.", -7, 0), "env|continue"),
}


@pytest.fixture(scope="module")
def whole(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of three updates."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(tiny(steps=36), folder)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


@pytest.mark.parametrize(("spoil", "words"), BOTH.values(), ids=BOTH.keys())
def test_loading_passes_it_over(run: Path, forge: Any, newest: Any, spoil: Spoil, words: str) -> None:
    path = newest(run)
    spoil(forge, path)
    trained = load(run)
    assert trained.env_steps == 24
    (reason,) = trained.rejected
    assert str(path) in reason
    assert re.search(words, reason), reason


@pytest.mark.parametrize(("spoil", "words"), (BOTH | RESUME).values(), ids=(BOTH | RESUME).keys())
def test_resuming_passes_it_over_and_arrives_at_the_same_bits(
    tiny: Tiny, whole: Path, run: Path, forge: Any, newest: Any, state_of: StateOf, spoil: Spoil, words: str
) -> None:
    path = newest(run)
    spoil(forge, path)
    heard: list[str] = []
    train(tiny(steps=36), run, resume=True, notice=heard.append)
    (reason,) = heard
    assert str(path) in reason
    assert re.search(words, reason), reason
    assert state_of(run) == state_of(whole)


def test_the_error_has_a_type_where_nothing_is_left(tiny: Tiny, run: Path, forge: Any) -> None:
    for path in (run / "checkpoints").iterdir():
        forge.tensors(path, "optimizer", dict.clear)
    with pytest.raises(CheckpointMismatchError, match="no usable checkpoint among 3"):
        train(tiny(steps=36), run, resume=True)


def test_environments_are_counted_before_they_are_made(run: Path, forge: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration from elsewhere that asks for more than there were."""
    forge.config(run, num_envs=4096, rollout=1)
    for path in (run / "checkpoints").iterdir():
        forge.state(path, updates=1, env_steps=4096)
        forge.step(path, 4096)
    monkeypatch.setattr("gnncomm.learn.build.make_env", None)
    with pytest.raises(CheckpointMismatchError, match=r"running_return \[num_envs=4096\].*got \[4\]"):
        train(config_of(run), run, resume=True)


@pytest.mark.parametrize(("num_envs", "error"), [(2**40, ConfigError), (2**24, ResourceError)])
def test_more_environments_than_any_machine_has_are_not_made(
    num_envs: int, error: type[Exception], run: Path, forge: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Refused by number, or by the memory that they would take; never taken."""
    forge.config(run, num_envs=num_envs, rollout=2**10)
    monkeypatch.setattr("gnncomm.learn.build.make_env", None)
    with pytest.raises(error):
        train(config_of(run), run, resume=True)


# What resuming does with the log, the end and the settings.


def test_a_run_that_has_lost_its_checkpoints_keeps_its_log(tiny: Tiny, run: Path) -> None:
    shutil.rmtree(run / "checkpoints")
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(CheckpointError, match=r"logged 3 updates but has no checkpoint.*overwrite") as caught:
        train(tiny(steps=36), run, resume=True)
    assert caught.value.exit_code == 66
    (run / "checkpoints").mkdir()
    with pytest.raises(CheckpointError, match="logged 3 updates"):
        train(tiny(steps=36), run, resume=True)
    assert (run / "metrics.jsonl").read_bytes() == before


def test_a_finished_run_is_not_trained_on(tiny: Tiny, run: Path, state_of: StateOf) -> None:
    before = state_of(run)
    assert train(config_of(run), run, resume=True).env_steps == 36
    assert state_of(run) == before


def test_another_end_is_told_and_kept(tiny: Tiny, run: Path) -> None:
    heard: list[str] = []
    assert train(tiny(steps=60), run, resume=True, notice=heard.append).env_steps == 60
    assert heard == ["planned for 36 steps, goes on to 60; schedules follow the new end"]
    assert config_of(run).run.steps == 60
    assert load(run).env_steps == 60, "the checkpoints from before are of the same run"
    with pytest.raises(ConfigError, match=r"more than the 60 .* got 24"):
        train(tiny(steps=24), run, resume=True)
    assert config_of(run).run.steps == 60


def test_resume_or_overwrite(tiny: Tiny, run: Path, state_of: StateOf) -> None:
    before = state_of(run)
    with pytest.raises(ConfigError, match="got both"):
        train(tiny(steps=36), run, resume=True, overwrite=True)
    assert state_of(run) == before


def test_another_number_of_threads_is_told(tiny: Tiny, run: Path) -> None:
    heard: list[str] = []
    torch.set_num_threads(2)
    try:
        train(tiny(steps=36), run, resume=True, notice=heard.append)
    finally:
        torch.set_num_threads(1)
    assert heard == ["goes on, but sums may be rounded otherwise than before: threads 1 -> 2"]


def test_a_damaged_log_is_told_and_does_not_end_the_run(tiny: Tiny, run: Path) -> None:
    log = run / "metrics.jsonl"
    raw = bytearray(log.read_bytes())
    raw[raw.index(b"\n") + 5] ^= 1
    log.write_bytes(raw)
    heard: list[str] = []
    assert train(tiny(steps=60), run, resume=True, notice=heard.append).env_steps == 60
    assert "metrics.jsonl is damaged in line 2" in heard[0]
    with pytest.raises(CheckpointCorruptError, match="line 2"):
        RunDir.open(run).metrics()
