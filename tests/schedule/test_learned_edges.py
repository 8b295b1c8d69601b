"""Edges with weights of their own: who is chosen, with what probability, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import MAGICComm
from gnncomm.schedule import GumbelEdges, HardSoft, LearnedStatic, Request, Schedule, Scheduler, Situation, TopK
from gnncomm.topology import ErdosRenyi, Full
from gnncomm.types import Moment

F, N, M = 6, 5, 3
EDGES: dict[str, Callable[[], Scheduler]] = {
    "request": lambda: Request(F, N),
    "hard_soft": lambda: HardSoft(F),
    "gumbel_edges": lambda: GumbelEdges(F, heads=2),
    "gumbel_edges without encoder": lambda: GumbelEdges(F, heads=0),
    "top_k": lambda: TopK(F, k=2),
    "learned_static": lambda: LearnedStatic(N, k=2),
}


def full(num_envs: int = 1, num_agents: int = N) -> CommGraph:
    return Full()(torch.ones(num_envs, num_agents, dtype=torch.bool)).to_layout("dense")


def decide(module: Scheduler, h: Tensor, graph: CommGraph, step: int = 0, number: int = 0) -> Schedule:
    num_envs = len(h)
    moment = Moment(torch.arange(num_envs), torch.full((num_envs,), step), number)
    msg = torch.zeros(*h.shape[:2], M, dtype=h.dtype)
    result: Schedule = module(Situation(h, msg, graph, torch.zeros(num_envs, h.shape[1], 0), moment))
    return result


def fixed_logit(module: Request | HardSoft | GumbelEdges, value: float) -> None:
    """The same score for every pair."""
    last = module.lin_score if isinstance(module, Request) else module.score.lin_score
    with torch.no_grad():
        last.weight.zero_()
        last.bias.fill_(value)


@pytest.mark.parametrize("name", EDGES)
@pytest.mark.parametrize("training", [True, False])
def test_all_layouts_agree_and_candidates_weigh_one_or_nothing(name: str, training: bool) -> None:
    torch.manual_seed(1)
    module = EDGES[name]().double().train(training)
    h = torch.randn(4, N, F, dtype=torch.float64)
    graph = ErdosRenyi(0.6)(torch.ones(4, N, dtype=torch.bool), key=torch.arange(4)).with_self_loops()
    dense, *others = (decide(module, h, graph.to_layout(layout)) for layout in ("dense", "regular", "sparse"))
    assert 0 < dense.graph.num_edges < graph.num_edges, "some edges are used and some are not"
    assert dense.graph.weight is None, "an edge that is used is an edge like any other"
    for other in others:
        assert torch.equal(other.graph.edge_index, dense.graph.edge_index)
    if not training:
        assert all(each.candidates is None for each in (dense, *others))
        return
    offered = [each.candidates for each in (dense, *others)]
    assert offered[0] is not None
    assert torch.equal(offered[0].weight, dense.graph.dense.double()), "exactly, so that it can be told"
    for other in offered[1:]:
        assert torch.equal(other.edge_index, graph.edge_index)
        assert torch.equal(other.edge_weight, offered[0].edge_weight)
    with torch.no_grad():
        assert decide(module, h, graph).candidates is None, "nobody would want their gradient"


@pytest.mark.parametrize("name", EDGES)
def test_one_graph_for_all_and_one_for_each_environment_agree(name: str) -> None:
    module, h = EDGES[name](), torch.randn(3, N, F)
    for layout in ("dense", "regular", "sparse"):
        shared = full().to_layout(layout)
        apart = decide(module, h, shared.expand(3)).graph
        assert torch.equal(decide(module, h, shared).graph.dense, apart.dense)


@pytest.mark.parametrize("name", EDGES)
def test_existing_weights_multiply(name: str) -> None:
    module, graph, h = EDGES[name](), full().expand(2), torch.randn(2, N, F)
    weights = torch.rand(2, N, N)
    found = decide(module, h, graph.with_features(weight=weights))
    assert found.candidates is not None
    for used in (found.graph, found.candidates):
        assert torch.equal(used.weight, torch.where(found.graph.dense, weights, 0.0))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", EDGES)
def test_gradients_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    module = EDGES[name]()
    offered = decide(module, torch.randn(20, N, F), full(20)).candidates
    assert offered is not None
    assert offered.weight is not None
    (offered.weight * torch.randn(20, N, N)).sum().backward()
    for key, parameter in module.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all()
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", EDGES)
def test_exploration_depends_on_the_moment_only_and_execution_has_none(name: str) -> None:
    torch.manual_seed(0)
    module, h = EDGES[name](), torch.randn(1, N, F).expand(30, N, F)
    drawn = decide(module, h, full()).graph.dense
    assert not (drawn == drawn[0]).all(), "equal rows in thirty episodes, different graphs"
    assert torch.equal(decide(module, h[:4], full()).graph.dense, drawn[:4]), "whatever the batch"
    module.eval()
    settled = decide(module, h, full()).graph.dense
    assert (settled == settled[0]).all()


@pytest.mark.parametrize("kind", [Request, HardSoft, GumbelEdges])
def test_an_edge_is_used_with_the_probability_of_its_score(kind: type[Request | HardSoft | GumbelEdges]) -> None:
    p = 0.3
    module = kind(F, N) if kind is Request else kind(F)
    fixed_logit(module, math.log(p / (1 - p)))
    used = decide(module, torch.randn(2000, N, F), full()).graph
    pairs = 2000 * N * (N - 1)
    assert abs(int(used.dense.sum()) / pairs - p) < 4 * math.sqrt(p * (1 - p) / pairs)
    module.eval()
    assert not decide(module, torch.randn(2, N, F), full()).graph.num_edges, "below one half: no"
    fixed_logit(module, 0.1)
    assert decide(module, torch.randn(1, N, F), full()).graph.num_edges == N * (N - 1)


@pytest.mark.parametrize("kind", [Request, HardSoft, GumbelEdges])
def test_the_price_is_per_edge_that_could_be_used(kind: type[Request | HardSoft | GumbelEdges]) -> None:
    module = kind(F, N, price=0.5) if kind is Request else kind(F, price=0.5)
    fixed_logit(module, 0.0)
    line = CommGraph.from_edge_list([(0, 1), (0, 2), (3, 2), (4, 4)], N)
    cost = decide(module, torch.randn(2, N, F), line).cost
    assert cost is not None
    edges = [0.0, 1, 2, 0, 0] if kind is Request else [2.0, 0, 0, 1, 0]  # who asks pays, else who sends
    torch.testing.assert_close(cost, 0.25 * torch.tensor([edges, edges]))


def test_control_traffic_by_hand() -> None:
    line = CommGraph.from_edge_list([(0, 1), (0, 2), (3, 2), (4, 4)], N)
    h = torch.randn(1, N, F)
    request, hard_soft = Request(F, N).eval(), HardSoft(F, channels=2).eval()
    for module in (request, hard_soft):
        fixed_logit(module, 1.0)
    assert decide(request, h, line).bits.tolist() == [[0, 3, 6, 0, 0]]  # type: ignore[union-attr]  # three bits name five
    # two numbers of those whom somebody hears, one bit of answer for each sender chosen
    assert decide(hard_soft, h, line).bits.tolist() == [[64, 1, 2, 64, 0]]  # type: ignore[union-attr]
    assert decide(TopK(F), h, line).bits.tolist() == [[16, 0, 0, 16, 0]]  # type: ignore[union-attr]


# ---- top k ----


def weigh_by_first(module: TopK) -> None:
    """w = sigmoid(first number of the row)."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
        module.net[0].weight[0, 0], module.net[0].weight[1, 0] = 1.0, -1.0
        module.net[2].weight[0, 0], module.net[2].weight[0, 1] = 1.0, -1.0


