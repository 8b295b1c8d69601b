"""Who does talk, of those who could. By name, too: ``gnncomm.schedule("always")``."""

import sys

from gnncomm.registry import CallableModule, Registry
from gnncomm.schedule.always import Always
from gnncomm.schedule.base import Schedule, Scheduler

__all__ = ["Always", "Schedule", "Scheduler", "listing", "names", "resolve", "spec_of"]

_registry: Registry[Scheduler] = Registry(
    Scheduler,  # type: ignore[type-abstract]  # only its subclasses are built
    __name__,
)
listing, names, resolve, spec_of = _registry.listing, _registry.names, _registry.resolve, _registry.spec_of

sys.modules[__name__].__class__ = CallableModule
