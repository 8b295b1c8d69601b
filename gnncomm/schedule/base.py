"""What a scheduler is: who does talk."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from gnncomm import deprecated
from gnncomm.errors import ConfigError, GraphError
from gnncomm.graph import CommGraph, Edges, given
from gnncomm.registry import Remembers
from gnncomm.types import Batch, Moment


class Decider(StrEnum):
    """Whose rows the decision on an edge j -> i reads: the decentralised information pattern."""

    NOBODY = "nobody"
    """None: weights, indices and the moment, which every agent knows."""
    SENDER = "sender"
    """Row j."""
    RECEIVER = "receiver"
    """Row i, and what j announced of its own."""
    ANNOUNCED = "announced"
    """What all agents announced of their rows: whoever decides has to hear every announcement."""
    TEAM = "team"
    """Rows of further agents, beyond what is announced: a deployed team cannot decide it."""


@dataclass(frozen=True)
class Trades(Batch):
    """Who trades places where a number of senders is fixed: for each receiver, two senders."""

    last: Tensor  # [B, N] int64: closes as another opens
    first: Tensor  # [B, N] int64: opens as another closes
    own: Tensor | None = None  # [B, N] weight of each agent's own choice, where it is for all who hear it


@dataclass(frozen=True)
class Schedule(Batch):
    """Who talks in one round; what is None does not occur."""

    graph: CommGraph  # the edges that are used
    msg: Tensor  # [B, N, M] what is read over them
    state: Tensor  # [B, N, Z] what each sender carries to the same round of the next step
    choice: Tensor | None = None  # [B, N, C] int64: sampled decisions, recorded with the action
    log_prob: Tensor | None = None  # [B, N] of ``choice``; joins the log-probability of the action
    entropy: Tensor | None = None  # [B, N] of the distribution of ``choice``
    cost: Tensor | None = None  # [B, N] term of the training loss
    sent: Tensor | None = None  # [B, N] bool: puts a message on the wire; None: whoever has an edge to another agent
    deaf: Tensor | None = None  # [B, N] bool: reads nothing that arrives from others, by its own decision
    bits: Tensor | None = None  # [B, N] control traffic that each agent causes, beside the messages
    candidates: CommGraph | None = None  # edges that might have been used; weight 1 or 0 with a gradient, see choice.py
    trades: Trades | None = None  # where an edge opens only as another closes


@dataclass(frozen=True)
class Situation(Batch):
    """What a scheduler decides from: one round of B teams. Randomness comes from ``moment`` and ``key`` alone."""

    h: Tensor  # [B, N, F] rows before the round
    msg: Tensor  # [B, N, M] messages as the receivers would read them
    graph: CommGraph  # who could hear whom
    state: Tensor  # [B, N, Z] what each sender carries from the same round of the step before
    moment: Moment
    key: int | Tensor | None = None  # names the draws of decisions that are part of the policy; None: the likeliest
    choice: Tensor | None = None  # [B, N, C] recorded decisions to evaluate instead of deciding anew
    announced: Tensor | None = None  # [B, N, S] that reached a deployed agent; None: announce(h), all rows at hand

    @cached_property
    def edges(self) -> Edges:
        """The places of ``graph``, one by one."""
        return Edges(self.graph, self.moment)


class Scheduler(Remembers, nn.Module, ABC):
    """Who does talk, of those who could. A module, because gates and learned edges have weights.

    A message that is not sent is no edge, never a zero vector; the edge from an agent to itself is not on the wire and
    always stays, unless a scheduler says otherwise. ``decider`` states whose rows a decision reads and ``needs`` what
    has to be known by whom; ``gnncomm.testing`` checks it.

    Decisions whose probability joins that of the action (``num_choices``) are sampled with the key of the action draws
    and recorded. All others are functions of weights, rows and moment: where they are explored in training, the noise
    is drawn from the moment, so that the learner meets the graph that the rollout met, and ``self.training`` decides.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    num_choices: int = 0
    """C, sampled decisions of each agent in a round."""
    trades: ClassVar[bool] = False
    """Whether an edge opens only as another closes, so that its schedules have ``trades``."""
    in_channels: int | None = None
    """F, width of the rows that it reads; None: any."""
    decider: Decider = Decider.SENDER
    needs: ClassVar[str] = "nothing"
    """What must be known by whom to decide an edge."""

    @property
    def learns_edges(self) -> bool:
        """Whether candidates are asked for: while exploring, where somebody will want the gradient."""
        return self.training and torch.is_grad_enabled()

    @property
    def local(self) -> bool:
        """Whether nothing but its two ends decides on an edge, so that the law of locality holds."""
        return self.decider in (Decider.NOBODY, Decider.SENDER, Decider.RECEIVER)

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        deprecated.overridden(cls, state_dim="carried_dim")

    def carried_dim(self, msg_channels: int) -> int:
        """Z, numbers that each agent carries from step to step; zeros at the beginning of an episode."""
        return 0

    state_dim = deprecated.method("state_dim", "carried_dim")

    def announce(self, h: Tensor) -> Tensor:
        """``[..., S]`` that each agent broadcasts before the round so that others can decide, from its own row."""
        return h[..., :0]

    def graph_parameters(self) -> list[nn.Parameter]:
        """The weights that a bilevel learner trains in passes of their own (``PPOConfig.graph_every``)."""
        return []

    @abstractmethod
    def forward(self, now: Situation) -> Schedule:
        """Decide one round."""