def test_the_k_largest_talk_and_ties_go_to_the_smaller_index() -> None:
    module = TopK(F, k=2).eval()
    weigh_by_first(module)
    h = torch.zeros(2, N, F)
    h[:, :, 0] = torch.tensor([[0.0, 3.0, -1.0, 2.0, 1.0], [1.0, 0.5, 1.0, 1.0, 0.0]])
    assert decide(module, h, full()).graph.dense.any(2).int().tolist() == [[0, 1, 0, 1, 0], [1, 0, 1, 0, 0]]
    heard = CommGraph.from_edge_list([(0, 1), (2, 1), (4, 1)], N)
    assert decide(module, h, heard).graph.dense.any(2)[0].int().tolist() == [1, 0, 0, 0, 1], "who is heard by nobody"


def test_in_training_one_talks_in_proportion_to_its_weight() -> None:
    module = TopK(F, k=1)
    weigh_by_first(module)
    h = torch.zeros(20_000, 3, F)
    h[:, :, 0] = torch.tensor([-1.0, 0.0, 2.0])
    share = decide(module, h, full(1, 3)).graph.dense.any(2).float().mean(0)
    weight = torch.tensor([-1.0, 0.0, 2.0]).sigmoid()
    torch.testing.assert_close(share, weight / weight.sum(), atol=0.015, rtol=0.0)


# ---- the learned static graph ----


def test_the_largest_parameters_are_the_graph_in_execution() -> None:
    module = LearnedStatic(4, k=2).eval()
    theta = torch.tensor([[9.0, 3, 1, 2], [1, 9, 2, 3], [2, 2, 9, 1], [3, 1, 3, 9]])
    with torch.no_grad():
        module.theta.copy_(theta)  # [sender, receiver]; an agent is no neighbour of itself
    used = decide(module, torch.zeros(1, 4, F), full(1, 4)).graph
    heard = [used.dense[0, :, i].nonzero().flatten().tolist() for i in range(4)]
    assert heard == [[2, 3], [0, 2], [1, 3], [0, 1]]


