"""What an edge of weight 0 is to each layer, as docs/layers.md says: as good as none, or silent."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import CommLayer
from gnncomm.layers.names import LAYERS, make_layer

B, N, F = 2, 6, 8

AS_NONE = {"embedding", "hetgppo", "magic", "magic:own=1"}
"""Sums, and attention with the weights inside."""
SELVES = {"attention:own=1", "commformer", "dcc", "dgn", "dicg", "expocomm", "transformer_block"}
"""Agents attend to themselves beside their inbox: what a silent message took of the attention is not given back."""
REFUSE = {"gat", "gatv2", "sage", "transformer"}
EVERY = [*(name for name in LAYERS if name != "graph_filter"), "attention:own=1", "magic:own=1"]
"""The weights of a graph filter are its matrix: tests/methods/test_graph_filter.py."""


def adjacency(share: float, seed: int) -> Tensor:
    return torch.rand(B, N, N, generator=torch.Generator().manual_seed(seed)) < share


def rows() -> Tensor:
    return torch.randn(B, N, F, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def build(name: str) -> CommLayer:
    torch.manual_seed(1)
    return make_layer(name, F).double()


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("name", EVERY)
def test_an_edge_of_weight_0(name: str, layout: Layout) -> None:
    layer, h, edges, closed = build(name), rows(), adjacency(0.6, 3), adjacency(0.4, 4)

    def out(dense: Tensor, weight: Tensor) -> Tensor:
        found: Tensor = layer(h, CommGraph.from_dense(dense, weight=weight.double()).to_layout(layout))
        return found

    if name in REFUSE:
        with pytest.raises(ConfigError, match="takes no edge weights"):
            out(edges, torch.ones(B, N, N))
        return
    some = out(edges, (~closed).float())
    assert torch.allclose(some, out(edges & ~closed, torch.ones(B, N, N)), rtol=0, atol=1e-9) == (name in AS_NONE)
    silent, nobody = out(edges, torch.zeros(B, N, N)), out(edges & False, torch.ones(B, N, N))
    assert torch.allclose(silent, nobody, rtol=0, atol=1e-9) == (name not in SELVES)
    # whatever the layer: nothing of a message crosses an edge of weight 0
    x = h.clone().requires_grad_()
    heard = layer(x, CommGraph.from_dense(edges, weight=(~closed).double()).to_layout(layout))
    one, open_ = 2, edges & ~closed
    (slope,) = torch.autograd.grad(heard[:, one].square().sum(), x)
    reach = open_[:, :, one].clone()
    reach[:, one] = True
    if name in AS_NONE:
        assert slope[~reach].abs().max() == 0
