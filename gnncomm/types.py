"""What passes between rooms: time steps, observations, scenes and the contract of an environment.

Letters in shapes: T time, B environments, N agents, D observation width, A actions, P position coordinates,
K non-zeros of a sparse observation, S width of the global state.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree as pytree

from gnncomm.errors import ConfigError

__all__ = [
    "Batch",
    "Bounded",
    "Box",
    "Group",
    "Grouped",
    "Held",
    "Judging",
    "Moment",
    "Named",
    "Observation",
    "Pictured",
    "Rated",
    "Scene",
    "Shown",
    "Single",
    "SparseObs",
    "TeamSpec",
    "TimeStep",
    "VectorEnv",
    "joined",
    "stack",
]


class Batch:
    """A frozen dataclass of tensors that share their leading axes; fields that are no tensors are carried along.

    Every subclass is a pytree of its tensors and nested batches, for ``torch.export``, ``torch.compile`` and ``vmap``.
    """

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        pytree.register_pytree_node(
            cls,
            _flatten,
            lambda leaves, rest: _unflatten(cls, leaves, rest),
            serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
            flatten_with_keys_fn=_flatten_with_keys,
        )

    def tensors(self, prefix: str = "") -> dict[str, Tensor]:
        """Every tensor, those of nested batches too, under its dotted name."""
        found: dict[str, Tensor] = {}
        for item in fields(self):  # type: ignore[arg-type]  # a mixin: every subclass is a dataclass
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                found[prefix + item.name] = value
            elif isinstance(value, Batch):
                found |= value.tensors(f"{prefix}{item.name}.")
        return found

    def with_tensors(self, tensors: Mapping[str, Tensor], prefix: str = "") -> Self:
        """The inverse of ``tensors``: a copy in which each tensor is the one of its name."""
        changes: dict[str, Any] = {}
        for item in fields(self):  # type: ignore[arg-type]  # as above
            value = getattr(self, item.name)
            if isinstance(value, Tensor):
                changes[item.name] = tensors[prefix + item.name]
            elif isinstance(value, Batch):
                changes[item.name] = value.with_tensors(tensors, f"{prefix}{item.name}.")
        return replace(self, **changes)  # type: ignore[type-var]  # as above

    def map(self, fn: Callable[[Tensor], Tensor]) -> Self:
        """``fn`` of every tensor."""
        return self.with_tensors({name: fn(value) for name, value in self.tensors().items()})

    def select(self, index: Tensor, dim: int = 0) -> Self:
        """Rows ``index`` (bool mask or integers) along the axis ``dim``."""
        rows = index.nonzero().squeeze(-1) if index.dtype == torch.bool else index
        return self.map(lambda x: x.index_select(dim, rows))

    def where(self, condition: Tensor, other: Self) -> Self:
        """``self`` in the rows ``b`` where ``condition [B]`` is True, ``other`` elsewhere."""
        theirs = other.tensors()
        return self.with_tensors(
            {
                name: torch.where(condition.view(-1, *[1] * (mine.dim() - 1)), mine, theirs[name])
                for name, mine in self.tensors().items()
            }
        )


_Rest = tuple[tuple[str, ...], tuple[tuple[str, Any], ...]]
"""Of a batch as a pytree: names of the fields with tensors, and the other fields."""


_PLAIN = {"bool", "float", "int", "str"}


def _flatten(batch: Any) -> tuple[list[Any], _Rest]:
    # By what the class says: within its transforms torch puts other things in place of the tensors.
    inner: dict[str, Any] = {}
    rest: dict[str, Any] = {}
    for item in fields(batch):
        if item.init:
            value = getattr(batch, item.name)
            (rest if value is None or item.type in _PLAIN else inner)[item.name] = value
    return list(inner.values()), (tuple(inner), tuple(rest.items()))


def _flatten_with_keys(batch: Any) -> tuple[list[tuple[Any, Any]], _Rest]:
    leaves, rest = _flatten(batch)
    return [(pytree.GetAttrKey(name), leaf) for name, leaf in zip(rest[0], leaves, strict=True)], rest


def _unflatten(cls: type[Any], leaves: Any, rest: Any) -> Any:
    names, others = rest
    return cls(**dict(zip(names, leaves, strict=True)), **dict(others))


BatchT = TypeVar("BatchT", bound=Batch)


def joined(items: Sequence[BatchT]) -> BatchT:
    """The rows of all, one after the other."""
    parts = [item.tensors() for item in items]
    return items[0].with_tensors({name: torch.cat([part[name] for part in parts]) for name in parts[0]})


def stack(items: Sequence[BatchT], dim: int = 0) -> BatchT:
    """One batch from many, with a new axis ``dim`` in every tensor."""
    parts = [item.tensors() for item in items]
    return items[0].with_tensors({name: torch.stack([part[name] for part in parts], dim) for name in parts[0]})


@dataclass(frozen=True)
class SparseObs(Batch):
    """The few non-zeros of a flat observation vector of ``width`` entries.

    ``flat[..., index[..., k]] += value[..., k]``: repeated indices add up, padding is any index with value 0.
    """

    index: Tensor  # [..., N, K] int64, in [0, width)
    value: Tensor  # [..., N, K] float
    width: int

    def to_flat(self) -> Tensor:
        """The dense vectors ``[..., N, width]``."""
        flat = self.value.new_zeros(*self.index.shape[:-1], self.width)
        return flat.scatter_add(-1, self.index, self.value)


Observation = Tensor | SparseObs
"""Flat ``[..., N, D]`` float, or the sparse form of the same vector."""


@dataclass(frozen=True)
class TimeStep(Batch):
    """What B environments say after a reset or a step.

    ``discount`` replaces ``done`` in learners: 0 where the return of an agent ends with this step (it died or
    finished, its row passed to another agent, or the episode terminated), else 1. A truncated episode (time limit)
    keeps 1: its return goes on, only unobserved. So does an agent that is truncated while others go on: ``cut`` names
    it, it is not alive, and its row of ``obs`` (and ``pos``, ``action_mask``) still shows its last observation, from
    which its return is bootstrapped. Where its row passes to another agent with the same step, there is no room for
    that: discount 0. ``key`` and ``step`` identify the moment for counter-based draws (``gnncomm.random``).
    """

    obs: Observation  # [B, N, D]
    reward: Tensor  # [B, N] float
    discount: Tensor  # [B, N] float
    alive: Tensor  # [B, N] bool: takes part in the next decision
    terminated: Tensor  # [B] bool: the episode ended by its rules
    truncated: Tensor  # [B] bool: the episode was cut by its time limit
    success: Tensor  # [B] bool: the task is solved; meaningful where the episode ended
    first: Tensor  # [B] bool: this is the first step of an episode
    key: Tensor  # [B] int64: identity of the episode
    step: Tensor  # [B] int64: steps since the reset
    pos: Tensor | None = None  # [B, N, P] float, for geometric topologies
    action_mask: Tensor | None = None  # [B, N, A] bool: True where an action is allowed
    entered: Tensor | None = None  # [B, N] bool: with this step the row passed to another agent
    cut: Tensor | None = None  # [B, N] bool: truncated with this step, while others go on
    state: Tensor | None = None  # [B, S] float: the whole state, for a critic that sees it; no agent does

    @property
    def done(self) -> Tensor:
        """``[B]`` bool: the episode ended, one way or the other."""
        return self.terminated | self.truncated


@dataclass(frozen=True)
class Scene:
    """What there is to draw at one instant, in grid cells (row, column)."""

    size: tuple[int, int]
    agents: Tensor  # [B, N, 2]
    finished: Tensor  # [B, N] bool: the agent has done its part (drawn as an event when it turns True)
    entities: Mapping[str, Tensor]  # name -> [B, M, 2]
    active: Mapping[str, Tensor]  # name -> [B, M] bool: still there (drawn as an event when it turns False)
    field: Tensor | None = None  # [B, rows, columns] float: a quantity drawn as background
    present: Tensor | None = None  # [B, N] bool: the agent is there to be drawn; None: whoever is alive
    marks: Mapping[str, Tensor] = dataclasses.field(
        default_factory=dict
    )  # name -> [B, N] int64: a number at an agent; -1: none


@dataclass(frozen=True)
class Moment(Batch):
    """One round of communication, in each of B environments.

    A medium may read the positions and the life of the two ends of an edge, and of nobody else
    (``gnncomm.testing.check_channel``). A deployed agent knows its own row only: the positions of others are NaN to it.
    """

    key: Tensor  # [B] int64: identity of the episode
    step: Tensor  # [B] int64: steps since the episode began
    round: int = 0
    pos: Tensor | None = None  # [B, N, P] where agents are; None where an environment has no places
    alive: Tensor | None = None  # [B, N] bool: who takes part; None where nobody said


_FARTHEST = 1e30


@dataclass(frozen=True)
class Box:
    """Actions that are A numbers for each of N agents: a floating-point tensor ``[B, N, A]``.

    Agent n may choose ``a`` with ``low[n][a] <= action <= high[n][a]``, within 1e30, so that float32 holds their
    difference. Where both are equal it has no such number: nothing is drawn there.

    Raises:
        ConfigError: bounds that are larger, not in order, or not of one width.
    """

    low: tuple[tuple[float, ...], ...]
    high: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        try:
            low, high = ([list(map(float, row)) for row in side] for side in (self.low, self.high))
        except (TypeError, ValueError) as error:
            raise ConfigError(f"Box: expected low and high [N, A] as rows of numbers, got {error}.") from error
        if [len(row) for row in low] != [len(row) for row in high] or len({len(row) for row in low}) != 1:
            raise ConfigError(f"Box: expected low and high [N, A], got {self.low} and {self.high}. Pad shorter rows.")
        pairs = [pair for mine, theirs in zip(low, high, strict=True) for pair in zip(mine, theirs, strict=True)]
        wrong = next((pair for pair in pairs if not -_FARTHEST <= pair[0] <= pair[1] <= _FARTHEST), None)
        if not pairs or wrong:
            raise ConfigError(
                f"Box: expected low <= high within {_FARTHEST:g}, got {wrong or 'no numbers'}. Wrap the environment."
            )


@dataclass(frozen=True)
class Group:
    """Agents that share weights: the same observation, the same actions, the same task.

    Agents of one team share rewards and may talk to each other; agents of different teams do neither.
    """

    name: str
    members: tuple[int, ...]  # rows of the environment
    obs_dim: int  # the first so many entries of their rows of observations
    num_actions: int
    team: str = ""


@runtime_checkable
class Bounded(Protocol):
    """An environment that says what numbers its actions are, where they are numbers."""

    box: Box | None


@runtime_checkable
class Grouped(Protocol):
    """An environment whose agents are not all alike; no groups: they are."""

    groups: tuple[Group, ...]


@runtime_checkable
class Named(Protocol):
    """An environment that says what its actions are called, one short text for each; none: they are just numbers."""

    @property
    def action_names(self) -> tuple[str, ...]: ...


@runtime_checkable
class Pictured(Protocol):
    """An environment that draws itself."""

    def picture(self) -> NDArray[np.uint8] | None:
        """``[height, width, 3]`` of environment 0 now; None where it was not made so. All pictures have one size."""
        ...


@runtime_checkable
class Shown(Protocol):
    """An environment whose time steps hold its state."""

    shown_state_dim: int


@dataclass(frozen=True)
class TeamSpec:
    """What a policy has to fit.

    Raises:
        ConfigError: groups that do not hold each agent once, or are wider than the whole.
    """

    obs_dim: int  # D
    num_actions: int  # A
    num_agents: int  # N
    box: Box | None = None  # None: actions are one of A choices
    groups: tuple[Group, ...] = ()
    state_dim: int = 0  # S of the time steps; 0: they show no state

    def __post_init__(self) -> None:
        if not isinstance(self.box, Box | None):
            raise ConfigError(f"box: expected a gnncomm.types.Box(low [N, A], high [N, A]), got {self.box!r}.")
        if self.box is not None and (len(self.box.low), len(self.box.low[0])) != (self.num_agents, self.num_actions):
            raise ConfigError(
                f"box: expected bounds [N={self.num_agents}, A={self.num_actions}], got "
                f"[{len(self.box.low)}, {len(self.box.low[0])}]."
            )
        members = sorted(member for group in self.groups for member in group.members)
        if self.groups and (len(members) != self.num_agents or members != list(range(self.num_agents))):
            raise ConfigError(f"groups: expected each of {self.num_agents} agents in one of them, got {members}.")
        names = [group.name for group in self.groups]
        if len(set(names)) < len(names) or not all(group.members for group in self.groups):
            raise ConfigError(f"groups: expected a name of its own for each, and somebody in it, got {names}.")
        for group in self.groups:
            if not (0 < group.obs_dim <= self.obs_dim and 0 < group.num_actions <= self.num_actions):
                raise ConfigError(
                    f"groups: expected 1 to {self.obs_dim} observed numbers and 1 to {self.num_actions} actions in "
                    f"{group.name!r}, got {group.obs_dim} and {group.num_actions}."
                )

    @classmethod
    def of(cls, env: VectorEnv) -> Self:
        """Of an environment, with what it says of boxes and groups."""
        box = env.box if isinstance(env, Bounded) else None
        groups = env.groups if isinstance(env, Grouped) else ()
        state_dim = env.shown_state_dim if isinstance(env, Shown) else 0
        return cls(env.obs_dim, env.num_actions, env.num_agents, box, groups, state_dim)


@runtime_checkable
class Held(Protocol):
    """An environment whose steps replace tensors and change nothing else, so that a CUDA graph can hold them."""

    def held(self) -> Batch:
        """All of these tensors, as they are."""
        ...

    def hold(self, held: Any) -> None:
        """Go on from such tensors."""
        ...


@runtime_checkable
class Rated(Protocol):
    """An environment that says what its ``ceiling_action`` is."""

    @property
    def ceiling_kind(self) -> str:
        """``"optimal"``: no policy has a higher expected return; ``"reference"``: a good player that may be beaten."""
        ...


@runtime_checkable
class Judging(Protocol):
    """An environment that says whether ``success`` has a meaning; in others it always has one."""

    @property
    def judged(self) -> bool | Tensor:
        """False: it knows no success. ``[B]`` bool: where the last step told whether there was one."""
        ...


@runtime_checkable
class VectorEnv(Protocol):
    """B environments that advance together. They never reset themselves: call ``reset(where=timestep.done)``."""

    id: str
    num_envs: int
    num_agents: int
    num_actions: int
    obs_dim: int
    max_steps: int
    device: torch.device

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        """Begin new episodes, in all environments or in those ``where [B]`` is True.

        ``seed`` (allowed without ``where`` only) restarts the count of episodes. A tensor gives environment b the seed
        ``seed[b]``; an int stands for the tensor ``random.seeds("environment", seed, arange(B))``, so that seeds
        next to each other share no episode. The trajectory of b depends on its seed and its actions only.
        """
        ...

    def step(self, action: Tensor) -> TimeStep:
        """Advance by ``action [B, N]`` int64, or ``[B, N, A]`` numbers where the environment has a ``box``."""
        ...

    def floor_action(self, key: Tensor) -> Tensor:
        """``[B, N]``: what a policy without skill does now (uniform random), drawn with ``key [B]``."""
        ...

    def ceiling_action(self) -> Tensor:
        """``[B, N]``: what a policy that sees the whole state does now; StateError where nobody knows one."""
        ...

    def scene(self) -> Scene:
        """What there is to draw now."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Everything the future depends on, for checkpoints."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        """Continue from ``state``; returns the time step that was current then."""
        ...


@runtime_checkable
class Single(Protocol):
    """One environment in plain shapes, which knows how to be many: ``envs.MultiAgentEnv``."""

    def vector(self, num_envs: int) -> VectorEnv:
        """``num_envs`` environments of the same kind and settings, with episodes of their own."""
        ...
