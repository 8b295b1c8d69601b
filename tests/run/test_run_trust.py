"""A run that somebody else made: it names no code, whatever it says, unless the user says so, too."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gnncomm import environments
from gnncomm.cli.main import main
from gnncomm.errors import ConfigError, TrustError
from gnncomm.learn import TrainConfig
from gnncomm.run import config_of, load, train

Tiny = Callable[..., TrainConfig]


def words_of(capsys: pytest.CaptureFixture[str]) -> str:
    """What was said, without line breaks."""
    said = capsys.readouterr()
    return " ".join((said.out + said.err).split())


@pytest.fixture
def stolen(tiny: Tiny, tmp_path: Path, forge: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run whose environment is a command, with every hash right."""
    train(tiny(steps=12, observation="flat"), tmp_path / "stolen")
    forge.config(tmp_path / "stolen", env="pettingzoo:os:system", env_settings={"command": "echo > PWNED"})
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "stolen"


COMMANDS = {
    "eval": ["eval", "RUN", "--episodes", "2"],
    "replay": ["replay", "RUN"],
    "resume": ["train", "--out", "RUN", "--resume", "--episodes", "0"],
    "resume RUN": ["resume", "RUN", "--episodes", "0"],
    "from the file": ["train", "--config", "RUN/config.json", "--episodes", "0"],
    "what the file would be": ["train", "--config", "RUN/config.json", "--dry-run"],
    "resume further": ["train", "--out", "RUN", "--resume", "--episodes", "0", "--steps", "99"],
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_no_command_runs_what_a_run_names(words: list[str], stolen: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main([word.replace("RUN", str(stolen)) for word in words])
    assert os.listdir() == []
    said = capsys.readouterr().err
    assert code == 77, said
    assert "'pettingzoo:os:system'" in said
    assert "--trust-env" in said


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_what_makes_no_environment_is_not_called_even_with_trust(
    words: list[str], stolen: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main([word.replace("RUN", str(stolen)) for word in words] + ["--trust-env"])
    assert os.listdir() == []
    assert (code, "It was not called" in capsys.readouterr().err) == (78, True)


def test_the_policy_needs_no_environment(stolen: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "make", None)
    trained = load(stolen)
    assert trained.num_agents == 3
    assert trained.policy.num_actions == 5
    trained.with_wire(topology="ring", scheduler="event_triggered:delta=0.1", channel="loss:p=0.5")
    for make in (lambda: trained.make_env(1), lambda: trained.evaluation_env(10)):
        with pytest.raises(TrustError, match="pettingzoo:os:system"):
            make()


def test_what_the_command_names_needs_no_trust(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The id on the command line is the user's word for it, and for nothing else that the run names."""
    pytest.importorskip("mpe2")
    env, out = "pettingzoo:mpe2.simple_spread_v3", str(tmp_path / "run")
    small = ["--num-envs", "2", "--rollout", "2", "--hidden", "8", "--learner.minibatches", "1", "--episodes", "0"]
    pos = ["--env-settings", "pos", "os:getcwd", "num_workers", "1"]
    assert main(["train", env, "--out", out, "--steps", "4", *small, *pos]) == 78, "a function of no environment"
    plain = ["--env-settings", "pos", "observation[2:4]", "num_workers", "1"]
    assert main(["train", env, "--out", out, "--steps", "4", *small, *plain]) == 0
    assert config_of(out).env.settings == {"pos": "observation[2:4]", "num_workers": 1}
    assert main(["train", "--out", out, "--resume", "--episodes", "0"]) == 77
    assert main(["train", env, "--out", out, "--resume", "--episodes", "0"]) == 0
    assert "already complete" in words_of(capsys)
    assert main(["eval", out, "--episodes", "2"]) == 77
    assert main(["eval", out, "--episodes", "2", "--trust-env"]) == 0


def test_what_names_code() -> None:
    spread = "pettingzoo:mpe2.simple_spread_v3"
    assert environments.named_code("relay", {"pos": "os:system"}) == frozenset()
    assert environments.named_code(spread, {"pos": "observation[2:4]"}) == {spread}
    assert environments.named_code(spread, {"pos": "a.b:c"}) == {spread, "pos=a.b:c"}
    with pytest.raises(TrustError, match=r"pos=a\.b:c"):
        environments.require_trust(spread, {"pos": "a.b:c"}, frozenset({spread}))
    environments.require_trust(spread, {}, frozenset({spread}))


def test_an_entry_point_vouches_for_its_environment(
    installed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not for a function that a file names beside it."""
    import sys
    import types

    from gnncomm.integrations.factory import pettingzoo_source

    module = types.ModuleType("gnncomm_test_vouched")
    module.spread = pettingzoo_source("mpe2.simple_spread_v3")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "gnncomm_test_vouched", module)
    installed("gnncomm.envs", spread="gnncomm_test_vouched:spread")
    assert environments.named_code("spread", {}) == frozenset()
    assert environments.named_code("spread", {"pos": "os:system"}) == {"pos=os:system"}


@pytest.mark.parametrize("name", ["num_envs", "device", "observation", "id"])
def test_settings_that_are_not_the_environments(tiny: Tiny, name: str) -> None:
    with pytest.raises(ConfigError, match=f"env.settings: .* got '{name}', which is one of the training"):
        tiny(env_settings={name: 5})


def test_resuming_needs_nothing_said_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Settings that are not given come from the run, not from the recipe; so a finished run is finished."""
    out = str(tmp_path / "run")
    small = ["--num-envs", "4", "--rollout", "3", "--hidden", "8", "--learner.minibatches", "2", "--topology", "ring"]
    assert main(["train", "relay", "--out", out, "--steps", "24", *small, "--episodes", "0"]) == 0
    before = config_of(out)
    capsys.readouterr()
    for words in (["train", "--out", out], ["train", "relay", "--out", out], ["train", "relay", "--out", out, *small]):
        assert main([*words, "--resume", "--episodes", "0"]) == 0
        assert "already complete: 24 steps" in words_of(capsys)
        assert config_of(out) == before
    assert main(["train", "--out", out, "--resume", "--steps", "48", "--episodes", "0"]) == 0
    assert "planned for 24 steps, goes on to 48" in words_of(capsys)
    assert config_of(out).run.steps == 48
    assert main(["train", "--out", out, "--resume", "--episodes", "0"]) == 0
    assert "already complete: 48 steps" in words_of(capsys)
    assert main(["train", "--out", out, "--resume", "--hidden", "16"]) == 65
    assert main(["train", "--out", out, "--resume", "--overwrite"]) == 78
    assert main(["train", "predator_prey", "--out", out, "--resume"]) == 65
