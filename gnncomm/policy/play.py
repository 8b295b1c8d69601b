"""The one loop in which somebody acts: collecting, evaluating and recording go round here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from torch import Tensor

from gnncomm.host import may_ask
from gnncomm.policy.policy import CommPolicy
from gnncomm.policy.values import Decision, PolicyState
from gnncomm.types import TimeStep, VectorEnv


class Acted(Protocol):
    """What somebody did."""

    @property
    def action(self) -> Tensor:
        """``[B, N]``."""
        ...


@dataclass(frozen=True)
class Action:
    """An action, and no more."""

    action: Tensor  # [B, N]


ActedT = TypeVar("ActedT", bound=Acted)


class Play(Generic[ActedT]):
    """Environments in which somebody acts; episodes that end are followed by the next.

    Args:
        env: where.
        now: what it shows.
        act: who, told what the environments show.
    """

    def __init__(self, env: VectorEnv, now: TimeStep, act: Callable[[TimeStep], ActedT]) -> None:
        self.env, self.now, self.act = env, now, act

    def steps(self, length: int) -> Iterator[tuple[TimeStep, ActedT, TimeStep]]:
        """``length`` times what was seen, what was done, and what came of it, before any reset."""
        for _ in range(length):
            acted = self.act(self.now)
            after = self.env.step(acted.action)
            yield self.now, acted, after
            done = after.done
            self.now = self.env.reset(where=done) if not may_ask(done.device) or bool(done.any()) else after


def team(policy: CommPolicy, state: PolicyState, key: int | Tensor | None) -> Callable[[TimeStep], Decision]:
    """``policy``, which remembers ``state``; its draws are named by ``key``, None takes the most likely actions."""

    def act(now: TimeStep) -> Decision:
        nonlocal state
        decision = policy.act(now, state, key)
        state = decision.state
        return decision

    return act
