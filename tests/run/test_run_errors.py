"""A run is only continued and loaded as what it is."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gnncomm import recipes
from gnncomm.cli.main import main
from gnncomm.errors import (
    CheckpointError,
    CheckpointMismatchError,
    ConfigError,
    NonFiniteError,
    RunExistsError,
    RunLockedError,
)
from gnncomm.evaluation import evaluate
from gnncomm.learn import TrainConfig, Training
from gnncomm.run import default_config, load, make_env, train
from gnncomm.store import RunDir

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]


def sizes_of(checkpoint: Path) -> dict[str, int]:
    sizes: dict[str, int] = json.loads((checkpoint / "state.json").read_text())["sizes"]
    return sizes


def flip_a_byte(file: Path) -> None:
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 0x10
    file.write_bytes(raw)


@pytest.mark.parametrize(
    ("changes", "old", "new"),
    [
        ({"hidden": 16}, "8", "16"),
        ({"seed": 7}, "0", "7"),
        ({"env_settings": {"num_agents": 4}}, "{}", "{'num_agents': 4}"),
        ({"comm": "mean"}, "'attention'", "'mean'"),
        ({"num_envs": 6}, "4", "6"),
        ({"algo": "mappo"}, "'ippo'", "'mappo'"),
    ],
)
def test_another_configuration_is_refused(
    tiny: Tiny, tmp_path: Path, state_of: StateOf, changes: dict[str, Any], old: str, new: str
) -> None:
    train(tiny(), tmp_path / "run")
    before = state_of(tmp_path / "run")
    with pytest.raises(CheckpointMismatchError) as caught:
        train(tiny(**changes), tmp_path / "run", resume=True)
    (name,) = changes
    assert f".{name.removeprefix('env_')}: {old} -> {new}" in str(caught.value)
    assert state_of(tmp_path / "run") == before


def test_a_run_in_the_first_format_is_refused_by_its_version_and_not_touched(
    tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither config nor log had hashes, and its environments had the seeds ``seed + b``."""
    run = tmp_path / "run"
    train(tiny(steps=24), run)
    envelope = json.loads((run / "config.json").read_text())
    del envelope["config_sha256"], envelope["config"]["run"]["version"]
    (run / "config.json").write_text(json.dumps(envelope | {"format_version": 1}))
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["crc32"]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for command in (["eval"], ["replay"], ["plot"], ["train", "--resume", "--out"], ["train", "--overwrite", "--out"]):
        assert main([*command, str(run)]) == 65
        said = capsys.readouterr().err
        assert "expected 'gnncomm.run' of format version 3, got 'gnncomm.run' of version 1" in said
        assert "with the version of gnncomm that wrote it" in said
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_settings_of_an_earlier_version_are_loaded_but_not_resumed(
    tiny: Tiny, tmp_path: Path, state_of: StateOf, forge: Any
) -> None:
    config = tiny(steps=24)
    train(config, tmp_path / "run")
    file = tmp_path / "run" / "config.json"
    forge.config(tmp_path / "run", version=1)
    before = state_of(tmp_path / "run"), file.read_bytes()
    with pytest.raises(CheckpointMismatchError, match=r"settings of version 1, .* trains version 2") as caught:
        train(config, tmp_path / "run", resume=True)
    assert "another --out" in str(caught.value)
    assert before == (state_of(tmp_path / "run"), file.read_bytes())
    trained = load(tmp_path / "run")
    assert trained.config == config.replace(version=1)
    assert evaluate(trained.policy, trained.evaluation_env(4), episodes=4).episodes == 4


def test_another_learning_rate_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    from gnncomm.learn import PPOConfig

    train(tiny(), tmp_path / "run")
    with pytest.raises(CheckpointMismatchError, match=r"learner\.lr: 0\.001 -> 0\.5"):
        train(tiny(learner=PPOConfig(lr=0.5, epochs=2, minibatches=2)), tmp_path / "run", resume=True)


def test_a_central_critic_is_bound_to_its_team(tiny: Tiny, tmp_path: Path, forge: Any) -> None:
    """3 agents of 8 numbers each against 4: the message has both widths."""
    train(tiny(algo="mappo"), tmp_path / "run")
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step_*"):
        forge.state(checkpoint, sizes=sizes_of(checkpoint) | {"num_agents": 4})
    with pytest.raises(CheckpointMismatchError, match=r"critic\.joint\.weight") as caught:
        load(tmp_path / "run")
    assert "24" in str(caught.value)
    assert "32" in str(caught.value)


def test_a_local_critic_serves_any_team_that_sees_the_same(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(env="chemical", comm="mean", env_settings={"max_steps": 4}), tmp_path / "run")
    want = make_env(tiny(env="chemical", env_settings={"max_steps": 4, "num_agents": 7}))
    if want.obs_dim != make_env(tiny(env="chemical", env_settings={"max_steps": 4})).obs_dim:
        pytest.skip("the observation of this environment depends on the size of the team")
    policy = load(tmp_path / "run").policy
    now = want.reset(seed=0)
    assert policy.act(now, policy.initial_state(4, 7)).action.shape == (4, 7)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"sizes": {"obs_dim": 6}}, "encoder"),
        ({"sizes": {"num_actions": 6}}, "actor"),
        ({"hidden": 12}, "memory"),
        ({"comm": "mean"}, "comm"),
        ({"rounds": 2}, "comm"),
        ({"memory": "lstm"}, "memory"),
        ({"algo": "mappo"}, "critic"),
    ],
)
def test_what_does_not_fit_is_listed(
    tiny: Tiny, tmp_path: Path, forge: Any, changes: dict[str, Any], what: str
) -> None:
    train(tiny(), tmp_path / "run")
    sizes = changes.pop("sizes", {})
    forge.config(tmp_path / "run", **changes)
    for checkpoint in (tmp_path / "run" / "checkpoints").glob("step_*"):
        forge.state(checkpoint, sizes=sizes_of(checkpoint) | sizes)
    with pytest.raises(CheckpointMismatchError, match=what):
        load(tmp_path / "run")


