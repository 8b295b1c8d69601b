"""Names of one's own: registered in a script, or brought by an installed package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

import gnncomm
from gnncomm import environments, envs, registry
from gnncomm.channel import Channel, Loss
from gnncomm.errors import ConfigError
from gnncomm.layers import CommLayer, MAICComm, MeanComm
from gnncomm.policy.memory import GRU
from gnncomm.registry import KINDS, describe, described, registry_of
from gnncomm.store.loggers import CsvLogger
from gnncomm.topology import Line, Topology

Install = Callable[..., None]

PACKAGE = '''
"""A package of somebody else."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnncomm.layers import MeanComm
from gnncomm.topology import Hierarchical, Line

if TYPE_CHECKING:
    from fractions import Fraction


class Loud(MeanComm):
    """Says it louder.

    Args:
        gain: how much louder.
    """

    def __init__(self, in_channels: int, out_channels: int, gain: float = 2.0) -> None:
        super().__init__(in_channels, out_channels)
        self.by = gain


@dataclass(frozen=True)
class Queue(Line):
    """A line."""


@dataclass(frozen=True)
class Ranks(Hierarchical):
    """A dataclass whose fields have the types of another module."""

    order: bool = False


class Hinted(MeanComm):
    """A type that is not there at run time."""

    def __init__(self, in_channels: int, out_channels: int, share: Fraction = None) -> None:
        super().__init__(in_channels, out_channels)


def soft(in_channels: int, out_channels: int, gain: float = 0.5) -> Loud:
    """Says it softly."""
    return Loud(in_channels, out_channels, gain)


def wrong(in_channels: int) -> str:
    return "no layer"


class Maker:
    """An object that makes layers."""

    def __call__(self, in_channels: int, out_channels: int, gain: float = 2.0) -> Loud:
        return Loud(in_channels, out_channels, gain)


