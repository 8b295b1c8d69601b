"""One topology after the other."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from torch import Tensor

from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.host import may_ask
from gnncomm.topology.base import Alive, Keys, Places, Steps, Topology, steps_of


@dataclass(frozen=True)
class TimeSchedule(Topology):
    """The ``parts`` in turn, each for ``period`` steps, then again from the first: ``[ring; star]:period=5``.

    At step t of its episode an environment has the graph of part ``(t // period) % len(parts)``.
    """

    parts: tuple[Topology, ...]
    period: int = 1

    def __post_init__(self) -> None:
        if not self.parts:
            raise ConfigError("TimeSchedule.parts follow each other: expected at least one topology, got none.")
        if self.period < 1:
            raise ConfigError(f"TimeSchedule.period counts steps: expected period >= 1, got {self.period}.")

    def __call__(self, alive: Alive, pos: Places = None, step: Steps = 0, key: Keys = None) -> CommGraph:
        turn_S: Tensor = (steps_of(step, alive) // self.period) % len(self.parts)
        turns: Iterable[int] = range(len(self.parts))
        if may_ask(turn_S.device):
            turns = turn_S.unique().tolist() or [0]
        graphs = [self.parts[turn](alive, pos, step, key).only(turn_S == turn) for turn in turns]
        return reduce(operator.or_, graphs)
