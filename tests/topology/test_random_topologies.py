"""Random topologies: pure functions of the key, with the distributions of networkx."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations

import networkx as nx
import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm.errors import GraphError, ShapeError
from gnncomm.graph import Layout
from gnncomm.topology import BarabasiAlbert, ErdosRenyi, Gossip, RandomRegular, Ring, SmallWorld, Topology
from gnncomm.topology.drawn import DrawnTopology

DRAWN: list[DrawnTopology] = [ErdosRenyi(0.3), SmallWorld(2, 0.3), BarabasiAlbert(2), RandomRegular(4)]


def all_alive(num_envs: int, num_agents: int) -> Tensor:
    return torch.ones(num_envs, num_agents, dtype=torch.bool)


def draws(which: Topology, count: int, num_agents: int, step: int = 0) -> Tensor:
    """``[count, N, N]``, one episode each."""
    return which(all_alive(count, num_agents), step=step, key=torch.arange(count)).dense


def agree(ours: list[float], theirs: list[float], sigmas: float = 4.0) -> bool:
    """The means of two samples differ by no more than chance."""
    error = math.sqrt(np.var(ours) / len(ours) + np.var(theirs) / len(theirs))
    return abs(float(np.mean(ours) - np.mean(theirs))) <= sigmas * error + 1e-12


@pytest.mark.parametrize("num_agents", [12, 70])
@pytest.mark.parametrize("which", DRAWN, ids=lambda which: type(which).__name__)
def test_one_graph_per_episode(which: DrawnTopology, num_agents: int) -> None:
    alive, key = all_alive(5, num_agents), torch.tensor([7, 3, 7, -4, 2**62])
    graph = which(alive, key=key)
    assert graph.num_graphs == 5
    assert graph.layout is (Layout.DENSE if num_agents <= 64 else Layout.SPARSE)
    assert torch.equal(graph.dense, graph.dense.transpose(1, 2)), "links work both ways"
    assert torch.equal(graph.dense[0], graph.dense[2])
    assert len({graph.dense[b].numpy().tobytes() for b in range(5)}) == 4
    assert torch.equal(which(alive, step=99, key=key).dense, graph.dense), "fixed over the episode"
    assert torch.equal(which(alive[:1], key=key[4:]).dense[0], graph.dense[4])
    with torch.inference_mode():
        assert torch.equal(which(alive, key=key).dense, graph.dense)


@pytest.mark.parametrize("which", DRAWN, ids=lambda which: type(which).__name__)
def test_what_was_drawn_before_changes_nothing(which: DrawnTopology) -> None:
    """Episodes end and begin one by one; graphs of the last call are remembered, also those of inference mode."""
    expected = {key: which.draw(torch.tensor([key]), 10)[0] for key in range(12)}
    for keys in ([3, 1, 2], [3, 1, 2], [5, 1, 2], [0, 11], [11, 7, 7, 0, 3], [11], [7, 3], [9, 10, 11, 0, 1, 2]):
        with torch.inference_mode(len(keys) == 3):
            found = which(all_alive(len(keys), 10), key=torch.tensor(keys)).dense
            assert all(torch.equal(found[b], expected[key]) for b, key in enumerate(keys))


@pytest.mark.parametrize("which", DRAWN, ids=lambda which: type(which).__name__)
def test_the_dead_leave_and_the_others_keep_their_links(which: DrawnTopology) -> None:
    alive, key = torch.rand(6, 12) < 0.7, torch.arange(6)
    complete = which(all_alive(6, 12), key=key).dense
    assert torch.equal(which(alive, key=key).dense, complete & alive.unsqueeze(1) & alive.unsqueeze(2))


@pytest.mark.parametrize("kind", [ErdosRenyi, SmallWorld, BarabasiAlbert, RandomRegular])
def test_with_a_seed_one_graph_serves_all(kind: type[DrawnTopology]) -> None:
    settings: dict[type[DrawnTopology], Callable[[int], DrawnTopology]] = {
        ErdosRenyi: lambda seed: ErdosRenyi(0.3, seed=seed),
        SmallWorld: lambda seed: SmallWorld(2, 0.3, seed=seed),
        BarabasiAlbert: lambda seed: BarabasiAlbert(2, seed=seed),
        RandomRegular: lambda seed: RandomRegular(4, seed=seed),
    }
    one, same, other = (settings[kind](seed)(all_alive(9, 12)) for seed in (1, 1, 2))
    assert one is same, "built once, shared by all environments"
    assert one.num_graphs == 1
    assert not torch.equal(one.dense, other.dense)
    assert torch.equal(settings[kind](1)(all_alive(1, 12), key=torch.tensor([5])).dense, one.dense)


@pytest.mark.parametrize("which", [*DRAWN, Gossip()], ids=lambda which: type(which).__name__)
def test_no_draw_without_a_key(which: Topology) -> None:
    with pytest.raises(GraphError, match=r"is random: expected key \[B\], got None"):
        which(all_alive(2, 12))
    with pytest.raises(ShapeError, match=r"a key per environment \[2\], got \[3\]"):
        which(all_alive(2, 12), key=torch.arange(3))


def test_erdos_renyi_joins_each_pair_with_probability_p() -> None:
    count, num_agents = 3000, 12
    drawn = draws(ErdosRenyi(0.3), count, num_agents)
    pairs = num_agents * (num_agents - 1) // 2
    edges = drawn.sum((1, 2)) // 2
    low, high = stats.binom.interval(0.999, count * pairs, 0.3)
    assert low <= int(edges.sum()) <= high
    seen = np.bincount(edges.numpy(), minlength=pairs + 1)
    expected = stats.binom.pmf(np.arange(pairs + 1), pairs, 0.3) * count
    body = expected >= 5
    table = [np.append(x[body], x[~body].sum()) for x in (seen, expected)]
    assert stats.chisquare(*table).pvalue > 1e-3, "the number of edges is binomial: pairs are independent"
    each = drawn.sum(0)[torch.triu(torch.ones(num_agents, num_agents), 1).bool()]
    low, high = stats.binom.interval(1 - 1e-5, count, 0.3)
    assert low <= int(each.min())
    assert int(each.max()) <= high


def test_erdos_renyi_is_nested() -> None:
    previous = draws(ErdosRenyi(0.0), 20, 15)
    assert not previous.any()
    for p in (0.1, 0.5, 0.9, 1.0):
        now = draws(ErdosRenyi(p), 20, 15)
        assert (previous <= now).all()
        previous = now
    assert previous.sum() == 20 * 15 * 14


def test_small_world_is_a_ring_without_moves() -> None:
    for k in (1, 2, 5):
        assert torch.equal(draws(SmallWorld(k, 0.0), 1, 12), Ring(k)(all_alive(1, 12)).dense)
    for num_agents in range(1, 6):
        assert torch.equal(draws(SmallWorld(2, 1.0), 1, num_agents), Ring(2)(all_alive(1, num_agents)).dense)


@pytest.mark.parametrize(("k", "num_agents"), [(1, 4), (2, 6), (2, 20), (3, 8), (4, 10)])
@pytest.mark.parametrize("p", [0.3, 1.0])
def test_small_world_keeps_the_number_of_links(k: int, num_agents: int, p: float) -> None:
    """Also in tight rings, where most wishes are refused. Each agent keeps its own k ends."""
    drawn = draws(SmallWorld(k, p), 200, num_agents)
    assert drawn.sum((1, 2)).eq(2 * k * num_agents).all()
    assert (drawn.sum(1) >= k).all()


def test_small_world_is_that_of_watts_and_strogatz() -> None:
    """Clustering, mean distance and spread of degrees, as networkx has them, at a few probabilities."""
    num_agents, count = 50, 60
    for p in (0.2, 1.0):
        drawn = draws(SmallWorld(2, p), count, num_agents).numpy()
        ours = [nx.from_numpy_array(adjacency) for adjacency in drawn]
        theirs = [nx.watts_strogatz_graph(num_agents, 4, p, seed=seed) for seed in range(count)]
        for measure in (nx.average_clustering, _mean_distance, lambda g: float(np.var([d for _, d in g.degree]))):
            assert agree([measure(g) for g in ours], [measure(g) for g in theirs])


def _mean_distance(graph: nx.Graph) -> float:
    largest = max(nx.connected_components(graph), key=len)
    return float(nx.average_shortest_path_length(graph.subgraph(largest)))


def test_small_world_moves_each_link_with_probability_p_anywhere() -> None:
    """With k = 1 and 400 agents hardly any wish is refused: a share p of the links of the ring is gone, and new ends
    are spread evenly over all distances."""
    num_agents, count, p = 400, 30, 0.3
    drawn = draws(SmallWorld(1, p), count, num_agents)
    ring = Ring()(all_alive(1, num_agents)).dense
    gone = int((ring & ~drawn).sum()) // 2
    low, high = stats.binom.interval(0.999, count * num_agents, p)
    assert low <= gone <= high
    _, sender, receiver = (drawn & ~ring).nonzero(as_tuple=True)
    gap = (sender - receiver) % num_agents
    assert gap.min() >= 2
    spread = np.bincount(gap[gap <= 198].numpy() // 20)[:9]  # 20 .. 179 in whole bins
    assert stats.chisquare(spread[1:]).pvalue > 1e-3


@pytest.mark.parametrize("m", [1, 3])
def test_barabasi_albert_is_that_of_networkx(m: int) -> None:
    num_agents, count = 40, 400
    drawn = draws(BarabasiAlbert(m), count, num_agents)
    degree = drawn.sum(1)
    assert drawn.sum((1, 2)).eq(2 * m * (num_agents - m)).all(), "a star of m links, then m for each newcomer"
    assert (drawn.tril(-1).sum(2)[:, m + 1 :] == m).all(), "newcomers link to m earlier agents"
    theirs = np.stack(
        [[d for _, d in sorted(nx.barabasi_albert_graph(num_agents, m, seed=seed).degree)] for seed in range(count)]
    )
    for agent in (0, 1, m + 1, 15, 30):
        assert agree(degree[:, agent].tolist(), theirs[:, agent].tolist()), agent
    assert agree(degree.amax(1).tolist(), theirs.max(1).tolist())
    assert agree((degree == m).sum(1).tolist(), (theirs == m).sum(1).tolist())


def test_barabasi_albert_prefers_links_in_proportion() -> None:
    """By hand, m = 1: agent 2 picks 0 or 1 with 1/2 each; agent 3 picks the middle of the line of three with 1/2."""
    count = 6000
    drawn = draws(BarabasiAlbert(1), count, 4)
    middle = torch.where(drawn[:, 2, 0], 0, 1)
    low, high = stats.binom.interval(0.999, count, 0.5)
    assert low <= int(middle.sum()) <= high
    to_middle = drawn[torch.arange(count), 3, middle]
    assert low <= int(to_middle.sum()) <= high
    assert torch.equal(draws(BarabasiAlbert(3), 1, 3)[0], torch.tensor([[0, 1, 1], [1, 0, 0], [1, 0, 0]]).bool())


@pytest.mark.parametrize(("k", "num_agents"), [(1, 6), (2, 5), (3, 8), (4, 9), (6, 8), (5, 12), (11, 14), (3, 30)])
def test_random_regular_gives_everyone_k_neighbours(k: int, num_agents: int) -> None:
    drawn = draws(RandomRegular(k), 50, num_agents)
    assert drawn.sum(1).eq(k).all()
    assert torch.equal(drawn, drawn.transpose(1, 2))


def test_random_regular_with_too_few_agents_is_everyone() -> None:
    for num_agents in (1, 2, 3, 4):
        assert draws(RandomRegular(3), 1, num_agents).sum() == num_agents * (num_agents - 1)


def test_random_regular_is_that_of_networkx() -> None:
    """All 70 graphs of 6 agents with 2 links each turn up; two triangles as often as with networkx; triangles too."""
    count = 2000
    drawn = draws(RandomRegular(2), count, 6)
    kinds = Counter(adjacency.numpy().tobytes() for adjacency in drawn)
    assert len(kinds) == 70
    ours = [float(nx.number_connected_components(nx.from_numpy_array(a.numpy())) == 2) for a in drawn]
    theirs = [float(nx.number_connected_components(nx.random_regular_graph(2, 6, seed=s)) == 2) for s in range(count)]
    assert agree(ours, theirs)
    hexagons = [n for text, n in kinds.items() if _connected(text)]
    assert len(hexagons) == 60
    assert stats.chisquare(hexagons).pvalue > 1e-3, "graphs of one kind are equally likely"
    cubic = draws(RandomRegular(3), 300, 16).double()
    triangles = ((cubic @ cubic) * cubic).sum((1, 2)) / 6
    reference = [sum(nx.triangles(nx.random_regular_graph(3, 16, seed=s)).values()) / 3 for s in range(300)]
    assert agree(triangles.tolist(), reference)


def _connected(text: bytes) -> bool:
    return bool(nx.is_connected(nx.from_numpy_array(np.frombuffer(text, dtype=bool).reshape(6, 6))))


@pytest.mark.parametrize("k", [1, 2, 3])
def test_gossip_draws_every_set_equally_often(k: int) -> None:
    """5 agents of whom agent 2 is dead: sets of k among the 3 living others."""
    count = 3000
    alive = all_alive(count, 5)
    alive[:, 2] = False
    drawn = Gossip(k)(alive, step=4, key=torch.arange(count)).dense
    assert not drawn[:, :, 2].any()
    for receiver in (0, 1, 3, 4):
        others = [i for i in (0, 1, 3, 4) if i != receiver]
        sets = Counter(tuple(row.nonzero().flatten().tolist()) for row in drawn[:, :, receiver])
        assert set(sets) == set(combinations(others, k))
        if len(sets) > 1:
            assert stats.chisquare(list(sets.values())).pvalue > 1e-3


def test_gossip_agents_and_steps_are_independent() -> None:
    count = 4000
    now, later = draws(Gossip(), count, 4, step=0).int().argmax(1), draws(Gossip(), count, 4, step=1).int().argmax(1)
    for one, other in ((now[:, 0], now[:, 1]), (now[:, 0], later[:, 0])):
        table = np.zeros((4, 4))
        np.add.at(table, (one.numpy(), other.numpy()), 1)
        table = table[table.sum(1) > 0][:, table.sum(0) > 0]
        assert stats.chi2_contingency(table).pvalue > 1e-3


@pytest.mark.parametrize("num_agents", [6, 80])
def test_gossip_hears_k_different_living_others(num_agents: int) -> None:
    alive = torch.rand(10, num_agents) < 0.6
    alive[0] = False
    alive[1] = torch.arange(num_agents) == 3
    alive[2] = torch.arange(num_agents) < 3
    for k in (1, 3, 9):
        graph = Gossip(k)(alive, step=torch.arange(10), key=torch.arange(10))
        expected = torch.where(alive, (alive.sum(1, keepdim=True) - 1).clamp(0, k), 0)
        assert torch.equal(graph.in_degree, expected)
        assert graph.layout is (Layout.DENSE if num_agents <= 64 else Layout.REGULAR)
