"""Pursuit: slow predators tag fast prey; whoever drives prey into a corner needs others who wait there."""

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
from gnncomm.types import Batch, Observation, Scene

from ..frame.base import Flags, Form, GridEnv, Settings, Sizes
from ..frame.rules import ratio
from ..frame.settings import integer, number
from . import board as crowd

_STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
_WALL_PERCENT = 3


@dataclass(frozen=True)
class PursuitDraws(Batch):
    """At a reset the cells of walls, predators and prey; at a step what breaks ties. The others are empty."""

    cells: Int[Tensor, "B C"]  # W walls, then N predators, then P prey, all different
    rank: Int[Tensor, "B M"]  # int32, no two equal: of predators, then prey; the smaller one gets the cell
    clever: Bool[Tensor, "B P"]  # whether the prey flees, or does just anything
    noise: Int[Tensor, "B P"]  # int32, 16 random bits: the prey's choice among equals


@dataclass(frozen=True)
class PursuitState(Batch):
    """Cells are those of ``crowd.Board``."""

    walls: Int[Tensor, "B W"]  # those inside the ring
    cell: Int[Tensor, "B N"]
    prey: Int[Tensor, "B P"]
    tagged: Bool[Tensor, "B P"]  # at least once
    gain: Float[Tensor, "B N"]  # reward of the last step
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class PursuitSettings(Settings):
    """See ``Pursuit``."""

    num_agents: int = integer(8, 1, doc="N, predators.")
    num_prey: int = integer(None, 1, doc="P; 2 N if None.")
    size: int = integer(
        None, 4, doc="Side of the map with its ring; 80 cells for each predator if None: ceil(sqrt(80 N))."
    )
    vision: int = integer(4, 2, doc="v, at least 2.")
    strength: float = number(0.8, 0.0, 1.0, doc="Probability that a prey flees.")
    tag_penalty: float = number(-0.2, -math.inf, 0.0, doc="What each tag costs, 0 or less.")
    goal: float = number(1.0, 0.0, 1.0, doc="Share of prey to be tagged.")
    max_steps: int = integer(200, 1, doc="Length of an episode.")

    def resolve(self) -> None:
        prey = self.num_prey or 2 * self.num_agents
        size = self.size or math.ceil(math.sqrt(80 * self.num_agents))
        self._put(num_prey=prey, size=size)
        room = (size - 2) ** 2
        if self.num_walls + self.num_agents + prey > room:
            raise ConfigError(
                f"size: expected room for {self.num_walls} walls, {self.num_agents} predators and {prey} prey, got "
                f"{room} cells inside the ring of a map of side {size}. Use a larger size, or None."
            )

    @property
    def num_walls(self) -> int:
        return _WALL_PERCENT * self.size**2 // 100


