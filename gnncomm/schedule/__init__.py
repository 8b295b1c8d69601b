"""Who does talk, of those who could. By name, too: ``gnncomm.schedule("topk:k=2,in_channels=64")``."""

import sys

from gnncomm.registry import CallableModule
from gnncomm.schedule.always import Always
from gnncomm.schedule.base import Decider, Schedule, Scheduler, Situation
from gnncomm.schedule.causal import causal_requests
from gnncomm.schedule.event_triggered import EventTriggered
from gnncomm.schedule.gate import Gate
from gnncomm.schedule.gumbel_edges import GumbelEdges
from gnncomm.schedule.hard_soft import HardSoft
from gnncomm.schedule.learned_static import LearnedStatic
from gnncomm.schedule.registry import SchedulerRegistry
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
    "causal_requests",
    "listing",
    "names",
    "resolve",
    "spec_of",
]

_registry = SchedulerRegistry(
    Scheduler,  # type: ignore[type-abstract]  # only its subclasses are built
    __name__,
)
listing, names, spec_of = _registry.listing, _registry.names, _registry.spec_of
resolve = _registry.resolve_sized

sys.modules[__name__].__class__ = CallableModule
