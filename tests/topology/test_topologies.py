"""Each topology against edges written down by hand, and geometry against brute force."""

from __future__ import annotations

import math
from itertools import product

import networkx as nx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gnncomm import topology
from gnncomm.errors import ConfigError, GraphError, NonFiniteError, ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.topology import (
    BarabasiAlbert,
    Empty,
    ErdosRenyi,
    Exponential,
    FromFunction,
    FromNetworkx,
    Full,
    Gossip,
    Grid2D,
    Hierarchical,
    Hypercube,
    KNearest,
    Line,
    LineOfSight,
    OnePeerExponential,
    Radius,
    RandomRegular,
    Ring,
    SmallWorld,
    Star,
    TimeSchedule,
    Topology,
    Tree,
)
from gnncomm.topology.static import static_graph

WALLS = ("..#", ".#.", "...")


def all_alive(num_envs: int, num_agents: int) -> Tensor:
    return torch.ones(num_envs, num_agents, dtype=torch.bool)


def pairs(graph: CommGraph, number: int = 0) -> set[tuple[int, int]]:
    return {(s, r) for s, r in graph.dense[number].nonzero().tolist()}


def both(*edges: tuple[int, int]) -> set[tuple[int, int]]:
    return set(edges) | {(r, s) for s, r in edges}


@pytest.mark.parametrize(
    ("which", "num_agents", "expected"),
    [
        (Full(), 3, both((0, 1), (0, 2), (1, 2))),
        (Full(self_loops=True), 2, {(0, 0), (0, 1), (1, 0), (1, 1)}),
        (Empty(), 4, set()),
        (Ring(), 4, both((0, 1), (1, 2), (2, 3), (3, 0))),
        (Ring(), 3, both((0, 1), (1, 2), (2, 0))),
        (Ring(), 2, both((0, 1))),
        (Ring(k=2), 6, both(*[(i, (i + d) % 6) for i in range(6) for d in (1, 2)])),
        (Ring(k=2), 4, both(*[(i, j) for i in range(4) for j in range(i)])),
        (Line(), 4, both((0, 1), (1, 2), (2, 3))),
        (Star(), 4, both((0, 1), (0, 2), (0, 3))),
        (Star(center=2), 3, both((2, 0), (2, 1))),
        (Tree(), 6, both((0, 1), (0, 2), (1, 3), (1, 4), (2, 5))),
        (Tree(branching=1), 3, both((0, 1), (1, 2))),
        (Grid2D(), 5, both((0, 1), (1, 2), (3, 4), (0, 3), (1, 4))),
        (Grid2D(columns=2), 4, both((0, 1), (2, 3), (0, 2), (1, 3))),
        (Exponential(), 2, both((0, 1))),
        (Exponential(), 5, {((i + d) % 5, i) for i in range(5) for d in (1, 2, 4)}),
        (Hypercube(), 6, both((0, 1), (2, 3), (4, 5), (0, 2), (1, 3), (0, 4), (1, 5))),
        (Hierarchical(2), 5, both((0, 1), (0, 2), (3, 4), (0, 3))),
        (Hierarchical((1, 3, 1)), 5, both((1, 2), (1, 3), (0, 1), (0, 4), (1, 4))),
        (Hierarchical(7), 3, both((0, 1), (0, 2), (1, 2))),
        (FromNetworkx(nx.path_graph(3)), 3, both((0, 1), (1, 2))),
        (FromNetworkx(nx.DiGraph([("b", "a")]), agents=["a", "b"]), 2, {(1, 0)}),
    ],
)
def test_static_topologies_by_hand(which: Topology, num_agents: int, expected: set[tuple[int, int]]) -> None:
    graph = which(all_alive(3, num_agents))
    assert graph.num_graphs == 1, "stored once for all environments"
    assert pairs(graph) == expected


@pytest.mark.parametrize(
    "which",
    [Full(), Empty(), Ring(), Ring(3), Line(), Star(), Tree(), Grid2D(), Exponential(), Hypercube(), Hierarchical(3)],
)
def test_one_agent_has_nobody_to_hear(which: Topology) -> None:
    assert which(all_alive(2, 1)).num_edges == 0


def numbered(num_agents: int, edges: list[tuple[int, int]]) -> nx.DiGraph:
    graph = nx.empty_graph(num_agents, nx.DiGraph)
    graph.add_edges_from(edges)
    return graph


def relabelled(graph: nx.Graph) -> nx.Graph:
    """Nodes that are tuples, numbered in their order."""
    ordered: nx.Graph = nx.empty_graph(len(graph))
    ordered.add_edges_from(nx.convert_node_labels_to_integers(graph, ordering="sorted").edges)
    return ordered


