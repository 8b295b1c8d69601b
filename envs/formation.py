"""Formation: agents take up a shape around a landmark that only some of them see."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.meeting import bottleneck, walk
from .frame.rules import Kind, ratio
from .frame.settings import checked, integer, number

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_STEP_REWARD = -0.05


@dataclass(frozen=True)
class FormationDraws(Batch):
    """The cells where the agents begin, and that of the landmark; empty after a reset."""

    cells: Int[Tensor, "B C"]
    landmark: Int[Tensor, "B L"]


@dataclass(frozen=True)
class FormationState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]
    landmark: Int[Tensor, "B 2"]


@dataclass(frozen=True)
class FormationSettings(Settings):
    """See ``Formation``."""

    dim: int = integer(7, 2, doc="Side of the grid.")
    num_agents: int = integer(None, 1, doc="N; the number of offsets, or 4, if None.")
    shape: str = checked(
        "ring", lambda name, value, own: _offsets(value, own.num_agents), doc="A name or a list of offsets, see above."
    )
    seers: int = integer(1, 1, lambda own: len(own.offsets), doc="How many agents see the landmark, at least 1.")
    shaping: float = number(1.0, 0.0, 1e6, doc="Weight of the distance, see above.")
    max_steps: int = integer(None, 1, doc="Time limit; 3 * dim if None.")

    def resolve(self) -> None:
        offsets = self.offsets
        if not self.homes or len(offsets) > self.dim**2:
            raise ConfigError(
                f"shape: expected {len(offsets)} places that fit into {self.dim} x {self.dim} cells with their "
                f"landmark, got {self.shape!r}, offsets {offsets}. Use a larger dim."
            )
        self._put(num_agents=len(offsets), max_steps=self.max_steps or 3 * self.dim)

    @property
    def offsets(self) -> list[tuple[int, int]]:
        """The places of the shape, from the landmark."""
        return _offsets(self.shape, self.num_agents)

    @property
    def homes(self) -> list[tuple[int, int]]:
        """Where the landmark may be, so that all places are inside the grid."""
        rows, columns = (
            range(-min(0, *axis), self.dim - max(0, *axis)) for axis in zip(*self.offsets, (0, 0), strict=True)
        )
        return [(row, column) for row in rows for column in columns]


class Formation(GridEnv[FormationState, FormationDraws]):
    """N agents on a ``dim x dim`` grid must stand in a shape around a landmark; the first ``seers`` of them see it.

    ::

        . . . . . . .      1 2 3 4  agents (may share a cell), begin on different cells
        . . 1 o . . .      *  landmark, for agent 1 only
        . . o * o . .      o  the places: shape="ring" with four agents, left, right, above, below
        . . . o . 2 .
        3 . . . . . .
        . . . . . 4 .      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A shape is N places, given as offsets from the landmark: ``"ring"``, ``"line"`` (a row with the landmark in its
    middle), ``"square"`` (rows and columns as many as needed, filled row by row), or a list such as
    ``"0,-1;0,1;1,0"`` (row,column;...). The landmark is drawn uniformly from the cells around which all places are
    inside the grid.

    A step: all move at once, stopped by the border. A place is filled if somebody stands on it; which agent fills which
    place does not matter. Reward, the same for all: -0.05 a step, 1 when all places are filled, and ``shaping`` times
    what was lost of the distance between team and shape: half of (the mean over places of the steps to the nearest
    agent + the mean over agents of the steps to the nearest place), divided by dim - 1. This Chamfer distance is a
    potential, so that its sum over an episode depends on the two ends only. The episode terminates when all places are
    filled; that is success.

    **Why to talk**: who does not see the landmark knows nothing of where to go, and who does see it knows nothing of
    where the others go. With ``seers=N`` only the second is left.

    Observation: own row and column one-hot (2 dim entries), own number (N), the landmark's row and column one-hot
    (2 dim entries; seers only, else zeros). Sparse: 5 entries.

    Source: the task of taking up a formation, as in Agarwal, Kumar, Sycara and Lewis 2020, "Learning transferable
    cooperative behavior in multi-agent teams", section 5 (formation control and line control around landmarks that all
    see, in continuous space). The grid, who sees the landmark, and the numbers are ours.

    Raises:
        ConfigError: A setting out of range, or a shape that does not fit into the grid or to ``num_agents``.
    """

    id = "formation"
    settings_class = FormationSettings
    settings: FormationSettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay")
    grid_setting: ClassVar[str | None] = "dim"
    adjustable: ClassVar[tuple[str, ...]] = ("shaping",)
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "ring-4-v0": {"dim": 7, "num_agents": 4, "shape": "ring", "seers": 1, "max_steps": 21},
        "line-5-v0": {"dim": 9, "num_agents": 5, "shape": "line", "seers": 1, "max_steps": 27},
        "square-9-v0": {"dim": 12, "num_agents": 9, "shape": "square", "seers": 2, "max_steps": 36},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(own.num_agents, len(_MOVES), 4 * own.dim + own.num_agents, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.seers, self.shaping = chosen.dim, chosen.seers, chosen.shaping
        self._moves_A2 = torch.tensor(_MOVES, device=self.device)
        self._offset_P2 = torch.tensor(chosen.offsets, device=self.device)
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._homes_L = torch.tensor([row * self.dim + column for row, column in chosen.homes], device=self.device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> FormationDraws:
        if isinstance(t, Tensor):
            nothing = key.new_empty(key.shape[0], 0)
            return FormationDraws(nothing, nothing)
        start = random.sample_without_replacement(random.stream(key, "start"), self.dim * self.dim, self.num_agents)
        home = random.integers(random.stream(key, "landmark"), len(self._homes_L))
        return FormationDraws(start, self._homes_L[home][:, None])

    def initial(self, draws: FormationDraws) -> FormationState:
        pos, landmark = (torch.stack([cell // self.dim, cell % self.dim], -1) for cell in (draws.cells, draws.landmark))
        return FormationState(pos, landmark[:, 0])

    def transition(
        self,
        state: FormationState,
        action: Int[Tensor, "B N"],
        draws: FormationDraws,  # nothing is drawn after the reset
    ) -> tuple[FormationState, Float[Tensor, "B N"], Flags]:
        pos = (state.pos + self._moves_A2[action]).clamp_(0, self.dim - 1)
        new = FormationState(pos, state.landmark)
        done = self._on_place(new).any(1).all(1)
        closer = self._apart(state) - self._apart(new)
        reward = _STEP_REWARD + done.to(torch.float32) + self.shaping * closer
        return new, reward[:, None].repeat(1, self.num_agents), Flags(done, done.clone())

    def places(self, state: FormationState) -> Int[Tensor, "B P 2"]:
        """The cells to be filled."""
        return state.landmark[:, None] + self._offset_P2

    def _distance(self, state: FormationState) -> Int[Tensor, "B N P"]:
        return (state.pos[:, :, None] - self.places(state)[:, None]).abs().sum(-1)

    def _apart(self, state: FormationState) -> Float[Tensor, " B"]:
        """The Chamfer distance of team and shape, see above."""
        distance = self._distance(state)
        both = distance.amin(1).sum(1) + distance.amin(2).sum(1)
        return ratio(both, 2 * self.num_agents * (self.dim - 1))

    def _on_place(self, state: FormationState) -> Bool[Tensor, "B N P"]:
        cell = state.pos[..., 0] * self.dim + state.pos[..., 1]
        places = self.places(state)
        return cell[:, :, None] == (places[..., 0] * self.dim + places[..., 1])[:, None]

    def observe(self, state: FormationState, form: Form) -> Observation:
        axes = constant((0, self.dim), torch.int64, self.device)
        own = axes + state.pos
        number = (2 * self.dim + self._agents)[:, None].expand(*state.pos.shape[:2], 1)
        sees = (self._agents < self.seers)[:, None]
        place = (2 * self.dim + self.num_agents + axes + state.landmark)[:, None]
        mark = torch.where(sees, place, 0)
        index = torch.cat([own, number, mark], -1)
        value = torch.ones(index.shape, device=self.device)
        value[..., 3:] = sees.to(torch.float32)
        sparse = SparseObs(index, value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: FormationState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: FormationState) -> Scene:
        on_place = self._on_place(state)
        complete = on_place.any(1).all(1)
        rows = state.pos.shape[0]
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=complete[:, None].expand(-1, self.num_agents).clone(),
            entities={
                "landmark": state.landmark[:, None].to(torch.float32),
                "place": self.places(state).to(torch.float32),
            },
            active={
                "landmark": torch.ones(rows, 1, dtype=torch.bool, device=self.device),
                "place": ~on_place.any(1),
            },
        )

    @property
    def ceiling_kind(self) -> Kind:
        return "optimal" if self.max_steps >= 2 * self.dim - 2 else "reference"

    def solve(self, state: FormationState) -> Int[Tensor, "B N"]:
        """Agents and places are matched so that the last one arrives soonest; each agent walks to its place."""
        place = bottleneck(self._distance(state))
        goal = self.places(state).gather(1, place[..., None].expand(-1, -1, 2))
        return walk(goal - state.pos)


def _offsets(shape: object, count: int | None) -> list[tuple[int, int]]:
    """The places of a shape, in order."""
    names = ("ring", "line", "square")
    if isinstance(shape, str) and re.fullmatch(r"-?\d{1,3},-?\d{1,3}(;-?\d{1,3},-?\d{1,3})*", shape):
        given = [(int(row), int(column)) for row, column in (pair.split(",") for pair in shape.split(";"))]
        if len(set(given)) < len(given) or count not in (None, len(given)):
            wanted = "different" if count is None else f"{count} different"
            raise ConfigError(
                f"shape: expected {wanted} offsets, one for each agent, got {shape!r}. Change the list or num_agents."
            )
        return given
    if shape not in names:
        raise ConfigError(f'shape: expected one of {list(names)} or offsets such as "0,-1;0,1;1,0", got {shape!r}.')
    n = 4 if count is None else count
    if shape == "line":
        return [(0, k - n // 2) for k in range(n)]
    if shape == "square":
        side = next(k for k in range(1, n + 1) if k * k >= n)
        return [(k // side - (side - 1) // 2, k % side - (side - 1) // 2) for k in range(n)]
    return _ring(n)


def _ring(n: int) -> list[tuple[int, int]]:
    """``n`` cells at the same number of steps from the middle (the fewest with room for them), evenly spread."""
    radius = max(1, -(-n // 4))
    around = [(k - radius, k) for k in range(radius)] + [(k, radius - k) for k in range(radius)]
    around += [(-row, -column) for row, column in around]  # 4 radius cells, clockwise from the top
    return [around[k * len(around) // n] for k in range(n)]
