"""Laws 1 to 4 over every layer that is listed, in all layouts. A new class or name is tested by being listed."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch_geometric.nn import GATConv, GATv2Conv, GINConv, GINEConv, GraphConv, SAGEConv, TransformerConv

from gnncomm import layers
from gnncomm.layers import AttentionComm, CommLayer, CommStack, ConvComm, MAGICComm, MeanComm, TransformerComm
from gnncomm.layers.names import LAYERS, make_layer
from gnncomm.testing import check_layer

F = 6


def gine() -> ConvComm:
    return ConvComm(GINEConv(nn.Sequential(nn.Linear(F, F), nn.Tanh()), edge_dim=3), in_channels=F, edge_dim=3)


LISTED: dict[str, Callable[[], CommLayer | CommStack]] = {
    "MeanComm": lambda: MeanComm(F, 5),
    "MeanComm with own messages": lambda: MeanComm(F, F, msg_channels=3),
    "AttentionComm": lambda: AttentionComm(F, 4, heads=2, key_channels=3),
    "AttentionComm with wide values": lambda: AttentionComm(F, F, heads=1, value_channels=7),
    "AttentionComm with itself": lambda: AttentionComm(F, 4, heads=2, key_channels=3, own=True),
    "AttentionComm rectified": lambda: AttentionComm(F, 4, heads=2, key_channels=3, rectified=True),
    "MAGICComm averaged": lambda: MAGICComm(F, 5, heads=2, average=True),
    "MAGICComm with itself": lambda: MAGICComm(F, 4, heads=2, own=True),
    "TransformerComm": lambda: TransformerComm(F, heads=2),
    "ConvComm GATv2Conv": lambda: ConvComm(GATv2Conv(F, 2, heads=3, add_self_loops=False)),
    "ConvComm GATConv": lambda: ConvComm(GATConv((F, F), F, add_self_loops=False)),
    "ConvComm TransformerConv": lambda: ConvComm(TransformerConv(F, 5, heads=2, beta=True)),
    "ConvComm SAGEConv": lambda: ConvComm(SAGEConv(F, 5, aggr="max")),
    "ConvComm SAGEConv with own messages": lambda: ConvComm(SAGEConv((3, F), 5), msg_channels=3),
    "ConvComm GraphConv": lambda: ConvComm(GraphConv(F, F)),
    "ConvComm GINConv": lambda: ConvComm(GINConv(nn.Linear(F, 4), train_eps=True), in_channels=F),
    "CommStack": lambda: CommStack([AttentionComm(F, F, heads=2), MeanComm(F, F)], nn.Tanh()),
    "CommStack shared": lambda: CommStack([MeanComm(F, F)] * 3, residual=False),
    **{f"the name {name!r}": lambda name=name: make_layer(name, 8) for name in LAYERS},
}
WITH_EDGE_FEATURES: dict[str, Callable[[], CommLayer | CommStack]] = {
    "ConvComm GINEConv": gine,
    "ConvComm GATv2Conv": lambda: ConvComm(GATv2Conv(F, F, add_self_loops=False, edge_dim=3)),
    "ConvComm TransformerConv": lambda: ConvComm(TransformerConv(F, F, edge_dim=3)),
    "CommStack": lambda: CommStack([gine(), gine()]),
}
WEIGHTED: dict[str, Callable[[], CommLayer | CommStack]] = {
    "MeanComm": lambda: MeanComm(F, F),
    "AttentionComm": lambda: AttentionComm(F, F, heads=2),
    "AttentionComm with itself": lambda: AttentionComm(F, F, heads=2, own=True),
    "MAGICComm": lambda: MAGICComm(F, F, heads=2),
    "MAGICComm averaged, with itself": lambda: MAGICComm(F, F, heads=2, average=True, own=True),
    "TransformerComm": lambda: TransformerComm(F, heads=2),
    "ConvComm GraphConv": lambda: ConvComm(GraphConv(F, F)),
    "CommStack": lambda: CommStack([MeanComm(F, F), AttentionComm(F, F, heads=3)]),
}


@pytest.mark.every(2)
@pytest.mark.parametrize("name", LISTED)
def test_laws_hold(name: str) -> None:
    check_layer(LISTED[name]())


@pytest.mark.parametrize("name", WITH_EDGE_FEATURES)
def test_laws_hold_with_edge_features(name: str) -> None:
    check_layer(WITH_EDGE_FEATURES[name](), edge_dim=3)


@pytest.mark.parametrize("name", WEIGHTED)
def test_laws_hold_with_edge_weights(name: str) -> None:
    check_layer(WEIGHTED[name](), weighted=True)


@pytest.mark.parametrize("name", ["MeanComm", "AttentionComm"])
def test_laws_hold_for_larger_teams(name: str) -> None:
    check_layer(LISTED[name](), num_agents=9, num_envs=3, seed=5)


def test_every_public_layer_is_tried() -> None:
    public = {
        value.__name__
        for value in vars(layers).values()
        if inspect.isclass(value) and issubclass(value, (CommLayer, CommStack)) and value is not CommLayer
    }
    tried = {type(build()).__name__ for build in LISTED.values()}
    assert public <= tried, f"give these a place in LISTED: {public - tried}"


def test_weights_that_no_message_uses_are_refused() -> None:
    from gnncomm.errors import ConfigError
    from gnncomm.graph import CommGraph

    graph = CommGraph.from_dense(torch.ones(3, 3, dtype=torch.bool), weight=torch.full((3, 3), 0.5))
    with pytest.raises(ConfigError, match="takes no edge weights"):
        ConvComm(SAGEConv(F, F))(torch.ones(1, 3, F), graph)
