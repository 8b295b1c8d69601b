"""Communication layers by name: ``attention``, ``attention:heads=2``, ``mean``, ``gatv2``, ..."""

from __future__ import annotations

from collections.abc import Callable

from torch_geometric.nn import GATConv, GATv2Conv, GraphConv, SAGEConv, TransformerConv

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import CommLayer
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.mean import MeanComm

NONE = "none"
"""The name for no communication at all."""


def _attention(channels: int, heads: int = 4, key_channels: int = 16) -> CommLayer:
    return AttentionComm(channels, channels, heads=heads, key_channels=key_channels)


def _mean(channels: int, msg_channels: int = 0) -> CommLayer:
    return MeanComm(channels, channels, msg_channels or None)


def _gat(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(GATConv((channels, channels), channels // heads, heads, add_self_loops=False, residual=True))


def _gatv2(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(GATv2Conv(channels, channels // heads, heads, add_self_loops=False, residual=True))


def _transformer(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(TransformerConv(channels, channels // heads, heads))


def _sage(channels: int) -> CommLayer:
    return ConvComm(SAGEConv(channels, channels))


def _graph(channels: int) -> CommLayer:
    return ConvComm(GraphConv(channels, channels, aggr="mean"))


LAYERS: dict[str, tuple[Callable[..., CommLayer], str]] = {
    "attention": (_attention, "targeted messages, multi-head (TarMAC, 2019): heads=4, key_channels=16"),
    "gat": (_gat, "PyG GATConv behind the wire: heads=4"),
    "gatv2": (_gatv2, "PyG GATv2Conv behind the wire: heads=4"),
    "graph": (_graph, "PyG GraphConv (mean) behind the wire"),
    "mean": (_mean, "mean of what was heard (CommNet, 2016): msg_channels=0 sends the row"),
    "sage": (_sage, "PyG SAGEConv behind the wire"),
    "transformer": (_transformer, "PyG TransformerConv behind the wire: heads=4"),
}
"""Name -> (factory of a layer of equal widths, one line)."""


def make_layer(spec: str, channels: int) -> CommLayer:
    """The layer that ``spec`` names, from ``channels`` to ``channels``: ``name`` or ``name:key=value,key=value``.

    Raises:
        ConfigError: an unknown name or setting, or a value that is no integer.
    """
    name, _, settings = spec.partition(":")
    if name not in LAYERS:
        raise ConfigError(f"Expected the name of a layer, got {name!r}. {did_you_mean(name, [*LAYERS, NONE])}")
    factory, _ = LAYERS[name]
    known = list(factory.__annotations__)[1:-1]
    chosen: dict[str, int] = {}
    for part in filter(None, settings.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            raise ConfigError(f"The layer {name!r} has no setting {key!r}. {did_you_mean(key, known)}")
        if not value.isdigit():
            raise ConfigError(f"The setting {key!r} of the layer {name!r} must be a whole number, got {value!r}.")
        chosen[key] = int(value)
    return factory(channels, **chosen)
