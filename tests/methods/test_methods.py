"""Methods by name: policies of six parts, each of which can be exchanged."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import gnncomm
from gnncomm.bench import bench_methods, read_rows
from gnncomm.bench.methods import config_of
from gnncomm.bench.reference import released
from gnncomm.cli import main
from gnncomm.cli.list import run as list_choices
from gnncomm.cli.training import arguments
from gnncomm.errors import ConfigError
from gnncomm.learn import TrainConfig
from gnncomm.learn.pqn import PQNConfig
from gnncomm.learn.reinforce import ReinforceConfig
from gnncomm.methods import METHODS
from gnncomm.policy import CommPolicy
from gnncomm.run import default_config
from gnncomm.store import RunDir
from gnncomm.topology import Ring

DOCS = Path(__file__).resolve().parents[2] / "docs" / "methods"


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_a_policy(name: str) -> None:
    method = getattr(gnncomm.methods, name)
    assert method is METHODS[name]
    assert method.name == name
    policy = method(7, 5, 4, hidden=16)
    assert isinstance(policy, CommPolicy)
    assert (policy.obs_dim, policy.num_actions, policy.hidden) == (7, 5, 16)


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_its_page(name: str) -> None:
    assert re.search(rf"^\| \[.*\]\((\w+)\.md\) \| `{name}` ", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)


@pytest.mark.parametrize("name", METHODS)
def test_how_the_paper_trains_a_method_is_said_where_it_is_offered(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The learner and losses that stand for it here, too."""
    how = METHODS[name].trained
    assert how or name in ("conv", "transformer"), "baselines without a paper on teams"
    row = re.search(rf"^\| \[.*\]\(\w+\.md\) \| `{name}` .*$", (DOCS / "index.md").read_text(encoding="utf-8"), re.M)
    assert row is not None
    training = dict(METHODS[name].training)
    losses = [f"losses `{training.pop('losses')}`"] if "losses" in training else []
    parts = [f"{part} `{text}`" for part, text in training.items()]
    assert f"| {', '.join([f'`{METHODS[name].learner}`', *losses, *parts])} |" in row[0]
    assert row[0].endswith(f"| {how or '(a baseline)'} |")
    if name == "schednet":
        monkeypatch.setenv("COLUMNS", "250")
        assert list_choices([]) == 0
        shown = capsys.readouterr().out
        assert "trained as in their papers by default" in shown
        assert f"(by a2c with the losses schednet; in the paper: {how})" in shown


@pytest.mark.parametrize("name", METHODS)
def test_one_seed_one_set_of_weights(name: str) -> None:
    first, again, other = (METHODS[name](7, 5, 4, hidden=16, seed=seed) for seed in (0, 0, 1))
    same = dict(again.named_parameters())
    assert all(value.equal(same[key]) for key, value in first.named_parameters())
    assert any(not value.equal(dict(other.named_parameters())[key]) for key, value in first.named_parameters())


def test_a_part_can_be_exchanged() -> None:
    policy = METHODS["commnet"](7, 5, 4, topology="ring", channel="loss:p=0.2")
    assert policy.wire.topology == Ring()
    with pytest.raises(ConfigError, match=r"commnet has no part 'topologie'. Did you mean 'topology'"):
        METHODS["commnet"](7, 5, 4, topologie="ring")


def test_what_a_method_does_not_say_is_not_inherited() -> None:
    """A recipe may ask for three rounds on a line: those are no parts of CommNet."""
    config = METHODS["commnet"].config(TrainConfig.of(rounds=3, topology="line", hidden=32, scheduler="topk:k=1"))
    assert (config.policy.rounds, config.wire.topology, config.wire.scheduler, config.policy.hidden) == (
        1,
        "full",
        "always",
        32,
    )


def test_the_command_line_takes_a_method_for_its_parts() -> None:
    args = arguments(["relay", "--comm", "ic3net", "--hidden", "32", "--topology", "ring"])
    assert (args.policy.comm, args.policy.integration, args.policy.memory) == ("mean", "previous", "lstm")
    assert args.wire.scheduler.startswith("gate")
    assert (args.wire.topology, args.policy.hidden, args.out) == ("ring", 32, "runs/relay-ic3net-0")
    assert arguments(["relay", "--comm", "mean"]).policy.integration == "after"


def test_a_method_is_trained_as_its_paper_does_unless_a_learner_is_named() -> None:
    own = arguments(["relay", "--comm", "maic", "--learner.mixer", "vdn"])
    assert isinstance(own.learner, PQNConfig)
    assert (own.learner.mixer, own.policy.losses, own.wire.codec) == ("vdn", "maic", "bottleneck:sigma=0.045,beta=0")
    common = arguments(["relay", "--comm", "maic", "--learner", "ppo", "--losses", "maic"])
    assert (common.learner, common.wire.codec) == (default_config("relay").learner, "float32")
    assert common.policy.losses == "maic"
    whole = arguments(["relay", "--comm", "ic3net", "--env-settings", "steps", "5"])
    assert isinstance(whole.learner, ReinforceConfig)
    assert whole.run.rollout == 5, "a whole episode"
    graph = arguments(["relay", "--comm", "commformer"]).learner
    assert graph == dataclasses.replace(default_config("relay").learner, graph_every=5), (
        "the recipe's, but for what is said"
    )


