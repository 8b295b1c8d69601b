"""Who does talk, of those who could. By name, too: ``gnncomm.schedule.resolve("topk:k=2", 64)``."""

from gnncomm.registry import Registry, listed
from gnncomm.schedule.always import Always
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation
from gnncomm.schedule.event_triggered import EventTriggered
from gnncomm.schedule.gate import Gate
from gnncomm.schedule.gumbel_edges import GumbelEdges
from gnncomm.schedule.hard_soft import HardSoft
from gnncomm.schedule.learned_static import LearnedStatic
from gnncomm.schedule.request import Request
from gnncomm.schedule.top_k import TopK

__all__ = [
    "Always",
    "Decider",
    "EventTriggered",
    "Gate",
    "GumbelEdges",
    "HardSoft",
    "LearnedStatic",
    "Request",
    "Schedule",
    "Scheduler",
    "Situation",
    "TopK",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

REGISTRY: Registry[Scheduler] = Registry(
    "scheduler",
    Scheduler,  # type: ignore[type-abstract]  # only its subclasses are built
    listed(__name__, Scheduler),
    sizes=("in_channels", "num_agents"),
)
listing, names, spec_of = REGISTRY.listing, REGISTRY.names, REGISTRY.spec_of


def resolve(value: str | Scheduler, in_channels: int | None = None, num_agents: int | None = None) -> Scheduler:
    """The scheduler that ``value`` describes; a scheduler is returned as it is.

    Args:
        value: ``gate``, ``topk:k=2``, ``gate:in_channels=64,price=0.01``, ...
        in_channels: F, width of the policy's rows, unless the text says it.
        num_agents: N, size of the team, unless the text says it.

    Raises:
        ConfigError: an unknown name or parameter, a size that is needed and not given, a value out of range.
    """
    return REGISTRY.resolve(value, in_channels=in_channels, num_agents=num_agents)
