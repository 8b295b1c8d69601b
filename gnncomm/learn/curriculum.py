"""Curricula: settings of the environment that change while a team trains, as functions of the share that is done.

By name: ``--curriculum add_rate linear:start=0.1,end=0.3``. Which settings may change is the environment's to say
(``adjustable``); evaluation always takes ``env_settings``.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

from gnncomm import deprecated
from gnncomm.errors import ConfigError
from gnncomm.registry import Registry, listed
from gnncomm.types import VectorEnv


class Curve(ABC):
    """A number for each share of the training that is done, in [0, 1]."""

    @abstractmethod
    def value(self, share: float) -> float:
        """The value after ``share`` of all updates."""


@dataclass(frozen=True)
class Linear(Curve):
    """From ``start`` to ``end`` while the share goes from ``begin`` to ``finish``, in steps of ``step`` (0: none).

    ``start + (end - start) * clip((share - begin) / (finish - begin), 0, 1)``, the way gone rounded down to a multiple
    of ``step``. IC3Net's Traffic Junction (Singh, Jain and Sukhbaatar 2019, appendix) raises ``add_rate`` so, by 0.01.
    """

    start: float
    end: float
    begin: float = 0.0
    finish: float = 1.0
    step: float = 0.0

    def __post_init__(self) -> None:
        for name in ("start", "end", "begin", "finish", "step"):
            if not math.isfinite(getattr(self, name)):
                raise ConfigError(f"linear: expected a finite {name}, got {getattr(self, name)}.")
        if not 0 <= self.begin < self.finish <= 1:
            raise ConfigError(
                f"linear: expected 0 <= begin < finish <= 1 (shares of the training), got begin={self.begin}, "
                f"finish={self.finish}."
            )
        if self.step < 0:
            raise ConfigError(f"linear: expected a step of at least 0, got {self.step}.")

    def value(self, share: float) -> float:
        gone = min(max((share - self.begin) / (self.finish - self.begin), 0.0), 1.0)
        way = (self.end - self.start) * gone
        if self.step:
            way = math.copysign(math.floor(abs(way) / self.step + 1e-9) * self.step, way)
        return self.start + way


@dataclass(frozen=True)
class Jump(Curve):
    """``before`` until the share ``at``, then ``after``."""

    aliases: ClassVar[tuple[str, ...]] = ("switch",)
    before: float
    after: float
    at: float = 0.5

    def __post_init__(self) -> None:
        if not (math.isfinite(self.before) and math.isfinite(self.after) and 0 <= self.at <= 1):
            raise ConfigError(f"jump: expected finite numbers and at in [0, 1], got {self}.")

    def value(self, share: float) -> float:
        return self.before if share < self.at else self.after


REGISTRY: Registry[Curve] = Registry(
    "curriculum",
    Curve,  # type: ignore[type-abstract]  # only its subclasses are built
    listed(__name__, Curve),
)
listing, names, resolve, spec_of = REGISTRY.listing, REGISTRY.names, REGISTRY.resolve, REGISTRY.spec_of


@runtime_checkable
class Adjustable(Protocol):
    """An environment whose settings may change between two steps; see ``envs.GridEnv.adjust``."""

    config: dict[str, Any]
    adjustable: tuple[str, ...]

    def adjust(self, **settings: Any) -> None: ...


class Curriculum:
    """The curves of one training, applied to its environments.

    Raises:
        ConfigError: the environment has no such adjustable setting, or the text is no curve.
    """

    def __init__(self, specs: Mapping[str, str], env: VectorEnv) -> None:
        self._curves = {name: resolve(spec) for name, spec in specs.items()}
        for name in specs:
            if not isinstance(env, Adjustable) or name not in env.adjustable:
                known = list(env.adjustable) if isinstance(env, Adjustable) else []
                raise ConfigError(
                    f"curriculum: expected settings that {env.id} can change while it runs {known}, got {name!r}. Name "
                    "one of these, or give the setting a fixed value."
                )

    def apply(self, env: VectorEnv, share: float) -> dict[str, float]:
        """Set what is due after ``share`` of the training; returns the values in force."""
        if not self._curves:
            return {}
        assert isinstance(env, Adjustable)  # checked when the curriculum was made
        due = {name: curve.value(share) for name, curve in self._curves.items()}
        due = {name: round(value) if isinstance(env.config[name], int) else value for name, value in due.items()}
        if any(env.config[name] != value for name, value in due.items()):
            env.adjust(**due)
        return due


if not TYPE_CHECKING:  # so that no name is everything to a type checker
    __getattr__ = deprecated.names(__name__)
