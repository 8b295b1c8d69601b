"""Path finding: agents that see only what is around them find ways to their goals, out of each other's way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import checks, random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from ..frame import maps
from ..frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from ..frame.settings import checked, choice, integer
from . import planning as path_planning

_ON_TARGET = ("finish", "nothing", "restart")
_COLLISIONS = ("priority", "block_both", "soft")
_LAYOUTS = ("pogema", "dcc")
# move, stay off the goal, stay on the goal, move and be stopped, reach the goal
_REWARDS = {
    "pogema": (0.0, 0.0, 0.0, 0.0, 1.0),
    "dcc": (-0.075, -0.075, 0.0, -0.5, 3.0),
    "scrimp": (-0.3, -0.3, 0.0, -2.0, 0.0),
}
_THINNER = 16
_ORDERS = 12


@dataclass(frozen=True)
class PathFindingDraws(Batch):
    """The map, where agents begin and where they want to go; all but ``pick`` are empty after a reset."""

    obstacle: Bool[Tensor, "B C"]
    cells: Int[Tensor, "B N"]
    goals: Int[Tensor, "B N"]
    pick: Float[Tensor, "B M"]  # which next goal, in [0, 1); empty unless goals are renewed


@dataclass(frozen=True)
class PathFindingState(Batch):
    """Cells are numbered row-major; C is the rim around the map, C + 1 what lies beyond, C + 2 where nobody looks."""

    world: Tensor  # [B, C + 3] uint8: 1 obstacle or rim
    region: Int[Tensor, "B M"]  # of each cell, see ``maps.components``; empty unless goals are renewed
    hint: Tensor  # [B, N, C + 2] uint8: bit d for a direction that comes nearer to the goal; empty unless observed
    cell: Int[Tensor, "B N"]
    goal: Int[Tensor, "B N"]
    active: Bool[Tensor, "B N"]
    reached: Bool[Tensor, "B N"]  # was on its goal once


@dataclass(frozen=True)
class PathFindingSettings(Settings):
    """See ``PathFinding``."""

    dim: int = integer(8, 2, 128, doc="Side of the map.")
    num_agents: int = integer(4, 1, doc="N.")
    density: float | Sequence[float] = checked(
        0.2,
        lambda name, value, own: _density(value),
        doc="Chance of an obstacle, below 1; or three numbers (low, most likely, high) of a triangular distribution "
        "that each episode draws it from.",
    )
    radius: int = integer(2, 1, lambda own: own.dim, doc="r.")
    on_target: str = choice("finish", _ON_TARGET, doc="See above.")
    collisions: str = choice("priority", _COLLISIONS, doc="See above.")
    rewards: str = choice("pogema", tuple(_REWARDS), doc="See above.")
    layout: str = choice("pogema", _LAYOUTS, doc="See above.")
    max_steps: int = integer(32, 1, doc="Time limit.")

    def resolve(self) -> None:
        if 2 * self.num_agents > self.dim**2:
            raise ConfigError(
                f"num_agents: expected at most {self.dim**2 // 2} for starts and goals on {self.dim} x {self.dim} "
                f"cells, got {self.num_agents}. Use a larger dim."
            )
        if self.layout == "dcc" and self.on_target == "restart":
            raise ConfigError(
                "layout: expected 'pogema' with on_target='restart', got 'dcc', whose maps of directions are made at "
                "resets only. Use layout='pogema', or another on_target."
            )


class PathFinding(GridEnv[PathFindingState, PathFindingDraws]):
    """N agents on a map with obstacles each go to a goal of their own; no two may share a cell or swap cells.

    ::

        . . # . .      0 1  agents        a b  their goals         # obstacle
        . 0 . . b
        # . # . .      actions: 0 stay, 1 up, 2 down, 3 left, 4 right
        . a . # .
        . . 1 . .      an agent sees the (2r+1) x (2r+1) cells around it and the direction of its goal

    The map: each cell is an obstacle with probability ``density``. Starts and goals are different cells; each start can
    reach its goal. A map without room for N such pairs loses obstacles, a 16th of the density at a time, until it has.

    A step: all agents want to move; nobody enters an obstacle or leaves the map, and ``collisions`` says who may move:

    ``priority``    one after the other by number, each if its cell is free by then (a step loops over agents)
    ``block_both``  into a cell where nobody stands that nobody else wants
    ``soft``        no swaps; of those who want a cell the lowest number gets it, if whoever stands there leaves

    ``on_target``: ``finish``: an agent on its goal is done and vanishes (its row is not alive from then on);
    ``nothing``: agents stay, and all must be on their goals at once; ``restart``: it is given another goal that it can
    reach, and the episode ends by time only. Terminated and success: all are done. (``restart``: success says
    that each has reached a goal.)

    Reward of an agent: see ``rewards``. To "reach the goal" is to arrive (``finish``, ``restart``), or that all stand
    on their goals (``nothing``; everybody is paid).

    ===========  ======  =============  ============  ===================  ==============
    ``rewards``  move    stay off goal  stay on goal  want to, be stopped  reach the goal
    ===========  ======  =============  ============  ===================  ==============
    ``pogema``   0       0              0             0                    1
    ``dcc``      -0.075  -0.075         0             -0.5                 3
    ``scrimp``   -0.3    -0.3           0             -2                   0
    ===========  ======  =============  ============  ===================  ==============

    Flat observation, windows of W = (2r+1)^2 cells, row-major, one after the other. ``layout="pogema"``: obstacles (a
    rim one cell wide around the map counts as such, what lies beyond does not); agents, itself included; its goal, or
    the cell of the border of the window nearest to it. ``layout="dcc"``: other agents; obstacles, none outside; and
    four windows of the cells from which a step up, down, left, right comes nearer to the own goal. Sparse: W + 1
    entries, or 5 W.

    Source: Skrynnik, Andreychuk, Yakovlev and Panov 2022, "POGEMA: partially observable grid environment for multiple
    agents" (package pogema 1.4.0): rules, observation and placing are kept, and equal to recordings of it. ``dcc``:
    Ma, Luo and Pan 2021, "Learning selective communication for multi-agent path finding", with the collisions of
    ``soft``, which are its own. ``scrimp``: Wang, Xiang, Huang and Sartoretti 2023, "SCRIMP: scalable communication for
    reinforcement- and imitation-learning-based multi-agent pathfinding", without its penalty for blocking others.

    Raises:
        ConfigError: A setting out of range, or too few cells for the starts and goals.
    """

    id = "path_finding"
    reset_asks = "maps are thinned until every agent has a goal that it can reach"
    settings_class = PathFindingSettings
    settings: PathFindingSettings
    named_actions: ClassVar[tuple[str, ...]] = ("stay", "up", "down", "left", "right")
    grid_setting: ClassVar[str | None] = "dim"
    adjustable: ClassVar[tuple[str, ...]] = ("density",)
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "8x8-4-v0": {"dim": 8, "num_agents": 4, "density": 0.2, "radius": 2, "max_steps": 32},
        "pogema-8x8-4-v0": {"dim": 8, "num_agents": 4, "density": 0.3, "radius": 5, "max_steps": 64},
        "dcc-10x10-4-v0": {
            "dim": 10,
            "num_agents": 4,
            "density": [0.0, 0.33, 0.5],
            "radius": 4,
            "on_target": "nothing",
            "collisions": "soft",
            "rewards": "dcc",
            "layout": "dcc",
            "max_steps": 256,
        },
    }

    def sizes(self) -> Sizes:
        own = self.settings
        width = (3 if own.layout == "pogema" else 6) * (2 * own.radius + 1) ** 2
        return Sizes(own.num_agents, 5, width, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.dim, self.density, self.radius = chosen.dim, _density(chosen.density), chosen.radius
        self.on_target, self.collisions = chosen.on_target, chosen.collisions
        self.rewards, self.layout = _REWARDS[chosen.rewards], chosen.layout
        self._build_tables()

    def _build_tables(self) -> None:
        cells = self.dim * self.dim
        self._neighbor_C4 = maps.neighbors(self.dim).to(self.device)
        cell_C = torch.arange(cells, device=self.device)
        up, right, down, left = self._neighbor_C4.unbind(1)
        elsewhere = torch.arange(cells, cells + 3, device=self.device)[:, None].expand(-1, 5)
        self._next_CA = torch.cat([torch.stack([cell_C, up, down, left, right], 1), elsewhere]).flatten()
        self._place_C2 = torch.stack([cell_C // self.dim, cell_C % self.dim], -1)
        self._window_CW = self._windows().to(self.device)
        self._side = 2 * self.radius + 1
        self._entry_W = torch.arange(self._side**2, device=self.device)
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._orders = path_planning.some_orders(self.num_agents, _ORDERS, self.device)

    def _windows(self) -> Tensor:
        """The cells around each one; C for the rim of the map (POGEMA only), C + 1 beyond it."""
        cells, radius = self.dim * self.dim, self.radius
        window = maps.windows(self.dim, radius, radius)
        if self.layout == "dcc":
            return torch.where(window == cells, cells + 1, window)
        offset = torch.arange(-radius, radius + 1)
        row = self._place_C2[:, :1].cpu() + offset.repeat_interleave(len(offset))
        column = self._place_C2[:, 1:].cpu() + offset.repeat(len(offset))
        near = (row >= -1) & (row <= self.dim) & (column >= -1) & (column <= self.dim)
        return torch.where((window == cells) & ~near, cells + 1, window)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> PathFindingDraws:
        nothing = key.new_empty(key.shape[0], 0)
        if isinstance(t, Tensor):
            pick = nothing.to(torch.float32)
            if self.on_target == "restart":
                pick = random.uniform(random.stream(key, "goal")[:, None], t[:, None], self._agents)
            return PathFindingDraws(nothing.to(torch.bool), nothing, nothing, pick)
        cell_C = torch.arange(self.dim**2, device=self.device)
        chance_BC = random.uniform(random.stream(key, "obstacle")[:, None], cell_C)
        order_BC = random.uniform(random.stream(key, "place")[:, None], cell_C, dtype=torch.float64)
        obstacle, cells, goals = self._place(chance_BC, order_BC, self._densities(key))
        return PathFindingDraws(obstacle, cells, goals, nothing.to(torch.float32))

    def _densities(self, key: Tensor) -> Tensor:
        """``[B]``: the chance of an obstacle, drawn by inverting the triangular distribution."""
        low, mode, high = self.density
        if low == high:
            return torch.full(key.shape, low, device=key.device)
        u, below = random.uniform(random.stream(key, "density")), (mode - low) / (high - low)
        rising = low + (u * (high - low) * (mode - low)).sqrt()
        return torch.where(u < below, rising, high - ((1 - u) * (high - low) * (high - mode)).sqrt())

    def _place(self, chance_BC: Tensor, order_BC: Tensor, density_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Obstacles where ``chance`` is below the density; starts and goals. The last map of all is empty."""
        for thinner in range(_THINNER + 1):
            obstacle = chance_BC < density_B[:, None] * (1 - thinner / _THINNER)
            region = maps.components(~obstacle, self._neighbor_C4)
            cells, goals, enough = maps.pairs(region, order_BC, self.num_agents)
            if thinner == 0:
                best, settled = (obstacle, cells, goals), enough
            take = (enough & ~settled)[:, None]
            best = (
                torch.where(take, obstacle, best[0]),
                torch.where(take, cells, best[1]),
                torch.where(take, goals, best[2]),
            )
            settled = settled | enough
            if bool(settled.all()):
                break
        return best

    def initial(self, draws: PathFindingDraws) -> PathFindingState:
        rim = constant(((1, 0, 0),), torch.uint8, self.device).expand(len(draws.cells), 3)
        world = torch.cat([draws.obstacle.to(torch.uint8), rim], 1)
        nobody = torch.zeros_like(draws.cells, dtype=torch.bool)
        region = draws.cells.new_empty(len(draws.cells), 0)
        if self.on_target == "restart":
            region = maps.components(~draws.obstacle, self._neighbor_C4)
        hint = self._hints(draws) if self.layout == "dcc" else world.new_empty(*draws.cells.shape, 0)
        return PathFindingState(world, region, hint, draws.cells, draws.goals, ~nobody, nobody)

    def _hints(self, draws: PathFindingDraws) -> Tensor:
        """Which of up, down, left, right come nearer to the goal, as bits 0 ... 3 of each cell."""
        goal_BNC = torch.zeros_like(draws.obstacle)[:, None].repeat(1, self.num_agents, 1)
        goal_BNC.scatter_(2, draws.goals[..., None], True)
        distance_BNC = maps.distances(~draws.obstacle[:, None].expand_as(goal_BNC), goal_BNC)
        around_BNC4 = torch.nn.functional.pad(distance_BNC, (0, 1), value=maps.FAR)[..., self._neighbor_C4]
        up, right, down, left = (around_BNC4 < distance_BNC[..., None]).unbind(-1)
        bits_BNC = sum(where.to(torch.uint8) << d for d, where in enumerate((up, down, left, right)))
        assert isinstance(bits_BNC, Tensor)
        bits_BNC = torch.where(draws.obstacle[:, None], 0, bits_BNC)
        return torch.nn.functional.pad(bits_BNC, (0, 2))

    def transition(
        self, state: PathFindingState, action: Int[Tensor, "B N"], draws: PathFindingDraws
    ) -> tuple[PathFindingState, Float[Tensor, "B N"], Flags]:
        cell = self._move(state, action)
        home = state.active & (cell == state.goal)
        reached, active, goal = state.reached | home, state.active, state.goal
        event = home
        if self.on_target == "nothing":
            event = home.all(1, keepdim=True).expand_as(home)
            done = event[:, 0].clone()
        elif self.on_target == "finish":
            active = active & ~home
            done = reached.all(1)
        else:
            goal = torch.where(home, self._next_goal(state.region, cell, draws.pick), goal)
            done = torch.zeros_like(home[:, 0])
        move, off, on, stopped, finish = self.rewards
        resting = torch.where(cell == state.goal, on, off)
        moving = torch.where(cell == state.cell, stopped, move)
        reward = torch.where(event, finish, torch.where(action == 0, resting, moving))
        reward = torch.where(state.active, reward, 0.0)
        success = reached.all(1) if self.on_target == "restart" else done.clone()
        new = PathFindingState(state.world, state.region, state.hint, cell, goal, active, reached)
        return new, reward, Flags(done, success)

    def _move(self, state: PathFindingState, action: Tensor) -> Tensor:
        here = self._here(state)
        wanted = self._next_CA[here * 5 + action]
        if self.collisions == "priority":
            moved = self._one_by_one(state.world, here, wanted)
        elif self.collisions == "block_both":
            moved = self._block_both(state.world, here, wanted)
        else:
            moved = self._soft(state.world, here, wanted)
        return torch.where(state.active, moved, state.cell)

    def _here(self, state: PathFindingState) -> Tensor:
        """Who is not active is out of everybody's way and sight."""
        return torch.where(state.active, state.cell, self.dim**2 + 2)

    def _one_by_one(self, world: Tensor, here: Tensor, wanted: Tensor) -> Tensor:
        wall_BN, cell = world.gather(1, wanted) == 1, here
        for agent in range(self.num_agents):
            there_B1 = wanted[:, agent : agent + 1]
            taken_B1 = wall_BN[:, agent : agent + 1] | (cell == there_B1).any(1, keepdim=True)
            cell = torch.where((self._agents == agent) & ~taken_B1, there_B1, cell)
        return cell

    @staticmethod
    def _block_both(world: Tensor, here: Tensor, wanted: Tensor) -> Tensor:
        wishes = torch.zeros_like(world).scatter_add(1, wanted, torch.ones_like(wanted, dtype=torch.uint8))
        closed = world.scatter(1, here, 1)
        return torch.where((closed.gather(1, wanted) == 0) & (wishes.gather(1, wanted) == 1), wanted, here)

    def _soft(self, world: Tensor, here: Tensor, wanted: Tensor) -> Tensor:
        """An agent is stuck if it stays, runs into something, swaps, comes second, or follows one who is stuck."""
        agents = self._agents.expand_as(here)
        nobody = torch.full(world.shape, self.num_agents, device=self.device)
        standing = nobody.scatter(1, here, agents).gather(1, wanted)
        lowest = nobody.scatter_reduce(1, wanted, agents, "amin").gather(1, wanted)
        outside = torch.full_like(here[:, :1], -1)
        swaps = torch.cat([wanted, outside], 1).gather(1, standing) == here
        stuck = (wanted == here) | (world.gather(1, wanted) == 1) | (lowest != agents) | swaps
        stuck = torch.cat([stuck, torch.zeros_like(stuck[:, :1])], 1)
        leader = torch.cat([standing, torch.full_like(outside, self.num_agents)], 1)
        for _ in range(self.num_agents.bit_length()):  # leaders of leaders: twice as far each time
            stuck = stuck | stuck.gather(1, leader)
            leader = leader.gather(1, leader)
        return torch.where(stuck[:, :-1], here, wanted)

    def _next_goal(self, region: Tensor, cell: Tensor, pick: Tensor) -> Tensor:
        """A uniform cell of the region of ``cell``, other than it."""
        home_BNC = (region[:, None] == region.gather(1, cell)[..., None]).scatter(2, cell[..., None], False)
        count_BNC = home_BNC.to(torch.int64).cumsum(-1)
        chosen_BN1 = (pick[..., None].to(torch.float64) * count_BNC[..., -1:]).to(torch.int64)
        return (count_BNC <= chosen_BN1).sum(-1)

    def alive(self, state: PathFindingState) -> Bool[Tensor, "B N"]:
        return state.active.clone()

    def gone(self, state: PathFindingState) -> Gone:
        return Gone(~state.active, dict.fromkeys(("cell", "goal", "hint"), ~state.active))

    def observe(self, state: PathFindingState, form: Form) -> Observation:
        code_BC = state.world.scatter(1, self._here(state), 2)
        window_BNW = self._window_CW[state.cell]
        code_BNW = code_BC.gather(1, window_BNW.flatten(1)).view(window_BNW.shape)
        code_BNW = torch.where(state.active[..., None], code_BNW, 0)
        if self.layout == "dcc":
            return self._observe_dcc(state, code_BNW, window_BNW, form)
        width = len(self._entry_W)
        away = (self._place_C2[state.goal] - self._place_C2[state.cell]).clamp(-self.radius, self.radius) + self.radius
        target_BN1 = (away[..., 0] * self._side + away[..., 1] + 2 * width)[..., None]
        active_BN1 = state.active[..., None].to(torch.float32)
        if form == "flat":
            flat = torch.cat([code_BNW == 1, code_BNW == 2, torch.zeros_like(code_BNW, dtype=torch.bool)], -1)
            return flat.to(torch.float32).scatter(2, target_BN1, active_BN1)
        index = torch.cat([(code_BNW >> 1).to(torch.int64) * width + self._entry_W, target_BN1], -1)
        return SparseObs(index, torch.cat([(code_BNW > 0).to(torch.float32), active_BN1], -1), self.obs_dim)

    def _observe_dcc(self, state: PathFindingState, code_BNW: Tensor, window_BNW: Tensor, form: Form) -> Observation:
        width = len(self._entry_W)
        code_BNW = torch.where(self._entry_W == width // 2, 0, code_BNW)  # not itself
        hint_BNW = torch.where(state.active[..., None], state.hint.gather(2, window_BNW), 0)
        hints = [(hint_BNW >> d & 1).to(torch.float32) for d in range(4)]
        if form == "flat":
            seen = [(code_BNW == 2).to(torch.float32), (code_BNW == 1).to(torch.float32)]
            return torch.cat(seen + hints, -1)
        first = (code_BNW & 1).to(torch.int64) * width + self._entry_W
        later = (torch.arange(2 * width, 6 * width, device=self.device)).expand(*first.shape[:2], -1)
        value = torch.cat([(code_BNW > 0).to(torch.float32), *hints], -1)
        return SparseObs(torch.cat([first, later], -1), value, self.obs_dim)

    def positions(self, state: PathFindingState) -> Float[Tensor, "B N 2"]:
        return self._place_C2[state.cell].to(torch.float32)

    def describe(self, state: PathFindingState) -> Scene:
        """The field is 1 on obstacles."""
        finished = ~state.active if self.on_target == "finish" else torch.zeros_like(state.active)
        if self.on_target == "nothing":
            finished = state.cell == state.goal
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=finished,
            entities={"goal": self._place_C2[state.goal].to(torch.float32)},
            active={"goal": ~finished},
            field=state.world[:, :-3].to(torch.float32).unflatten(1, (self.dim, self.dim)),
        )

    def solve(self, state: PathFindingState) -> Int[Tensor, "B N"]:
        """Prioritised planning; where no order of the agents has a plan, everybody goes the shortest way."""
        free_BC = state.world[:, :-3] == 0
        task = path_planning.Task(free_BC, state.cell, state.goal, state.active, self.on_target == "nothing")
        horizon = min(6 * self.dim, self.max_steps)
        action, solved = path_planning.first_moves(task, horizon, self._orders)
        if bool(solved.all()):
            return action
        free_BNC = free_BC[:, None].expand(-1, self.num_agents, -1)
        goal_BNC = torch.zeros_like(free_BNC).scatter_(2, state.goal[..., None], True)
        distance_BNC = maps.distances(free_BNC, goal_BNC, at=state.cell)
        direction, nearer = maps.toward(distance_BNC, state.cell, self._neighbor_C4)
        shortest = torch.where(nearer, torch.tensor([1, 4, 2, 3], device=self.device)[direction], 0)
        return torch.where(solved[:, None], action, shortest)


def _density(value: object) -> tuple[float, float, float]:
    """Low, most likely, high; three times the same for a fixed density."""
    if isinstance(value, int | float):
        fixed = checks.number("density", value, 0.0, 0.99)
        return fixed, fixed, fixed
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 3:
        raise ConfigError(f"density: expected a number or three (low, most likely, high), got {value!r}. Pass those.")
    low, mode, high = (checks.number("density", each, 0.0, 0.99) for each in value)
    if not low <= mode <= high:
        raise ConfigError(f"density: expected low <= most likely <= high, got {value!r}. Put them in that order.")
    return low, mode, high