def scheduled(scheduler: Scheduler, now: Situation) -> Schedule:
    """``scheduler(now)``, if it is what it must be.

    Raises:
        ShapeError, DtypeError, GraphError, ConfigError: a scheduler of a user's gave something else; names it.
    """
    found: Schedule = scheduler(now)
    given.require_kind(scheduler, "what forward gives", found, Schedule)
    rows, choices = now.h.shape[:-1], scheduler.num_choices
    for name, graph in (("graph", found.graph), ("candidates", found.candidates)):
        if name == "graph" or graph is not None:
            given.require_graph(scheduler, name, graph, *rows)
    given.require_made(scheduler, "msg", "[B, N, M]", found.msg, now.msg.shape, now.msg.dtype)
    given.require_made(scheduler, "state", "[B, N, Z] (carried_dim)", found.state, now.state.shape, now.state.dtype)
    if (found.choice is not None) != (choices > 0) or (found.log_prob is not None) != (choices > 0):
        raise ConfigError(
            f"{type(scheduler).__name__}: expected {'a' if choices else 'no'} choice and log_prob, as num_choices is "
            f"{choices}, got choice {found.choice is not None}, log_prob {found.log_prob is not None}. Say how many "
            "decisions of each agent it samples in num_choices, and give both."
        )
    if found.choice is not None:
        given.require_made(scheduler, "choice", "[B, N, C] (num_choices)", found.choice, (*rows, choices), torch.int64)
    if found.candidates is not None and found.candidates.weight is None:
        raise GraphError(
            f"{type(scheduler).__name__}: expected candidates with weights, 1 or 0 with a gradient, got none. Use "
            "now.edges.weighed(weight)."
        )
    for name in ("log_prob", "entropy", "cost", "bits", "sent", "deaf"):
        value, kind = getattr(found, name), torch.bool if name in ("sent", "deaf") else None
        if value is not None:
            given.require_made(scheduler, name, "[B, N]", value, rows, kind)
    return found


@runtime_checkable
class Taught(Protocol):
    """A scheduler that a loss can teach, which knows what a decision changed (``gnncomm.methods.losses``)."""

    def pair_logit(self, h: Tensor) -> Tensor:
        """``[B, N, F] -> [B, N, N]`` (sender, receiver): the logit of the probability that an edge is used."""
        ...


def require_non_negative(scheduler: str, **values: float) -> None:
    """ConfigError where a value is negative or not finite."""
    for name, value in values.items():
        if not 0 <= value < float("inf"):
            raise ConfigError(f"{scheduler}.{name}: expected a finite number >= 0, got {value}.")


def require_at_least_one(scheduler: str, **values: int) -> None:
    """ConfigError where a count is below one."""
    for name, value in values.items():
        if value < 1:
            raise ConfigError(f"{scheduler}.{name}: expected a whole number >= 1, got {value}.")
