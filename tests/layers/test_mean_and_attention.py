"""MeanComm and AttentionComm against numbers computed by hand, and what all layers have in common."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, CommLayer, CommStack, ConvComm, MeanComm

# 0 hears 1 and 2, 1 hears 0, 2 hears nobody, 3 hears 0, 1 and 2
EDGES = [(1, 0), (2, 0), (0, 1), (0, 3), (1, 3), (2, 3)]
H4 = [[1.0, 2.0], [3.0, -1.0], [0.0, 5.0], [2.0, 2.0]]


def graph(weight: Tensor | None = None) -> CommGraph:
    return CommGraph.from_edge_index(torch.tensor(EDGES).t(), 4, weight=weight)


def identity(layer: MeanComm) -> MeanComm:
    with torch.no_grad():
        layer.lin_self.weight.copy_(torch.eye(2))
        layer.lin_self.bias.zero_()
        layer.lin_inbox.weight.copy_(10 * torch.eye(2))
    return layer


@pytest.mark.parametrize("layout", Layout)
def test_commnet_by_hand(layout: Layout) -> None:
    """h' = h + 10 * mean of the neighbours."""
    out = identity(MeanComm(2, 2))(torch.tensor([H4]), graph().to_layout(layout))
    want = [
        [1 + 10 * (3 + 0) / 2, 2 + 10 * (-1 + 5) / 2],
        [3 + 10 * 1, -1 + 10 * 2],
        [0, 5],
        [2 + 10 * (1 + 3 + 0) / 3, 2 + 10 * (2 - 1 + 5) / 3],
    ]
    torch.testing.assert_close(out[0], torch.tensor(want))


@pytest.mark.parametrize("layout", Layout)
def test_weights_gate_messages_and_do_not_change_their_count(layout: Layout) -> None:
    weight = torch.tensor([0.5, 1.0, 0.0, 1.0, 1.0, 2.0])
    out = identity(MeanComm(2, 2))(torch.tensor([H4]), graph(weight).to_layout(layout))
    want = [
        [1 + 10 * (0.5 * 3 + 0) / 2, 2 + 10 * (0.5 * -1 + 5) / 2],
        [3, -1],
        [0, 5],
        [2 + 10 * (1 + 3 + 0) / 3, 2 + 10 * (2 - 1 + 2 * 5) / 3],
    ]
    torch.testing.assert_close(out[0], torch.tensor(want))


def test_commnet_sends_a_projection_where_asked() -> None:
    layer = MeanComm(2, 3, msg_channels=1)
    h = torch.tensor([H4])
    said = (h[0] @ layer.lin_send.weight.T).squeeze(-1)
    want = layer.lin_self(h[0, 0]) + layer.lin_inbox.weight[:, 0] * (said[1] + said[2]) / 2
    torch.testing.assert_close(layer(h, graph())[0, 0], want)


