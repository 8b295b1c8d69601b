"""What ``envs.make`` calls for ids with a prefix."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from gnncomm.integrations import options
from gnncomm.integrations.form import Kind
from gnncomm.integrations.pettingzoo import ForeignEnv
from gnncomm.integrations.vmas.env import VmasEnv


@dataclass(frozen=True)
class ForeignFactory:
    """Makes the environments of one id ``kind:source``."""

    kind: Kind
    source: str

    def __call__(
        self, num_envs: int = 1, device: str | torch.device = "cpu", observation: str = "flat", **settings: Any
    ) -> ForeignEnv:
        return ForeignEnv(self.kind, self.source, num_envs, device, observation, **settings)

    @staticmethod
    def names_code(settings: Mapping[str, Any]) -> list[str]:
        """The settings that name a function; see ``gnncomm.environments.named_code``."""
        function = options.positions(settings.get("pos"))[1]
        return [] if function is None else [f"pos={function}"]


@dataclass(frozen=True)
class VmasFactory:
    """Makes the worlds of one id ``vmas:SCENARIO``; nothing in their settings names code."""

    scenario: str

    def __call__(
        self, num_envs: int = 1, device: str | torch.device = "cpu", observation: str = "flat", **settings: Any
    ) -> VmasEnv:
        return VmasEnv(self.scenario, num_envs, device, observation, **settings)


def pettingzoo_source(source: str) -> ForeignFactory:
    """``pettingzoo:SOURCE``."""
    return ForeignFactory("pettingzoo", source)


def gymnasium_source(source: str) -> ForeignFactory:
    """``gymnasium:SOURCE``."""
    return ForeignFactory("gymnasium", source)


def vmas_source(source: str) -> VmasFactory:
    """``vmas:SCENARIO``."""
    return VmasFactory(source)
