"""Topologies, channels and schedulers by name."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gnncomm import channel, schedule, topology
from gnncomm.errors import ConfigError
from gnncomm.registry import Registry, snake_case
from gnncomm.topology import Empty, FromNetworkx, Full, KNearest, Line, Radius, Ring, Star, Topology

ROOMS: list[Any] = [topology, channel, schedule]


@pytest.mark.parametrize(
    ("text", "thing"),
    [
        ("ring", Ring()),
        ("knn:k=4", KNearest(4)),
        ("k_nearest:k=4", KNearest(4)),
        ("none", Empty()),
        ("radius:r=2.5", Radius(2.5)),
        ("radius:r=2", Radius(2.0)),
        ("full:self_loops=true", Full(self_loops=True)),
        ("full:self_loops=False", Full()),
        (" ring : k = 2 ", Ring(2)),
        ("ring|star", Ring() | Star()),
        ("full & radius:r=3", Full() & Radius(3.0)),
        ("ring | full & knn:k=1", Ring() | (Full() & KNearest(1))),
        ("(ring | full) & knn:k=1", (Ring() | Full()) & KNearest(1)),
        ("line | ring | star", (Line() | Ring()) | Star()),
        ("line | (ring | star)", Line() | (Ring() | Star())),
        ("((line))", Line()),
    ],
)
def test_read(text: str, thing: Topology) -> None:
    assert topology.resolve(text) == thing
    assert callable(topology)
    assert topology(text) == thing, "the package is called like a function"
    assert topology.resolve(thing) is thing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rng", ["Unknown topology 'rng'", "Did you mean 'ring'?", "Known: empty,"]),
        ("RING", ["Did you mean 'ring'?"]),
        ("knn", ["needs 'k'", "knn:k=VALUE"]),
        ("ring:kk=2", ["Unknown parameter 'kk'", "Known: k."]),
        ("line:k=2", ["Unknown parameter 'k'", "no parameters"]),
        ("knn:k=4.5", ["knn:k is int", "'4.5'"]),
        ("knn:k=many", ["knn:k is int", "'many'"]),
        ("radius:r=far", ["radius:r is float", "'far'"]),
        ("full:self_loops=1", ["bool", "self_loops=true", "'1'"]),
        ("knn:k=-1", ["expected k >= 1, got -1"]),
        ("knn:k=1,k=2", ["'k=2'"]),
        ("knn:k", ["got 'k'"]),
        ("knn:k=", ["got 'k='"]),
        ("knn:", ["got ''"]),
        ("", ["got 'nothing'"]),
        ("ring |", ["got 'nothing'"]),
        ("| ring", ["got '|'"]),
        ("ring star", ["Unknown topology 'ring star'"]),
        ("(ring", ["missing ')'"]),
        ("ring)", ["got ')'"]),
        ("ring (star)", ["got '('"]),
        ("from_networkx:graph=g", ["no text form", "Build it in Python"]),
        ("union", ["Unknown topology 'union'"]),
        ("topology", ["Unknown topology"]),
        ("os.system:command=ls", ["Unknown topology 'os.system'"]),
    ],
)
def test_unreadable(text: str, words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        topology.resolve(text)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("value", [None, 3, Ring, ["ring"]])
def test_neither_name_nor_thing(value: Any) -> None:
    with pytest.raises(ConfigError, match="Expected a topology or its name"):
        topology.resolve(value)


single = st.one_of(
    st.builds(Ring, st.integers(1, 10**9)),
    st.builds(KNearest, st.integers(1, 9)),
    st.builds(Radius, st.floats(0, allow_nan=False)),
    st.builds(Star, st.integers(0, 9)),
    st.builds(Full, st.booleans()),
    st.just(Line()),
)
trees = st.recursive(
    single,
    lambda part: st.builds(lambda a, b, either: a | b if either else a & b, part, part, st.booleans()),
    max_leaves=6,
)


@given(trees)
def test_round_trip(thing: Topology) -> None:
    assert topology.resolve(topology.spec_of(thing)) == thing


@pytest.mark.parametrize("room", ROOMS)
def test_names_lists_what_the_package_imports(room: Any) -> None:
    listing = room.listing()
    assert room.names() == list(listing) == sorted(listing)
    for name, cls in listing.items():
        assert getattr(room, cls.__name__) is cls
        assert snake_case(cls.__name__) == name
    public = {name for name in room.__all__ if isinstance(getattr(room, name), type)}
    abstract = {"Topology", "StaticTopology", "GeometricTopology", "Union", "Intersection", "Channel", "Scheduler"}
    assert {cls.__name__ for cls in listing.values()} == public - abstract


def test_the_other_rooms() -> None:
    assert channel.resolve("loss:p=.2") == channel.Loss(0.2)
    assert channel.spec_of(channel.Loss(0.2)) == "loss:p=0.2"
    assert channel.resolve("ideal") == channel.Ideal()
    assert isinstance(schedule.resolve("always"), schedule.Always)
    assert schedule.spec_of(schedule.Always()) == "always"
    with pytest.raises(ConfigError, match=r"Unknown channel 'los'\. Did you mean 'loss'"):
        channel.resolve("los")
    with pytest.raises(ConfigError, match="expected 0 <= p <= 1, got 2"):
        channel.resolve("loss:p=2")


def test_some_things_have_no_text_form() -> None:
    with pytest.raises(ConfigError, match="no text form"):
        topology.spec_of(FromNetworkx(nx.path_graph(2)))

    @dataclass(frozen=True)
    class Mine(Line):
        pass

    with pytest.raises(ConfigError, match="Mine has no name"):
        topology.spec_of(Mine())
    assert topology.resolve(Mine()) == Mine(), "an instance needs no name"


@dataclass(frozen=True)
class Thing:
    aliases: ClassVar[tuple[str, ...]] = ()


@dataclass(frozen=True)
class EveryKind(Thing):
    aliases = ("ek",)

    shape: tuple[int, ...] = (2, 3)
    mode: Literal["fast", "slow"] = "fast"
    limit: int | None = None
    label: str = "plain"
    scales: tuple[float, ...] = field(default=(0.5,))


class OrdinaryClass(Thing):
    def __init__(self, count: int, *, ratio: float = 0.5) -> None:
        object.__setattr__(self, "count", count)
        object.__setattr__(self, "ratio", ratio)


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Registry[Thing]:
    """A user's own package with things of its own."""
    module = ModuleType("users_own")
    vars(module).update(Thing=Thing, EveryKind=EveryKind, OrdinaryClass=OrdinaryClass)
    monkeypatch.setitem(sys.modules, "users_own", module)
    return Registry(Thing, "users_own")


