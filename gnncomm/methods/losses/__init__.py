"""Losses of published methods by name, ``masia + tmc:smooth=1``: what trains the parts that a policy has."""

from __future__ import annotations

from gnncomm.methods.losses.base import MethodLoss
from gnncomm.methods.losses.dgn import DGNLoss
from gnncomm.methods.losses.expocomm import ExpoCommLoss
from gnncomm.methods.losses.i2c import I2CLoss
from gnncomm.methods.losses.maic import MAICLoss
from gnncomm.methods.losses.masia import MASIALoss
from gnncomm.methods.losses.ndq import NDQLoss
from gnncomm.methods.losses.schednet import SchedNetLoss
from gnncomm.methods.losses.taught import TaughtLoss, atoc, cacom, dcc
from gnncomm.methods.losses.tmc import TMCLoss
from gnncomm.registry import Registry

REGISTRY: Registry[MethodLoss] = Registry(
    "loss",
    MethodLoss,
    {
        "atoc": atoc,
        "cacom": cacom,
        "dcc": dcc,
        "dgn": DGNLoss,
        "expocomm": ExpoCommLoss,
        "i2c": I2CLoss,
        "maic": MAICLoss,
        "masia": MASIALoss,
        "ndq": NDQLoss,
        "schednet": SchedNetLoss,
        "tmc": TMCLoss,
    },
    sizes=("policy", "num_agents", "state_dim"),
)

__all__ = [
    "REGISTRY",
    "DGNLoss",
    "ExpoCommLoss",
    "I2CLoss",
    "MAICLoss",
    "MASIALoss",
    "MethodLoss",
    "NDQLoss",
    "SchedNetLoss",
    "TMCLoss",
    "TaughtLoss",
    "atoc",
    "cacom",
    "dcc",
]
