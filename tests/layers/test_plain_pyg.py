"""Every layer that has a name is a citizen of torch_geometric and torch: models, explainers, copies, types, export."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch_geometric.explain import AttentionExplainer, Explainer, GNNExplainer
from torch_geometric.nn import Sequential

from gnncomm.layers import CommLayer
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.topology import Ring

F, N = 8, 6
EDGES = torch.tensor([[0, 1, 2, 3, 4, 5, 0, 2], [1, 2, 3, 4, 5, 0, 3, 5]])
REGRESSION = {"mode": "regression", "task_level": "node", "return_type": "raw"}
WITHOUT_ATTENTION = {"embedding", "expocomm_one_peer", "graph", "graph_filter", "hetgppo", "mean", "sage"}


@pytest.fixture(params=list(LAYERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def layer(name: str) -> CommLayer:
    torch.manual_seed(1)
    return make_layer(name, F)


@pytest.fixture
def rows() -> Tensor:
    return torch.randn(N, F, generator=torch.Generator().manual_seed(2))


def test_in_a_sequential_model(layer: CommLayer, name: str, rows: Tensor) -> None:
    second = make_layer(name, F)
    model = Sequential("x, edge_index", [(layer, "x, edge_index -> x"), nn.ReLU(), (second, "x, edge_index -> x")])
    assert torch.equal(model(rows, EDGES), second(layer(rows, EDGES).relu(), EDGES))


def test_copies_and_weights_that_were_kept_give_the_same(layer: CommLayer, name: str, rows: Tensor) -> None:
    expected = layer(rows, EDGES)
    assert torch.equal(copy.deepcopy(layer)(rows, EDGES), expected)
    other = make_layer(name, F)
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(rows, EDGES), expected)


def test_double_and_half_precision(layer: CommLayer, rows: Tensor) -> None:
    expected = layer(rows, EDGES)
    double = copy.deepcopy(layer).double()(rows.double(), EDGES)
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), expected, rtol=1e-4, atol=1e-5)
    graph, h = Ring()(torch.ones(2, N, dtype=torch.bool)), torch.stack([rows, rows.flip(0)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half, over_graph = layer(rows, EDGES), layer(h, graph)
    torch.testing.assert_close(half.float(), expected, rtol=0.1, atol=0.1)
    torch.testing.assert_close(over_graph.float(), layer(h, graph), rtol=0.1, atol=0.1)


@pytest.mark.every(2)
def test_compile(layer: CommLayer, rows: Tensor) -> None:
    """Traced whole, forward and backward; what a code generator makes of it is torch's affair."""
    torch.compiler.reset()
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    mine, theirs = rows.clone().requires_grad_(), rows.clone().requires_grad_()
    out, expected = compiled(mine, EDGES), layer(theirs, EDGES)
    torch.testing.assert_close(out, expected)
    out.square().sum().backward(), expected.square().sum().backward()
    torch.testing.assert_close(mine.grad, theirs.grad)


def test_export(layer: CommLayer, rows: Tensor) -> None:
    program = torch.export.export(layer, (rows, EDGES)).module()
    other = torch.randn(N, F, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(program(other, EDGES), layer(other, EDGES))


def test_attention_is_found_where_there_is_some(layer: CommLayer, name: str, rows: Tensor) -> None:
    explainer = Explainer(
        layer, AttentionExplainer(), explanation_type="model", edge_mask_type="object", model_config=REGRESSION
    )
    if name in WITHOUT_ATTENTION:
        with pytest.raises(ValueError, match="Could not collect any attention"):
            explainer(rows, EDGES)
        return
    found = explainer(rows, EDGES).edge_mask
    # Receivers 3 and 5 have two senders each, all others one, who gets all of their attention.
    alone = torch.tensor([0, 1, 3, 5])
    assert found.shape == (8,)
    assert found.min() >= 0
    assert found[alone].gt(0).any()


def test_a_mask_over_edges_can_be_learned(layer: CommLayer, rows: Tensor) -> None:
    explainer = Explainer(
        layer,
        GNNExplainer(epochs=3),
        explanation_type="model",
        node_mask_type="attributes",
        edge_mask_type="object",
        model_config=REGRESSION,
    )
    explanation = explainer(rows, EDGES)
    assert explanation.edge_mask.shape == (8,)
    assert explanation.node_mask.shape == (N, F)