maker = Maker()
part = functools.partial(Loud, gain=0.125)
three = 3
'''


@pytest.fixture
def theirs(installed: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Packages ``their_package`` and ``broken_package`` can be imported; entry points are what the test says."""
    (tmp_path / "their_package.py").write_text(PACKAGE)
    (tmp_path / "broken_package.py").write_text("import sys\nsys.exit('not today')\n")
    (tmp_path / "leaving_package.py").write_text("class Skip(BaseException): pass\nraise Skip('not here')\n")
    (tmp_path / "failing_package.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield installed
    for name in ("their_package", "broken_package", "failing_package"):
        sys.modules.pop(name, None)


def make_layer(text: str) -> CommLayer:
    made: CommLayer = gnncomm.make("layer", text, in_channels=8, out_channels=8)
    return made


def test_a_registered_layer_is_named_like_one_of_the_house(installed: Install) -> None:
    @gnncomm.register("layer", "gated_sum")
    class GatedSum(MeanComm):
        """A gated sum."""

        def __init__(self, in_channels: int, out_channels: int, heads: int = 2, own: bool = False) -> None:
            super().__init__(in_channels, out_channels)
            self.count, self.with_itself = heads, own

    layer = make_layer("gated_sum:heads=3,own=1")
    assert isinstance(layer, GatedSum)
    assert (layer.count, layer.with_itself, layer.out_channels) == (3, True, 8)
    installed("gnncomm.envs", relay="gnncomm.envs.relay:Relay")
    rooms = registry_of("layer")
    assert rooms.spec_of(layer, in_channels=8, out_channels=8) == "gated_sum:heads=3,own=true"
    assert "gated_sum" in rooms.names()
    assert describe("layer", "gated_sum").origin == "register()"
    with pytest.raises(ConfigError, match="Did you mean 'gated_sum'"):
        make_layer("gated_sun")
    with pytest.raises(ConfigError, match=r"Unknown parameter 'head' of layer 'gated_sum'\. Did you mean 'heads'"):
        make_layer("gated_sum:head=3")
    config = gnncomm.default_config("relay", comm="gated_sum >> mean", rounds=2, steps=64, num_envs=8, rollout=4)
    with pytest.raises(ConfigError, match="Unknown memory 'their'"):
        gnncomm.train(gnncomm.default_config("relay", memory="their", steps=64, num_envs=8, rollout=4))
    assert isinstance(gnncomm.train(config).policy.comm.rounds[0], GatedSum)


@pytest.mark.usefixtures("installed")
def test_names_that_are_refused() -> None:
    class Again(MeanComm):
        pass

    for name in ("mean", "gatv2", "conv"):
        with pytest.raises(ConfigError, match=f"got '{name}', which is .*gnncomm.* Choose another"):
            gnncomm.register("layer", name, Again)
    for kind, name in (("topology", "knn"), ("codec", "int4"), ("method", "ic3net")):
        thing = {"topology": Line, "codec": torch.nn.Identity, "method": gnncomm.methods.commnet}[kind]
        with pytest.raises(ConfigError):
            gnncomm.register(kind, name, thing)
    for name in ("", "two words", "a:b", "a>>b", "os.system", "3d"):
        with pytest.raises(ConfigError, match="a name of letters, digits, underscores and hyphens"):
            gnncomm.register("layer", name, Again)
    with pytest.raises(ConfigError, match=r"Expected a kind of things, got 'layr'\. Did you mean 'layer'"):
        gnncomm.register("layr", "again", Again)
    with pytest.raises(ConfigError, match="to be a CommLayer, got the class Loss"):
        gnncomm.register("layer", "again", Loss)
    with pytest.raises(ConfigError, match="to be a class or a function that makes a layer, got int"):
        gnncomm.register("layer", "again", 3)
    gnncomm.register("layer", "again", Again)
    with pytest.raises(ConfigError, match=r"got 'again', which is .*Again \(register\(\)\)"):
        gnncomm.register("layer", "again", MeanComm)


@pytest.mark.usefixtures("installed")
def test_a_cell_that_is_run_again_replaces_the_class() -> None:
    def cell() -> type[Topology]:
        @gnncomm.register("topology", "ahead")
        @dataclass(frozen=True)
        class Ahead(Line):
            pass

        return Ahead

    first, second = cell(), cell()
    assert first is not second
    assert type(gnncomm.make("topology", "~ahead | ring").left.inner) is second
    assert gnncomm.topology.spec_of(~second()) == "~ahead"


def test_a_package_brings_names(theirs: Install) -> None:
    theirs("gnncomm.layers", loud="their_package:Loud", soft="their_package:soft")
    theirs("gnncomm.topologies", queue="their_package:Queue", ranks="their_package:Ranks")
    assert "loud" in registry_of("layer").names()
    assert make_layer("mean").out_channels == 8
    assert gnncomm.make("topology", "full")
    assert "their_package" not in sys.modules, "a name of the house imports nobody else's package"
    loud = make_layer("loud:gain=3")
    assert type(loud).__name__ == "Loud"
    assert registry_of("layer").spec_of(loud) == "loud:in_channels=8,out_channels=8,gain=3.0"
    soft = make_layer("soft:gain=0.25")
    assert registry_of("layer").spec_of(soft, in_channels=8, out_channels=8) == "soft:gain=0.25"
    assert registry_of("layer").spec_of(make_layer("soft"), in_channels=8, out_channels=8) == "soft"
    assert gnncomm.topology.spec_of(gnncomm.topology.resolve("queue & ring")) == "queue & ring"
    theirs("gnncomm.layers", maker="their_package:maker", part="their_package:part")
    assert (make_layer("maker:gain=4").by, make_layer("part").by, make_layer("part:gain=8").by) == (4, 0.125, 8)
    assert registry_of("layer").spec_of(make_layer("maker:gain=4"), in_channels=8, out_channels=8) == "maker:gain=4.0"
    ranks = gnncomm.topology.resolve("ranks:groups=3x4,order=true")
    assert (ranks.groups, ranks.order) == ((3, 4), True)
    assert gnncomm.topology.spec_of(ranks) == "ranks:groups=3x4,order=true"
    (parameter,) = describe("layer", "loud").parameters
    assert (parameter.name, parameter.type, parameter.default, parameter.line) == (
        "gain",
        "float",
        "2.0",
        "how much louder.",
    )


def test_a_broken_package_breaks_nothing_else(theirs: Install) -> None:
    theirs(
        "gnncomm.layers",
        loud="their_package:Loud",
        gone="their_package:Gone",
        quits="broken_package:Layer",
        leaves="leaving_package:Layer",
        fails="failing_package:Layer",
        absent="no_such_package:Layer",
        number="their_package:three",
        odd="their_package:Queue",
        hinted="their_package:Hinted",
    )
    theirs("gnncomm.layers", **{"two words": "their_package:Loud", "wrong": "their_package:wrong"})
    told = {one.name: one.trouble for one in described("layer")}
    assert {name for name, trouble in told.items() if trouble} == {
        "gone", "quits", "leaves", "fails", "absent", "number", "odd", "two words", "hinted",
    }  # fmt: skip
    assert "AttributeError" in told["gone"]
    assert "SystemExit: not today" in told["quits"]
    assert "Skip: not here" in told["leaves"]
    assert "ZeroDivisionError" in told["fails"]
    assert "No module named 'no_such_package'" in told["absent"]
    assert "Queue" in told["odd"]
    assert "name 'Fraction' is not defined" in told["hinted"]
    assert isinstance(make_layer("loud"), MeanComm)
    assert isinstance(make_layer("mean"), MeanComm)
    with pytest.raises(ConfigError, match=r"layer 'fails' of .*failing_package:Layer cannot be used: .*ZeroDiv"):
        make_layer("fails")
    with pytest.raises(ConfigError, match="Expected a layer from the function called 'wrong', got str"):
        make_layer("wrong")
    assert "gone" not in registry_of("layer").listing()


def test_a_name_for_two_things_is_refused_where_it_is_used(theirs: Install) -> None:
    theirs(
        "gnncomm.layers",
        loud="their_package:Loud",
        mean="their_package:Loud",
        maic=f"{MAICComm.__module__}:{MAICComm.__name__}",
    )
    theirs("gnncomm.layers", loud="their_package:soft")
    with pytest.raises(ConfigError, match=r"one layer 'loud'.*their_package:Loud.*their_package:soft"):
        make_layer("loud")
    with pytest.raises(ConfigError, match=r"one layer 'mean', got gnncomm.layers.mean:MeanComm \(gnncomm\) and their"):
        make_layer("mean")
    assert make_layer("maic").out_channels == 8, "the same thing twice is one thing"
    assert make_layer("attention").out_channels == 8


def test_packages_are_looked_for_once(theirs: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs("gnncomm.envs", relay="gnncomm.envs.relay:Relay")
    from gnncomm.registry import table

    asked = []
    found = table.entry_points
    with monkeypatch.context() as counted:  # undone before the fixture is
        counted.setattr(table, "entry_points", lambda: asked.append(1) or found())
        registry.reread()
        for _ in range(3):
            envs.make("relay")
            make_layer("mean")
    assert len(asked) == 1


def test_one_of_every_kind_can_be_added(theirs: Install) -> None:
    groups = "layers topologies schedulers codecs channels memories learners envs loggers encoders critics methods"
    assert {kind.group for kind in KINDS.values()} >= {f"gnncomm.{plural}" for plural in groups.split()}
    for kind in KINDS:
        base = registry_of(kind).base
        thing = gnncomm.methods.commnet if kind == "method" else type("Mine", (base,), {"__doc__": "Mine."})
        gnncomm.register(kind, "mine", thing)
        assert registry_of(kind).find("mine") is thing
        assert "mine" in [one.name for one in described(kind)]
        theirs(KINDS[kind].group, theirs="no_such_package:Thing")
        assert describe(kind, "theirs").trouble


def test_a_registered_environment_is_made_by_id(installed: Install) -> None:
    relay = importlib.import_module("gnncomm.envs.relay").Relay

    def whisper(num_envs: int, device: str, observation: str, symbols: int = 2) -> envs.GridEnv:
        """A relay of two."""
        made: envs.GridEnv = relay(num_envs, device, observation, num_agents=2, num_symbols=symbols)
        return made

    gnncomm.register("env", "whisper", whisper)
    assert envs.make("whisper", num_envs=3, symbols=4).num_actions == 4
    assert environments.summaries() == {"whisper": "A relay of two."}


TEXTS = {
    "layer": [
        "attention:heads=2,own=true",
        "mean:msg_channels=3",
        "conv:name=gat,heads=2",
        "graph",
        "magic:average=true",
    ],
    "topology": ["knn:k=2 & ~ring.every(3)"],
    "scheduler": ["gate:price=0.5", "topk:k=2"],
    "codec": ["int4:limit=2.0", "dithered", "keep_largest:k=3"],
    "channel": ["loss:p=0.5 + delay:steps=2"],
    "encoder": ["linear"],
    "memory": ["gru", "lstm", "none"],
    "critic": ["local", "central"],
    "curriculum": ["linear:start=1.0,end=2.0"],
    "learner": ["ppo:lr=0.5,value_clip=false"],
    "method": ["ic3net"],
}
SIZES = {"in_channels": 8, "out_channels": 8, "channels": 8, "hidden": 8, "num_agents": 3, "obs_dim": 5}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TEXTS.items() for text in texts])
def test_a_thing_is_written_as_it_was_read(kind: str, text: str) -> None:
    names = registry_of(kind)
    made = names.resolve(text, **SIZES)
    short, long = names.spec_of(made, **SIZES), names.spec_of(made)
    for again in (names.resolve(short, **SIZES), names.resolve(long)):
        assert type(again) is type(made)
        assert (names.spec_of(again, **SIZES), names.spec_of(again)) == (short, long)
        if isinstance(made, torch.nn.Module):
            assert repr(again) == repr(made)
            assert {key: value.shape for key, value in again.state_dict().items()} == {
                key: value.shape for key, value in made.state_dict().items()
            }
        else:
            assert again == made


def test_what_was_made_by_hand_has_a_text_too() -> None:
    layers, memories = registry_of("layer"), registry_of("memory")
    assert layers.spec_of(MeanComm(8, 8), **SIZES) == "mean"
    assert layers.spec_of(MeanComm(8, 4, msg_channels=8), **SIZES) == "mean:out_channels=4,msg_channels=8"
    assert memories.spec_of(GRU(8), **SIZES) == "gru"
    assert memories.spec_of(GRU(hidden=9), **SIZES) == "gru:hidden=9"
    loggers = registry_of("logger")
    assert loggers.spec_of(loggers.resolve("csv:file=a.csv", folder="."), folder=".") == "csv:file=a.csv"
    with pytest.raises(ConfigError, match="CsvLogger does not say what its 'folder' was"):
        loggers.spec_of(CsvLogger("."))
    with pytest.raises(ConfigError, match="Mine has no name"):
        layers.spec_of(type("Mine", (MeanComm,), {})(8, 8))


@pytest.mark.parametrize(
    "text", ["gnncomm.layers.mean:MeanComm", "os:system", "layers/mean", "builtins.print", "__class__"]
)
def test_a_text_reaches_nothing_but_the_table(text: str) -> None:
    with pytest.raises(ConfigError):
        make_layer(text)


@pytest.mark.parametrize(
    ("kind", "text", "sizes"),
    [
        ("critic", "ippo:hidden=3", {"hidden": 8}),
        ("memory", "gru:hidden=3", {"hidden": 8}),
        ("scheduler", "request:num_agents=3", {"in_channels": 8, "num_agents": 4}),
        ("logger", "csv:folder=elsewhere", {"folder": "run"}),
    ],
)
def test_a_text_cannot_say_what_the_house_gives(kind: str, text: str, sizes: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="Leave it out"):
        gnncomm.make(kind, text, **sizes)


@pytest.mark.parametrize("word", ["../mine", "/mine", "a b", "~", "$HOME", "a\\b"])
def test_what_is_text_in_a_text_is_a_word(word: str) -> None:
    with pytest.raises(ConfigError):
        gnncomm.make("logger", f"csv:file={word}.csv", folder="run")


def test_every_thing_of_the_house_says_what_it_is() -> None:
    for kind in KINDS:
        for one in described(kind):
            if one.origin == "gnncomm":
                assert one.line, (kind, one.name)
                assert not one.trouble


def test_channels_and_rounds_have_signs_of_their_own() -> None:
    both = gnncomm.make("channel", "loss:p=0.5 + loss:p=0.1")
    assert isinstance(both, Channel)
    with pytest.raises(ConfigError):
        gnncomm.make("channel", "loss:p=0.5 >> loss:p=0.1")
