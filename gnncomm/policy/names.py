"""Encoders, memories, critics and mixers by name. The policy gives them their sizes."""

from __future__ import annotations

from typing import Any

from torch import nn

from gnncomm.policy.critic import CentralCritic, LocalCritic
from gnncomm.policy.encoder import Encoder
from gnncomm.policy.encoders import EntityEncoder, GridEncoder, MLPEncoder
from gnncomm.policy.memory import GRU, LSTM, Memory
from gnncomm.policy.mixers import QMIX, QPLEX, VDN, GraphMixer, Mixer, NoMixer
from gnncomm.registry import Registry

MOST = 2**20
"""Of widths."""

ENCODERS: Registry[nn.Module] = Registry(
    "encoder",
    nn.Module,
    {"linear": Encoder, "mlp": MLPEncoder, "grid": GridEncoder, "entities": EntityEncoder},
    sizes=("obs_dim", "hidden"),
    most=MOST,
)
MEMORIES: Registry[Memory] = Registry(
    "memory", Memory, {"none": Memory, "gru": GRU, "lstm": LSTM}, sizes=("hidden",), most=MOST
)
CRITICS: Registry[Any] = Registry(  # a Critic, or a module of one's own
    "critic",
    nn.Module,
    {"local": LocalCritic, "central": CentralCritic},
    sizes=("hidden", "num_agents", "in_channels"),
    most=MOST,
)
MIXERS: Registry[Any] = Registry(  # of Mixer, which is abstract
    "mixer",
    Mixer,
    {"none": NoMixer, "vdn": VDN, "qmix": QMIX, "qplex": QPLEX, "graph": GraphMixer},
    sizes=("num_agents", "obs_dim", "num_actions", "state_dim"),
    most=MOST,
)
