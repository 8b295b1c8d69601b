"""``Rules``: what an environment is, as pure functions of tensors. Nothing in them knows the moment.

draws(key, t) -> Draws                                  counters become decisions
initial(draws) -> State
transition(state, action, draws) -> (State, reward, Flags)
observe(state, form) -> observation
positions(state) -> pos                                 (and alive(state) where agents come and go,
                                                         allowed(state) where not every action is at hand)
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, Literal, NamedTuple, TypeVar

import torch
from torch import Tensor

from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene

from .settings import Settings

Form = Literal["flat", "sparse"]
Kind = Literal["optimal", "reference"]
StateT = TypeVar("StateT", bound=Batch)
DrawsT = TypeVar("DrawsT", bound=Batch)


def ratio(value: Tensor, by: float) -> Tensor:
    """``value / by``, the same bits everywhere: GPUs divide by a Python number by multiplying with its reciprocal."""
    kind = value.dtype if value.is_floating_point() else torch.float32
    return value / torch.full((), by, dtype=kind, device=value.device)


class Sizes(NamedTuple):
    """The numbers that others ask an environment for."""

    num_agents: int  # N, rows of actions and observations; at least 1
    num_actions: int  # A, the same for all agents
    obs_dim: int  # D, width of the flat observation
    max_steps: int  # the episode is truncated after so many, unless it terminated


@dataclass(frozen=True)
class Flags(Batch):
    """What a transition says about the episode as a whole."""

    terminated: Bool[Tensor, " B"]  # ended by its rules, now
    success: Bool[Tensor, " B"]  # the task is solved in the new state
    entered: Bool[Tensor, "B N"] | None = None  # this row holds another agent from now on; None unless ``renews``


@dataclass(frozen=True)
class Gone(Batch):
    """Who is gone, and what of the state is about them alone: it changes nobody's future, see ``Rules.gone``."""

    agents: Bool[Tensor, "B N"]
    of_state: Mapping[str, Tensor]  # name of a tensor -> bool [B, M]: which of its rows


class Rules(ABC, Generic[StateT, DrawsT]):
    """The functions that a subclass of ``GridEnv`` writes, and what it says of itself."""

    id: str = ""
    """The name under which ``envs.make`` finds the class."""

    settings_class: ClassVar[type[Settings]] = Settings
    settings: Settings
    """What was chosen, of that class."""

    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {}
    """Settings of full ids: ``"5x5-3-v0"`` of the class ``predator_prey`` is ``"predator_prey/5x5-3-v0"``."""

    grid_setting: ClassVar[str | None] = None
    """The setting that is the side of the grid, where there is one."""

    renews: ClassVar[bool] = False
    """Whether a row may pass from one agent to another within an episode (``Flags.entered``)."""

    adjustable: ClassVar[tuple[str, ...]] = ()
    """The settings that ``adjust`` may change between two steps; those of which shapes and states do not depend."""

    reset_asks: ClassVar[str] = ""
    """Why ``initial`` or ``draws(key, 0)`` asks the device how far it is, where it does; see ``gnncomm.host``."""

    named_actions: ClassVar[tuple[str, ...]] = ()
    """What the actions are called, the first ``num_actions`` of these; none where they are just numbers."""

    no_op: ClassVar[int | None] = None
    """The action that a masked one counts as, where ``allowed`` masks any."""

    num_agents: int
    num_actions: int
    obs_dim: int
    max_steps: int
    device: torch.device

    @abstractmethod
    def sizes(self) -> Sizes:
        """What follows from ``settings``; read before ``build``."""

    def build(self) -> None:
        """Makes the tables that the functions below read, on ``device``; again after ``adjust``."""

    @abstractmethod
    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> DrawsT:
        """The decisions of chance at step ``t`` (the int 0 at a reset, else ``[B]`` counters of at least 1).

        Decisions that are not taken at this ``t`` have an empty last axis.
        """

    @abstractmethod
    def initial(self, draws: DrawsT) -> StateT:
        """The first state of an episode."""

    @abstractmethod
    def transition(
        self, state: StateT, action: Int[Tensor, "B N"], draws: DrawsT
    ) -> tuple[StateT, Float[Tensor, "B N"], Flags]:
        """The next state, the reward of each agent and the flags. Actions of agents that are not alive are 0."""

    @abstractmethod
    def observe(self, state: StateT, form: Form) -> Observation:
        """What the agents see: ``[B, N, D]`` (flat), or the non-zeros of the same vectors (sparse)."""

    @abstractmethod
    def positions(self, state: StateT) -> Float[Tensor, "B N P"]:
        """Where the agents are, for geometric topologies."""

    @abstractmethod
    def describe(self, state: StateT) -> Scene:
        """What there is to draw in ``state``."""

    @abstractmethod
    def solve(self, state: StateT) -> Int[Tensor, "B N"]:
        """What a policy that sees the whole state does in ``state``."""

    @property
    def ceiling_kind(self) -> Kind:
        """What ``solve`` is: ``"optimal"``, no policy has a higher expected return (summed over agents) from any start;
        ``"reference"``, a good player that a trained team may beat."""
        return "reference"

    def alive(self, state: StateT) -> Bool[Tensor, "B N"]:
        """Who takes part in the next decision; all agents, unless a subclass says otherwise."""
        rows = next(iter(state.tensors().values())).shape[0]
        return torch.ones(rows, self.num_agents, dtype=torch.bool, device=self.device)

    def allowed(self, state: StateT) -> Bool[Tensor, "B N A"] | None:
        """Which actions are at hand; None where all of them always are."""
        return None

    def gone(self, state: StateT) -> Gone:
        """Who has left, and the rows of the state's tensors that only tell of those who left; nobody by default.

        What is there may be anything: the others see, get and do the same, and are drawn in the same place
        (``gnncomm.testing.departed.check_departed``).
        """
        return Gone(~self.alive(state), {})

    def central(self, state: StateT) -> Float[Tensor, "B S"]:
        """Everything there is to know, as numbers: all tensors of ``state`` in the order of their names."""
        parts = [value for _, value in sorted(state.tensors().items())]
        return torch.cat([value.reshape(value.shape[0], -1).to(torch.float32) for value in parts], 1)
