"""Topologies made of others, of functions, and of time."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from torch import Tensor

from gnncomm.errors import GraphError
from gnncomm.graph import CommGraph, Layout
from gnncomm.topology import (
    Empty,
    ErdosRenyi,
    FromFunction,
    Full,
    KNearest,
    OnePeerExponential,
    Radius,
    Ring,
    Star,
    TimeSchedule,
    Topology,
)


def all_alive(num_envs: int, num_agents: int) -> Tensor:
    return torch.ones(num_envs, num_agents, dtype=torch.bool)


def edges(graph: CommGraph, number: int = 0) -> set[tuple[int, int]]:
    return {(s, r) for s, r in graph.dense[number].nonzero().tolist()}


@pytest.mark.parametrize("num_agents", [5, 70])
def test_complement_is_what_is_missing_among_the_living(num_agents: int) -> None:
    alive, pos = torch.rand(4, num_agents) < 0.8, torch.rand(4, num_agents, 2)
    for inner in (Ring(), Radius(0.4), Full(), Empty(), Full(self_loops=True)):
        graph, missing = inner(alive, pos).expand(4), (~inner)(alive, pos).expand(4)
        for b in range(4):
            living = alive[b].nonzero().flatten().tolist()
            everyone = {(s, r) for s, r in product(living, repeat=2) if s != r}
            assert edges(missing, b) == everyone - edges(graph, b)
        assert torch.equal((~~inner)(alive, pos).dense, (inner & Full())(alive, pos).dense)
    assert (~Ring())(all_alive(7, 5)).num_graphs == 1, "static stays static"


def test_de_morgan() -> None:
    alive, pos = torch.rand(4, 8) < 0.8, torch.rand(4, 8, 2)
    for a, b in product([Ring(), Star(), KNearest(2)], repeat=2):
        assert torch.equal((~(a | b))(alive, pos).dense, (~a & ~b)(alive, pos).dense)
        assert torch.equal((~(a & b))(alive, pos).dense, (~a | ~b)(alive, pos).dense)


@pytest.mark.parametrize("inner", [Ring(), KNearest(2), ErdosRenyi(0.5), Star()])
@pytest.mark.parametrize("num_agents", [6, 80])
def test_every_kth_step(inner: Topology, num_agents: int) -> None:
    """All layouts, with one time for all environments and with one for each."""
    alive, pos, key = torch.rand(6, num_agents) < 0.8, torch.rand(6, num_agents, 2), torch.arange(6)
    step = torch.tensor([0, 1, 2, 3, 4, 9])
    graph, always = inner.every(3)(alive, pos, step, key), inner(alive, pos, step, key).expand(6)
    for b, on in enumerate([True, False, False, True, False, True]):
        assert edges(graph, b) == (edges(always, b) if on else set())
    assert inner.every(3)(alive, pos, 4, key).num_edges == 0
    assert torch.equal(inner.every(3)(alive, pos, 6, key).dense, inner(alive, pos, 6, key).dense)
    assert Ring().every(3)(all_alive(4, num_agents), step=3) is Ring()(all_alive(4, num_agents))


def test_a_schedule_takes_turns() -> None:
    alive, pos = torch.rand(8, 6) < 0.8, torch.rand(8, 6, 2)
    parts = (Ring(), Empty(), KNearest(2))
    step = torch.arange(8)
    graph = TimeSchedule(parts, 2)(alive, pos, step)
    for b in range(8):
        part = parts[(0, 0, 1, 1, 2, 2, 0, 0)[b]]
        assert edges(graph, b) == edges(part(alive, pos).expand(8), b)
        assert torch.equal(TimeSchedule(parts, 2)(alive, pos, b).expand(8).dense, part(alive, pos).expand(8).dense)
    assert TimeSchedule((Ring(), Star()))(all_alive(3, 5), step=7) is Star()(all_alive(3, 5)), "static stays static"


def test_a_schedule_may_be_empty_of_environments() -> None:
    assert TimeSchedule((Ring(), Star()))(all_alive(0, 4), step=torch.arange(0)).num_edges in (0, 8)


@pytest.mark.parametrize("num_agents", [2, 5, 8, 70])
def test_one_peer_follows_the_clock(num_agents: int) -> None:
    turns = math.ceil(math.log2(num_agents))
    step = torch.arange(2 * turns + 1)
    graph = OnePeerExponential()(all_alive(len(step), num_agents), step=step)
    assert graph.layout is (Layout.DENSE if num_agents <= 64 else Layout.REGULAR)
    for t in step.tolist():
        expected = {((i + 2 ** (t % turns)) % num_agents, i) for i in range(num_agents)}
        assert edges(graph, t) == expected
        alone = OnePeerExponential()(all_alive(3, num_agents), step=t)
        assert alone.num_graphs == 1, "one time, one graph"
        assert edges(alone) == expected


def test_one_peer_averages_exactly_within_log2_steps() -> None:
    """Ying et al. 2021, lemma 1: with N a power of 2, halving with each peer once gives the mean."""
    for num_agents in (2, 8, 64):
        value = torch.rand(num_agents, dtype=torch.float64)
        mean = value.mean()
        for t in range(int(math.log2(num_agents))):
            heard = OnePeerExponential()(all_alive(1, num_agents), step=t).dense[0].double()
            value = (value + heard.t() @ value) / 2
        assert torch.allclose(value, mean.expand_as(value), rtol=0, atol=1e-14)


def test_from_function() -> None:
    def louder(alive: Tensor, pos: Tensor | None, step: int | Tensor, key: Tensor | None) -> Tensor:
        assert pos is not None
        return pos > pos.transpose(1, 2)

    alive, pos = (
        torch.tensor([[True, True, True], [True, False, True]]),
        torch.tensor([[[1.0], [3], [2]]]).expand(2, 3, 1),
    )
    graph = FromFunction(louder)(alive, pos)
    assert edges(graph, 0) == {(1, 0), (1, 2), (2, 0)}
    assert edges(graph, 1) == {(2, 0)}
    ready = FromFunction(lambda alive, pos, step, key: CommGraph.from_edge_list([(0, 1)], 3))
    assert edges(ready(alive), 0) == {(0, 1)}
    assert edges(ready(alive), 1) == set()
    shared = FromFunction(lambda alive, pos, step, key: torch.ones(3, 3).triu(1))
    assert edges(shared(alive), 0) == {(0, 1), (0, 2), (1, 2)}


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([[0, 1], [1, 0]], "a CommGraph or an adjacency .* got list"),
        (None, "got NoneType"),
        (torch.zeros(2, 4, 4), "2 graphs .* of 3 agents, got 2 of 4"),
        (torch.zeros(5, 3, 3), "got 5 of 3"),
        (torch.full((3, 3), 0.5), "only 0 and 1"),
        (torch.zeros(2, 3), "square"),
    ],
)
def test_from_function_refuses_what_is_no_graph(found: object, words: str) -> None:
    which = FromFunction(lambda alive, pos, step, key: found)  # type: ignore[arg-type, return-value]
    with pytest.raises(GraphError, match=words):
        which(all_alive(2, 3))