@pytest.mark.parametrize("learner", [[], ["--learner", "ppo"]])
def test_a_run_goes_on_as_it_was_begun(learner: list[str], tmp_path: Path) -> None:
    words = ["relay", "--comm", "schednet", "--out", str(tmp_path / "run"), "--num-envs", "8", "--hidden", "8"]
    words += ["--episodes", "0", "--rollout", "4"]
    assert main(["train", *words, *learner, "--steps", "64"]) == 0
    begun = RunDir.open(tmp_path / "run").config(TrainConfig)
    assert begun.policy.losses == ("" if learner else "schednet")
    assert main(["train", *words, "--resume", "--steps", "128"]) == 0
    after = RunDir.open(tmp_path / "run").config(TrainConfig)
    assert (after.learner, after.policy, after.wire) == (begun.learner, begun.policy, begun.wire)


def test_the_released_network_with_and_without_a_quirk() -> None:
    network = released("ic3net", 29, 5, 3, hidden=16)
    assert network.has("divisor")
    assert {"encoder.weight", "f_module.weight_ih", "C_modules.0.weight"} <= network.state_dict().keys()
    assert not released("ic3net", 29, 5, 3, hidden=16, without_quirks=["divisor"]).has("divisor")
    with pytest.raises(ConfigError, match=r"has no quirk 'divsor' to leave out. Did you mean 'divisor'"):
        released("ic3net", 29, 5, 3, without_quirks=["divsor"])


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if method.released])
def test_released_networks_come_in_the_sizes_of_a_task(name: str) -> None:
    network = released(name, 12, 5, 4, hidden=16)
    assert sum(parameter.numel() for parameter in network.parameters()) > 0 or name == "dial"


def test_without_recorded_numbers_there_is_no_released_network() -> None:
    with pytest.raises(ConfigError, match=r"no released network: use the clean one, gnncomm\.methods\.masia"):
        released("masia", 7, 5, 4)


def test_faithful_is_understood_for_one_version() -> None:
    with pytest.warns(DeprecationWarning, match=r"gnncomm\.bench\.reference\.released\('ic3net', \.\.\.\)") as told:
        network: Any = METHODS["ic3net"](29, 5, 3, hidden=16, faithful=True, mended=["divisor"])
    assert len(told) == 1
    assert told[0].filename == __file__
    assert not network.has("divisor")
    assert network.has("deaf")
    for name, value in released("ic3net", 29, 5, 3, hidden=16).state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_a_table_goes_on_from_its_file_and_refuses_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped after the first of three cells: its row is in the file, and is neither trained nor measured again."""
    file, ways = tmp_path / "table.json", [METHODS["commnet"], METHODS["schednet"]]
    told: dict[str, Any] = {"steps": 2_048, "episodes": 8, "file": file}
    first = next(iter(bench_methods(ways, "relay", tmp_path / "runs", **told)))
    assert read_rows(file) == [first]
    assert next(iter(bench_methods(ways, "relay", tmp_path / "runs", **told | {"file": None}))) == first, "not trained"
    assert RunDir.open(tmp_path / "runs/relay-commnet-0").config(TrainConfig).policy.memory == "lstm"
    assert first.bits == 2048  # a row of 64 numbers in float32
    spoiled = json.loads(file.read_text(encoding="utf-8"))
    spoiled["methods"][0]["muted"] = 0.123  # to be seen again
    file.write_text(json.dumps(spoiled), encoding="utf-8")
    shutil.rmtree(tmp_path / "runs")
    begun = "runs/relay-schednet-0"  # killed in the second cell, before its first checkpoint
    RunDir.create(tmp_path / begun, config_of(ways[1], "relay", 0, 2_048)).close()
    rows = list(bench_methods(ways, "relay", tmp_path / "runs", **told))
    assert (rows[0].muted, rows[1].method) == (0.123, "schednet")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["relay-schednet-0"]
    assert read_rows(file) == rows
    for changed, name in (({"steps": 4_096}, "env_steps 4096, got 2048"), ({"episodes": 9}, "episodes 9, got 8")):
        with pytest.raises(ConfigError, match=rf"table\.json: expected commnet \(common, seed 0\) .* {name}"):
            next(iter(bench_methods(ways, "relay", tmp_path / "other", **(told | changed))))
    words = ["bench", "methods", "--methods", "commnet", "--steps", "2048", "--json", str(file)]
    assert main([*words, "--env", "predator_prey"]) == 78
    assert "with env predator_prey, got relay. Name another file" in capsys.readouterr().err
    file.write_text('{"methods": [{"method": "commnet"}]}', encoding="utf-8")
    assert main([*words, "--env", "relay"]) == 78
    assert "expected measurements of methods to go on with" in capsys.readouterr().err
    assert not (tmp_path / "other").exists()
