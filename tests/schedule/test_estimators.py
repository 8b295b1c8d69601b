"""The gradient of a learned choice of edges is that of the expected loss, which is summed up here over all graphs."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GATv2Conv, GraphConv

from gnncomm import schedule
from gnncomm.channel import Channel, Delay, Ideal
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import (
    AttentionComm,
    CommLayer,
    CommStack,
    ConvComm,
    DCCComm,
    EmbedComm,
    ExpoOnePeerComm,
    HetGPPOComm,
    MAGICComm,
    MASIAComm,
    MeanComm,
)
from gnncomm.policy.rounds import WireState, talk
from gnncomm.schedule import Gate, GumbelEdges, HardSoft, LearnedStatic, Request, Scheduler, TopK
from gnncomm.types import Moment
from gnncomm.wire import Wire

F, GROUPS, DRAWS = 3, 30, 400
Graphs = Iterator[tuple[Tensor, Tensor]]
"""Every graph ``[N, N]`` (sender, receiver) that may be drawn, and its probability with a gradient."""


@dataclass(frozen=True)
class Case:
    num_agents: int
    make: Callable[[], Scheduler]
    graphs: Callable[..., Graphs]


def pairs(num_agents: int) -> list[tuple[int, int]]:
    return [(j, i) for j in range(num_agents) for i in range(num_agents) if i != j]


def drawn_apart(logit: dict[tuple[tuple[int, int], ...], Tensor], num_agents: int) -> Graphs:
    """Sets of edges that are used together or not at all."""
    for bits in itertools.product((0, 1), repeat=len(logit)):
        adjacency, p = torch.zeros(num_agents, num_agents, dtype=torch.bool), torch.ones((), dtype=torch.float64)
        for bit, (edges, value) in zip(bits, logit.items(), strict=True):
            p = p * torch.sigmoid(value if bit else -value)
            for j, i in edges:
                adjacency[j, i] = bool(bit)
        yield adjacency, p


def of_request(module: Request, h: Tensor) -> Graphs:
    hidden = module.lin_receiver(h)
    logit = {
        ((j, i),): module.lin_score((hidden[i] + module.id_embedding.weight[j]).relu())[0] for j, i in pairs(len(h))
    }
    return drawn_apart(logit, len(h))


def of_pairs(module: HardSoft | GumbelEdges, h: Tensor) -> Graphs:
    score, row = module.score, h
    if isinstance(module, GumbelEdges) and module.encoder is not None:
        row = module.encoder(h, (~torch.eye(len(h), dtype=torch.bool)).nonzero().t())

    def of(j: int, i: int) -> Tensor:
        value: Tensor = score.lin_score((score.lin_receiver(row[i]) + score.lin_sender(row[j])).relu())[0]
        return value

    if getattr(module, "undirected", False):
        both = {((j, i), (i, j)): (of(j, i) + of(i, j)) / 2 for j, i in pairs(len(h)) if j < i}
        return drawn_apart(both, len(h))
    return drawn_apart({((j, i),): of(j, i) for j, i in pairs(len(h))}, len(h))


def sets_of(log_weight: list[Tensor], k: int) -> Iterator[tuple[tuple[int, ...], Tensor]]:
    """Sets of k drawn one after the other without replacement, in proportion to their weights."""
    weight = torch.stack(log_weight).exp()
    for chosen in itertools.combinations(range(len(weight)), k):
        p = torch.zeros((), dtype=torch.float64)
        for order in itertools.permutations(chosen):
            term, left = torch.ones((), dtype=torch.float64), weight.sum()
            for each in order:
                term, left = term * weight[each] / left, left - weight[each]
            p = p + term
        yield chosen, p


def of_top_k(module: TopK, h: Tensor) -> Graphs:
    for talkers, p in sets_of(list(module.announce(h).squeeze(-1).log()), module.k):
        adjacency = ~torch.eye(len(h), dtype=torch.bool)
        adjacency[[j for j in range(len(h)) if j not in talkers]] = False
        yield adjacency, p


def of_learned_static(module: LearnedStatic, h: Tensor) -> Graphs:
    others = [[j for j in range(len(h)) if j != i] for i in range(len(h))]
    each = [list(sets_of([module.theta[j, i] for j in others[i]], module.k)) for i in range(len(h))]
    for choice in itertools.product(*each):
        adjacency, p = torch.zeros(len(h), len(h), dtype=torch.bool), torch.ones((), dtype=torch.float64)
        for i, (chosen, term) in enumerate(choice):
            adjacency[[others[i][c] for c in chosen], i] = True
            p = p * term
        yield adjacency, p


LEARNED = {
    "request": Case(3, lambda: Request(F, 3, channels=4), of_request),
    "hard_soft": Case(3, lambda: HardSoft(F, channels=4), of_pairs),
    "gumbel_edges": Case(3, lambda: GumbelEdges(F, channels=4, heads=2), of_pairs),
    "gumbel_edges, undirected": Case(3, lambda: GumbelEdges(F, channels=4, heads=0, undirected=True), of_pairs),
    "topk": Case(4, lambda: TopK(F, k=2, channels=4), of_top_k),
    "topk, one": Case(3, lambda: TopK(F, k=1, channels=4), of_top_k),
    "learned_static": Case(4, lambda: LearnedStatic(4, k=2), of_learned_static),
    "learned_static, one": Case(3, lambda: LearnedStatic(3, k=1), of_learned_static),
}
SAMPLED = {"gate"}  # part of the action: their log-probabilities are the learner's affair


class Deafened(CommLayer):
    """A sum that knows nothing of weights."""

    def __init__(self) -> None:
        super().__init__(F, F, F, aggr="sum")

    def send(self, h: Tensor) -> Tensor:
        return h

    def message(self, msg_j: Tensor) -> Tensor:
        return msg_j

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return inbox


LAYERS: dict[str, Callable[[], CommLayer]] = {
    "mean": lambda: MeanComm(F, F),
    "attention": lambda: AttentionComm(F, F, heads=3, key_channels=2),
    "sum": Deafened,
}
MORE_LAYERS: dict[str, Callable[[], CommLayer]] = {
    "attention with itself": lambda: AttentionComm(F, F, heads=1, key_channels=2, own=True),
    "magic": lambda: MAGICComm(F, F, heads=1, own=True),
    "masia": lambda: MASIAComm(F, F, 4, 4),
    "dcc": lambda: DCCComm(F, heads=2, head_channels=2),
    "one peer": lambda: ExpoOnePeerComm(F),
    "largest": lambda: HetGPPOComm(F, F, aggr="max"),
    "embedded": lambda: EmbedComm(F, F),
    "a convolution with weights": lambda: ConvComm(GraphConv(F, F, aggr="mean")),
    "a convolution without": lambda: ConvComm(GATv2Conv(F, F, add_self_loops=False)),
}


def full(num_agents: int) -> CommGraph:
    return CommGraph.from_dense(~torch.eye(num_agents, dtype=torch.bool))


def round_of(
    layer: CommLayer, scheduler: Scheduler, h: Tensor, graph: CommGraph, first: int, channel: Channel
) -> Tensor:
    """The rows after one round; with a channel that delays, after the step at which the messages arrive."""
    comm, wire = CommStack([layer], residual=False), Wire(scheduler=scheduler, channel=channel)
    state = WireState.fresh(wire, comm, h, len(h), h.shape[1])
    key = torch.arange(first, first + len(h))
    for step in range(channel.max_age + 1):
        talked = talk(comm, wire, h, graph, state, Moment(key, torch.full((len(h),), step)))
        state = talked.state
    return talked.h


def gradients(
    case: Case,
    make_layer: Callable[[], CommLayer],
    loss: Callable[[Tensor], Tensor],
    channel: Channel | None = None,
    weight: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Exact ``[P]`` and estimated ``[GROUPS, P]`` gradients of the expected loss by the scheduler's parameters."""
    torch.manual_seed(3)
    scheduler, layer, n = case.make().double().train(), make_layer().double(), case.num_agents
    with torch.no_grad():
        for parameter in scheduler.parameters():
            parameter.copy_(0.7 * torch.randn_like(parameter))
    h = torch.randn(n, F, dtype=torch.float64)
    parameters = list(scheduler.parameters())

    def flat(value: Tensor) -> Tensor:
        found = torch.autograd.grad(value, parameters)
        return torch.cat([each.flatten() for each in found])

    expected = torch.zeros((), dtype=torch.float64)
    for adjacency, p in case.graphs(scheduler, h):
        with torch.no_grad():
            rows = layer(h, CommGraph.from_dense(adjacency, weight=weight))
        expected = expected + p * loss(rows)
    exact = flat(expected)
    drawn, graph = [], CommGraph.from_dense(full(n).dense[0], weight=weight)
    for group in range(GROUPS):
        rows = round_of(layer, scheduler, h.expand(DRAWS, n, F), graph, group * DRAWS, channel or Ideal())
        drawn.append(flat(loss(rows) / DRAWS))
    return exact, torch.stack(drawn)


