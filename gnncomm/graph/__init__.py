"""Who hears whom: ``CommGraph``, one batch of communication graphs in one of three memory layouts."""

from gnncomm.graph.commgraph import CommGraph, Layout
from gnncomm.graph.edges import Edges, talkers
from gnncomm.graph.padding import unpad

__all__ = ["CommGraph", "Edges", "Layout", "talkers", "unpad"]
