"""The networks of the released codes, quirks included: their weights load by their own names, their numbers come out.

One paper, one file. ``Reference.replay`` feeds a recorded case; ``gnncomm bench parity`` compares.
"""

from __future__ import annotations

from gnncomm.methods.reference.adversarial_comms_graph_filter import GraphFilterNetwork
from gnncomm.methods.reference.base import Case, Reference, load_cases
from gnncomm.methods.reference.commformer import CommFormerNetwork
from gnncomm.methods.reference.commnet_ic3net import IC3NetNetwork
from gnncomm.methods.reference.dgn import DGNNetwork
from gnncomm.methods.reference.dial_dru import DRUNetwork
from gnncomm.methods.reference.dicg import DICGNetwork
from gnncomm.methods.reference.expocomm import ExpoCommNetwork
from gnncomm.methods.reference.g2anet import G2ANetNetwork
from gnncomm.methods.reference.gacomm import GACommNetwork
from gnncomm.methods.reference.hetgppo_matposconv import HetGPPONetwork
from gnncomm.methods.reference.informarl import InforMARLNetwork
from gnncomm.methods.reference.magat import MagatNetwork
from gnncomm.methods.reference.magic import MAGICNetwork
from gnncomm.methods.reference.maic import MAICNetwork
from gnncomm.methods.reference.ndq import NDQNetwork
from gnncomm.methods.reference.tarmac_ic3net import TarMACNetwork
from gnncomm.methods.reference.tmc import TMCNetwork

REFERENCES: dict[str, type[Reference]] = {
    "adversarial_comms_graph_filter": GraphFilterNetwork,
    "commformer": CommFormerNetwork,
    "commnet_ic3net": IC3NetNetwork,
    "dgn": DGNNetwork,
    "dial_dru": DRUNetwork,
    "dicg": DICGNetwork,
    "expocomm": ExpoCommNetwork,
    "g2anet": G2ANetNetwork,
    "gacomm": GACommNetwork,
    "hetgppo_matposconv": HetGPPONetwork,
    "informarl": InforMARLNetwork,
    "magat": MagatNetwork,
    "magic": MAGICNetwork,
    "maic": MAICNetwork,
    "ndq": NDQNetwork,
    "tarmac_ic3net": TarMACNetwork,
    "tmc": TMCNetwork,
}
"""Name of the recorded file -> network."""

__all__ = ["REFERENCES", "Case", "Reference", "load_cases"]
