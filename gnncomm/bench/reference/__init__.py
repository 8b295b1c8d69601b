"""The networks of the released codes, quirks included: their weights load by their own names, their numbers come out.

One paper, one file. ``Reference.replay`` feeds a recorded case; ``gnncomm bench parity`` compares. Nothing that learns
or acts imports this package.
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from gnncomm.bench.reference.adversarial_comms_graph_filter import GraphFilterNetwork
from gnncomm.bench.reference.base import RECORDED, RecordedCase, Reference, load_cases
from gnncomm.bench.reference.commformer import CommFormerNetwork
from gnncomm.bench.reference.commnet_ic3net import IC3NetNetwork
from gnncomm.bench.reference.dgn import DGNNetwork
from gnncomm.bench.reference.dial_dru import DRUNetwork
from gnncomm.bench.reference.dicg import DICGNetwork
from gnncomm.bench.reference.expocomm import ExpoCommNetwork
from gnncomm.bench.reference.g2anet import G2ANetNetwork
from gnncomm.bench.reference.gacomm import GACommNetwork
from gnncomm.bench.reference.hetgppo_matposconv import HetGPPONetwork
from gnncomm.bench.reference.informarl import InforMARLNetwork
from gnncomm.bench.reference.magat import MagatNetwork
from gnncomm.bench.reference.magic import MAGICNetwork
from gnncomm.bench.reference.maic import MAICNetwork
from gnncomm.bench.reference.ndq import NDQNetwork
from gnncomm.bench.reference.tarmac_ic3net import TarMACNetwork
from gnncomm.bench.reference.tmc import TMCNetwork
from gnncomm.errors import ConfigError
from gnncomm.methods import resolve

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

__all__ = ["RECORDED", "REFERENCES", "RecordedCase", "Reference", "load_cases", "released"]


def released(
    method: str,
    obs_dim: int,
    num_actions: int,
    num_agents: int,
    hidden: int = 64,
    seed: int = 0,
    without_quirks: Collection[str] = (),
) -> Reference:
    """The network of the released code of a method, in the sizes of a task; ``gnncomm.methods`` has the clean form.

    Args:
        method: its name, ``"ic3net"``.
        obs_dim: D, width of a flat observation.
        num_actions: A.
        num_agents: N.
        hidden: width of a row.
        seed: weights are drawn from it.
        without_quirks: quirks to leave out.

    Raises:
        ConfigError: no such method, no such quirk, or no numbers of a released network of it were recorded.
    """
    found = resolve(method)
    if not found.released:
        raise ConfigError(
            f"No numbers of a released network of {found.title} were recorded, so there is no released network: use "
            f"the clean one, gnncomm.methods.{found.name}(...)."
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return REFERENCES[found.released].of_size(obs_dim, num_actions, num_agents, hidden, without_quirks)
