"""What the medium does to messages. By name, too: ``gnncomm.channel.resolve("loss:p=.2 + delay:steps=1")``."""

from gnncomm.channel.base import Apart, Arrival, Channel, Delivery, PerRound, Series
from gnncomm.channel.delay import Delay, Jitter
from gnncomm.channel.fading import PathLoss
from gnncomm.channel.failures import Byzantine, Crashed, Deaf, Silent
from gnncomm.channel.ideal import Ideal
from gnncomm.channel.loss import Burst, Loss
from gnncomm.channel.noise import Budget, Noise
from gnncomm.registry import Registry, listed

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

REGISTRY: Registry[Channel] = Registry(
    "channel",
    Channel,
    listed(__name__, Channel),
    operators={"+": Series},
    suffixes={"per_round": PerRound, "apart": Apart},
)
listing, names, resolve, spec_of = REGISTRY.listing, REGISTRY.names, REGISTRY.resolve, REGISTRY.spec_of
