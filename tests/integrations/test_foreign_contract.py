"""One foreign environment as rows: what is read from it, and how each breach of its contract is named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium import spaces

from gnncomm.integrations import kinds
from gnncomm.integrations.foreign import Slot
from gnncomm.integrations.form import Form, Task
from gnncomm.integrations.sources import BreachError, SettingError, build

LEFT, MID, RIGHT = range(3)


def task(source: str = "strange_envs", kind: Any = "pettingzoo", **changes: Any) -> Task:
    own: dict[str, Any] = {"pos_slice": None, "pos_function": None, "strict": True, "newcomers": False, "fresh": False}
    own |= {name: changes.pop(name) for name in list(changes) if name in own}
    return Task(kind=kind, source=source, settings=changes, first=0, count=1, **own)


class Driven:
    """A slot with a record of its own."""

    def __init__(self, **changes: Any) -> None:
        what = task(**changes)
        self.slot = Slot(build(what), what)
        self.slot.form = Form(**{**vars(self.slot.form), "coordinates": self.slot.measure_positions()})
        self.records = np.zeros(1, self.slot.form.record())

    def reset(self, seed: int = 0) -> Any:
        self.slot.reset(seed, self.records, 0)
        return self.records[0]

    def step(self, *actions: int) -> Any:
        self.slot.step(np.array(actions), self.records, 0)
        return self.records[0]


def test_form() -> None:
    form = Driven().slot.form
    assert form == Form(["left_0", "mid_0", "right_0"], [2, 3, 3], [2, 3, 3], masked=False, coordinates=0)
    assert (form.width, form.num_actions, form.offers_mask) == (3, 3, True)
    assert Form.decode(form.encode()) == form
    assert Task.decode(task(length=3).encode()) == task(length=3)


def test_rows_are_padded_and_actions_shifted() -> None:
    driven = Driven()
    first = driven.reset(seed=5)
    noise = np.float32(np.random.default_rng(5).random())
    assert first["obs"].tolist() == [[noise, 0, 0], [noise, 0, 0], [noise, 0, 0]]
    assert first["mask"].tolist() == [[True, True, False], [True] * 3, [True] * 3]
    assert first["alive"].all()
    assert first["discount"].all()
    after = driven.step(1, 0, 2)
    assert driven.slot.env.acted == {"left_0": 1, "mid_0": 1, "right_0": 3}, "Discrete(3, start=1)"
    assert after["reward"].tolist() == [1, 1, 3]
    assert after["obs"][LEFT].tolist()[1:] == [1, 0], "the time, then padding"
    assert after["obs"][MID].tolist()[1:] == [1, 5]
    assert not after["success"]
    assert driven.step(1, 2, 2)["success"]


def test_who_terminates_is_gone() -> None:
    driven = Driven(death=2, end="terminate")
    driven.reset()
    driven.step(0, 0, 0)
    died = driven.step(1, 0, 0)
    assert died["alive"].tolist() == [False, True, True]
    assert died["discount"].tolist() == [False, True, True]
    assert died["reward"].tolist() == [1, 1, 1], "the last reward counts"
    assert not died["obs"][LEFT].any()
    after = driven.step(1, 0, 0)
    assert driven.slot.env.acted == {"mid_0": 1, "right_0": 1}
    assert after["reward"].tolist() == [0, 1, 1]
    last = driven.step(0, 0, 0)
    assert (last["terminated"], last["truncated"]) == (True, False)
    assert not last["alive"].any()
    assert not last["discount"].any()


@pytest.mark.parametrize(
    ("end", "flags", "alive"),
    [
        ("terminate", (True, False), [False, False, False]),
        ("truncate", (False, True), [True, True, True]),
        ("mixed", (False, True), [False, True, False]),
        ("both", (True, False), [False, False, False]),
    ],
)
def test_ends(end: str, flags: tuple[bool, bool], alive: list[bool]) -> None:
    """Whose return was cut keeps its row and its discount, and shows what it saw last."""
    driven = Driven(length=1, end=end)
    driven.reset()
    last = driven.step(0, 0, 0)
    assert (last["terminated"], last["truncated"]) == flags
    assert last["alive"].tolist() == alive
    assert last["discount"].tolist() == alive
    assert (last["obs"][:, 1] == 1).tolist() == alive


def test_who_is_cut_while_others_go_on_is_gone_and_leaves_what_it_saw() -> None:
    driven = Driven(end="cut_one")
    driven.reset()
    driven.step(0, 0, 0)
    after = driven.step(0, 0, 0)
    assert after["discount"].tolist() == [True, True, True], "its return goes on, unobserved"
    assert after["alive"].tolist() == [True, True, False]
    assert after["cut"].tolist() == [False, False, True]
    assert after["obs"][RIGHT, 1] == 2, "the time, as observed with the truncation"
    assert (after["terminated"], after["truncated"]) == (False, False)
    later = driven.step(0, 0, 0)
    assert not later["cut"].any()
    assert not later["obs"][RIGHT].any()
    assert later["discount"].tolist() == [True, True, False]


def test_who_is_cut_without_an_observation_has_no_return_to_come() -> None:
    driven = Driven(end="cut_one", fault="no_view_of_cut")
    driven.reset()
    driven.step(0, 0, 0)
    after = driven.step(0, 0, 0)
    assert after["discount"].tolist() == [True, True, False]
    assert not after["cut"].any()


@pytest.mark.parametrize(
    ("place", "wanted"), [({"pos_slice": (1, 2)}, [2.0]), ({"pos_function": "strange_envs:where"}, [2.0, 1.0])]
)
def test_who_is_cut_stands_where_it_was_last_seen(place: dict[str, Any], wanted: list[float]) -> None:
    """By its own last observation, or where the user's function last knew it."""
    driven = Driven(end="cut_one", **place)
    driven.reset()
    driven.step(0, 0, 0)
    assert driven.step(0, 0, 0)["pos"][RIGHT].tolist() == wanted


