"""Communication layers: one paper, one file."""

from gnncomm.layers.attention import AttentionComm
from gnncomm.layers.base import Attention, CommLayer
from gnncomm.layers.conv import ConvComm
from gnncomm.layers.mean import MeanComm
from gnncomm.layers.names import LAYERS, NONE, make_layer
from gnncomm.layers.stack import CommStack

__all__ = [
    "LAYERS",
    "NONE",
    "Attention",
    "AttentionComm",
    "CommLayer",
    "CommStack",
    "ConvComm",
    "MeanComm",
    "make_layer",
]