def test_in_training_the_graph_is_drawn_per_episode_with_softmax_probability() -> None:
    module = LearnedStatic(3, k=1)
    with torch.no_grad():
        module.theta.copy_(torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [2.0, 0.0, 0.0]]))
    h = torch.zeros(20_000, 3, F)
    used = decide(module, h, full(1, 3))
    assert (used.graph.dense.sum(1) == 1).all(), "each hears one"
    torch.testing.assert_close(
        used.graph.dense.float().mean(0)[:, 0],
        torch.tensor([0.0, 1.0, math.exp(2)]) / (1 + math.exp(2)),
        atol=0.015,
        rtol=0.0,
    )
    assert torch.equal(decide(module, h, full(1, 3), step=7).graph.dense, used.graph.dense)


# ---- self-loops and directions ----


@pytest.mark.parametrize("mode", ["kept", "none", "forced", "learned"])
def test_self_loops_of_gumbel_edges(mode: str) -> None:
    module, h = GumbelEdges(F, self_loops=mode).eval(), torch.randn(1, N, F)  # type: ignore[arg-type]
    own = torch.eye(N, dtype=torch.bool)
    for logit in (-1.0, 1.0):
        fixed_logit(module, logit)
        wanted = {"none": 0, "forced": N, "learned": N * (logit > 0)}
        for graph, loops in ((full(), 0), (full().with_self_loops(), N)):
            found = decide(module, h, graph).graph.dense[0]
            assert int((found & own).sum()) == {"kept": loops, **wanted}[mode]
            assert int((found & ~own).sum()) == N * (N - 1) * (logit > 0)


def test_undirected_edges_are_drawn_together() -> None:
    torch.manual_seed(0)
    both, one = GumbelEdges(F, undirected=True), GumbelEdges(F)
    one.load_state_dict(both.state_dict())
    for parameter in (both.score.lin_score.weight, one.score.lin_score.weight):
        parameter.data.mul_(30)  # so that rows matter as much as noise
    h = torch.randn(50, N, F)
    for _ in range(2):  # in training and in execution
        drawn, directed = decide(both, h, full()).graph.dense, decide(one, h, full()).graph.dense
        assert drawn.any()
        assert torch.equal(drawn, drawn.transpose(1, 2))
        assert not torch.equal(directed, directed.transpose(1, 2))
        both.eval()
        one.eval()


# ---- errors ----


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: TopK(F, k=0), "k"),
        (lambda: LearnedStatic(3, k=3), "k < num_agents=3"),
        (lambda: HardSoft(F, price=-1.0), "price"),
        (lambda: HardSoft(F, channels=0), "channels"),
        (lambda: GumbelEdges(F, heads=-1), "heads"),
        (lambda: GumbelEdges(F, self_loops="some"), "self_loops"),  # type: ignore[arg-type]
        (lambda: Request(F, 0), "num_agents"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Scheduler], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        make()


@pytest.mark.parametrize("name", ["request", "learned_static"])
def test_a_team_of_another_size_is_refused(name: str) -> None:
    with pytest.raises(ShapeError, match=f"{N} agents"):
        decide(EDGES[name](), torch.zeros(1, N + 1, F), full(1, N + 1))


def test_announcements_stand_for_the_rows_of_others() -> None:
    """What a deployed agent does: others' rows are unknown, their announcements are not."""
    for name in ("hard_soft", "top_k"):
        module, h = EDGES[name]().eval(), torch.randn(1, N, F)
        wanted = decide(module, h, full()).graph.dense[0]
        alone = torch.full_like(h, torch.nan)
        alone[0, 2] = h[0, 2]
        moment = Moment(torch.arange(1), torch.zeros(1, dtype=torch.int64))
        nothing = torch.zeros(1, N, 0)
        now = Situation(alone, h[..., :M], full(), nothing, moment, announced=module.announce(h))
        got = module(now).graph.dense[0]
        row = (slice(None), 2) if name == "hard_soft" else (2, slice(None))
        assert torch.equal(got[row], wanted[row])


@pytest.mark.parametrize("name", EDGES)
def test_edges_that_were_not_drawn_learn_too(name: str) -> None:
    """Otherwise an edge that was closed once would rarely open again."""
    torch.manual_seed(0)
    module, h = EDGES[name]().double(), torch.randn(8, N, F, dtype=torch.float64)
    offered = decide(module, h, full()).candidates
    assert offered is not None
    assert offered.weight is not None
    assert torch.equal(offered.dense, full().dense.expand(8, N, N)), "all candidates are there"
    closed = offered.dense & (offered.weight == 0)
    assert 0 < closed.sum() < offered.num_edges
    found = torch.autograd.grad(torch.where(closed, offered.weight, 0.0).sum(), list(module.parameters()))
    assert all(each.abs().sum() > 0 for each in found)


def test_an_edge_of_weight_zero_is_no_edge_to_magic() -> None:
    layer, h = MAGICComm(F, F, heads=2, own=True).double(), torch.randn(1, N, F, dtype=torch.float64)
    drawn = ErdosRenyi(0.5)(torch.ones(1, N, dtype=torch.bool), key=torch.arange(1)).to_layout("dense")
    weighed = full().with_features(None, drawn.dense.double())
    torch.testing.assert_close(layer(h, weighed), layer(h, drawn), rtol=0, atol=1e-14)
