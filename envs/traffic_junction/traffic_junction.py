"""Traffic Junction of IC3Net: cars on fixed routes, which see next to nothing, must not meet in one cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from ..frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from ..frame.rules import ratio
from ..frame.settings import choice, flag, integer, number
from .roads import LEVELS, Tables, add_rate_at, tables

__all__ = ["TrafficDraws", "TrafficJunction", "TrafficState", "add_rate_at"]

_STEP_REWARD, _CRASH_REWARD = -0.01, -10.0


@dataclass(frozen=True)
class TrafficDraws(Batch):
    """Three numbers in [0, 1) for each of the A arms, empty at a reset.

    ``slot`` is the share of the free slots (in the order of their index) that lies before the one taken, ``route`` that
    of the arm's routes: of m, number floor(share * m) is taken.
    """

    chance: Float[Tensor, "B A"]  # a car wants to enter if this is at most the add rate
    slot: Float[Tensor, "B A"]
    route: Float[Tensor, "B A"]


@dataclass(frozen=True)
class TrafficState(Batch):
    """A place is a step of a route, see ``envs.traffic_roads.Tables``; 0 means that the slot is free."""

    place: Int[Tensor, "B N"]
    wait: Int[Tensor, "B N"]  # steps since the car entered
    braked: Bool[Tensor, "B N"]  # the last action that took effect in this slot was the brake
    failed: Bool[Tensor, " B"]  # some cars met in this episode


@dataclass(frozen=True)
class TrafficJunctionSettings(Settings):
    """See ``TrafficJunction``."""

    level: str = choice(
        "easy", tuple(LEVELS), doc='``"easy"``, ``"medium"`` or ``"hard"``; gives the defaults of what is None below.'
    )
    dim: int = integer(
        None,
        4,
        doc="Side of the grid (easy: without its last row and column): even and at least 4 + vision (easy, medium), "
        "or a multiple of 3 and at least 9 (hard).",
    )
    num_agents: int = integer(None, 1, doc="N, slots.")
    vision: int = integer(0, 0, lambda own: own.dim or LEVELS[own.level].dim, doc="v, at most ``dim``.")
    add_rate: float = number(
        None,
        0.0,
        1.0,
        doc="Probability that an arm's car wants to enter; by default where the published curriculum ends (0.3, 0.2, "
        "0.05). ``adjust(add_rate=...)`` changes it, ``add_rate_at`` gives the published schedule.",
    )
    vocabulary: str = choice("bool", ("bool", "scalar"), doc='``"bool"`` or ``"scalar"``.')
    faithful: bool = flag(True, doc="See above.")
    max_steps: int = integer(None, 1, doc="Time limit.")

    def resolve(self) -> None:
        published = LEVELS[self.level]
        self._put(
            dim=self.dim or published.dim,
            num_agents=self.num_agents or published.num_agents,
            add_rate=published.last_rate if self.add_rate is None else self.add_rate,
            max_steps=self.max_steps or published.max_steps,
        )
        _check_dim(self.level, self.dim, self.vision)

    @property
    def tables(self) -> Tables:
        return tables(self.level, self.dim, self.vision, self.vocabulary, self.faithful)


class TrafficJunction(GridEnv[TrafficState, TrafficDraws]):
    """Cars enter at random, follow fixed routes over a crossing, and lose when two are in one cell.

    ::

              | |               easy: one crossing of two one-way roads, 2 arms, 1 route each, 7 x 7 cells
              v ^ |             medium: one crossing of two two-way roads, 4 arms, 3 routes each
        <-----+-+----- <-       hard: four crossings, 8 arms, 7 routes each
        -> ---+-+----->
              v ^               actions: 0 gas (one cell along the route), 1 brake (stay)

    N slots hold the cars; a slot is alive while it holds one, and the map is empty at first. A step: (1) every car does
    its action; who passes the end of its route leaves, and its slot is free. (2) The arms, in order: while a slot is
    free, a car wants to enter with probability ``add_rate``; it takes a free slot, a route of the arm, both uniformly,
    and begins on the arm's first cell. Reward of each car: -0.01 for each step since it entered, and -10 while another
    car is in its cell; crashes remove nobody. Swapping cells would be no crash, and does not occur: lanes are one-way.
    Success: no crash since the reset. The episode never terminates; it is truncated after ``max_steps``.

    Rows pass from car to car: ``TimeStep.entered`` is True wherever a car entered, and the discount of the row is 0.

    Flat observation: last action, route id / (routes - 1), then for each cell of the (2v+1) x (2v+1) window, row-major,
    base + 3 counts: number of the road cell one-hot, ``base`` outside, one never used, cars (itself included); base is
    2 dim, 4 dim or 8 dim (easy, medium, hard).
    With ``vocabulary="scalar"`` row / (H-1) and column / (W-1) follow the route, and each cell has 2 counts: road,
    cars.
    All zeros where there is no car. Sparse: last action, cars of the window's road cells, route, cell numbers.

    Source: Sukhbaatar, Szlam and Fergus 2016, "Learning multiagent communication with backpropagation" (CommNet),
    section 4.2.1; the rules here are those of the environment published with Singh, Jain and Sukhbaatar 2019,
    "Learning when to communicate at scale" (IC3Net), also used unchanged by MAGIC (Niu, Paleja and Gombolay 2021).
    With ``faithful=True``, the default because published numbers depend on it, its habits are kept, too:
    the vocabulary of easy has 2 dim numbers for 2 (dim + 1) cells, so that the last but one of the vertical road reads
    "outside" and the last has the number after it; free slots stand in the corner (0, 0) and are counted as cars there;
    a car enters even where another one stands; it takes over the last action of the slot's car before; a slot that a
    car leaves may be taken in the same step; a draw equal to the rate lets a car in.
    ``faithful=False`` mends each: every road cell has its own number, C in all, ``C`` is outside and ``C + 1`` cars;
    free slots are nowhere; nobody enters an occupied cell; the last action of a new car is 0; a slot rests for a step;
    a rate of 0 lets nobody in.
    """

    id = "traffic_junction"
    settings_class = TrafficJunctionSettings
    settings: TrafficJunctionSettings
    named_actions: ClassVar[tuple[str, ...]] = ("gas", "brake")
    renews = True
    adjustable = ("add_rate",)
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        f"{level}{name}-v0": {
            "level": level,
            "dim": numbers.dim,
            "num_agents": numbers.num_agents,
            "max_steps": numbers.max_steps,
            "vision": vision,
            "add_rate": numbers.first_rate if name == "-start" else numbers.last_rate,
        }
        for level, numbers in LEVELS.items()
        for name, vision in (("", 0), ("-magic", 1), ("-start", 0))
    }

    def sizes(self) -> Sizes:
        return Sizes(self.settings.num_agents, 2, self.settings.tables.obs_dim, self.settings.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.level, self.dim, self.vision = chosen.level, chosen.dim, chosen.vision
        self.add_rate, self.vocabulary, self.faithful = chosen.add_rate, chosen.vocabulary, chosen.faithful
        self.size = self.dim + 1 if self.level == "easy" else self.dim
        self._tables = chosen.tables.map(lambda x: x.to(self.device))
        self._rate = torch.tensor(self.add_rate, dtype=torch.float64, device=self.device)
        self._arms_A1 = torch.arange(len(self._tables.entry), device=self.device)[:, None]

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> TrafficDraws:
        if not isinstance(t, Tensor):
            nothing = torch.empty(key.shape[0], 0, device=self.device)
            return TrafficDraws(nothing, nothing, nothing)
        bits_AB = random.bits(key, t, self._arms_A1)
        parts = [(bits_AB >> shift) & (2**width - 1) for shift, width in ((40, 24), (20, 20), (0, 20))]
        chance, slot, route = (
            part.to(torch.float32).mul_(2.0**-width).t() for part, width in zip(parts, (24, 20, 20), strict=True)
        )
        return TrafficDraws(chance, slot, route)

    def initial(self, draws: TrafficDraws) -> TrafficState:
        shape = (draws.chance.shape[0], self.num_agents)
        empty = torch.zeros(shape, dtype=torch.int64, device=self.device)
        no = torch.zeros(shape, dtype=torch.bool, device=self.device)
        return TrafficState(empty, empty.clone(), no, no.any(1))

    def transition(
        self, state: TrafficState, action: Int[Tensor, "B N"], draws: TrafficDraws
    ) -> tuple[TrafficState, Float[Tensor, "B N"], Flags]:
        table = self._tables
        moved = _look_up(table.after, state.place * 2 + action)
        staying = moved > 0
        braked = torch.where(staying, action > 0, state.braked)
        place, entered = self._enter(state, moved, draws)
        if not self.faithful:
            braked = braked & ~entered
        wait = (state.wait + 1).masked_fill_(~staying, 0)
        cell = _look_up(table.cell, place)
        crashed = (self._count(cell).gather(1, cell) > 1) & (place > 0)
        late = wait.to(torch.float64) * _STEP_REWARD  # summed in float64 and rounded once, as the recorded rewards are
        reward = torch.where(crashed, late + _CRASH_REWARD, late).to(torch.float32)
        failed = state.failed | crashed.any(1)
        new = TrafficState(place, wait, braked, failed)
        return new, reward, Flags(torch.zeros_like(failed), ~failed, entered)

    def _enter(self, state: TrafficState, moved: Tensor, draws: TrafficDraws) -> tuple[Tensor, Tensor]:
        """Places after the arms let cars in, and in which slots these are.

        All arms at once: as soon as one finds no free slot, neither do the later ones. Only where the arms' choices of
        slots meet, one arm goes after the other.
        """
        chance_AB, slot_AB, route_AB = draws.chance.t(), draws.slot.t(), draws.route.t()
        free = moved == 0
        if self.faithful:
            wants = chance_AB <= self._rate
        else:
            free = free & (state.place == 0)
            count = self._count(_look_up(self._tables.cell, moved))
            wants = (chance_AB < self._rate) & (count.index_select(1, self._tables.entry).t() == 0)
        rank = free.cumsum(1)  # free slots have ranks from 1
        before = wants.cumsum(0) - wants.to(torch.int64)
        room = rank[:, -1] - before
        enters = wants & (room > 0)
        taken = torch.where(enters, (slot_AB * room).to(torch.int64) + 1, _NO_SLOT)
        for arm in range(taken.shape[0] - 2, -1, -1):  # from the rank among those still free to that among all
            later = taken[arm + 1 :]
            later += later >= taken[arm]
        routes = self._tables.first_route.shape[0] // taken.shape[0]
        route = (route_AB * routes).to(torch.int64) + self._arms_A1 * routes
        first = _look_up(self._tables.first_route, route)
        by_rank = moved.new_zeros(moved.shape[0], self.num_agents + 1)
        by_rank.scatter_(1, torch.where(enters, taken, 0).t(), first.t())  # column 0: arms without a car, never read
        place = torch.where(free, by_rank.gather(1, rank), moved)
        return place, free & (place > 0)

    def _count(self, cell: Tensor) -> Tensor:
        """How many slots stand in each compact cell, ``[B, C + 2]``; free ones in the corner."""
        count = torch.zeros(cell.shape[0], self._tables.num_cells, device=self.device)
        return count.scatter_add_(1, cell, torch.ones(cell.shape, device=self.device))

    def observe(self, state: TrafficState, form: Form) -> Observation:
        table, shape = self._tables, (*state.place.shape, -1)
        place = state.place.flatten()
        count = self._count(_look_up(table.cell, state.place))
        seen = table.seen.index_select(0, place).view(state.place.shape[0], -1)
        value = table.value.index_select(0, place * 2 + state.braked.flatten()).view(shape)
        value[..., 1 : 1 + table.seen.shape[1]] = count.gather(1, seen).view(shape)
        sparse = SparseObs(table.index.index_select(0, place).view(shape), value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def alive(self, state: TrafficState) -> Bool[Tensor, "B N"]:
        return state.place > 0

    def gone(self, state: TrafficState) -> Gone:
        free = state.place == 0
        return Gone(free, {"wait": free} if self.faithful else {"wait": free, "braked": free})

    def positions(self, state: TrafficState) -> Float[Tensor, "B N 2"]:
        """(row, column); (0, 0) where there is no car."""
        return self._tables.pos.index_select(0, state.place.flatten()).view(*state.place.shape, 2)

    def central(self, state: TrafficState) -> Float[Tensor, "B S"]:
        """For each slot: alive, row, column, route and share of it done, last action, age; then whether cars met."""
        pos = ratio(self.positions(state), self.size - 1)
        progress = self._tables.progress[state.place]
        rest = [state.place > 0, state.braked, ratio(state.wait, self.max_steps)]
        parts = torch.cat([pos, progress, torch.stack([x.to(torch.float32) for x in rest], -1)], -1)
        return torch.cat([parts.flatten(1), state.failed.to(torch.float32)[:, None]], 1)

    def describe(self, state: TrafficState) -> Scene:
        rows, columns = self._tables.pos[1:].long().unbind(-1)
        roads = torch.zeros(self.size, self.size, device=self.device)
        roads[rows, columns] = 1.0
        nobody = torch.zeros_like(state.place, dtype=torch.bool)  # whoever is done is gone
        field = roads.repeat(state.place.shape[0], 1, 1)
        return Scene((self.size, self.size), self.positions(state), nobody, {}, {}, field)

    def solve(self, state: TrafficState) -> Int[Tensor, "B N"]:
        """Everyone drives, but for two reasons to brake, applied until nobody finds one: somebody with precedence wants
        the same cell, or who is in that cell brakes. Precedence: on a crossing, more cars of the own arm behind, older.
        """
        table, count = self._tables, self.num_agents
        alive_BN, next_BN = state.place > 0, table.after[state.place * 2]
        cell_BN, arm_BN, along_BN = (x[state.place] for x in (table.cell, table.arm, table.along))
        goal_BN = torch.where(next_BN > 0, table.cell[next_BN], -1)  # -1: leaves, and meets nobody
        follows_BNN = (arm_BN[:, :, None] == arm_BN[:, None]) & (along_BN[:, None] < along_BN[:, :, None])
        rank_BN = table.crossing[cell_BN] * count + follows_BNN.sum(-1)
        rank_BN = (rank_BN * (self.max_steps + 1) + state.wait) * count - torch.arange(count, device=self.device)
        yields_BNN = rank_BN[:, :, None] < rank_BN[:, None]
        meets_BNN = (goal_BN[:, :, None] == goal_BN[:, None]) & (goal_BN >= 0)[:, :, None] & yields_BNN
        behind_BNN = (goal_BN[:, :, None] == cell_BN[:, None]) & alive_BN[:, None]
        drives_BN = alive_BN
        for _ in range(count):  # a car that brakes may stop the one behind it, and so on
            brakes = (meets_BNN & drives_BN[:, None]).any(-1) | (behind_BNN & ~drives_BN[:, None]).any(-1)
            drives_BN = drives_BN & ~brakes
        return (alive_BN & ~drives_BN).to(torch.int64)


_NO_SLOT = 2**40
"""A rank beyond all slots."""


def _look_up(table: Tensor, index: Tensor) -> Tensor:
    return table.index_select(0, index.flatten()).view(index.shape)


def _check_dim(level: str, dim: int, vision: int) -> None:
    if level == "hard":
        if dim % 3 or dim < 9:
            raise ConfigError(f"dim: expected a multiple of 3, at least 9, got {dim}. Use 9, 12, 15, 18, ... on hard.")
    elif dim % 2 or dim < 4 + vision:
        raise ConfigError(
            f"dim: expected an even number of at least 4 + vision = {4 + vision} on {level}, got {dim}. Use another "
            "dim, or less vision."
        )
