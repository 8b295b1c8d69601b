"""Rollouts and updates ask their device nothing, part by part, or the table says why they do.

What is asked is seen on a CPU, which takes the way of a GPU within ``no_host_reads``. The first call is not watched:
graphs that never change are looked at once.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from device_parts import CHANNEL, CODEC, SCHEDULER, TOPOLOGY, said
from gnncomm.envs.coverage import Coverage
from gnncomm.envs.path_finding.path_finding import PathFinding

from gnncomm import channel, codec, envs, schedule, topology
from gnncomm.errors import ActionError, NonFiniteError, StateError
from gnncomm.host import Pending, pending, quiet, reads
from gnncomm.layers import CommStack
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.learn import TrainConfig, Training
from gnncomm.learn.rollout import played
from gnncomm.policy.rounds import WireState, talk
from gnncomm.testing import LawError, no_host_reads
from gnncomm.types import Moment
from gnncomm.wire import Wire

H, B, N = 8, 3, 4
EDGES = "its messages go over a list of edges, whose length the device has to say"
DRAWN = "a graph is drawn once for an episode, and remembered by the episode's key"
SEVERAL = "what was said at several times arrives together, over lists of edges"
NOT_CAPTURABLE: dict[str, str] = {
    "environment coverage": Coverage.reset_asks,
    "environment path_finding": PathFinding.reset_asks,
    **{f"topology {name}": DRAWN for name in ("barabasi_albert", "erdos_renyi", "random_regular", "small_world")},
    **{f"layer {name}": EDGES for name in ("dcc", "embedding", "expocomm_one_peer", "gat")},
    **{f"layer {name}": EDGES for name in ("hetgppo", "informarl", "maic", "masia")},
    "scheduler gumbel_edges": "its encoder is a convolution over a list of edges",
    "channel burst": "the past of an edge is followed back until it decides",
    "channel byzantine": SEVERAL,
    "channel jitter": SEVERAL,
}
"""What no CUDA graph can hold, because ...; ``--graphs auto`` finds it by the same watch."""


def environment(name: str) -> Callable[[], None]:
    env = envs.make(name, num_envs=B, **({"max_steps": 3} if name == "predator_prey" else {}))
    now = env.reset(seed=0)

    def go() -> None:
        nonlocal now
        for _ in range(2):
            action = env.floor_action(now.key)
            now = env.step(action if now.action_mask is None else now.action_mask.long().argmax(-1))
            now = env.reset(where=now.done)

    return go


def round_of_talk(layer: str = "mean", **names: str) -> Callable[[], None]:
    wire = Wire(
        topology.resolve(names.get("topology", "full")),
        schedule.resolve(names.get("scheduler", "always"), H, N),
        codec.resolve(names.get("codec", "float32")),
        channel.resolve(names.get("channel", "ideal")),
    )
    comm = CommStack([make_layer(layer, H)])
    h, pos = torch.randn(B, N, H, requires_grad=True), 4 * torch.rand(B, N, 2)
    alive, step, key = torch.rand(B, N) < 0.8, torch.arange(B), torch.arange(7, 7 + B)
    state = WireState.fresh(wire, comm, h, B, N)

    def go() -> None:
        now = Moment(key, step, pos=pos, alive=alive)
        for choice in (None, 0):
            graph = wire.topology(alive, pos, step, key)
            recorded = None if choice is None else torch.zeros(B, N, wire.scheduler.num_choices, dtype=torch.int64)
            said = talk(comm, wire, h, graph, state, now, 3, recorded)
            (said.h.sum() + said.cost.sum() + said.log_prob.sum()).backward()

    return go


def named(kind: str, names: list[str], parameters: dict[str, str]) -> dict[str, Callable[[], Callable[[], None]]]:
    return {f"{kind} {name}": partial(round_of_talk, **{kind: said(name, parameters)}) for name in names}


BY_HAND = {"from_function", "from_networkx"}
PARTS: dict[str, Callable[[], Callable[[], None]]] = {
    **{f"environment {name}": partial(environment, name) for name in {each.partition("/")[0] for each in envs.names()}},
    **named("topology", sorted(set(topology.names()) - BY_HAND), TOPOLOGY),
    **named("layer", list(LAYERS), {}),
    **named("scheduler", schedule.names(), SCHEDULER),
    **named("codec", codec.names(), CODEC),
    **named("channel", channel.names(), CHANNEL),
}


@pytest.mark.parametrize("name", sorted(PARTS))
def test_a_part_asks_nothing_or_is_in_the_table(name: str) -> None:
    go = PARTS[name]()
    with quiet(), pending(Pending()):
        go()
    with reads() as found, pending(Pending()):
        go()
    assert bool(found.found) == (name in NOT_CAPTURABLE), f"{NOT_CAPTURABLE.get(name)}: {found}"


def test_the_table_names_parts_that_there_are_and_the_page_names_them() -> None:
    assert NOT_CAPTURABLE.keys() <= PARTS.keys()
    assert all(NOT_CAPTURABLE.values())
    page = (
        Path(__file__).parents[2].joinpath("docs", "speed.md").read_text(encoding="utf-8").partition("## CUDA graphs")
    )
    for name in (key.partition(" ")[2] for key in NOT_CAPTURABLE):
        assert f"`{name}`" in page[2], name


TRAININGS: dict[str, dict[str, Any]] = {
    "deaths, masks, no memory": {"env": "foraging", "memory": "none", "algo": "mappo"},
    "gates, LSTM, messages of the step before": {
        "env": "predator_prey",
        "scheduler": "gate",
        "memory": "lstm",
        "integration": "previous",
        "env_settings": {"max_steps": 3},
    },
    "teams, rows that pass on": {"env": "traffic_junction", "comm": "attention", "integration": "before"},
}


@pytest.mark.parametrize("name", TRAININGS)
def test_a_rollout_and_an_update_ask_nothing(name: str) -> None:
    training = Training.of(TrainConfig.of(num_envs=4, rollout=3, steps=1000, hidden=H, **TRAININGS[name]))
    learner = training.learner
    with quiet():
        learner.update(training.collect())
        learner._set_schedules()
    with no_host_reads(), pending(Pending()):
        with torch.no_grad():
            rollout, _ = played(training.env, training.policy, training.carry, 3, 0, training.tally)
        learner._improve(rollout)


def test_both_ways_play_the_same() -> None:
    """Masks or selections: the same episodes to the bit, the same values at the ends of those that are cut."""
    config = TrainConfig.of(
        env="predator_prey", num_envs=8, rollout=6, steps=1000, hidden=H, env_settings={"max_steps": 4}
    )
    free, still = Training.of(config), Training.of(config)
    for _ in range(2):
        mine = free.collect()
        with quiet():
            theirs = still.collect()
        assert bool(mine.timestep.first[1:].any()), "episodes end within"
        found = theirs.tensors()
        for name, value in mine.tensors().items():
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)
            assert value.is_floating_point() or found[name].equal(value), name
        assert free.tally.flush() == pytest.approx(still.tally.flush(), nan_ok=True)


def test_what_is_refused_late_says_the_same() -> None:
    config = TrainConfig.of(env="predator_prey", num_envs=4, rollout=2, steps=1000, hidden=H)

    def message(late: bool, spoil: Callable[[Training], None]) -> str:
        training = Training.of(config)
        spoil(training)
        with quiet() if late else nullcontext(), pytest.raises((NonFiniteError, StateError)) as caught:
            training.collect()
        return str(caught.value)

    def broken_weight(training: Training) -> None:
        with torch.no_grad():
            training.policy.actor.bias[1] = torch.nan

    def broken_memory(training: Training) -> None:
        training.carry.state.memory[1, 2, 0] = torch.inf
        training.carry.timestep.first[:] = False

    def ended(training: Training) -> None:
        training.env._outcome.truncated[1] = True

    for spoil, words in ((broken_weight, "actor.bias"), (broken_memory, "environment 1"), (ended, r"[1] ended")):
        early = message(False, spoil)
        assert words in early
        assert message(True, spoil) == early


def test_a_bad_action_is_refused_at_once_where_nobody_waits() -> None:
    env = envs.make("predator_prey", num_envs=2)
    env.reset(seed=0)
    with quiet(), pytest.raises(ActionError, match="from agent 2 of environment 1"):
        env.step(torch.tensor([[0, 0, 0], [0, 0, 9]]))
    found = Pending()
    with pending(found):
        env.step(torch.tensor([[0, 0, 0], [0, 0, 9]]))
    with pytest.raises(ActionError, match="got 9 from agent 2 of environment 1"):
        found.settle()


ASKING: dict[str, Callable[[torch.Tensor], object]] = {
    "item": lambda x: x.sum().item(),
    "bool": lambda x: bool((x > 0).any()),
    "list": lambda x: x.tolist(),
    "array": lambda x: x.numpy(),
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "mask": lambda x: x[x > 0],
    "masked_select": lambda x: x.masked_select(x > 0),
    "assignment": lambda x: x.index_put((x > 0,), torch.ones(())),
    "unique": lambda x: x.unique(),
    "equal": lambda x: torch.equal(x, x),
    "bincount": lambda x: x.long().bincount(),
    "repeat": lambda x: x.repeat_interleave(x.long()),
    "slice": lambda x: x[: x.long().max()],
    "constant": lambda x: x + torch.tensor([1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("name", ASKING)
def test_a_question_is_seen(name: str) -> None:
    with pytest.raises(LawError, match=r"test_no_host_reads\.py"), no_host_reads():
        ASKING[name](torch.ones(3))
