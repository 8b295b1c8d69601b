"""What the two sides of a pipe agree on: the task of a worker, and the form of what it answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Self

import numpy as np

Kind = Literal["pettingzoo", "gymnasium"]

NO_SEED = -1
"""In a request to reset: leave this environment alone."""


@dataclass(frozen=True)
class Task:
    """Which environments a worker builds, and how it reads them."""

    kind: Kind
    source: str
    settings: Mapping[str, Any]
    first: int  # number of its first environment among all
    count: int  # how many it builds
    pos_slice: tuple[int, int] | None
    pos_function: str | None
    strict: bool
    newcomers: bool
    fresh: bool
    pictures: bool = False  # made so that it draws itself, where it offers that

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        return cls(**json.loads(message))


@dataclass(frozen=True)
class Form:
    """Widths of what an environment gives: N agents by name, padded to the widest of them."""

    agents: list[str]
    widths: list[int]  # of each agent's flattened observation
    actions: list[int]  # of each agent: how many it has, or of how many numbers one consists
    masked: bool  # the environment masks actions
    coordinates: int  # P; 0 where no positions are known
    low: list[list[float]] = field(default_factory=list)  # of each number of each agent's actions, filled up with 0
    high: list[list[float]] = field(default_factory=list)  # empty where actions are choices

    @property
    def width(self) -> int:
        return max(self.widths)

    @property
    def num_actions(self) -> int:
        return max(self.actions)

    @property
    def offers_mask(self) -> bool:
        return self.masked or (not self.low and len(set(self.actions)) > 1)

    @property
    def action(self) -> tuple[str, tuple[int, ...]]:
        """Type and shape of the actions of one environment, as bytes."""
        count = len(self.agents)
        return ("<f4", (count, self.num_actions)) if self.low else ("<i4", (count,))

    def record(self) -> np.dtype[np.void]:
        """One environment after a reset or a step, as bytes."""
        count = len(self.agents)
        fields: list[tuple[Any, ...]] = [
            ("obs", "<f4", (count, self.width)),
            ("reward", "<f4", (count,)),
            ("discount", "?", (count,)),
            ("alive", "?", (count,)),
            ("entered", "?", (count,)),
            ("cut", "?", (count,)),
            ("terminated", "?"),
            ("truncated", "?"),
            ("success", "?"),
            ("judged", "?"),
        ]
        if self.offers_mask:
            fields.append(("mask", "?", (count, self.num_actions)))
        if self.coordinates:
            fields.append(("pos", "<f4", (count, self.coordinates)))
        return np.dtype(fields)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, message: bytes) -> Self:
        return cls(**json.loads(message))