def squared(rows: Tensor) -> Tensor:
    """Quadratic in the rows, so that the estimate is without bias; targets beyond the reach of a softmax."""
    target = torch.tensor([[1.0, -2.0, 0.5], [-1.5, 0.3, 2.0], [0.7, 1.1, -0.4], [0.2, -0.6, 1.4]], dtype=rows.dtype)
    return (rows - target[: rows.shape[-2]]).square().sum()


def require_same(exact: Tensor, drawn: Tensor, width: float = 5.0) -> None:
    """Along the exact gradient and across it, within ``width`` standard errors, which are small."""
    across = [
        torch.randn(len(exact), dtype=torch.float64, generator=torch.Generator().manual_seed(k)) for k in range(4)
    ]
    for number, direction in enumerate([exact, *across]):
        along = drawn @ direction
        error = float(along.std() / GROUPS**0.5)
        assert abs(float(along.mean() - exact @ direction)) < width * error
        if number == 0:
            assert error < 0.1 * float(exact @ exact), "precise enough to tell"


def test_every_scheduler_takes_part() -> None:
    """A new one is compared below, or is sampled like an action, or has nothing to learn."""
    learned = {type(case.make()) for case in LEARNED.values()}
    for name, cls in schedule.listing().items():
        if cls not in learned and name not in SAMPLED:
            assert not list(schedule.resolve(name, in_channels=F, num_agents=3).parameters()), name
    assert Gate.num_choices == 1


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", LEARNED)
def test_the_gradient_is_that_of_the_expected_loss(name: str, layer: str) -> None:
    require_same(*gradients(LEARNED[name], LAYERS[layer], squared))


