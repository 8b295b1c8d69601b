"""Communication layers: one paper, one file."""

from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import CommLayer
from gnncomm.layers.commformer import GraphFormerComm
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.dcc import CellComm
from gnncomm.layers.dgn import RelationComm
from gnncomm.layers.dicg import ImplicitComm
from gnncomm.layers.expocomm import PeerComm, SpreadComm
from gnncomm.layers.graph_filter import GraphFilterComm, symmetric_weights
from gnncomm.layers.hetgppo import RelativeComm
from gnncomm.layers.informarl import EmbedComm, InforMARLComm
from gnncomm.layers.magat import MagatComm
from gnncomm.layers.magic import MagicComm
from gnncomm.layers.maic import IncentiveComm
from gnncomm.layers.masia import AggregatorComm
from gnncomm.layers.mean import MeanComm
from gnncomm.layers.names import LAYERS, NONE, make_layer, make_rounds
from gnncomm.layers.stack import CommStack
from gnncomm.layers.transformer_block import TransformerComm
from gnncomm.layers.weighing import Attention, Attentive
from gnncomm.topology.relative import relative_features

__all__ = [
    "LAYERS",
    "NONE",
    "AggregatorComm",
    "Attention",
    "AttentionComm",
    "Attentive",
    "CellComm",
    "CommLayer",
    "CommStack",
    "ConvComm",
    "EmbedComm",
    "GraphFilterComm",
    "GraphFormerComm",
    "ImplicitComm",
    "IncentiveComm",
    "InforMARLComm",
    "MagatComm",
    "MagicComm",
    "MeanComm",
    "PeerComm",
    "RelationComm",
    "RelativeComm",
    "SpreadComm",
    "TransformerComm",
    "make_layer",
    "make_rounds",
    "relative_features",
    "symmetric_weights",
]
