"""A package of somebody else brings one thing of each kind: trained, evaluated, drawn and listed as any other."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

import gnncomm
from gnncomm import environments
from gnncomm.cli import main
from gnncomm.registry import KINDS, described, registry_of
from gnncomm.run import config_of
from gnncomm.testing import check_env, check_layer

HERE = Path(__file__).resolve().parent / "plugin"
SAID = {
    "comm": "gated_sum:sharpness=2 >> attention:heads=2,own=true",
    "topology": "ahead:reach=2 | ring",
    "scheduler": "cheap_gate:price=0.25",
    "codec": "few_bits:limit=3",
    "channel": "loss:p=0.1 + faint:gain=0.25",
    "memory": "leaky:keep=0.5",
    "algo": "wide:times=3",
    "losses": "calm:weight=0.25",
}
TRAIN = [
    "train",
    "whisper/loud-v0",
    "--steps",
    "64",
    "--learner.minibatches",
    "2",
    "--episodes",
    "0",
    "--out",
    "runs/loud",
]
TRAIN += ["--loggers", "steps:file=done.txt", "--env-settings", "num_symbols", "4"]
TRAIN += [word for name, text in SAID.items() for word in (f"--{name}", text)]
NAMES = {
    "env": "whisper",
    "method": "shouting",
    "layer": "gated_sum",
    "topology": "ahead",
    "scheduler": "cheap_gate",
    "codec": "few_bits",
    "channel": "faint",
    "encoder": "scaled",
    "memory": "leaky",
    "critic": "wide",
    "mixer": "meek",
    "learner": "patient",
    "loss": "calm",
    "logger": "steps",
    "recipe": "whisper",
    "curriculum": "sudden",
}


@pytest.fixture
def plugin(installed: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The package as its pyproject describes it, in this process; and what it is built on."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(HERE)
    groups = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["entry-points"]
    for group, entries in groups.items():
        installed(group, **entries)
    installed("gnncomm.envs", relay="gnncomm.envs.relay:Relay")


@pytest.mark.usefixtures("plugin")
def test_it_trains_and_plays(capsys: pytest.CaptureFixture[str]) -> None:
    assert NAMES.keys() == KINDS.keys()
    assert main(TRAIN) == 0
    assert Path("runs/loud/done.txt").read_text().split() == ["32", "64"]
    config = config_of("runs/loud")
    assert {name: config[name] for name in SAID} == SAID
    assert config.policy.hidden == 8, "the recipe of their environment"
    policy = gnncomm.load("runs/loud").policy
    parts = [*policy.comm.rounds[:1], policy.wire.topology.left, policy.scheduler, policy.wire.codec]
    parts += [policy.wire.channel.right, policy.memory]
    assert [type(part).__module__ for part in parts] == ["loud_parts"] * 6
    assert (parts[0].sharpness, parts[1].reach, parts[2].price, parts[4].gain, parts[5].keep) == (2, 2, 0.25, 0.25, 0.5)
    assert parts[0].residual is False, "the rounds add the row"
    assert policy.critic.hidden == 24
    assert main(["eval", "runs/loud", "--episodes", "2", "--channel", "faint", "--topology", "~ahead"]) == 0
    shouting = gnncomm.methods.resolve("shouting")(obs_dim=8, num_actions=3, num_agents=3, hidden=8)
    assert gnncomm.topology.spec_of(shouting.wire.topology) == "ahead:reach=2"
    capsys.readouterr()


@pytest.mark.usefixtures("plugin")
def test_it_is_listed_and_written_back(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("COLUMNS", "900")
    sizes = {"in_channels": 8, "out_channels": 8, "hidden": 8, "num_agents": 3, "obs_dim": 5, "residual": False}
    sizes |= {"folder": "."}
    for kind, name in NAMES.items():
        names = registry_of(kind)
        assert main(["list", kind]) == 0
        (row,) = [line for line in capsys.readouterr().out.splitlines() if line.split()[:1] == [name]]
        assert "loud_parts" in row or kind == "method"
        if kind not in ("env", "loss"):  # a loss is of one policy
            made = names.resolve(name, **sizes)
            assert names.spec_of(made, **sizes) == name
            assert names.spec_of(names.resolve(names.spec_of(made), **sizes), **sizes) == name
    told = {one.name: one.trouble for one in described("logger")}
    assert told["steps"] == ""
    assert "has no attribute 'Forgotten'" in told["forgotten"]


@pytest.mark.usefixtures("plugin")
def test_it_keeps_the_laws() -> None:
    check_env(lambda num_envs: environments.make("whisper/loud-v0", num_envs=num_envs))
    check_layer(gnncomm.make("layer", "gated_sum", in_channels=8, out_channels=8).double())


@pytest.mark.slow
def test_it_is_really_installed(tmp_path: Path) -> None:
    """Built by its own build backend, installed by pip, used by the command ``gnncomm`` in another process."""
    source, site = tmp_path / "source", tmp_path / "site"
    shutil.copytree(HERE, source, ignore=shutil.ignore_patterns("__pycache__"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True, capture_output=True, timeout=300)
    shutil.rmtree(source)
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    surroundings = {**os.environ, "PYTHONPATH": path, "COLUMNS": "300"}
    program = "import sys; from gnncomm.cli import main; sys.exit(main(sys.argv[1:]))"

    def gnncomm_says(*words: str, code: str = program) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code, *words],
            cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    gnncomm_says(*TRAIN)
    gnncomm_says("eval", "runs/loud", "--episodes", "4", "--json", "eval.json")
    assert json.loads((tmp_path / "eval.json").read_text())["trained"]
    gnncomm_says("replay", "runs/loud", "--figure", "loud.png")
    gnncomm_says("train", "--out", "runs/loud", "--resume", "--steps", "96", "--episodes", "0")
    loaded = "import gnncomm; print(type(gnncomm.load('runs/loud').policy.comm.rounds[0]).__module__)"
    assert gnncomm_says(code=loaded).strip() == "loud_parts"
    told = json.loads(gnncomm_says("list", "--json"))
    for kind, name in NAMES.items():
        one = next(one for one in told[KINDS[kind].plural] if one["name"] == name)
        assert (one["origin"], one["trouble"]) == ("the package loud-parts 0.3", "")
    imported = "import sys, gnncomm; gnncomm.make('topology', 'ring'); print('loud_parts' in sys.modules)"
    assert gnncomm_says(code=imported).strip() == "False"