@pytest.mark.parametrize("layer", MORE_LAYERS)
def test_whatever_the_layer(layer: str) -> None:
    require_same(*gradients(LEARNED["request"], MORE_LAYERS[layer], squared))


@pytest.mark.parametrize(
    ("name", "steps"), [("request", 1), ("learned_static", 1), ("topk", 1), ("topk, one", 1), ("topk", 2)]
)
def test_also_of_messages_that_arrive_late(name: str, steps: int) -> None:
    """Who traded places is known from the step at which they were sent: another draw than that of their arrival."""
    require_same(*gradients(LEARNED[name], LAYERS["mean"], squared, Delay(steps)))


def test_a_channel_says_how_old_its_messages_may_be() -> None:
    class Slow(Delay):
        max_age = 0

    with pytest.raises(ConfigError, match="max_age"):
        gradients(LEARNED["topk"], LAYERS["mean"], squared, Slow(1))


def test_also_where_the_topology_weighs_its_edges() -> None:
    """A closed edge is tried with weight 1, which is exact for sums."""
    weight = torch.tensor([[0.0, 2.0, 0.5], [1.5, 0.0, 0.25], [1.0, 3.0, 0.0]], dtype=torch.float64)

    def linear(rows: Tensor) -> Tensor:
        return (rows * torch.tensor([1.0, -2.0, 0.5], dtype=rows.dtype)).sum()

    require_same(*gradients(LEARNED["request"], MORE_LAYERS["embedded"], linear, weight=weight))


