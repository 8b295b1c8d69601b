"""Communication layers: one paper, one file."""

from typing import TYPE_CHECKING

from gnncomm import deprecated
from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import CommLayer
from gnncomm.layers.commformer import CommFormerComm
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.dcc import DCCComm
from gnncomm.layers.dgn import DGNComm
from gnncomm.layers.dicg import DICGComm
from gnncomm.layers.expocomm import ExpoComm, ExpoOnePeerComm
from gnncomm.layers.graph_filter import GraphFilterComm, symmetric_weights
from gnncomm.layers.hetgppo import HetGPPOComm
from gnncomm.layers.informarl import EmbedComm, InforMARLComm
from gnncomm.layers.magat import MAGATComm
from gnncomm.layers.magic import MAGICComm
from gnncomm.layers.maic import MAICComm
from gnncomm.layers.masia import MASIAComm
from gnncomm.layers.mean import MeanComm
from gnncomm.layers.names import LAYERS, NONE, make_layer, make_rounds
from gnncomm.layers.stack import CommStack
from gnncomm.layers.transformer_block import TransformerComm
from gnncomm.layers.weighing import Attention, Attentive
from gnncomm.topology.relative import relative_features

__all__ = [
    "LAYERS",
    "NONE",
    "Attention",
    "AttentionComm",
    "Attentive",
    "CommFormerComm",
    "CommLayer",
    "CommStack",
    "ConvComm",
    "DCCComm",
    "DGNComm",
    "DICGComm",
    "EmbedComm",
    "ExpoComm",
    "ExpoOnePeerComm",
    "GraphFilterComm",
    "HetGPPOComm",
    "InforMARLComm",
    "MAGATComm",
    "MAGICComm",
    "MAICComm",
    "MASIAComm",
    "MeanComm",
    "TransformerComm",
    "make_layer",
    "make_rounds",
    "relative_features",
    "symmetric_weights",
]

if not TYPE_CHECKING:  # so that no name is everything to a type checker
    __getattr__ = deprecated.names(__name__)
