"""Communication layers by name: ``attention``, ``attention:heads=2``, ``mean``, ``gatv2``, ..."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch_geometric.nn import GATConv, GATv2Conv, GraphConv, SAGEConv, TransformerConv

from gnncomm.errors import ConfigError, did_you_mean
from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import CommLayer
from gnncomm.layers.commformer import GraphFormerComm
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.dcc import CellComm
from gnncomm.layers.dgn import RelationComm
from gnncomm.layers.dicg import ImplicitComm
from gnncomm.layers.expocomm import PeerComm, SpreadComm
from gnncomm.layers.graph_filter import GraphFilterComm
from gnncomm.layers.hetgppo import RelativeComm
from gnncomm.layers.informarl import EmbedComm, InforMARLComm
from gnncomm.layers.magat import MagatComm
from gnncomm.layers.magic import MagicComm
from gnncomm.layers.maic import IncentiveComm
from gnncomm.layers.masia import AggregatorComm
from gnncomm.layers.mean import MeanComm
from gnncomm.layers.transformer_block import TransformerComm

MAX_SETTING = 2**20
"""Of heads and widths."""

NONE = "none"
"""The name for no communication at all."""


def _attention(
    channels: int, heads: int = 4, key_channels: int = 16, value_channels: int = 0, own: int = 0, rectified: int = 0
) -> CommLayer:
    return AttentionComm(
        channels, channels, heads, key_channels, value_channels or None, own=bool(own), rectified=bool(rectified)
    )


def _magic(channels: int, heads: int = 4, average: int = 0, own: int = 0) -> CommLayer:
    return MagicComm(channels, channels, heads, average=bool(average), own=bool(own))


def _mean(channels: int, msg_channels: int = 0) -> CommLayer:
    return MeanComm(channels, channels, msg_channels or None)


def _gat(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(GATConv((channels, channels), channels // heads, heads, add_self_loops=False, residual=True))


def _gatv2(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(GATv2Conv(channels, channels // heads, heads, add_self_loops=False, residual=True))


def _transformer(channels: int, heads: int = 4) -> CommLayer:
    return ConvComm(TransformerConv(channels, channels // heads, heads))


def _transformer_block(channels: int, heads: int = 4, expansion: int = 2) -> CommLayer:
    return TransformerComm(channels, heads, expansion, residual=False)


def _sage(channels: int) -> CommLayer:
    return ConvComm(SAGEConv(channels, channels))


def _graph(channels: int) -> CommLayer:
    return ConvComm(GraphConv(channels, channels, aggr="mean"))


def _dcc(channels: int, heads: int = 4, head_channels: int = 32, edge_dim: int = 0) -> CommLayer:
    return CellComm(channels, heads, head_channels, edge_dim)


def _embedding(channels: int, edge_dim: int = 0) -> CommLayer:
    return EmbedComm(channels, channels, edge_dim)


def _graph_filter(channels: int) -> CommLayer:
    return GraphFilterComm(channels, channels)


def _hetgppo(channels: int, msg_channels: int = 0, edge_dim: int = 0) -> CommLayer:
    return RelativeComm(channels, channels, msg_channels or None, edge_dim)


def _informarl(channels: int, heads: int = 4, edge_dim: int = 0) -> CommLayer:
    return InforMARLComm(channels, channels, heads, edge_dim)


def _magat(channels: int, heads: int = 1) -> CommLayer:
    return MagatComm(channels, channels, heads)


def _masia(channels: int, msg_channels: int = 32, key_channels: int = 16) -> CommLayer:
    return AggregatorComm(channels, channels, msg_channels, key_channels)


def _commformer(channels: int, heads: int = 1) -> CommLayer:
    return GraphFormerComm(channels, heads)


def _dgn(channels: int, heads: int = 8, head_channels: int = 16) -> CommLayer:
    return RelationComm(channels, channels, heads, head_channels)


def _dicg(channels: int) -> CommLayer:
    return ImplicitComm(channels, channels)


def _expocomm(channels: int, key_channels: int = 16) -> CommLayer:
    return SpreadComm(channels, channels, key_channels)


def _expocomm_one_peer(channels: int) -> CommLayer:
    return PeerComm(channels)


def _maic(channels: int, latent_channels: int = 8, key_channels: int = 32) -> CommLayer:
    return IncentiveComm(channels, channels, latent_channels, key_channels)


LAYERS: dict[str, tuple[Callable[..., CommLayer], str]] = {
    "attention": (_attention, "targeted messages, multi-head (TarMAC, 2019): heads=4, key_channels=16, own=0"),
    "commformer": (_commformer, "transformer block for a learned graph (CommFormer, 2024): heads=1"),
    "dcc": (_dcc, "attention into a GRU cell (DCC, 2021): heads=4, head_channels=32, edge_dim=0"),
    "dgn": (_dgn, "rectified attention, itself included (DGN, 2020): heads=8, head_channels=16"),
    "dicg": (_dicg, "graph convolution by attention (DICG, 2021)"),
    "embedding": (_embedding, "sum of embedded messages (InforMARL, 2023): edge_dim=0"),
    "expocomm": (_expocomm, "attention over spreading messages (ExpoComm, 2025): key_channels=16"),
    "expocomm_one_peer": (_expocomm_one_peer, "a GRU cell that reads one peer (ExpoComm, 2025)"),
    "gat": (_gat, "PyG GATConv behind the wire: heads=4"),
    "gatv2": (_gatv2, "PyG GATv2Conv behind the wire: heads=4"),
    "graph": (_graph, "PyG GraphConv (mean) behind the wire"),
    "graph_filter": (_graph_filter, "one shift of a graph filter (Adversarial Comms, 2020)"),
    "hetgppo": (_hetgppo, "messages from rows and relative positions (HetGPPO, 2023): msg_channels=0, edge_dim=0"),
    "informarl": (_informarl, "embedded messages, attended to (InforMARL, 2023): heads=4, edge_dim=0"),
    "magat": (_magat, "one shift of a key-query attention filter (MAGAT, 2021): heads=1"),
    "magic": (_magic, "graph attention, weights of edges inside the softmax (MAGIC, 2021): heads=4, average=0, own=0"),
    "maic": (_maic, "incentives from what was heard (MAIC, 2022): latent_channels=8, key_channels=32"),
    "masia": (_masia, "self-attention in the inbox, gated (MASIA, 2022): msg_channels=32, key_channels=16"),
    "mean": (_mean, "mean of what was heard (CommNet, 2016): msg_channels=0 sends the row"),
    "sage": (_sage, "PyG SAGEConv behind the wire"),
    "transformer": (_transformer, "PyG TransformerConv behind the wire: heads=4"),
    "transformer_block": (_transformer_block, "pre-norm transformer block over messages: heads=4, expansion=2"),
}
"""Name -> (factory of a layer of equal widths, one line)."""


def make_layer(spec: str, channels: int) -> CommLayer:
    """The layer that ``spec`` names, from ``channels`` to ``channels``: ``name`` or ``name:key=value,key=value``.

    Raises:
        ConfigError: an unknown name or setting, or a value that is no integer in its range.
    """
    name, _, settings = spec.partition(":")
    if name not in LAYERS:
        raise ConfigError(f"Expected the name of a layer, got {name!r}. {did_you_mean(name, [*LAYERS, NONE])}")
    factory, _ = LAYERS[name]
    known = {key: item.default for key, item in list(inspect.signature(factory).parameters.items())[1:]}
    chosen: dict[str, int] = {}
    for part in filter(None, settings.split(",")):
        key, _, value = part.partition("=")
        if key not in known:
            raise ConfigError(f"The layer {name!r} has no setting {key!r}. {did_you_mean(key, known)}")
        low = min(1, known[key])  # 0 means something only where it is the default
        if not (value.isascii() and value.isdigit()) or len(value) > 9 or not low <= int(value) <= MAX_SETTING:
            raise ConfigError(
                f"The setting {key!r} of the layer {name!r} must be a whole number from {low} to {MAX_SETTING:,}, got "
                f"{value[:20]!r}."
            )
        chosen[key] = int(value)
    return factory(channels, **chosen)


def make_rounds(spec: str, channels: int, rounds: int, share: bool) -> list[CommLayer]:
    """The layers of ``rounds`` rounds: ``spec`` in each, or ``first + second + ...``, one for each.

    With ``share``, rounds of the same text use the same weights.

    Raises:
        ConfigError: as ``make_layer``, or ``spec`` names another number of rounds.
    """
    specs = [part.strip() for part in spec.split("+")]
    if len(specs) > 1 and len(specs) != rounds:
        raise ConfigError(f"{spec!r} names {len(specs)} rounds, but there are {rounds}: set rounds={len(specs)}.")
    if len(specs) == 1:
        specs = specs * rounds
    if not share:
        return [make_layer(each, channels) for each in specs]
    shared = {each: make_layer(each, channels) for each in dict.fromkeys(specs)}
    return [shared[each] for each in specs]
