"""Trained with three agents, gone on with five: the weights that act are taken as they are, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gnncomm.cli import main
from gnncomm.errors import ConfigError
from gnncomm.learn import TrainConfig, Training
from gnncomm.run import config_of, load, train

Tiny = Callable[..., TrainConfig]
StateOf = Callable[[Path], dict[str, str]]
FIVE = {"num_agents": 5}


@pytest.fixture(scope="module")
def three(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "three"
    train(tiny(steps=24, env_settings={"num_agents": 3}), run)
    return run


def test_it_begins_with_these_weights(tiny: Tiny, three: Path) -> None:
    """The learner knows no others, either: a target network is a copy of them."""
    before = load(three).policy
    learner = "dqn:buffer=8,batch=2"
    training = Training.of(tiny(env_settings=FIVE), weights=before)
    assert training.env.num_agents == 5
    mine = training.policy.state_dict()
    assert mine.keys() == before.state_dict().keys()
    assert all(mine[name].equal(value) for name, value in before.state_dict().items())
    training.advance()
    assert not training.policy.actor.weight.equal(before.actor.weight), "and goes on"  # type: ignore[union-attr, arg-type]
    assert before.state_dict()["actor.weight"].equal(load(three).policy.state_dict()["actor.weight"]), "in a copy"
    source = Training.of(tiny(learner=learner))
    with torch.no_grad():
        source.policy.actor.bias.fill_(7.0)  # type: ignore[union-attr]
    valued = Training.of(tiny(learner=learner, env_settings=FIVE), weights=source.policy)
    assert valued.learner.target.policy.actor.bias.eq(7).all()  # type: ignore[attr-defined]


def test_what_does_not_fit_is_named(tiny: Tiny, three: Path) -> None:
    policy = load(three).policy
    with pytest.raises(ConfigError, match=r"memory\.weight_ih: expected \[48, 16\], got \[24, 8\]"):
        Training.of(tiny(hidden=16), weights=policy)
    with pytest.raises(ConfigError, match=r"memory\.\S+: expected nothing, got \["):
        Training.of(tiny(memory="none"), weights=policy)


def test_a_central_critic_begins_anew(tiny: Tiny, tmp_path: Path) -> None:
    told = list[str]()
    central = train(tiny(algo="mappo", env_settings={"num_agents": 3}, steps=12))
    config = tiny(algo="mappo", env_settings=FIVE, steps=12)
    done = train(config, weights=central.policy, notice=told.append)
    assert done.env.num_agents == 5
    assert len(told) == 1
    assert "of the critic, these weights do not fit and begin anew: critic." in told[0]


def test_on_the_command_line_and_resumed(
    three: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state_of: StateOf, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed before its first checkpoint of its own: the run needs nobody else's any more."""
    monkeypatch.chdir(tmp_path)
    words = ["train", "--from", str(three), "--env-settings", "num_agents", "5", "--steps", "48", "--episodes", "0"]
    assert main([*words, "--out", "straight"]) == 0
    config = config_of("straight")
    assert (config["hidden"], dict(config.env.settings)) == (8, FIVE), "with the settings of the run, but for these"
    weights = load(three).policy

    def die(training: Training, metrics: dict[str, float]) -> None:
        raise KeyboardInterrupt

    again = config.replace(save_every=50)
    for name in ("straight", "killed"):
        try:
            train(
                again, name, weights=weights, overwrite=name == "straight", observer=die if name == "killed" else None
            )
        except KeyboardInterrupt:
            three.rename(three.with_name("gone"))
    assert main(["resume", "killed", "--episodes", "0"]) == 0
    three.with_name("gone").rename(three)
    assert state_of(tmp_path / "runs" / "killed") == state_of(tmp_path / "runs" / "straight")
    capsys.readouterr()
    assert main(["train", "--config", "runs/straight/config.json", "--out", "other"]) == 78
    assert "Say --from RUN" in capsys.readouterr().err, "the settings alone do not give this training"
    assert main([*words, "--out", "other", "--seeds", "2"]) == 78
