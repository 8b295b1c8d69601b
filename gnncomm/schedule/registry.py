"""Schedulers by name; sizes that follow from the policy need not be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gnncomm.registry import Registry
from gnncomm.registry.values import parameters_of
from gnncomm.schedule.base import Scheduler


@dataclass(frozen=True)
class SchedulerRegistry(Registry[Scheduler]):
    """``sizes`` are constructor arguments that a text may leave out."""

    sizes: Mapping[str, int] = field(default_factory=dict)

    def _build(self, cls: type[Scheduler], name: str, settings: Mapping[str, str], **parts: Any) -> Scheduler:
        taken = {parameter for parameter, _, _ in parameters_of(cls)} - set(settings)
        known = {size: value for size, value in self.sizes.items() if size in taken}
        return super()._build(cls, name, settings, **known, **parts)

    def resolve_sized(
        self, value: str | Scheduler, in_channels: int | None = None, num_agents: int | None = None
    ) -> Scheduler:
        """The scheduler that ``value`` describes; a scheduler is returned as it is.

        Args:
            value: ``gate``, ``topk:k=2``, ``gate:in_channels=64,price=0.01``, ...
            in_channels: F, width of the policy's rows, unless the text says it.
            num_agents: N, size of the team, unless the text says it.

        Raises:
            ConfigError: an unknown name or parameter, a size that is needed and not given, a value out of range.
        """
        sizes = {"in_channels": in_channels, "num_agents": num_agents}
        given = {name: size for name, size in sizes.items() if size is not None}
        return replace(self, sizes=given).resolve(value)
