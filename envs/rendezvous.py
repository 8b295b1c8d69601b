"""Rendezvous: agents that see only what is near must all meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.meeting import walk
from .frame.rules import Kind, ratio
from .frame.settings import flag, integer, number

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_STEP_REWARD = -0.05


@dataclass(frozen=True)
class RendezvousDraws(Batch):
    """The cells where the agents begin; empty after a reset."""

    cells: Int[Tensor, "B C"]


@dataclass(frozen=True)
class RendezvousState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]


@dataclass(frozen=True)
class RendezvousSettings(Settings):
    """See ``Rendezvous``."""

    dim: int = integer(7, 2, doc="Side of the grid, at least 2.")
    num_agents: int = integer(3, 2, doc="N, at least 2.")
    vision: int = integer(1, 0, lambda own: own.dim, doc="v.")
    spread: int = integer(0, 0, lambda own: own.dim - 2, doc="How far apart rows and columns may be at a meeting.")
    shaping: float = number(1.0, 0.0, 1e6, doc="Weight of the potential, see above.")
    coordinates: bool = flag(True, doc="Whether agents know where they are.")
    max_steps: int = integer(None, 1, doc="Time limit; 4 * dim if None.")

    def resolve(self) -> None:
        if self.num_agents > self.dim**2:
            raise ConfigError(
                f"num_agents: expected at most dim * dim = {self.dim**2}, got {self.num_agents}. Use a larger dim."
            )
        self._put(max_steps=self.max_steps or 4 * self.dim)


class Rendezvous(GridEnv[RendezvousState, RendezvousDraws]):
    """N agents on a ``dim x dim`` grid must all come together, wherever they like.

    ::

        . 1 . . .      1 2 3  agents (may share a cell), begin on different cells
        . . . . .
        . . . . 2      each knows where it is and sees who is in the (2v+1) x (2v+1) cells around it
        . . . . .
        3 . . . .      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A step: all move at once, stopped by the border. The team has met if all agents fit into a square of
    ``(spread + 1) x (spread + 1)`` cells: with ``spread=0`` they share one cell.

    Reward, the same for all: -0.05 a step and 1 for the meeting, plus ``shaping * (Phi' - Phi)`` for the step from a
    state with potential Phi to one with Phi', where Phi = -(height + width of the smallest rectangle around the team) /
    (2 dim - 2). With ``shaping=0`` only the clock and the meeting count. The episode terminates when they have met;
    that is success.

    **Why to talk**: any cell will do, but it has to be the same one. Without messages a team can agree on a cell before
    the episode, the middle of the grid, say, and walk there: it meets, but late. How late that is, and how much earlier
    those meet who know where all are, is measured on the page of this environment. Where positions are not known
    (``coordinates=False``), nobody can find the middle without walking to a border first.

    Observation: row and column one-hot (2 dim entries, with ``coordinates`` only), then for each cell of the window,
    row-major, the number of others in it, and whether it is outside the grid. Sparse: 2 + (N - 1) + (2v+1)^2 entries.

    Source: the rendezvous problem, Lin, Morse and Anderson 2003, "The multi-agent rendezvous problem"; as a task with
    learned communication, e.g. Huettenrauch, Sosic and Neumann 2019, "Deep reinforcement learning for swarm systems",
    section 5.1. The grid, rewards and numbers are ours.

    Raises:
        ConfigError: A setting out of range, more agents than cells, or a ``spread`` that is always met.
    """

    id = "rendezvous"
    settings_class = RendezvousSettings
    settings: RendezvousSettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay")
    grid_setting: ClassVar[str | None] = "dim"
    adjustable: ClassVar[tuple[str, ...]] = ("shaping",)
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "7x7-3-v0": {"dim": 7, "num_agents": 3, "vision": 1, "spread": 0, "max_steps": 28},
        "15x15-8-v0": {"dim": 15, "num_agents": 8, "vision": 2, "spread": 1, "max_steps": 60},
        "7x7-3-sparse-v0": {"dim": 7, "num_agents": 3, "vision": 1, "spread": 0, "max_steps": 28, "shaping": 0.0},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        width = 2 * own.dim * own.coordinates + 2 * (2 * own.vision + 1) ** 2
        return Sizes(own.num_agents, len(_MOVES), width, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.vision, self.spread = chosen.dim, chosen.vision, chosen.spread
        self.shaping, self.coordinates = chosen.shaping, chosen.coordinates
        self.side = 2 * self.vision + 1
        self._moves_A2 = torch.tensor(_MOVES, device=self.device)
        self._build_tables()

    def _build_tables(self) -> None:
        """What is seen at each difference of two positions, and of the border from each cell."""
        dim, v, base = self.dim, self.vision, 2 * self.dim * self.coordinates
        self._span = 2 * dim - 1
        row, col = torch.meshgrid(*[torch.arange(self._span) - (dim - 1) + v] * 2, indexing="ij")
        seen = (row >= 0) & (row < self.side) & (col >= 0) & (col < self.side)
        self._entry = torch.where(seen, base + 2 * (row * self.side + col), 0).flatten().to(self.device)
        self._seen = seen.flatten().to(self.device, torch.float32)
        line = torch.arange(dim)[:, None] + torch.arange(self.side) - v
        off = (line < 0) | (line >= dim)
        outside = off[:, None, :, None] | off[None, :, None, :]
        self._outside_CW = outside.reshape(dim * dim, -1).to(self.device, torch.float32)
        self._border_W = (base + 1 + 2 * torch.arange(self.side**2)).to(self.device)
        # Nobody counts itself: for agent i the others, in order.
        others = [[j for j in range(self.num_agents) if j != i] for i in range(self.num_agents)]
        self._others_NM = torch.tensor(others, device=self.device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> RendezvousDraws:
        if isinstance(t, Tensor):
            return RendezvousDraws(key.new_empty(key.shape[0], 0))
        start = random.stream(key, "start")
        return RendezvousDraws(random.sample_without_replacement(start, self.dim * self.dim, self.num_agents))

    def initial(self, draws: RendezvousDraws) -> RendezvousState:
        return RendezvousState(torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1))

    def transition(
        self,
        state: RendezvousState,
        action: Int[Tensor, "B N"],
        draws: RendezvousDraws,  # nothing is drawn after the reset
    ) -> tuple[RendezvousState, Float[Tensor, "B N"], Flags]:
        pos = (state.pos + self._moves_A2[action]).clamp_(0, self.dim - 1)
        before, after = self._extent(state.pos), self._extent(pos)
        met = after.amax(-1) <= self.spread
        closer = ratio((before - after).sum(-1), 2 * self.dim - 2)
        reward = _STEP_REWARD + met.to(torch.float32) + self.shaping * closer
        return RendezvousState(pos), reward[:, None].repeat(1, self.num_agents), Flags(met, met.clone())

    @staticmethod
    def _extent(pos: Int[Tensor, "B N 2"]) -> Int[Tensor, "B 2"]:
        """Height and width of the team, 0 where it shares a row or column."""
        return pos.amax(1) - pos.amin(1)

    def observe(self, state: RendezvousState, form: Form) -> Observation:
        code = state.pos[..., 0] * self._span + state.pos[..., 1]
        pair = code[:, self._others_NM] - code[..., None] + (self.dim - 1) * (self._span + 1)
        cell = state.pos[..., 0] * self.dim + state.pos[..., 1]
        border = self._outside_CW[cell]
        index = [self._entry[pair], self._border_W.expand_as(border)]
        value = [self._seen[pair], border]
        if self.coordinates:
            index.insert(0, state.pos + constant((0, self.dim), torch.int64, self.device))
            value.insert(0, torch.ones(state.pos.shape, device=self.device))
        sparse = SparseObs(torch.cat(index, -1), torch.cat(value, -1), self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: RendezvousState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: RendezvousState) -> Scene:
        met = self._extent(state.pos).amax(-1, keepdim=True) <= self.spread
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=met.expand(-1, self.num_agents).clone(),
            entities={},
            active={},
        )

    @property
    def ceiling_kind(self) -> Kind:
        """Where shaping pays for a small team at the end, meeting soonest is not worth most."""
        straight = self.spread == 0 or self.shaping == 0
        return "optimal" if straight and self.max_steps >= 2 * self.dim - 2 else "reference"

    def solve(self, state: RendezvousState) -> Int[Tensor, "B N"]:
        """Into the square that the farthest of them reaches soonest: the fewest steps there are; and closer in it."""
        corner = torch.arange(self.dim - self.spread, device=self.device)
        # How far each agent is from the rows, and from the columns, of a square that begins at each corner.
        low_BN2K = (corner - state.pos[..., None]).clamp_min(0)
        high_BN2K = (state.pos[..., None] - corner - self.spread).clamp_min(0)
        row_BNK, col_BNK = (low_BN2K + high_BN2K).unbind(2)
        walk_BNC = (row_BNK[..., :, None] + col_BNK[..., None, :]).flatten(2)
        cost_BC = walk_BNC.amax(1) * (2 * self.dim * self.num_agents + 1) + walk_BNC.sum(1)
        best_B1 = cost_BC.argmin(1, keepdim=True)
        square_B12 = torch.stack([best_B1 // len(corner), best_B1 % len(corner)], -1)
        entry = torch.minimum(torch.maximum(state.pos, square_B12), square_B12 + self.spread)
        middle_B12 = state.pos.median(1, keepdim=True).values
        middle_B12 = torch.minimum(torch.maximum(middle_B12, square_B12), square_B12 + self.spread)
        goal = torch.where((entry == state.pos).all(-1, keepdim=True), middle_B12, entry)
        return walk(goal - state.pos)
