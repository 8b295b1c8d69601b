"""What is on the wire, and how many bits it is. By name, too: ``gnncomm.codec.resolve("int4")``.

``int4`` is short for ``quantise:bits=4``, and so on, also with parameters: ``int4:limit=2``.
"""

from typing import TYPE_CHECKING

from gnncomm import deprecated
from gnncomm.codec.base import Codec, Coded
from gnncomm.codec.bottleneck import Bottleneck
from gnncomm.codec.dithered import Dithered
from gnncomm.codec.dru import DRU
from gnncomm.codec.floats import Bfloat16, Float16, Float32
from gnncomm.codec.keep_largest import KeepLargest
from gnncomm.codec.lsq import LSQ
from gnncomm.codec.packet import Field, Fixed, Flagged, Gamma, Packet
from gnncomm.codec.quantise import Quantise
from gnncomm.codec.symbols import GumbelSymbols
from gnncomm.registry import Registry, listed

__all__ = [
    "DRU",
    "LSQ",
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
    "KeepLargest",
    "Packet",
    "Quantise",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

REGISTRY: Registry[Codec] = Registry(
    "codec",
    Codec,  # type: ignore[type-abstract]  # only its subclasses are built
    listed(__name__, Codec),
    shorts={r"int(\d+)": r"quantise:bits=\1"},
)
listing, names, resolve, spec_of = REGISTRY.listing, REGISTRY.names, REGISTRY.resolve, REGISTRY.spec_of

if not TYPE_CHECKING:  # so that no name is everything to a type checker
    __getattr__ = deprecated.names(__name__)
