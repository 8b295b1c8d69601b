"""What is on the wire, and how many bits it is. By name, too: ``gnncomm.codec("int4")``."""

import re
import sys

from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.bottleneck import Bottleneck
from gnncomm.codec.dithered import Dithered
from gnncomm.codec.dru import DRU
from gnncomm.codec.floats import Bfloat16, Float16, Float32
from gnncomm.codec.packet import Field, Fixed, Flagged, Gamma, Packet
from gnncomm.codec.quantise import Quantise
from gnncomm.codec.symbols import GumbelSymbols
from gnncomm.codec.top_k import TopK
from gnncomm.registry import CallableModule, Registry

__all__ = [
    "DRU",
    "Bfloat16",
    "Bottleneck",
    "Codec",
    "Coded",
    "Dithered",
    "Field",
    "Fixed",
    "Flagged",
    "Float16",
    "Float32",
    "Gamma",
    "GumbelSymbols",
    "Packet",
    "Quantise",
    "TopK",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

_registry: Registry[Codec] = Registry(
    Codec,  # type: ignore[type-abstract]  # only its subclasses are built
    __name__,
)
listing, names, spec_of = _registry.listing, _registry.names, _registry.spec_of


def resolve(value: str | Codec) -> Codec:
    """The codec that ``value`` describes, ``name`` or ``name:parameter=value,...``; a codec is returned as it is.

    ``int4`` is short for ``quantise:bits=4``, and so on, also with parameters: ``int4:limit=2``.

    Raises:
        ConfigError: an unknown name or parameter (with a suggestion), or a value of the wrong type or range.
    """
    short = re.fullmatch(r"\s*int(\d+)\s*(?::(.*))?", value) if isinstance(value, str) else None
    if short is None:
        return _registry.resolve(value)
    bits, rest = short.groups()
    return _registry.resolve(f"quantise:bits={bits}" + (f",{rest}" if rest else ""))


sys.modules[__name__].__class__ = CallableModule
