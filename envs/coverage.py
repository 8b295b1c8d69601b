"""Coverage of adversarial_comms: agents that know only where they have been themselves visit every free cell."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from .frame import maps
from .frame.base import Flags, Form, GridEnv, Settings, Sizes
from .frame.settings import flag, integer, number

_ACTION_OF_DIRECTION = (3, 1, 4, 2)  # up, right, down, left
_ATTEMPTS = 32


@dataclass(frozen=True)
class CoverageDraws(Batch):
    """The map and where the agents begin; empty after a reset."""

    free: Bool[Tensor, "B C"]
    cells: Int[Tensor, "B N"]


@dataclass(frozen=True)
class CoverageState(Batch):
    """Cells are numbered row-major. Maps hold 0 free, 1 obstacle, 2 visited; their last entry, outside, is 1."""

    world: Tensor  # [B, C + 1] uint8; visited by anybody
    seen: Tensor  # [B, N, C + 1] uint8; visited by this agent
    cell: Int[Tensor, "B N"]
    idle: Int[Tensor, "B N"]  # steps since the agent was the first on a cell
    waiting: Int[Tensor, " B"]  # free cells that nobody has visited


@dataclass(frozen=True)
class CoverageSettings(Settings):
    """See ``Coverage``."""

    dim: int = integer(10, 2, 128, doc="Side of the grid.")
    num_agents: int = integer(3, 1, doc="N.")
    free: float = number(0.6, 1e-6, 1.0, doc="Share of free cells, in (0, 1].")
    window: int = integer(8, 2, doc="Side of what an agent sees, even.")
    patience: int | None = integer(
        None, 1, doc="Steps without a new cell after which an agent ends the episode; None: it never does."
    )
    exclusive: bool = flag(
        False,
        doc="Whether an agent keeps others off its cell. Agents then move one after the other, by number, as in the "
        "original: a step loops over them.",
    )
    max_steps: int = integer(None, 1, doc="Time limit; floor(``free`` dim^2) - 1 if None.")

    def resolve(self) -> None:
        if self.window % 2:
            raise ConfigError(f"window: expected an even number, got {self.window}. Use {self.window + 1}.")
        if self.num_agents > self.num_free:
            raise ConfigError(
                f"num_agents: expected at most the {self.num_free} free cells, got {self.num_agents}. Use a larger dim "
                "or free, or fewer agents."
            )
        self._put(max_steps=self.max_steps or max(int(self._area) - 1, 1))

    @property
    def _area(self) -> float:
        """Rounded: 0.55 * 100 is a little more than 55 in floating point."""
        return round(self.free * self.dim * self.dim, 6)

    @property
    def num_free(self) -> int:
        return math.ceil(self._area)


class Coverage(GridEnv[CoverageState, CoverageDraws]):
    """N agents visit all free cells of a map; each sees the map around it and the cells it has visited itself.

    ::

        # # # . . .      1 2  agents (may share a cell)        actions: 0 stay, 1 right, 2 left, 3 up, 4 down
        # . . . . #      .    free       # obstacle
        # . o o 2 #      o    covered: an agent has been there; only those who were there see it
        . . o 1 # #
        . # # # # #

    The map: a random walk carves exactly ceil(``free`` dim^2) cells, which are therefore connected. The agents begin
    close together: around a random free cell, at the integer part of a normal draw with standard deviation 1 that
    grows by 0.1 with every draw that hits an obstacle.

    A step: all agents move, stopped by the border and by obstacles (and by other agents, if ``exclusive``); then, in
    the order of their numbers, each covers its cell. Reward of an agent: 1 if it is the first ever on that cell, else
    0. Terminated and success when all free cells are covered. With ``patience`` the episode also terminates, without
    success, when some agent has been the first on no cell for that many steps in a row.

    Flat observation: ``window x window`` cells around the agent, from window / 2 rows and columns before it to
    window / 2 - 1 behind it, row-major, two numbers each: obstacle or outside; visited by the agent itself. No cell is
    both. Sparse: 1 entry for each cell of the window.

    Source: Blumenkamp and Prorok 2020, "The emergence of adversarial communication in multi-agent reinforcement
    learning", section 5, and its published environment (adversarial_comms, ``coverage.py``): rules and observation are
    kept. It counts the step of standing still that ends its reset as step 1 of 345; here the reset covers the cells
    the agents begin on, and 344 decisions follow. Changed: after 32 draws an agent begins on the free cell nearest to
    the common start (the original goes on drawing); the walk is folded at the borders (same law, see ``maps``).

    Raises:
        ConfigError: A setting out of range, or more agents than free cells.
    """

    id = "coverage"
    reset_asks = "a walk goes on until it has seen enough cells"
    settings_class = CoverageSettings
    settings: CoverageSettings
    named_actions: ClassVar[tuple[str, ...]] = ("stay", "right", "left", "up", "down")
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "10x10-3-v0": {"dim": 10, "num_agents": 3, "window": 8, "max_steps": 59},
        "24x24-5-v0": {"dim": 24, "num_agents": 5, "window": 16, "max_steps": 344},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(own.num_agents, 5, 2 * own.window**2, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.num_free, self.window = chosen.dim, chosen.num_free, chosen.window
        self.patience, self.exclusive = chosen.patience, chosen.exclusive
        self._build_tables()

    def _build_tables(self) -> None:
        cells = self.dim * self.dim
        self._neighbor_C4 = maps.neighbors(self.dim).to(self.device)
        stay_C = torch.arange(cells, device=self.device)
        up, right, down, left = self._neighbor_C4.unbind(1)
        self._next_CA = torch.stack([stay_C, right, left, up, down], 1).flatten()
        half = self.window // 2
        self._window_CW = maps.windows(self.dim, half, half - 1).to(self.device)
        self._entry_W = 2 * torch.arange(self.window**2, device=self.device)
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._earlier_NN = self._agents[:, None] > self._agents
        self._action_4 = torch.tensor(_ACTION_OF_DIRECTION, device=self.device)
        self._place_C2 = torch.stack([stay_C // self.dim, stay_C % self.dim], -1)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> CoverageDraws:
        if isinstance(t, Tensor):
            return CoverageDraws(key.new_empty(key.shape[0], 0, dtype=torch.bool), key.new_empty(key.shape[0], 0))
        free = maps.walked(key, self.dim, self.num_free)
        return CoverageDraws(free, self._starts(key, free))

    def _starts(self, key: Tensor, free_BC: Tensor) -> Tensor:
        """Cells near a common one: the first draw of each agent that hits a free cell."""
        score_BC = random.uniform(random.stream(key, "start")[:, None], torch.arange(free_BC.shape[1]).to(key.device))
        center_B2 = self._place_C2[torch.where(free_BC, score_BC, -1.0).argmax(1)]
        attempts = torch.arange(_ATTEMPTS, device=key.device)
        spread_J1 = 1.0 + 0.1 * (attempts[:, None] - 1).clamp_min(0)
        draw_BNJ2 = random.normal(
            random.stream(key, "near")[:, None, None, None],
            self._agents[:, None, None],
            attempts[:, None],
            torch.arange(2, device=key.device),
        )
        place_BNJ2 = (center_B2[:, None, None] + spread_J1 * draw_BNJ2).clamp(0, self.dim - 1).long()
        cell_BNJ = place_BNJ2[..., 0] * self.dim + place_BNJ2[..., 1]
        away_BC = (self._place_C2 - center_B2[:, None]).square().sum(-1) * free_BC.shape[1] + self._next_CA[::5]
        allowed_BC, chosen = free_BC.clone(), []
        for cell_BJ in cell_BNJ.unbind(1):  # later agents avoid earlier ones, if exclusive
            hit_BJ = allowed_BC.gather(1, cell_BJ)
            first_B1 = torch.where(hit_BJ, attempts, _ATTEMPTS).amin(1, keepdim=True)
            nearest_B1 = torch.where(allowed_BC, away_BC, away_BC.max() + 1).argmin(1, keepdim=True)
            drawn_B1 = cell_BJ.gather(1, first_B1.clamp_max(_ATTEMPTS - 1))
            chosen.append(torch.where(first_B1 < _ATTEMPTS, drawn_B1, nearest_B1))
            if self.exclusive:
                allowed_BC.scatter_(1, chosen[-1], False)
        return torch.cat(chosen, 1)

    def initial(self, draws: CoverageDraws) -> CoverageState:
        wall_BC = torch.cat([~draws.free, torch.ones_like(draws.free[:, :1])], 1).to(torch.uint8)
        seen = wall_BC[:, None].repeat(1, self.num_agents, 1)
        none = torch.zeros_like(draws.cells)
        state = CoverageState(wall_BC, seen, draws.cells, none, torch.full_like(none[:, 0], self.num_free))
        return self._cover(state, draws.cells)[0]

    def transition(
        self,
        state: CoverageState,
        action: Int[Tensor, "B N"],
        draws: CoverageDraws,  # nothing is drawn after the reset
    ) -> tuple[CoverageState, Float[Tensor, "B N"], Flags]:
        new, first = self._cover(state, self._move(state, action))
        success = new.waiting == 0
        terminated = success if self.patience is None else success | (new.idle == self.patience).any(1)
        return new, first.to(torch.float32), Flags(terminated, success.clone())

    def _move(self, state: CoverageState, action: Tensor) -> Tensor:
        wanted_BN = self._next_CA[state.cell * 5 + action]
        if not self.exclusive:
            return torch.where(state.world.gather(1, wanted_BN) == 1, state.cell, wanted_BN)
        wall_BN, cell = state.world.gather(1, wanted_BN) == 1, state.cell
        for agent in range(self.num_agents):
            there_B1 = wanted_BN[:, agent : agent + 1]
            taken_B1 = wall_BN[:, agent : agent + 1] | (cell == there_B1).any(1, keepdim=True)
            cell = torch.where((self._agents == agent) & ~taken_B1, there_B1, cell)
        return cell

    def _cover(self, state: CoverageState, cell: Tensor) -> tuple[CoverageState, Tensor]:
        """All agents stand on ``cell`` now; who is the first ever on its cell."""
        preceded_BN = ((cell[:, :, None] == cell[:, None]) & self._earlier_NN).any(-1)
        first_BN = (state.world.gather(1, cell) == 0) & ~preceded_BN
        return CoverageState(
            world=state.world.scatter(1, cell, 2),
            seen=state.seen.scatter(2, cell[..., None], 2),
            cell=cell,
            idle=torch.where(first_BN, 0, state.idle + 1),
            waiting=state.waiting - first_BN.sum(1),
        ), first_BN

    def observe(self, state: CoverageState, form: Form) -> Observation:
        code_BNW = state.seen.gather(2, self._window_CW[state.cell])
        if form == "flat":
            return torch.stack([code_BNW == 1, code_BNW == 2], -1).flatten(2).to(torch.float32)
        index = (code_BNW >> 1).to(torch.int64).add_(self._entry_W)
        return SparseObs(index, (code_BNW > 0).to(torch.float32), self.obs_dim)

    def positions(self, state: CoverageState) -> Float[Tensor, "B N 2"]:
        return self._place_C2[state.cell].to(torch.float32)

    def describe(self, state: CoverageState) -> Scene:
        """The field is 1 where a free cell still waits, 0 elsewhere."""
        map_BC = state.world[:, :-1]
        obstacles = self.dim * self.dim - self.num_free
        wall = (map_BC == 1).to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :obstacles]
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=torch.zeros_like(state.cell, dtype=torch.bool),
            entities={"obstacle": self._place_C2[wall].to(torch.float32)},
            active={"obstacle": torch.ones_like(wall, dtype=torch.bool)},
            field=(map_BC == 0).to(torch.float32).unflatten(1, (self.dim, self.dim)),
        )

    def solve(self, state: CoverageState) -> Int[Tensor, "B N"]:
        """To the nearest waiting cell of those that are nearest to this agent; if none, to the loneliest one."""
        map_BC = state.world[:, :-1]
        waiting_BC, free_BNC = map_BC == 0, (map_BC != 1)[:, None].expand(-1, self.num_agents, -1)
        here_BNC = torch.zeros_like(free_BNC).scatter_(2, state.cell[..., None], True)
        distance_BC, owner_BC = maps.distances(free_BNC, here_BNC).min(1)
        mine_BNC = waiting_BC[:, None] & (owner_BC[:, None] == self._agents[:, None])
        loneliest_B1 = torch.where(waiting_BC, distance_BC, -1).argmax(1, keepdim=True)
        lonely_BC = torch.zeros_like(waiting_BC).scatter_(1, loneliest_B1, True) & waiting_BC
        target_BNC = torch.where(mine_BNC.any(-1, keepdim=True), mine_BNC, lonely_BC[:, None])
        distance_BNC = maps.distances(free_BNC, target_BNC, at=state.cell)
        direction, nearer = maps.toward(distance_BNC, state.cell, self._neighbor_C4)
        return torch.where(nearer, self._action_4[direction], 0)