def test_every_kind_of_parameter(room: Registry[Thing]) -> None:
    assert room.names() == ["every_kind", "ordinary_class"]
    text = "every_kind:shape=4x5x6,mode=slow,limit=7,label=bold,scales=0.1x2.0"
    thing = EveryKind((4, 5, 6), "slow", 7, "bold", (0.1, 2.0))
    assert room.resolve(text) == thing
    assert room.spec_of(thing) == text
    assert room.resolve("ek:limit=none") == EveryKind()
    assert room.spec_of(EveryKind()) == "every_kind"
    ordinary = room.resolve("ordinary_class:count=3,ratio=.25")
    assert room.spec_of(ordinary) == "ordinary_class:count=3,ratio=0.25"
    assert room.spec_of(room.resolve("ordinary_class:count=3")) == "ordinary_class:count=3"
    for wrong in ("ek:mode=medium", "ek:shape=4xa", "ek:limit=some"):
        with pytest.raises(ConfigError, match="expected"):
            room.resolve(wrong)
    for label in ("a|b", "a b", "a,b", "(a)", ""):
        with pytest.raises(ConfigError, match="no text form"):
            room.spec_of(EveryKind(label=label))


@pytest.mark.parametrize(
    ("name", "snake"),
    [
        ("KNearest", "k_nearest"),
        ("Ring", "ring"),
        ("ErdosRenyi", "erdos_renyi"),
        ("OnePeerExponential", "one_peer_exponential"),
        ("Grid2D", "grid2d"),
        ("FromNetworkx", "from_networkx"),
    ],
)
def test_snake_case(name: str, snake: str) -> None:
    assert snake_case(name) == snake