def test_the_sign_is_right_where_the_loss_is_no_parabola() -> None:
    """Huber's loss of the rows: the estimate has a bias, and the direction of the exact gradient."""

    def huber(rows: Tensor) -> Tensor:
        target = torch.tensor([[1.0, -2.0, 0.5], [-1.5, 0.3, 2.0], [0.7, 1.1, -0.4]], dtype=rows.dtype)
        return torch.nn.functional.huber_loss(rows, target.expand_as(rows), reduction="sum", delta=0.5)

    for name in ("request", "topk, one", "learned_static, one"):
        for layer in (LAYERS["mean"], LAYERS["attention"]):
            exact, drawn = gradients(LEARNED[name], layer, huber)
            along = drawn @ exact / (exact @ exact)
            assert 0.5 < float(along.mean()) < 2
            assert float(along.mean()) > 10 * float(along.std()) / GROUPS**0.5


def test_a_harmful_edge_is_closed_and_not_opened() -> None:
    r"""By hand: agent 1 says 1, agent 2 says 1/2, agent 0 wants to read 1, and it reads their mean.

    With p = sigmoid(4) for agent 1 and 1/2 for agent 2 the expected squared error has the derivative
    1/4 (p (1/16 - 0) + (1 - p) (1/4 - 1)) by the logit of agent 2: positive, so that descent closes its edge.
    """
    torch.manual_seed(0)
    scheduler, layer = Request(2, 3).double().train(), MeanComm(2, 1).double()
    with torch.no_grad():
        for parameter in (*scheduler.parameters(), *layer.parameters()):
            parameter.zero_()
        layer.lin_inbox.weight[0, 0] = 1.0
        scheduler.id_embedding.weight[1, 0], scheduler.id_embedding.weight[2, 1] = 1.0, 1.0
        scheduler.lin_score.weight[0, 0] = 4.0
    h = torch.tensor([[0.0, 0], [1, 0], [0.5, 0]], dtype=torch.float64).expand(20_000, 3, 2)
    p = float(torch.sigmoid(torch.tensor(4.0, dtype=torch.float64)))
    rows = round_of(layer, scheduler, h, full(3), 0, Ideal())
    loss = (rows[:, 0, 0] - 1).square().mean()
    assert float(loss.detach()) == pytest.approx(0.5 * p / 16 + (1 - p) * (0.25 + 1) / 2, abs=0.005)
    (found,) = torch.autograd.grad(loss, scheduler.lin_score.weight)
    # seven standard errors: a draw gives 1/32 or 0, or one in 56 times -1/4 or -1/8
    assert float(found[0, 1]) == pytest.approx(0.25 * (p / 16 - (1 - p) * 0.75), abs=0.0015)
    assert float(found[0, 1]) > 0.01


@pytest.mark.parametrize("layer", [*LAYERS, *MORE_LAYERS])
@pytest.mark.parametrize("name", LEARNED)
def test_what_is_not_used_is_not_there(name: str, layer: str) -> None:
    """Values are those without gradients, and NaN stays with those who read it."""
    torch.manual_seed(5)
    case, n = LEARNED[name], LEARNED[name].num_agents
    scheduler, receiver = case.make().double().train(), (LAYERS | MORE_LAYERS)[layer]().double()
    h = torch.randn(6, n, F, dtype=torch.float64)
    with torch.no_grad():
        wanted = round_of(receiver, scheduler, h, full(n), 0, Ideal())
    rows = round_of(receiver, scheduler, h, full(n), 0, Ideal())
    torch.testing.assert_close(rows, wanted, rtol=0.0, atol=1e-14)

    comm, wire = CommStack([receiver], residual=False), Wire(scheduler=scheduler, channel=_Breaks())
    now = Moment(torch.arange(6), torch.zeros(6).long())
    talked = talk(comm, wire, h, full(n), WireState.fresh(wire, comm, h, 6, n), now)
    hears = talked.graphs[0].dense[:, 0]
    assert hears.any()
    assert not hears.all()
    torch.testing.assert_close(talked.h[~hears], wanted[~hears], rtol=0.0, atol=1e-14)
    found = torch.autograd.grad(talked.h[~hears].sum(), list(scheduler.parameters()), allow_unused=True)
    assert all(each.isfinite().all() for each in found if each is not None)


class _Breaks(Channel):
    """Agent 0 is heard as NaN."""

    def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
        first = torch.arange(msg.shape[1]).view(1, -1, 1) == 0
        return torch.where(first, torch.nan, msg)
