"""What is on the wire, and how many bits it is. By name, too: ``gnncomm.codec("float32")``."""

import sys

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.floats import Float32
from gnncomm.registry import CallableModule, Registry

__all__ = ["Codec", "Coded", "Float32", "listing", "names", "resolve", "spec_of"]

_registry: Registry[Codec] = Registry(
    Codec,  # type: ignore[type-abstract]  # only its subclasses are built
    __name__,
)
listing, names, resolve, spec_of = _registry.listing, _registry.names, _registry.resolve, _registry.spec_of

sys.modules[__name__].__class__ = CallableModule
