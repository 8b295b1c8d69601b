"""Who could hear whom: ``topology(alive, pos, step, key) -> CommGraph``.

By name, too: ``gnncomm.topology.resolve("ring:k=2 | ~star.every(3)")``.
"""

from gnncomm.registry import Registry, listed
from gnncomm.topology.barabasi_albert import BarabasiAlbert
from gnncomm.topology.base import Complement, Every, Intersection, Topology, Union
from gnncomm.topology.drawn import DrawnTopology
from gnncomm.topology.empty import Empty
from gnncomm.topology.erdos_renyi import ErdosRenyi
from gnncomm.topology.exponential import Exponential, OnePeerExponential
from gnncomm.topology.from_function import FromFunction
from gnncomm.topology.from_networkx import FromNetworkx
from gnncomm.topology.full import Full
from gnncomm.topology.geometric import GeometricTopology
from gnncomm.topology.gossip import Gossip
from gnncomm.topology.grid import Grid2D
from gnncomm.topology.hierarchical import Hierarchical
from gnncomm.topology.hypercube import Hypercube
from gnncomm.topology.knn import KNearest
from gnncomm.topology.line import Line
from gnncomm.topology.line_of_sight import LineOfSight
from gnncomm.topology.properties import Summary, summary
from gnncomm.topology.radius import Radius
from gnncomm.topology.random_regular import RandomRegular
from gnncomm.topology.relative import Distance, Relative, relative_features
from gnncomm.topology.ring import Ring
from gnncomm.topology.small_world import SmallWorld
from gnncomm.topology.star import Star
from gnncomm.topology.static import StaticTopology
from gnncomm.topology.time_schedule import TimeSchedule
from gnncomm.topology.tree import Tree

__all__ = [
    "BarabasiAlbert",
    "Complement",
    "Distance",
    "DrawnTopology",
    "Empty",
    "ErdosRenyi",
    "Every",
    "Exponential",
    "FromFunction",
    "FromNetworkx",
    "Full",
    "GeometricTopology",
    "Gossip",
    "Grid2D",
    "Hierarchical",
    "Hypercube",
    "Intersection",
    "KNearest",
    "Line",
    "LineOfSight",
    "OnePeerExponential",
    "Radius",
    "RandomRegular",
    "Relative",
    "Ring",
    "SmallWorld",
    "Star",
    "StaticTopology",
    "Summary",
    "TimeSchedule",
    "Topology",
    "Tree",
    "Union",
    "listing",
    "names",
    "relative_features",
    "resolve",
    "spec_of",
    "summary",
]

REGISTRY: Registry[Topology] = Registry(
    "topology",
    Topology,  # type: ignore[type-abstract]  # only its subclasses are built
    listed(__name__, Topology),
    operators={"|": Union, "&": Intersection},
    prefixes={"~": Complement},
    suffixes={"every": Every, "relative": Relative, "distance": Distance},
    sequence=TimeSchedule,
)
listing, names, resolve, spec_of = REGISTRY.listing, REGISTRY.names, REGISTRY.resolve, REGISTRY.spec_of