def tarmac_by_hand(layer: AttentionComm, h: np.ndarray) -> tuple[np.ndarray, dict[tuple[int, int], np.ndarray]]:
    """Equations 2 to 4 of the paper, one receiver and one head at a time."""
    heads, d_k = layer.heads, layer.key_channels
    send, query = (linear.weight.detach().double().numpy() for linear in (layer.lin_send, layer.lin_query))
    own, inbox = (linear.weight.detach().double().numpy() for linear in (layer.lin_self, layer.lin_inbox))
    signature = (h @ send[: heads * d_k].T).reshape(len(h), heads, d_k)
    value = (h @ send[heads * d_k :].T).reshape(len(h), heads, -1)
    asked = (h @ query.T).reshape(len(h), heads, d_k)
    out, alphas = h @ own.T + layer.lin_self.bias.detach().double().numpy(), {}
    for i in range(len(h)):
        senders = [s for s, r in EDGES if r == i]
        read = np.zeros((heads, value.shape[-1]))
        for head in range(heads):
            score = np.array([asked[i, head] @ signature[j, head] / np.sqrt(d_k) for j in senders])
            alpha = np.exp(score) / np.exp(score).sum()
            for j, share in zip(senders, alpha, strict=True):
                read[head] += share * value[j, head]
                alphas.setdefault((j, i), np.zeros(heads))[head] = share
        out[i] += inbox @ read.reshape(-1)
    return out, alphas


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("heads", "value_channels"), [(1, None), (2, None), (3, 5)])
def test_tarmac_by_hand(layout: Layout, heads: int, value_channels: int | None) -> None:
    layer = AttentionComm(2, 6, heads=heads, key_channels=4, value_channels=value_channels).double()
    h = torch.tensor([H4], dtype=torch.float64)
    want, alphas = tarmac_by_hand(layer, h[0].numpy())
    out, (edge_index, alpha) = layer(h, graph().to_layout(layout), return_attention_weights=True)
    np.testing.assert_allclose(out[0].detach().numpy(), want, atol=1e-12)
    for (sender, receiver), share in zip(edge_index.t().tolist(), alpha.detach().numpy(), strict=True):
        np.testing.assert_allclose(share, alphas[sender, receiver], atol=1e-12)


def test_attention_of_an_inbox_sums_to_one() -> None:
    layer, h = AttentionComm(2, 4, heads=2), torch.randn(3, 4, 2)
    dense = graph().to_layout(Layout.DENSE)
    _, (edge_index, alpha) = layer(h, dense, return_attention_weights=True)
    assert alpha.shape == (3 * len(EDGES), 2)
    sums = torch.zeros(12, 2).index_add(0, edge_index[1], alpha)
    hears = torch.tensor([True, True, False, True]).repeat(3)
    torch.testing.assert_close(sums, hears.float().unsqueeze(-1).expand(-1, 2))
    plain, (same, again) = layer(h.flatten(0, 1), edge_index, return_attention_weights=True)
    assert same.equal(edge_index)
    torch.testing.assert_close(again, alpha)
    torch.testing.assert_close(plain.view(3, 4, -1), layer(h, dense))


def test_equal_signatures_attend_equally() -> None:
    layer = AttentionComm(2, 4)
    with torch.no_grad():
        layer.lin_query.weight.zero_()
    _, (edge_index, alpha) = layer(torch.tensor([H4]), graph(), return_attention_weights=True)
    count = torch.tensor([2.0, 1.0, 0.0, 3.0])[edge_index[1]]
    torch.testing.assert_close(alpha, (1 / count).unsqueeze(-1).expand(-1, 4))


def test_self_loops_are_edges_like_any_other() -> None:
    layer = identity(MeanComm(2, 2))
    loops = graph().with_self_loops()
    out = layer(torch.tensor([H4]), loops)
    torch.testing.assert_close(out[0, 2], torch.tensor([0.0, 55.0]))
    torch.testing.assert_close(layer(torch.tensor([H4]), graph())[0, 2], torch.tensor([0.0, 5.0]))


def test_rounds_of_a_stack_by_hand() -> None:
    first, second = identity(MeanComm(2, 2)), MeanComm(2, 3)
    h = torch.tensor([H4])
    after_first = h + torch.tanh(first(h, graph()))
    want = torch.tanh(second(after_first, graph()))
    stack = CommStack([first, second], nn.Tanh())
    torch.testing.assert_close(stack(h, graph()), want)
    assert (stack.in_channels, stack.out_channels, len(stack.rounds)) == (2, 3, 2)
    replaced = CommStack([first, first], nn.Tanh(), residual=False)
    torch.testing.assert_close(replaced(h, graph()), torch.tanh(first(torch.tanh(first(h, graph())), graph())))
    assert len(replaced.layers) == 1, "a shared layer has one set of weights"


