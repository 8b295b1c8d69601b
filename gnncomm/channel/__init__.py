"""What the medium does to messages. By name, too: ``gnncomm.channel("loss:p=.2")``."""

import sys

from gnncomm.channel.base import Channel, Delivery
from gnncomm.channel.ideal import Ideal
from gnncomm.channel.loss import Loss
from gnncomm.registry import CallableModule, Registry

__all__ = ["Channel", "Delivery", "Ideal", "Loss", "listing", "names", "resolve", "spec_of"]

_registry: Registry[Channel] = Registry(Channel, __name__)
listing, names, resolve, spec_of = _registry.listing, _registry.names, _registry.resolve, _registry.spec_of

sys.modules[__name__].__class__ = CallableModule
