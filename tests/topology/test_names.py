"""Topologies, channels and schedulers by name."""

from __future__ import annotations

import inspect
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, ClassVar, Literal

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnncomm import channel, schedule, topology
from gnncomm.errors import ConfigError
from gnncomm.registry import Registry, listed, make, snake_case
from gnncomm.topology import (
    Empty,
    ErdosRenyi,
    Exponential,
    FromFunction,
    FromNetworkx,
    Full,
    Grid2D,
    Hierarchical,
    KNearest,
    Line,
    LineOfSight,
    Radius,
    Ring,
    SmallWorld,
    Star,
    TimeSchedule,
    Topology,
)

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
        ("full:self_loops=1", Full(self_loops=True)),
        (" ring : k = 2 ", Ring(2)),
        ("ring|star", Ring() | Star()),
        ("full & radius:r=3", Full() & Radius(3.0)),
        ("ring | full & knn:k=1", Ring() | (Full() & KNearest(1))),
        ("(ring | full) & knn:k=1", (Ring() | Full()) & KNearest(1)),
        ("line | ring | star", (Line() | Ring()) | Star()),
        ("line | (ring | star)", Line() | (Ring() | Star())),
        ("((line))", Line()),
        ("~full", ~Full()),
        ("~~line", ~~Line()),
        ("~ring & star", ~Ring() & Star()),
        ("~(ring & star)", ~(Ring() & Star())),
        ("exponential.every(2)", Exponential().every(2)),
        ("radius:r=2.5.every( 3 )", Radius(2.5).every(3)),
        ("~line.every(2)", ~(Line().every(2))),
        ("(~line).every(2)", (~Line()).every(2)),
        ("(ring | star).every(2).every(3)", (Ring() | Star()).every(2).every(3)),
        ("ring | star.every(2)", Ring() | Star().every(2)),
        ("[ring]", TimeSchedule((Ring(),))),
        ("[ring; star | line]:period=5", TimeSchedule((Ring(), Star() | Line()), 5)),
        (
            "[[ring; line]; knn:k=2].every(2) & ~star",
            TimeSchedule((TimeSchedule((Ring(), Line())), KNearest(2))).every(2) & ~Star(),
        ),
        ("grid", Grid2D()),
        ("grid:columns=3", Grid2D(3)),
        ("grid:columns=none", Grid2D()),
        ("radius:r=1,ensure_connected=true", Radius(1.0, ensure_connected=True)),
        ("erdos_renyi:p=.2,seed=7", ErdosRenyi(0.2, seed=7)),
        ("small_world:k=2,p=.1", SmallWorld(2, 0.1)),
        ("hierarchical:groups=3", Hierarchical(3)),
        ("hierarchical:groups=3x4x3", Hierarchical((3, 4, 3))),
        ("line_of_sight:r=3,walls=..#x...", LineOfSight(3.0, ("..#", "..."))),
    ],
)
def test_read(text: str, thing: Topology) -> None:
    assert topology.resolve(text) == thing
    assert make("topology", text) == thing
    assert topology.resolve(thing) is thing


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("rng", ["Unknown topology 'rng'", "Did you mean 'ring'?", "Known: barabasi_albert, empty,"]),
        ("RING", ["Did you mean 'ring'?"]),
        ("knn", ["needs 'k'", "knn:k=VALUE"]),
        ("ring:kk=2", ["Unknown parameter 'kk'", "Known: k."]),
        ("line:k=2", ["Unknown parameter 'k'", "no parameters"]),
        ("knn:k=4.5", ["knn:k is int", "'4.5'"]),
        ("knn:k=many", ["knn:k is int", "'many'"]),
        ("radius:r=far", ["radius:r is float", "'far'"]),
        ("full:self_loops=2", ["bool", "self_loops=true", "'2'"]),
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
        ("time_schedule:period=2", ["Unknown topology 'time_schedule'"]),
        ("~", ["got 'nothing'"]),
        ("ring~", ["got '~'"]),
        ("~ | ring", ["got '|'"]),
        ("ring.every", ["Unknown topology 'ring.every'"]),
        ("ring.every()", [".every(k) takes 1 value(s), got 0"]),
        ("ring.every(2, 3)", [".every(k) takes 1 value(s), got 2"]),
        ("ring.every(two)", ["every:k is int", "'two'"]),
        ("ring.every(0)", ["expected k >= 1, got 0"]),
        ("ring.often(2)", ["Unknown topology 'ring.often'"]),
        (".every(2)", ["got '.every(2)'", "A.every(...)"]),
        ("[ring", ["missing ']'"]),
        ("[ring; star)", ["missing ']'"]),
        ("[]", ["got ']'"]),
        ("[ring;]", ["got ']'"]),
        ("ring; star", ["got ';'", "[A; B]"]),
        ("[ring]:often=2", ["Unknown parameter 'often'", "Known: period."]),
        ("[ring]:period=0", ["expected period >= 1"]),
        ("[ring] star", ["got 'star'"]),
        ("from_function:fn=f", ["no text form", "Build it in Python"]),
        ("hierarchical:groups=3xa", ["hierarchical:groups is", "'3xa'"]),
        ("line_of_sight:r=3,walls=..+", ["rows of equal length"]),
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
    st.builds(Radius, st.floats(0.1, 9), st.booleans()),
    st.builds(ErdosRenyi, st.floats(0, 1), seed=st.none() | st.integers(-9, 9)),
    st.builds(Hierarchical, st.integers(1, 9) | st.lists(st.integers(1, 9), min_size=2).map(tuple)),
    st.builds(Grid2D, st.none() | st.integers(1, 9)),
    st.builds(LineOfSight, st.floats(0, 9), st.just(("..#", "#.."))),
)
trees = st.recursive(
    single,
    lambda part: st.one_of(
        st.builds(lambda a, b, either: a | b if either else a & b, part, part, st.booleans()),
        part.map(lambda a: ~a),
        st.builds(lambda a, k: a.every(k), part, st.integers(1, 5)),
        st.builds(TimeSchedule, st.lists(part, min_size=1, max_size=3).map(tuple), st.integers(1, 4)),
    ),
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
    registry = room.REGISTRY
    combining = {*registry.operators.values(), *registry.prefixes.values(), *registry.suffixes.values()}
    public = {getattr(room, name) for name in room.__all__ if isinstance(getattr(room, name), type)}
    concrete = {cls for cls in public if issubclass(cls, registry.base) and not inspect.isabstract(cls)}
    assert set(listing.values()) == concrete - combining - {registry.sequence, registry.base}


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
    with pytest.raises(ConfigError, match="no text form"):
        topology.spec_of(Ring() | ~FromFunction(lambda alive, pos, step, key: torch.zeros(1, 1)))
    with pytest.raises(ConfigError, match="no text form"):
        topology.spec_of(Hierarchical((3,)))

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
    return Registry("thing", Thing, listed("users_own", Thing))


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
