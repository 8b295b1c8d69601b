"""MAGIC: weights inside the softmax by hand, and the clean layer beside the released attention."""

from __future__ import annotations

import math

import pytest
import torch

from gnncomm.bench.reference.magic import GraphAttention, Loops, MAGICNetwork, MAGICSettings
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import MAGICComm
from gnncomm.methods import METHODS


def simple(own: bool = False) -> MAGICComm:
    """z = h, scores LeakyReLU(h_j)."""
    layer = MAGICComm(1, 1, heads=1, own=own).double()
    with torch.no_grad():
        layer.lin.weight.fill_(1.0)
        layer.att_receiver.zero_()
        layer.att_sender.fill_(1.0)
        layer.bias.fill_(0.5)
    return layer


@pytest.mark.parametrize("layout", Layout)
def test_by_hand(layout: Layout) -> None:
    h = torch.tensor([[[1.0], [-5.0], [2.0]]], dtype=torch.float64)
    weight = torch.tensor([3.0, 0.5], dtype=torch.float64)
    graph = CommGraph.from_edge_index(torch.tensor([[1, 2], [0, 0]]), 3, weight=weight).to_layout(layout)
    parts = [3.0 * math.exp(-1.0), 0.5 * math.exp(2.0)]  # LeakyReLU(-5) = -1
    want = (-5.0 * parts[0] + 2.0 * parts[1]) / sum(parts) + 0.5
    torch.testing.assert_close(simple()(h, graph).flatten(), torch.tensor([want, 0.5, 0.5], dtype=torch.float64))
    parts.append(math.exp(1.0))
    own = (-5.0 * parts[0] + 2.0 * parts[1] + 1.0 * parts[2]) / sum(parts) + 0.5
    want_own = torch.tensor([own, -4.5, 2.5], dtype=torch.float64)
    torch.testing.assert_close(simple(own=True)(h, graph).flatten(), want_own)


def test_weights_are_differentiable_through_the_normalisation() -> None:
    h = torch.tensor([[[1.0], [2.0], [2.0]]], dtype=torch.float64)
    weight = torch.ones(2, dtype=torch.float64, requires_grad=True)
    out = simple()(h, CommGraph.from_edge_index(torch.tensor([[0, 2], [1, 1]]), 3, weight=weight))
    (gradient,) = torch.autograd.grad(out[0, 1, 0], weight)
    # c = (w1 e z1 + w2 e^2 z2) / (w1 e + w2 e^2): dc/dw1 = e (z1 - c) / S
    total = math.e + math.e**2
    c = (math.e + 2 * math.e**2) / total
    want = torch.tensor([math.e * (1 - c) / total, math.e**2 * (2 - c) / total], dtype=torch.float64)
    torch.testing.assert_close(gradient, want)


def test_weights_of_zero_are_finite() -> None:
    h, weight = torch.randn(1, 3, 4), torch.zeros(2, requires_grad=True)
    for layout in Layout:
        out = MAGICComm(4, 4)(
            h, CommGraph.from_edge_index(torch.tensor([[0, 2], [1, 1]]), 3, weight=weight).to_layout(layout)
        )
        assert out.isfinite().all()


@pytest.mark.parametrize("average", [False, True])
@pytest.mark.parametrize("loops", [0, 1, 2])
def test_the_layer_is_the_released_attention_over_edges(loops: Loops, average: bool) -> None:
    torch.manual_seed(0)
    released = GraphAttention(5, 3, 2, average, normalize=False, loops=loops, over_edges=True).double()
    layer = MAGICComm(5, 3 if average else 6, 2, average, own=loops == 1).double()
    with torch.no_grad():
        layer.lin.weight.copy_(released.W.t())
        layer.att_receiver.copy_(released.a_i.squeeze(-1))
        layer.att_sender.copy_(released.a_j.squeeze(-1))
        layer.bias.copy_(released.bias.normal_())
    h, adjacency = torch.randn(2, 4, 5, dtype=torch.float64), (torch.rand(2, 4, 4) < 0.6).double()  # receiver, sender
    want, _ = released(h, adjacency, torch.ones(2, 4, dtype=torch.float64))
    heard = adjacency.transpose(1, 2) > 0
    if loops < 2:
        heard = heard & ~torch.eye(4, dtype=torch.bool)
    for layout in Layout:
        torch.testing.assert_close(layer(h, CommGraph.from_dense(heard).to_layout(layout)), want)


def test_normalised_the_denominator_of_absent_edges_cancels() -> None:
    torch.manual_seed(1)
    h, adjacency = torch.randn(1, 4, 5, dtype=torch.float64), torch.ones(1, 4, 4, dtype=torch.float64).tril()
    quirky = GraphAttention(5, 3, 2, False, True, 2, over_edges=False).double()
    clean = GraphAttention(5, 3, 2, False, False, 2, over_edges=True).double()
    clean.load_state_dict(quirky.state_dict())
    living = torch.ones(1, 4, dtype=torch.float64)
    torch.testing.assert_close(quirky(h, adjacency, living)[0], clean(h, adjacency, living)[0], rtol=1e-10, atol=1e-10)


def test_no_noise_draws_the_likelier_graph() -> None:
    network = MAGICNetwork(3, (2,), MAGICSettings(hidden=16, channels=4))
    done = network(torch.randn(2, 4, 3))
    assert done["mid/adj1"].equal((done["mid/logits1"][..., 1] > done["mid/logits1"][..., 0]).float())


def test_the_second_round_averages_its_heads() -> None:
    first, second = METHODS["magic"](6, 5, 4, hidden=16).comm.rounds
    assert isinstance(first, MAGICComm)
    assert isinstance(second, MAGICComm)
    assert (first.average, second.average) == (False, True)
    assert first.own
    assert second.own
    assert (first.heads, second.heads) == (4, 1)
    with pytest.raises(ConfigError, match="splits out_channels=6 over heads=4"):
        MAGICComm(6, 6)


def test_only_beside_the_own_row_a_lone_edge_is_taught() -> None:
    torch.manual_seed(0)
    h, weight = torch.randn(1, 2, 4), torch.ones(1, requires_grad=True)
    for own in (False, True):
        graph = CommGraph.from_edge_index(torch.tensor([[0], [1]]), 2, weight=weight)
        (gradient,) = torch.autograd.grad(MAGICComm(4, 4, own=own)(h, graph)[0, 1].square().sum(), weight)
        assert (gradient.abs().item() > 1e-4) is own