class Pursuit(GridEnv[PursuitState, PursuitDraws]):
    """N predators that take four steps hunt 2 N prey that take eight, on a map with scattered walls.

    ::

        # # # # # # # #     1 2  predators     o  prey     x  prey tagged before     #  wall
        # . . 1 . . . #
        # . # . . o . #     actions: 0 stay, 1 up, 2 right, 3 down, 4 left,
        # . . . . . . #              5 ... 12 tag the cell at (-1,-1) (-1,0) (-1,1) (0,-1) (0,1) (1,-1) (1,0) (1,1)
        # x 2 . . # . #
        # # # # # # # #     each sees the (2v+1) x (2v+1) cells around it

    A step: all tags strike the cells as they are; then predators and prey move at once. Nobody may enter a cell that
    was wall or taken before the move, not even one that is just being left; of those who want the same open cell one,
    drawn at random, gets it, and the others stay. Several predators may tag the same prey. Prey never die.

    Prey are scripted. With probability ``strength`` a prey goes to that of its own and the eight open cells around it
    which is most king's moves from the nearest predator (distances above v count as equal), ties at random: one that
    has no predator near strolls. Otherwise it picks one of the nine cells at random, and stays if that is closed.

    Reward of each predator: ``tag_penalty`` (-0.2) for each tag it tries and 1 more if a prey was there. An episode is
    a game of exactly ``max_steps`` steps, and terminates with the last; success means that at least the share ``goal``
    of the prey had been tagged by then.

    Flat observation: for each cell of the window, row-major, two numbers: (1, 0) predator, (-1, 0) wall or outside,
    (0, 1) prey not tagged yet, (0, 0.5) tagged prey, (0, 0) empty; then row / (size - 1), column / (size - 1), the own
    reward of the step before, and the elapsed share of the game. Sparse: one entry for each cell, and four.

    Source: ``adversarial_pursuit_v4`` of MAgent2 (Zheng et al. 2018, "MAgent: a many-agent reinforcement learning
    platform", and the Farama Foundation's version), at the scales of ExpoComm (AdvPursuit). Kept: numbers of predators,
    prey and walls and sizes of maps, the ring of wall, both action sets, tags before moves, rewards. Different:
    predators are one cell, not 2 x 2; windows are square, not round, and tell of walls in one channel; moves are
    simultaneous, not in the order of a list; prey are scripted, not learned; success, and the four numbers at the end
    of the observation.

    Raises:
        ConfigError: A setting out of range, or a map too small for walls, predators and prey.
    """

    id = "pursuit"
    settings_class = PursuitSettings
    settings: PursuitSettings
    named_actions: ClassVar[tuple[str, ...]] = (
        "stay",
        "up",
        "right",
        "down",
        "left",
        *(f"tag {r:+d},{c:+d}" for r, c in crowd.NEIGHBOURS),
    )
    grid_setting: ClassVar[str | None] = "size"
    adjustable: ClassVar[tuple[str, ...]] = ("strength", "tag_penalty", "goal")
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "25-v0": {"num_agents": 25, "num_prey": 50, "size": 45},
        "45-v0": {"num_agents": 45, "num_prey": 90, "size": 60},
        "61-v0": {"num_agents": 61, "num_prey": 122, "size": 70},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(own.num_agents, 13, 2 * (2 * own.vision + 1) ** 2 + 4, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.num_prey, self.size, self.num_walls = chosen.num_prey, chosen.size, chosen.num_walls
        self.vision, self.strength = chosen.vision, chosen.strength
        self.tag_penalty, self.goal = chosen.tag_penalty, chosen.goal
        self._build_tables()

    def _build_tables(self) -> None:
        self.board = board = crowd.Board(self.size, self.vision, self.device)
        stands, king = [(0, 0)], crowd.NEIGHBOURS
        self._step_A = board.offsets(stands + list(_STEPS) + stands * 8)
        self._tag_A = board.offsets(stands * 5 + list(king))
        self._around_K = board.offsets([*stands, *king])[:, None]
        numbers = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.5]], device=self.device)
        self._predator, wall, self._fresh, self._tagged = crowd.pair(*numbers.unbind(-1))
        self._ring = board.ring(wall)  # what predators see of an empty map
        self._wall = int(wall)
        self._bodies = torch.arange(self.num_agents + self.num_prey, device=self.device)
        self._needed = math.ceil(self.goal * self.num_prey - 1e-9)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> PursuitDraws:
        none = key.new_empty(key.shape[0], 0)
        if isinstance(t, Tensor):
            N = self.num_agents
            rank, clever, noise = crowd.chances(key, t, self._bodies, self.strength)
            return PursuitDraws(none, rank, clever[:, N:], noise[:, N:])
        inner = self.board.inner
        count = self.num_walls + self.num_agents + self.num_prey
        cells = inner[random.sample_without_replacement(random.stream(key, "start"), inner.shape[0], count)]
        return PursuitDraws(cells, none.to(torch.int32), none.to(torch.bool), none.to(torch.int32))

    def initial(self, draws: PursuitDraws) -> PursuitState:
        W, N = self.num_walls, self.num_agents
        walls, cell, prey = (part.clone() for part in draws.cells.split([W, N, self.num_prey], 1))
        tagged, gain = torch.zeros_like(prey, dtype=torch.bool), torch.zeros_like(cell, dtype=torch.float32)
        return PursuitState(walls, cell, prey, tagged, gain, torch.zeros_like(cell[:, 0]))

    def transition(
        self, state: PursuitState, action: Int[Tensor, "B N"], draws: PursuitDraws
    ) -> tuple[PursuitState, Float[Tensor, "B N"], Flags]:
        board, tagging = self.board, action > 4
        aim = state.cell + self._tag_A[action]  # of one who does not tag: its own cell, where no prey is
        tagged = state.tagged | board.write(board.nobody, aim, True).gather(1, state.prey)
        hit = board.write(board.nobody, state.prey, True).gather(1, aim)
        reward = torch.where(tagging, self.tag_penalty, 0.0) + hit
        everyone = torch.cat([state.cell, state.prey], 1)
        closed = board.write(board.border, torch.cat([state.walls, everyone], 1), True)
        target = torch.cat([state.cell + self._step_A[action], self._flee(state, closed, draws)], 1)
        cell, prey = crowd.settle(everyone, target, draws.rank, closed).split([self.num_agents, self.num_prey], 1)
        new = PursuitState(state.walls, cell.clone(), prey.clone(), tagged, reward.clone(), state.t + 1)
        return new, reward, Flags(new.t >= self.max_steps, self._count(tagged) >= self._needed)

    @staticmethod
    def _count(tagged: Tensor) -> Tensor:
        return tagged.to(torch.float32).sum(1)

    def _flee(self, state: PursuitState, closed: Tensor, draws: PursuitDraws) -> Tensor:
        """Where the prey want to go, ``[B, P]``."""
        start = self.board.near_start
        near = self.board.near(state.cell)
        here = near.gather(1, state.prey - start)
        near *= ~closed[:, start : start + near.shape[1]]
        score_BKP = crowd.read(near, state.prey[:, None] + (self._around_K - start))
        score_BKP[:, 0] = here
        anything = (draws.noise * 9) >> 16
        chosen_BP = torch.where(draws.clever, self.board.best(score_BKP, draws.noise), anything)
        return state.prey + self._around_K[:, 0][chosen_BP]

    def observe(self, state: PursuitState, form: Form) -> Observation:
        grid = self.board.write(self._ring, state.walls, self._wall)
        grid.scatter_(1, state.prey, torch.where(state.tagged, self._tagged, self._fresh))
        grid.scatter_(1, state.cell, self._predator.expand_as(state.cell))
        elapsed = ratio(state.t, self.max_steps)[:, None].expand_as(state.gain)
        own = torch.cat([ratio(self.positions(state), self.size - 1), torch.stack([state.gain, elapsed], -1)], -1)
        return self.board.see(grid, state.cell, own, form)

    def positions(self, state: PursuitState) -> Float[Tensor, "B N 2"]:
        return self.board.place(state.cell)

    def describe(self, state: PursuitState) -> Scene:
        place = self.board.place(state.prey)
        return Scene(
            size=(self.size, self.size),
            agents=self.positions(state),
            finished=torch.zeros_like(state.cell, dtype=torch.bool),
            entities={"prey": place, "tagged": place.clone()},
            active={"prey": ~state.tagged, "tagged": state.tagged.clone()},
            field=self.board.picture(self.board.write(self.board.border, state.walls, True)).to(torch.float32),
        )

    def solve(self, state: PursuitState) -> Int[Tensor, "B N"]:
        """Tag a neighbour, best one not tagged yet; else take the shortest way to the nearest prey not tagged yet."""
        board = self.board
        fresh = board.write(board.nobody, torch.where(state.tagged, board.limbo, state.prey), True)
        fresh[:, board.limbo] = False
        prey = board.write(board.nobody, state.prey, True)
        walls = board.write(board.border, state.walls, True)
        steps = board.walk(torch.where(fresh.any(1, keepdim=True), fresh, prey), walls, state.cell)
        taken = walls.scatter_(1, torch.cat([state.cell, state.prey], 1), True)
        steps = steps.masked_fill_(taken[:, : board.cells], 4 * board.cells)
        step = 1 + crowd.read(steps, state.cell[:, None] + self._step_A[1:5, None]).argmin(1)
        aim = state.cell[:, None] + self._tag_A[5:, None]
        worth = crowd.read(prey, aim).to(torch.int64) + crowd.read(fresh, aim)
        return torch.where(worth.amax(1) > 0, 5 + worth.argmax(1), step)