def test_a_run_is_not_overwritten_by_accident(tiny: Tiny, tmp_path: Path, state_of: StateOf) -> None:
    train(tiny(), tmp_path / "run")
    before = state_of(tmp_path / "run")
    with pytest.raises(RunExistsError):
        train(tiny(seed=1), tmp_path / "run")
    assert state_of(tmp_path / "run") == before
    train(tiny(seed=1), tmp_path / "run", overwrite=True)
    assert state_of(tmp_path / "run") != before


def test_one_writer(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny(), tmp_path / "run")
    with RunDir.open(tmp_path / "run", write=True), pytest.raises(RunLockedError):
        train(tiny(steps=96), tmp_path / "run", resume=True)


def test_nothing_to_resume_or_load(tiny: Tiny, tmp_path: Path) -> None:
    for call in (lambda: load(tmp_path / "none"), lambda: train(tiny(), tmp_path / "none", resume=True)):
        with pytest.raises(CheckpointError) as caught:
            call()
        assert caught.value.exit_code == 66
    assert not (tmp_path / "none").exists()


def test_a_finished_run_stays_as_it_is(tiny: Tiny, tmp_path: Path, state_of: StateOf) -> None:
    train(tiny(), tmp_path / "run")
    before = state_of(tmp_path / "run")
    called: list[Any] = []
    training = train(tiny(), tmp_path / "run", resume=True, observer=lambda *_: called.append(_))
    assert training.finished
    assert not called
    assert state_of(tmp_path / "run") == before


@pytest.mark.parametrize(
    "name",
    [
        "carry.safetensors",
        "env.safetensors",
        "manifest.json",
        "model.safetensors",
        "optimizer.safetensors",
        "returns.safetensors",
        "state.json",
    ],
)
def test_a_flipped_byte_is_named_and_the_checkpoint_before_is_used(
    tiny: Tiny, tmp_path: Path, state_of: StateOf, newest: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    train(tiny(steps=36), run)
    damaged = newest(run)
    assert {path.name for path in damaged.iterdir()} == {
        *(f"{group}.safetensors" for group in Training.of(tiny()).state()[0]),
        "state.json",
        "manifest.json",
    }
    flip_a_byte(damaged / name)
    trained = load(run)
    assert trained.env_steps == 24
    assert len(trained.rejected) == 1
    assert str(damaged) in trained.rejected[0]
    assert name in trained.rejected[0]
    heard: list[str] = []
    resumed = train(tiny(steps=36), run, resume=True, notice=heard.append)
    assert resumed.finished
    assert len(heard) == 1
    assert str(damaged / name) in heard[0]
    train(tiny(steps=36), tmp_path / "straight")
    assert state_of(run) == state_of(tmp_path / "straight")
    assert not caplog.records


def test_damage_is_logged_if_nobody_listens(
    tiny: Tiny, tmp_path: Path, newest: Any, caplog: pytest.LogCaptureFixture
) -> None:
    train(tiny(), tmp_path / "run")
    flip_a_byte(newest(tmp_path / "run") / "env.safetensors")
    with caplog.at_level(logging.WARNING, logger="gnncomm"):
        train(tiny(), tmp_path / "run", resume=True)
    assert "env.safetensors" in caplog.text


def test_without_any_good_checkpoint_nothing_is_touched(tiny: Tiny, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(tiny(), run)
    for checkpoint in (run / "checkpoints").glob("step_*"):
        flip_a_byte(checkpoint / "model.safetensors")
    there = sorted(path.name for path in (run / "checkpoints").iterdir())
    for call in (lambda: load(run), lambda: train(tiny(), run, resume=True)):
        with pytest.raises(CheckpointError, match="no usable checkpoint among 3"):
            call()
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == there


def test_a_training_that_breaks_down_keeps_its_last_checkpoint(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NaN in a weight is met in the loss at the latest, and is never saved."""

    def poison(training: Training, metrics: dict[str, float]) -> None:
        if metrics["update"] == 2:
            with torch.no_grad():
                training.policy.actor.weight[0, 0] = torch.nan

    with pytest.raises(NonFiniteError):
        train(tiny(), tmp_path / "run", observer=poison)
    trained = load(tmp_path / "run")
    assert trained.env_steps == 24
    assert all(value.isfinite().all() for value in trained.policy.state_dict().values())


def test_loading_gives_the_policy_that_was_saved(tiny: Tiny, tmp_path: Path) -> None:
    training = train(tiny(), tmp_path / "run")
    trained = load(tmp_path / "run")
    assert trained.config == tiny()
    assert trained.env_steps == training.env_steps == 48
    assert trained.rejected == ()
    for name, value in training.policy.state_dict().items():
        assert trained.policy.state_dict()[name].equal(value)
    assert trained.make_env(1).num_envs == 1


def test_default_config_takes_the_recipe_of_the_environment_and_then_the_changes() -> None:
    config = default_config("predator_prey/10x10-5-v0", seed=3)
    assert config == recipes.predator_prey().replace(env="predator_prey/10x10-5-v0", seed=3)
    assert (config.run.steps, config.learner.lr) == (2_400_000, 3e-3)
    with pytest.raises(ConfigError):
        default_config("predator_pray")
    with pytest.raises(ConfigError, match="Did you mean 'seed'"):
        default_config("predator_prey", sed=3)