@pytest.mark.parametrize(
    ("which", "oracle", "sizes"),
    [
        (Ring(), nx.cycle_graph, (64, 65, 300)),
        (Line(), nx.path_graph, (64, 65, 300)),
        (Star(), lambda n: nx.star_graph(n - 1), (64, 65, 300)),
        (Full(), nx.complete_graph, (64, 65, 100)),
        (Empty(), nx.empty_graph, (64, 65)),
        (Tree(), lambda n: nx.full_rary_tree(2, n), (1, 2, 7, 64, 100)),
        (Tree(3), lambda n: nx.full_rary_tree(3, n), (1, 2, 8, 64, 100)),
        (Grid2D(), lambda n: relabelled(nx.grid_2d_graph(math.isqrt(n), math.isqrt(n))), (1, 4, 9, 81)),
        (Grid2D(5), lambda n: relabelled(nx.grid_2d_graph(n // 5, 5)), (5, 20, 100)),
        (Hypercube(), lambda n: relabelled(nx.hypercube_graph(n.bit_length() - 1)), (2, 4, 32, 128)),
        (Hypercube(), lambda n: relabelled(nx.hypercube_graph(7)).subgraph(range(n)), (65, 100, 127)),
        (
            Exponential(),
            lambda n: numbered(n, [((i + 2**j) % n, i) for i in range(n) for j in range(7)]),
            (65, 100, 128),
        ),
    ],
)
def test_static_topologies_agree_with_networkx(which: Topology, oracle: object, sizes: tuple[int, ...]) -> None:
    assert callable(oracle)
    for num_agents in sizes:
        ours = which(all_alive(1, num_agents))
        theirs = CommGraph.from_networkx(oracle(num_agents))
        assert torch.equal(ours.edge_index, theirs.edge_index)


@pytest.mark.parametrize(
    "which", [Tree(), Grid2D(), Hypercube(), Exponential(), Hierarchical(4), Ring(), Star(), Line()]
)
def test_everyone_can_reach_everyone(which: Topology) -> None:
    for num_agents in range(1, 40):
        assert nx.is_strongly_connected(which(all_alive(1, num_agents)).to_networkx())


def test_exponential_reaches_everyone_in_log2_rounds() -> None:
    for num_agents in (2, 3, 5, 8, 13, 64, 100):
        rounds = math.ceil(math.log2(num_agents))
        graph = Exponential()(all_alive(1, num_agents))
        assert graph.in_degree.eq(rounds).all()
        assert graph.out_degree.eq(rounds).all()
        assert graph.reach(rounds).all()


def test_hierarchical_groups_differ_by_at_most_one() -> None:
    for num_agents, groups in product(range(1, 20), range(1, 8)):
        leaders = Hierarchical(groups)._leaders(num_agents).tolist()
        sizes = [leaders.count(leader) for leader in sorted(set(leaders))]
        assert len(sizes) == min(groups, num_agents)
        assert max(sizes) - min(sizes) <= 1
        assert leaders == sorted(leaders), "groups are neighbours"
        assert all(leaders[leader] == leader for leader in leaders), "a leader leads itself"


@pytest.mark.parametrize(
    ("which", "num_agents", "layout"),
    [
        (Ring(), 64, Layout.DENSE),
        (Ring(), 65, Layout.REGULAR),
        (Line(), 65, Layout.REGULAR),
        (Star(), 65, Layout.SPARSE),
        (Full(), 65, Layout.DENSE),
        (Empty(), 65, Layout.REGULAR),
    ],
)
def test_the_layout_fits(which: Topology, num_agents: int, layout: Layout) -> None:
    assert which(all_alive(1, num_agents)).layout is layout


def test_static_graphs_are_built_once() -> None:
    assert Ring(2)(all_alive(3, 5)) is Ring(2)(all_alive(9, 5))
    assert Ring(2)(all_alive(3, 5)) is not Ring(1)(all_alive(3, 5))


@pytest.mark.parametrize("num_agents", [5, 70])
@pytest.mark.parametrize("which", [Full(), Ring(), Line(), Star()])
def test_the_dead_leave(which: Topology, num_agents: int) -> None:
    alive = all_alive(3, num_agents)
    alive[1, 0] = alive[1, 3] = False
    alive[2] = False
    graph = which(alive)
    complete = pairs(which(all_alive(1, num_agents)))
    assert graph.num_graphs == 3
    assert pairs(graph, 0) == complete
    assert pairs(graph, 1) == {(s, r) for s, r in complete if not {s, r} & {0, 3}}
    assert pairs(graph, 2) == set()


def nearest_by_hand(pos: list[list[float]], alive: list[bool], k: int) -> set[tuple[int, int]]:
    living = [i for i, lives in enumerate(alive) if lives]
    found = set()
    for i in living:
        others = sorted((math.dist(pos[i], pos[j]), j) for j in living if j != i)
        found |= {(j, i) for _, j in others[:k]}
    return found


# Whole numbers: many ties, and every squared distance is exact.
crowds = st.integers(1, 7).flatmap(
    lambda n: st.lists(
        st.tuples(
            st.lists(st.lists(st.integers(0, 3), min_size=2, max_size=2), min_size=n, max_size=n),
            st.lists(st.booleans(), min_size=n, max_size=n),
        ),
        min_size=1,
        max_size=3,
    )
)


@given(crowds, st.integers(1, 8))
def test_k_nearest_is_brute_force(crowd: list[tuple[list[list[float]], list[bool]]], k: int) -> None:
    pos, alive = torch.tensor([c[0] for c in crowd]).float(), torch.tensor([c[1] for c in crowd])
    graph = KNearest(k)(alive, pos)
    for number, (places, lives) in enumerate(crowd):
        assert pairs(graph, number) == nearest_by_hand(places, lives, k)
        alone = KNearest(k)(alive[number : number + 1], pos[number : number + 1])
        assert pairs(alone) == pairs(graph, number), "an environment does not see the others"


@given(crowds, st.sampled_from([0, 1, 1.5, 2, 2.9, 100]))
def test_radius_is_brute_force(crowd: list[tuple[list[list[float]], list[bool]]], r: float) -> None:
    pos, alive = torch.tensor([c[0] for c in crowd]).float(), torch.tensor([c[1] for c in crowd])
    graph = Radius(r)(alive, pos)
    for number, (places, lives) in enumerate(crowd):
        expected = {
            (i, j)
            for i, j in product(range(len(places)), repeat=2)
            if i != j and lives[i] and lives[j] and math.dist(places[i], places[j]) <= r
        }
        assert pairs(graph, number) == expected


@pytest.mark.parametrize("num_agents", [30, 200])
def test_equal_distances_are_equal_in_large_crowds(num_agents: int) -> None:
    """On a line far from the origin every inner agent has two neighbours at distance 1: the smaller index comes first.

    A distance by matrix product would round 1 to something else here.
    """
    pos = torch.stack([torch.arange(num_agents) + 5000.0, torch.full((num_agents,), 7000.0)], dim=-1).unsqueeze(0)
    nearest = KNearest(1)(all_alive(1, num_agents), pos)
    assert nearest.neighbors.flatten().tolist() == [1, *range(num_agents - 1)]
    assert pairs(Radius(1)(all_alive(1, num_agents), pos)) == pairs(Line()(all_alive(1, num_agents)))


def test_ties_go_to_the_smaller_index() -> None:
    square = torch.tensor([[[0.0, 0], [0, 1], [1, 0], [1, 1]]])
    assert pairs(KNearest(1)(all_alive(1, 4), square)) == {(1, 0), (0, 1), (0, 2), (1, 3)}


def test_large_crowds_are_regular_and_mean_the_same() -> None:
    """70 agents on a 4 x 4 grid: ties everywhere, a third of them dead."""
    cell = torch.arange(140).view(2, 70) * 7 % 16
    pos, alive = torch.stack([cell // 4, cell % 4], dim=-1).float(), torch.arange(140).view(2, 70) % 3 > 0
    for k in (1, 5, 60, 100):
        graph = KNearest(k)(alive, pos)
        assert graph.layout is Layout.REGULAR
        for number in range(2):
            assert pairs(graph, number) == nearest_by_hand(pos[number].tolist(), alive[number].tolist(), k)


def test_more_neighbours_than_agents_is_everyone() -> None:
    alive = torch.tensor([[True, True, True, False]])
    graph = KNearest(9)(alive, torch.rand(1, 4, 2))
    assert pairs(graph) == pairs(Full()(alive))


def test_where_the_dead_are_does_not_matter() -> None:
    alive = torch.tensor([[True, True, False]])
    pos = torch.tensor([[[0.0, 0], [3, 0], [float("nan"), 0]]])
    for which in (KNearest(1), Radius(5)):
        assert pairs(which(alive, pos)) == {(0, 1), (1, 0)}


@pytest.mark.parametrize("which", [KNearest(2), Radius(1.0), Full() & Radius(1.0)])
def test_geometry_needs_positions(which: Topology) -> None:
    with pytest.raises(GraphError, match=r"needs positions: expected pos \[B, N, P\], got None"):
        which(all_alive(2, 3))
    pos = torch.zeros(2, 3, 2)
    pos[1, 2, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="inf in environment 1, agent 2, axis 0"):
        which(all_alive(2, 3), pos)


@pytest.mark.parametrize("which", [KNearest(2), Radius(1.0)])
def test_geometry_needs_a_position_per_agent(which: Topology) -> None:
    with pytest.raises(ShapeError, match=r"expected pos \[2, 3, 'P'\], got \[2, 4, 2\]"):
        which(all_alive(2, 3), torch.zeros(2, 4, 2))
    with pytest.raises(ShapeError, match=r"expected pos \[2, 3, 'P'\], got \[2, 3, 0\]"):
        which(all_alive(2, 3), torch.zeros(2, 3, 0))


def test_composition() -> None:
    alive, pos = all_alive(2, 5), torch.rand(2, 5, 2)
    alive[0, 1] = False
    for a, b in product([Ring(), Star(), KNearest(2), Radius(0.5)], repeat=2):
        for number in range(2):
            either, joint = (a | b)(alive, pos), (a & b)(alive, pos)
            one, other = a(alive, pos).expand(2), b(alive, pos).expand(2)
            assert pairs(either, number) == pairs(one, number) | pairs(other, number)
            assert pairs(joint, number) == pairs(one, number) & pairs(other, number)
    assert (Ring() | Star())(all_alive(2, 5)).num_graphs == 1, "static stays static"
    assert Ring() | Star() == Ring() | Star()
    assert (Ring() | Star()) != (Ring() & Star())


@pytest.mark.parametrize(
    "build",
    [
        lambda: Ring(0),
        lambda: KNearest(0),
        lambda: KNearest(-1),
        lambda: Radius(-1.0),
        lambda: Radius(math.nan),
        lambda: Star(-1),
        lambda: Radius(0, ensure_connected=True),
        lambda: LineOfSight(-1, WALLS),
        lambda: LineOfSight(1, ()),
        lambda: LineOfSight(1, ("..", "...")),
        lambda: LineOfSight(1, ("..", ".x")),
        lambda: Tree(0),
        lambda: Grid2D(0),
        lambda: ErdosRenyi(1.1),
        lambda: ErdosRenyi(math.nan),
        lambda: SmallWorld(0, 0.1),
        lambda: SmallWorld(1, -0.1),
        lambda: BarabasiAlbert(0),
        lambda: RandomRegular(0),
        lambda: Gossip(0),
        lambda: Hierarchical(0),
        lambda: Hierarchical(()),
        lambda: Hierarchical((3, 0)),
        lambda: TimeSchedule(()),
        lambda: TimeSchedule((Ring(),), 0),
        lambda: Ring().every(0),
    ],
)
def test_settings_out_of_range(build: object) -> None:
    assert callable(build)
    with pytest.raises(ConfigError, match="expected"):
        build()


def test_wrong_number_of_agents() -> None:
    with pytest.raises(GraphError, match="has 3 nodes: expected 4 agents"):
        FromNetworkx(nx.path_graph(3))(all_alive(1, 4))
    with pytest.raises(GraphError, match="expected center < 3, got 5"):
        Star(5)(all_alive(1, 3))
    with pytest.raises(GraphError, match="expected a sum of 4 agents, got 3"):
        Hierarchical((1, 2))(all_alive(1, 4))
    with pytest.raises(GraphError, match=r"expected N \* k even, got 5 \* 3"):
        RandomRegular(3, seed=0)(all_alive(1, 5))
    with pytest.raises(GraphError, match="agents="):
        FromNetworkx(nx.path_graph(["a", "b"]))


def test_a_networkx_graph_that_changes_later_changes_nothing() -> None:
    graph = nx.path_graph(3)
    which = FromNetworkx(graph)
    graph.add_edge(0, 2)
    assert pairs(which(all_alive(1, 3))) == both((0, 1), (1, 2))
    assert which == FromNetworkx(nx.path_graph(3))
    assert which != FromNetworkx(graph)
    assert pairs(FromNetworkx(graph)(all_alive(1, 3))) == both((0, 1), (1, 2), (0, 2))


@pytest.mark.parametrize("which", [Ring(), Star(), Full()])
def test_graphs_built_in_inference_mode_serve_training(which: Topology) -> None:
    """Regular, sparse and dense storage."""
    static_graph.cache_clear()
    with torch.inference_mode():
        graph = which(all_alive(1, 100))
    assert graph is which(all_alive(1, 100))
    h = torch.rand(100, 2, requires_grad=True)
    (h[graph.neighbors[0]].sum() + h[graph.edge_index[0]].sum()).backward()
    for stored in (graph.adjacency, graph.neighbor_index, graph.sparse_edges):
        if stored is not None:
            torch.where(stored.bool().reshape(-1, 1), h[:1], 0).sum().backward()
    assert h.grad is not None


LISTED: dict[str, Topology] = {
    "barabasi_albert": BarabasiAlbert(2),
    "empty": Empty(),
    "erdos_renyi": ErdosRenyi(0.4),
    "exponential": Exponential(),
    "from_function": FromFunction(lambda alive, pos, step, key: alive.unsqueeze(2).expand(-1, -1, 6).tril(-1)),
    "from_networkx": FromNetworkx(nx.cycle_graph(6)),
    "full": Full(),
    "gossip": Gossip(2),
    "grid2d": Grid2D(),
    "hierarchical": Hierarchical(2),
    "hypercube": Hypercube(),
    "k_nearest": KNearest(3),
    "line": Line(),
    "line_of_sight": LineOfSight(2.0, WALLS),
    "one_peer_exponential": OnePeerExponential(),
    "radius": Radius(0.4),
    "random_regular": RandomRegular(3),
    "ring": Ring(2),
    "small_world": SmallWorld(1, 0.5),
    "star": Star(1),
    "tree": Tree(),
}
COMPOSED: dict[str, Topology] = {
    "~ring": ~Ring(),
    "gossip.every(2)": Gossip().every(2),
    "[ring; radius]": TimeSchedule((Ring(), Radius(0.7)), 2),
    "radius, connected": Radius(0.1, ensure_connected=True),
    "erdos_renyi, seed": ErdosRenyi(0.4, seed=3),
    "nested": ~(Radius(0.6) & Exponential()).every(3) | TimeSchedule((Gossip(), ~Star())),
}
PROMISING = LISTED | COMPOSED


def test_every_listed_topology_has_an_example_here() -> None:
    assert sorted(LISTED) == topology.names()


@pytest.mark.parametrize("name", sorted(PROMISING))
def test_what_every_topology_promises(name: str) -> None:
    """No self-loops, no dead ends, environments apart, a pure function."""
    which = PROMISING[name]
    alive, pos = torch.rand(8, 6) < 0.7, torch.rand(8, 6, 2) * 2
    alive[0], alive[1] = True, False
    key, step = torch.arange(8) % 5, torch.arange(8)
    graph = which(alive, pos, step, key).expand(8)
    assert name in COMPOSED or isinstance(which, topology.listing()[name])
    assert not graph.dense.diagonal(dim1=1, dim2=2).any()
    assert not (graph.dense & ~(alive.unsqueeze(1) & alive.unsqueeze(2))).any()
    assert torch.equal(which(alive, pos, step, key).expand(8).edge_index, graph.edge_index)
    for b in range(8):
        one = slice(b, b + 1)
        assert torch.equal(which(alive[one], pos[one], step[one], key[one]).dense, graph.dense[one])
        assert torch.equal(which(alive[one], pos[one], b, key[one]).dense, graph.dense[one]), "step as a number"


@pytest.mark.parametrize("num_agents", [1, 2, 3, 65])
@pytest.mark.parametrize("name", sorted(set(PROMISING) - {"from_networkx", "from_function", "line_of_sight", "star"}))
def test_teams_of_any_size(name: str, num_agents: int) -> None:
    """Crowds of more than 64 are stored otherwise and mean the same; one agent has nobody to hear."""
    which = RandomRegular(2) if name == "random_regular" else PROMISING[name]
    alive, pos = torch.rand(4, num_agents) < 0.9, torch.rand(4, num_agents, 2)
    key, step = torch.arange(4), torch.arange(4)
    graph = which(alive, pos, step, key).expand(4)
    assert not graph.dense.diagonal(dim1=1, dim2=2).any()
    assert not (graph.dense & ~(alive.unsqueeze(1) & alive.unsqueeze(2))).any()
    for b in range(4):
        one = slice(b, b + 1)
        alone = which(alive[one], pos[one], step[one], key[one])
        assert torch.equal(alone.dense, graph.dense[one])
        assert num_agents > 1 or alone.num_edges == 0