@pytest.mark.parametrize(
    ("layer", "numbers"),
    [
        (MeanComm(7, 3), 7),
        (MeanComm(7, 3, msg_channels=2), 2),
        (AttentionComm(7, 8, heads=2, key_channels=3), 2 * (3 + 4)),
        (ConvComm(pyg.SAGEConv(7, 3)), 7),
        (ConvComm(pyg.SAGEConv((2, 7), 3), msg_channels=2), 2),
    ],
)
def test_what_is_on_the_wire(layer: CommLayer, numbers: int) -> None:
    assert layer.msg_channels == layer.send(torch.ones(7)).numel() == numbers
    assert layer.message_bits() == 32 * numbers
    assert layer.message_bits(torch.float16) == 16 * numbers


def all_layers() -> list[CommLayer]:
    return [MeanComm(4, 4), MeanComm(4, 4, 2), AttentionComm(4, 4), ConvComm(pyg.GATv2Conv(4, 4, add_self_loops=False))]


@pytest.mark.parametrize("layer", all_layers(), ids=repr)
def test_weights_travel(layer: CommLayer) -> None:
    h, twin, fresh = torch.randn(2, 4, 4), copy.deepcopy(layer), copy.deepcopy(layer)
    want = layer(h, graph())
    assert twin(h, graph()).equal(want)
    fresh.reset_parameters()
    assert not fresh(h, graph()).allclose(want)
    fresh.load_state_dict(layer.state_dict())
    assert fresh(h, graph()).equal(want)
    wide = copy.deepcopy(layer).double()(h.double(), graph())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), want)
    assert layer(h, graph()).equal(want), "a copy was changed, and the layer with it"


@pytest.mark.parametrize("layer", all_layers(), ids=repr)
def test_inside_a_pyg_model(layer: CommLayer) -> None:
    model = pyg.Sequential("x, edge_index", [(layer, "x, edge_index -> x"), nn.ReLU(), (nn.Linear(4, 2), "x -> x")])
    x = torch.randn(4, 4)
    torch.testing.assert_close(model(x, graph().edge_index), model[2](layer(x.unsqueeze(0), graph()).relu())[0])


@pytest.mark.parametrize("layout", Layout)
def test_rows_of_any_leading_axes(layout: Layout) -> None:
    layer, h = AttentionComm(2, 4), torch.randn(3, 2, 4, 2)
    laid = graph().to_layout(layout)
    out = layer(h, laid)
    assert out.shape == (3, 2, 4, 4)
    torch.testing.assert_close(out[2, 1], layer(h[2, 1].unsqueeze(0), laid)[0])
    assert layer(torch.zeros(0, 4, 2), laid).shape == (0, 4, 4)


# ---- PyG compiles `propagate` from the text of a class ----


def compiled_name(layer: CommLayer) -> str:
    return type(layer).propagate.__module__


@pytest.mark.parametrize("layer", [MeanComm(2, 2), AttentionComm(2, 4)], ids=repr)
def test_hooks_are_compiled_for_their_own_class(layer: CommLayer) -> None:
    assert compiled_name(layer).endswith(f"{type(layer).__name__}_propagate")


def test_a_subclass_with_another_hook_is_compiled_anew() -> None:
    class Doubled(MeanComm):
        def message(self, msg_j: Tensor, edge_weight: OptTensor) -> Tensor:
            return 2 * msg_j

        def dense_inbox(self, msg_GNM: Tensor, query_GNQ: Tensor, graph: CommGraph) -> None:
            return None

    layer = identity(Doubled(2, 2))
    assert compiled_name(layer).endswith("Doubled_propagate")
    torch.testing.assert_close(layer(torch.tensor([H4]), graph())[0, 1], torch.tensor([3 + 20.0, -1 + 40.0]))
    assert compiled_name(MeanComm(2, 2)).endswith("MeanComm_propagate"), "the parent must keep its own"
    torch.testing.assert_close(identity(MeanComm(2, 2))(torch.tensor([H4]), graph())[0, 1], torch.tensor([13.0, 19.0]))
