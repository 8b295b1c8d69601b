"""What the medium does to messages. By name, too: ``gnncomm.channel("loss:p=.2 + delay:steps=1")``."""

import sys

from gnncomm.channel.base import Apart, Arrival, Channel, Delivery, PerRound, Series
from gnncomm.channel.delay import Delay, Jitter
from gnncomm.channel.fading import PathLoss
from gnncomm.channel.failures import Byzantine, Crashed, Deaf, Silent
from gnncomm.channel.ideal import Ideal
from gnncomm.channel.loss import Burst, Loss
from gnncomm.channel.noise import Budget, Noise
from gnncomm.registry import CallableModule, Registry

__all__ = [
    "Apart",
    "Arrival",
    "Budget",
    "Burst",
    "Byzantine",
    "Channel",
    "Crashed",
    "Deaf",
    "Delay",
    "Delivery",
    "Ideal",
    "Jitter",
    "Loss",
    "Noise",
    "PathLoss",
    "PerRound",
    "Series",
    "Silent",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

_registry: Registry[Channel] = Registry(
    Channel, __name__, operators={"+": Series}, suffixes={"per_round": PerRound, "apart": Apart}
)
listing, names, resolve, spec_of = _registry.listing, _registry.names, _registry.resolve, _registry.spec_of

sys.modules[__name__].__class__ = CallableModule