def test_own_masks() -> None:
    driven = Driven(masked=True)
    assert driven.reset()["mask"].tolist() == [[False, True, False], [False, True, True], [False, True, True]]
    assert driven.step(1, 1, 1)["mask"].tolist() == [[True, False, False], [True, False, True], [True, False, True]]
    assert driven.slot.form.widths == [2, 3, 3]


def test_declared_newcomers() -> None:
    driven = Driven(fault="newcomer", newcomers=True)
    driven.reset()
    driven.step(0, 0, 0)
    assert driven.step(0, 0, 0)["alive"].tolist() == [True, False, True]
    back = driven.step(0, 0, 0)
    assert back["alive"].tolist() == [True, True, True]
    assert back["entered"].tolist() == [False, True, False]
    assert back["discount"].tolist() == [True, False, True], "the row passed to somebody else"
    assert back["obs"][MID][1] == 3


@pytest.mark.parametrize(
    ("fault", "agent", "field", "words"),
    [
        ("dtype", "mid_0", "observation", "expected float32, got float64"),
        ("text", "mid_0", "observation", "expected float32, got <U1"),
        ("shape", "mid_0", "observation", r"expected shape \(3,\), got \(2,\)"),
        ("outside", "mid_0", "observation", r"entry 1 in \[-100.0, 100.0\], got 101.0"),
        ("nan", "mid_0", "observation", "got nan at 2"),
        ("no_view", "mid_0", "observation", "got none"),
        ("reward_nan", "mid_0", "reward", "finite number .*got nan"),
        ("reward_text", "mid_0", "reward", "expected a number, got str 'much'"),
        ("no_reward", "mid_0", "reward", "got none"),
        ("reward_of_unknown", "ghost_0", "reward", "possible_agents"),
        ("done_of_unknown", "ghost_0", "termination", "possible_agents"),
        ("flag", "mid_0", "termination", "expected a bool, got NoneType"),
        ("info", "mid_0", "info", r"expected a dict, got list \[1\]"),
        ("infos", None, "info", "expected a dict keyed by agent, got NoneType"),
        ("four", None, "step", "expected a tuple of 5 dicts"),
        ("leaves", "mid_0", "agents", "left without having terminated"),
        ("stays", "mid_0", "agents", "to leave"),
        ("unknown", "ghost_0", "agents", "possible_agents"),
    ],
)
def test_breaches(fault: str, agent: str | None, field: str, words: str) -> None:
    driven = Driven(fault=fault)
    driven.reset()
    driven.step(0, 0, 0)
    with pytest.raises(BreachError, match=words) as caught:
        driven.step(0, 0, 0)
    assert (caught.value.agent, caught.value.field) == (agent, field)


