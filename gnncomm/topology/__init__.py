"""Who could hear whom: ``topology(alive, pos, step, key) -> CommGraph``.

By name, too: ``gnncomm.topology("knn:k=4")`` or ``gnncomm.topology.resolve("ring:k=2 | star")``.
"""

import sys

from gnncomm.registry import CallableModule, Registry
from gnncomm.topology.base import GeometricTopology, Intersection, StaticTopology, Topology, Union
from gnncomm.topology.empty import Empty
from gnncomm.topology.from_networkx import FromNetworkx
from gnncomm.topology.full import Full
from gnncomm.topology.knn import KNearest
from gnncomm.topology.line import Line
from gnncomm.topology.radius import Radius
from gnncomm.topology.ring import Ring
from gnncomm.topology.star import Star

__all__ = [
    "Empty",
    "FromNetworkx",
    "Full",
    "GeometricTopology",
    "Intersection",
    "KNearest",
    "Line",
    "Radius",
    "Ring",
    "Star",
    "StaticTopology",
    "Topology",
    "Union",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

_registry: Registry[Topology] = Registry(
    Topology,  # type: ignore[type-abstract]  # only its subclasses are built
    __name__,
    {"|": Union, "&": Intersection},
)
listing, names, resolve, spec_of = _registry.listing, _registry.names, _registry.resolve, _registry.spec_of

sys.modules[__name__].__class__ = CallableModule
