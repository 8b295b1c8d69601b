"""``gnncomm list``: everything, some kinds, one thing; for people and for programs."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

import gnncomm
from gnncomm.cli import main
from gnncomm.layers import MeanComm
from gnncomm.registry import KINDS, registry_of


def says(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(words) == 0
    return capsys.readouterr().out


def test_one_layer_with_its_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    text = says(["list", "layer", "attention"], capsys)
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0] == "layer attention"
    assert "from gnncomm" in lines
    assert "given where it is used: in_channels, out_channels" in lines
    assert "heads=4 int. number of attention heads." in lines
    assert "value_channels=none int | None. per head; None takes out_channels / heads." in lines
    assert "own=false bool. whether an agent attends to itself as well." in lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["topology", "knn"], "topology k_nearest, also knn"),
        (["codecs", "int4"], "codec quantise"),
        (["layers", "gatv2"], "layer conv"),
        (["method", "ic3net"], "scheduler=gate:first_silent=true"),
        (["env", "traffic_junction"], "protocols: traffic_junction/easy-v0"),
        (["environments", "relay"], "num_symbols=8"),
        (["memory", "gru"], "Gated recurrent unit"),
        (["learner", "ppo"], "lr=0.001"),
        (["curricula", "linear"], "finish=1.0"),
    ],
)
def test_one_thing_by_any_of_its_names(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in says(["list", *words], capsys)


def test_kinds_in_the_singular_and_the_plural(capsys: pytest.CaptureFixture[str]) -> None:
    for kind in KINDS.values():
        assert says(["list", kind.name], capsys) == says(["list", kind.plural, kind.name], capsys)


def test_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(says(["list", "layers", "channels", "--json"], capsys))
    assert list(told) == ["layers", "channels"]
    layers = {one["name"]: one for one in told["layers"]}
    assert list(layers) == registry_of("layer").names()
    own = next(item for item in layers["attention"]["parameters"] if item["name"] == "own")
    assert (own["type"], own["default"]) == ("bool", "false")
    assert layers["attention"]["given"] == ["in_channels", "out_channels"]
    for layer in layers.values():  # what is told can be said
        text = ",".join(f"{item['name']}={item['default']}" for item in layer["parameters"])
        made = gnncomm.make("layer", f"{layer['name']}:{text}" if text else layer["name"], **SIZES)
        assert registry_of("layer").spec_of(made, **SIZES) == layer["name"]
    one = json.loads(says(["list", "env", "predator_prey", "--json"], capsys))
    assert "10x10-5-v0" in one["protocols"]
    assert "num_envs" not in [item["name"] for item in one["parameters"]]
    everything = json.loads(says(["list", "--json"], capsys))
    assert list(everything) == [kind.plural for kind in KINDS.values()]


SIZES = {"in_channels": 8, "out_channels": 8, "channels": 8}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["layer", "atention"], "Did you mean 'attention'"),
        (["layrs"], "Did you mean 'layer"),
        (["layers", "channels", "mean"], "Expected a kind of things, got 'mean'"),
    ],
)
def test_what_there_is_not(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", *words]) == 78
    assert said in capsys.readouterr().err


def test_what_others_bring_and_what_is_broken(
    installed: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    installed("gnncomm.layers", theirs="no_such_package:Layer", again="gnncomm.layers.mean:MeanComm")
    gnncomm.register("layer", "mine", type("Mine", (MeanComm,), {"__doc__": "Mine, said in [one] line."}))
    rows = {line.split()[0]: " ".join(line.split()) for line in says(["list", "layers"], capsys).splitlines()}
    assert rows["mine"] == "mine Mine, said in [one] line. msg_channels=none (from register())"
    assert rows["theirs"].startswith("theirs cannot be used (the entry point no_such_package:Layer): ")
    assert "No module named 'no_such_package'" in rows["theirs"]
    assert rows["again"].startswith("again The communication step of CommNet")
    assert "cannot be used: no_such_package:Layer cannot be imported" in says(["list", "layer", "theirs"], capsys)


def test_a_list_loads_what_it_shows() -> None:
    """Layers need torch_geometric; the parts of the wire and environments do not, and nothing needs the compiler."""
    code = (
        "import sys; from gnncomm.cli import main; main(sys.argv[1:]); "
        "print({'torch_geometric', 'torch._dynamo'} & set(sys.modules), file=sys.stderr)"
    )
    words = ["list", "envs", "topologies", "codecs", "channels"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "set()"