def test_undeclared_newcomers() -> None:
    driven = Driven(fault="newcomer")
    driven.reset()
    driven.step(0, 0, 0)
    driven.step(0, 0, 0)
    with pytest.raises(BreachError, match="newcomers=True") as caught:
        driven.step(0, 0, 0)
    assert caught.value.agent == "mid_0"


@pytest.mark.parametrize(
    ("fault", "field", "words"),
    [
        ("bare", "observation", "'action_mask'"),
        ("no_move", "action_mask", "at least one allowed"),
        ("bad_mask", "action_mask", "3 integers 0 or 1"),
    ],
)
def test_breaches_of_masks(fault: str, field: str, words: str) -> None:
    driven = Driven(fault=fault, masked=True)
    driven.reset()
    driven.step(1, 1, 1)
    with pytest.raises(BreachError, match=words) as caught:
        driven.step(0, 0, 0)
    assert (caught.value.agent, caught.value.field) == ("mid_0", field)


@pytest.mark.parametrize(
    ("fault", "words"), [("reset_infos", "expected a dict keyed by agent, got int 3"), ("nobody", "living agents")]
)
def test_breaches_of_resets(fault: str, words: str) -> None:
    with pytest.raises(BreachError, match=words):
        Driven(fault=fault).reset()


@pytest.mark.parametrize("fault", ["dtype", "outside"])
def test_not_so_strict(fault: str) -> None:
    driven = Driven(fault=fault, strict=False)
    driven.reset()
    driven.step(0, 0, 0)
    assert driven.step(0, 0, 0)["obs"][MID][1] == (2 if fault == "dtype" else 101)


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_still_strict_enough(fault: str) -> None:
    driven = Driven(fault=fault, strict=False)
    driven.reset()
    driven.step(0, 0, 0)
    with pytest.raises(BreachError, match="expected"):
        driven.step(0, 0, 0)


