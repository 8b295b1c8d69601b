"""Communication layers by name: ``attention:heads=2,own=true``, ``conv:name=gatv2``; rounds: ``A >> B``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from torch_geometric.nn import GATConv, GATv2Conv, GraphConv, MessagePassing, SAGEConv, TransformerConv

from gnncomm.deprecated import plus_for_rounds
from gnncomm.errors import ConfigError
from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import CommLayer
from gnncomm.layers.commformer import CommFormerComm
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.dcc import DCCComm
from gnncomm.layers.dgn import DGNComm
from gnncomm.layers.dicg import DICGComm
from gnncomm.layers.expocomm import ExpoComm, ExpoOnePeerComm
from gnncomm.layers.graph_filter import GraphFilterComm
from gnncomm.layers.hetgppo import HetGPPOComm
from gnncomm.layers.informarl import EmbedComm, InforMARLComm
from gnncomm.layers.magat import MAGATComm
from gnncomm.layers.magic import MAGICComm
from gnncomm.layers.maic import MAICComm
from gnncomm.layers.masia import MASIAComm
from gnncomm.layers.mean import MeanComm
from gnncomm.layers.transformer_block import TransformerComm
from gnncomm.registry import Registry

NONE = "none"
"""The name for no communication at all."""

Convolution = Literal["gat", "gatv2", "graph", "sage", "transformer"]


def conv(
    in_channels: int,
    out_channels: int,
    name: Convolution = "gatv2",
    heads: int | None = None,
) -> ConvComm:
    """A PyG convolution behind the wire: gat, gatv2, graph (GraphConv with mean), sage or transformer.

    Args:
        in_channels: F, width of a row before.
        out_channels: F', width of a row after.
        name: which convolution. Its name alone is short for this: ``gatv2:heads=2``.
        heads: of the attention, 4 if None; graph and sage have none.
    """
    if name in ("graph", "sage"):
        if heads is not None:
            raise ConfigError(
                f"conv:heads is for gat, gatv2 and transformer, got heads={heads} for {name}: leave it out."
            )
        plain = SAGEConv(in_channels, out_channels) if name == "sage" else None
        return ConvComm(plain or GraphConv(in_channels, out_channels, aggr="mean"))
    heads = 4 if heads is None else heads
    if heads < 1 or out_channels % heads:
        raise ConfigError(f"conv splits out_channels={out_channels} over heads={heads}: expected a divisor.")
    made: MessagePassing
    if name == "gat":
        widths = (in_channels, in_channels)
        made = GATConv(widths, out_channels // heads, heads, add_self_loops=False, residual=True)
    elif name == "gatv2":
        made = GATv2Conv(in_channels, out_channels // heads, heads, add_self_loops=False, residual=True)
    else:
        made = TransformerConv(in_channels, out_channels // heads, heads)
    return ConvComm(made)


REGISTRY: Registry[CommLayer] = Registry(
    "layer",
    CommLayer,
    {
        "attention": AttentionComm,
        "commformer": CommFormerComm,
        "conv": conv,
        "dcc": DCCComm,
        "dgn": DGNComm,
        "dicg": DICGComm,
        "embedding": EmbedComm,
        "expocomm": ExpoComm,
        "expocomm_one_peer": ExpoOnePeerComm,
        "graph_filter": GraphFilterComm,
        "hetgppo": HetGPPOComm,
        "informarl": InforMARLComm,
        "magat": MAGATComm,
        "magic": MAGICComm,
        "maic": MAICComm,
        "masia": MASIAComm,
        "mean": MeanComm,
        "transformer_block": TransformerComm,
    },
    shorts={f"({'|'.join(get_args(Convolution))})": r"conv:name=\1"},
    most=2**20,
    sizes=("in_channels", "out_channels", "channels", "residual"),
    own_sizes=True,
)
listing, spec_of = REGISTRY.listing, REGISTRY.spec_of

LAYERS: tuple[str, ...] = tuple(sorted({*REGISTRY.house, *get_args(Convolution)} - {"conv"}))
"""The names of all layers that ship, each convolution by its own."""


def sizes_of(channels: int) -> Mapping[str, int | bool]:
    """What a stack of rounds of equal widths gives its layers; ``CommStack`` adds the row, so that no layer shall."""
    return {"in_channels": channels, "out_channels": channels, "channels": channels, "residual": False}


def make_layer(spec: str | CommLayer, channels: int) -> CommLayer:
    """The layer that ``spec`` names, from ``channels`` to ``channels``: ``name`` or ``name:key=value,key=value``.

    Raises:
        ConfigError: an unknown name or setting, or a value of the wrong type or range.
    """
    return REGISTRY.resolve(spec, **sizes_of(channels))


def make_rounds(spec: str, channels: int, rounds: int, share: bool) -> list[CommLayer]:
    """The layers of ``rounds`` rounds: ``spec`` in each, or ``first >> second >> ...``, one for each.

    With ``share``, rounds of the same text use the same weights.

    Raises:
        ConfigError: as ``make_layer``, or ``spec`` names another number of rounds.
    """
    specs = [part.strip() for part in (plus_for_rounds(spec) if "+" in spec else spec).split(">>")]
    if len(specs) > 1 and len(specs) != rounds:
        raise ConfigError(f"{spec!r} names {len(specs)} rounds, but there are {rounds}: set rounds={len(specs)}.")
    if len(specs) == 1:
        specs = specs * rounds
    if not share:
        return [make_layer(each, channels) for each in specs]
    shared = {each: make_layer(each, channels) for each in dict.fromkeys(specs)}
    return [shared[each] for each in specs]
