"""What layers with attention have in common, and rounds by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.explain import AttentionExplainer, Explainer

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, MAGICComm, MeanComm, TransformerComm, make_rounds
from gnncomm.layers.attending import AttendingComm

EDGES = torch.tensor([[1, 2, 0, 3, 1], [0, 0, 1, 1, 2]])
LAYERS = {
    "attention": lambda: AttentionComm(6, 4, heads=2),
    "attention, own": lambda: AttentionComm(6, 4, heads=2, own=True),
    "magic": lambda: MAGICComm(6, 4, heads=2),
    "magic, own": lambda: MAGICComm(6, 4, heads=2, own=True),
    "transformer": lambda: TransformerComm(6, heads=2),
}


@pytest.fixture(params=LAYERS)
def layer(request: pytest.FixtureRequest) -> AttendingComm:
    torch.manual_seed(0)
    built: AttendingComm = LAYERS[request.param]()
    return built


def test_the_attention_of_each_inbox_sums_to_one(layer: AttendingComm) -> None:
    x = torch.randn(4, 6)
    _, (edges, alpha) = layer(x, EDGES, return_attention_weights=True)
    _, (in_graph, same) = layer(x[None], CommGraph.from_edge_index(EDGES, 4), return_attention_weights=True)
    assert edges[:, :5].equal(EDGES)
    assert edges.equal(in_graph)
    torch.testing.assert_close(alpha, same)
    sums = torch.zeros(4, layer.heads).index_add(0, edges[1], alpha)
    hears = torch.tensor([True, True, True, layer.own])
    torch.testing.assert_close(sums, hears.float().unsqueeze(1).expand(-1, layer.heads))


def test_an_explainer_finds_it(layer: AttendingComm) -> None:
    x = torch.randn(4, 6)
    explainer = Explainer(
        layer,
        AttentionExplainer(),
        explanation_type="model",
        edge_mask_type="object",
        model_config={"mode": "regression", "task_level": "node", "return_type": "raw"},
    )
    _, alpha = layer.attention(x, EDGES)
    torch.testing.assert_close(explainer(x, EDGES).edge_mask, alpha[:5].detach().amax(-1))


class Nearest(AttentionComm):
    """Scores by distance."""

    def score(self, query: Tensor, key: Tensor) -> Tensor:
        return -(query - key).square().sum(-1)

    def dense_score(self, query_GHNK: Tensor, key_GHNK: Tensor) -> Tensor:
        return -(query_GHNK.unsqueeze(-2) - key_GHNK.unsqueeze(-3)).square().sum(-1)


def test_a_subclass_with_another_score_is_heard() -> None:
    layer, plain, h = Nearest(6, 4, heads=2), AttentionComm(6, 4, heads=2), torch.randn(2, 4, 6)
    plain.load_state_dict(layer.state_dict())
    graph = CommGraph.from_edge_index(EDGES, 4)
    want = torch.stack([layer(rows, EDGES) for rows in h])
    for layout in Layout:
        torch.testing.assert_close(layer(h, graph.to_layout(layout)), want)
    assert not torch.allclose(plain(h, graph), want)


def test_rounds_by_name() -> None:
    first, second = make_rounds("attention:heads=2", 8, 2, share=False)
    assert first is not second
    first, second = make_rounds("attention", 8, 2, share=True)
    assert first is second
    first, second, third = make_rounds("mean >> magic >> mean", 8, 3, share=True)
    assert first is third
    assert (type(first), type(second)) == (MeanComm, MAGICComm)
    first, second = make_rounds("mean >> mean", 8, 2, share=False)
    assert first is not second
    with pytest.raises(ConfigError, match="names 2 rounds, but there are 1: set rounds=2"):
        make_rounds("mean >> mean", 8, 1, share=False)
    with pytest.raises(ConfigError, match="Did you mean 'magic'"):
        make_rounds("mean >> magik", 8, 2, share=False)
    with pytest.raises(ConfigError, match="got 'nothing'"):
        make_rounds("mean >> ", 8, 2, share=False)
    with pytest.warns(DeprecationWarning, match="write 'mean >> magic' for 'mean \\+ magic'"):
        old = make_rounds("mean + magic", 8, 2, share=False)
    assert [type(layer) for layer in old] == [MeanComm, MAGICComm]