def test_positions_from_observations_and_from_a_function() -> None:
    sliced = Driven(pos_slice=(0, 2))
    record = sliced.reset(seed=3)
    assert np.array_equal(record["pos"], record["obs"][:, :2])
    masked = Driven(pos_slice=(0, 2), masked=True)
    assert np.array_equal(masked.reset(seed=3)["pos"], record["pos"])
    called = Driven(pos_function="strange_envs:where")
    called.reset()
    assert called.step(0, 0, 0)["pos"].tolist() == [[0, 1], [1, 1], [2, 1]]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"pos_slice": (3, 5)}, "finite coordinates"),
        ({"pos_slice": (1, 3)}, "expected 1 coordinates, got 2"),
        ({"pos_function": "strange_envs:where_not"}, "coordinates for each living agent"),
        ({"pos_function": "strange_envs:where_at_all"}, "dict from agents"),
    ],
)
def test_bad_positions(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BreachError, match=words):
        Driven(**changes).reset()


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("no_such_package_at_all", "Install the package"),
        ("strange_envs:nothing", "(?i)correct the name"),
        ("strange_envs:NAMES", "got list.*was not called"),
        ("strange_envs:not_parallel", "annotated to return one.*was not called"),
        ("strange_envs:unbounded", "Discrete actions or a bounded Box of floats, got Box"),
        ("strange_envs:of_both_kinds", "Discrete actions of all agents or Box of all"),
    ],
)
def test_bad_sources(source: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        Driven(source=source)


@pytest.mark.parametrize("fresh", [False, True])
def test_fresh_environments(fresh: bool) -> None:
    """What an episode leaves behind does not reach the next one of a fresh environment."""
    driven = Driven(fault="lingers", fresh=fresh)
    want = driven.reset(seed=1).copy()
    driven.step(1, 1, 1)
    assert (driven.reset(seed=1) == want) == fresh


def test_names_of_pettingzoo_s_registry() -> None:
    import pettingzoo
    import strange_envs  # type: ignore[import-not-found]

    pettingzoo.register("parallel", "strange/toy-v0", strange_envs.Toy)
    assert Driven(source="strange/toy-v0").slot.names == strange_envs.NAMES


def test_tuples_of_gymnasium() -> None:
    driven = Driven(source="strange_envs:StrangePair-v0", kind="gymnasium")
    assert driven.slot.form == Form(["agent_0", "agent_1"], [3, 2], [2, 2], masked=False, coordinates=0)
    assert driven.reset()["obs"].tolist() == [[0, 1, 0], [1, 0, 0]]
    after = driven.step(0, 1)
    assert after["reward"].tolist() == [0, 1]
    assert after["obs"].tolist() == [[0, 0, 1], [0, 1, 0]]
    assert driven.step(0, 1)["terminated"]
    assert driven.records[0]["success"]


def test_bad_tuples() -> None:
    driven = Driven(source="strange_envs:StrangePair-v0", kind="gymnasium", wrong=True)
    driven.reset()
    with pytest.raises(BreachError, match="sequence of 2") as caught:
        driven.step(0, 0)
    assert caught.value.field == "reward"
    with pytest.raises(SettingError, match=r"spaces\.Tuple"):
        Driven(source="CartPole-v1", kind="gymnasium")
    with pytest.raises(SettingError, match="registered Gymnasium"):
        Driven(source="Cartpole-v77", kind="gymnasium")


def test_spaces_that_cannot_be_flattened() -> None:
    with pytest.raises(SettingError, match="flattened"):
        Slot._width("mid_0", spaces.Sequence(spaces.Discrete(2)))


def test_numbers_as_names_and_numpys_success() -> None:
    driven = Driven(source="strange_envs:Bare", names=[1, 0])
    assert driven.slot.form.agents == ["1", "0"]
    assert kinds.declared(None, driven.slot.form.agents) is None
    driven.reset()
    after = driven.step(0, 1)
    assert after["reward"].tolist() == [0.0, 1.0]
    assert after["success"]
    assert after["judged"]
    driven.reset()
    step = driven.slot.env.step
    driven.slot.env.step = lambda moves: (*step(moves)[:-1], {})
    after = driven.step(0, 1)
    assert not after["success"]
    assert not after["judged"], "it says nothing of success"
    with pytest.raises(BreachError, match="each agent once"):
        Driven(source="strange_envs:Bare", names=[1, "1"])


def test_a_team_of_nobody() -> None:
    with pytest.raises(BreachError, match="at least one agent"):
        Driven(source="strange_envs:Bare", names=[])


@pytest.mark.parametrize(("what", "words"), [("actions", "actions"), ("numbers", "numbers to observe")])
def test_more_than_a_record_holds(what: str, words: str) -> None:
    with pytest.raises(SettingError, match=rf"{words} of at most 16,777,216 .* got 8,388,609 for each of 2 agents"):
        Driven(source="strange_envs:Bare", names=["a", "b"], **{what: 2**23 + 1})
