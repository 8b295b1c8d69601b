"""Battle: two armies; whoever strikes one enemy together kills it before it recovers."""

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

from ..frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from ..frame.rules import ratio
from ..frame.settings import integer, number
from . import board as crowd

_MOVES = tuple((r, c) for r in range(-2, 3) for c in range(-2, 3) if 0 < r * r + c * c <= 4)
_WALL = 2**30


@dataclass(frozen=True)
class BattleDraws(Batch):
    """At a reset which side the agents take; at a step what breaks ties. The others are empty."""

    right: Bool[Tensor, "B C"]
    rank: Int[Tensor, "B M"]  # int32, no two equal: of agents, then enemies; the smaller one gets the cell
    clever: Bool[Tensor, "B E"]  # whether the enemy fights, or does just anything
    noise: Int[Tensor, "B E"]  # int32, 16 random bits: the enemy's choice among equals


@dataclass(frozen=True)
class BattleState(Batch):
    """Cells are those of ``crowd.Board``; the dead keep the one they fell on, and block it no more."""

    cell: Int[Tensor, "B N"]
    hp: Int[Tensor, "B N"]  # int32, tenths of a hit point; 0: dead
    foe: Int[Tensor, "B E"]
    foe_hp: Int[Tensor, "B E"]
    gain: Float[Tensor, "B N"]  # reward of the last step


@dataclass(frozen=True)
class BattleSettings(Settings):
    """See ``Battle``."""

    num_agents: int = integer(9, 1, doc="N.")
    num_enemies: int = integer(None, 1, doc="E; N if None.")
    size: int = integer(
        None,
        1,
        doc="Side of the map with its ring; if None the larger of 5 r and 4 c + 8 for blocks of r rows, c columns.",
    )
    vision: int = integer(3, 2, doc="v, at least 2.")
    strength: float = number(0.8, 0.0, 1.0, doc="Probability that an enemy does as its script says.")
    hit_points: int = integer(
        100, 1, 10**6, doc="In tenths of a hit point: 100, 20 and 1 for the published 10, 2 and 0.1."
    )
    damage: int = integer(20, 1, 10**6, doc="In tenths of a hit point: 100, 20 and 1 for the published 10, 2 and 0.1.")
    recovery: int = integer(1, 0, 10**6, doc="In tenths of a hit point: 100, 20 and 1 for the published 10, 2 and 0.1.")
    step_reward: float = number(-0.005, doc="See above.")
    attack_penalty: float = number(-0.1, doc="See above.")
    attack_opponent_reward: float = number(0.2, doc="See above.")
    kill_reward: float = number(5.0, doc="See above.")
    dead_penalty: float = number(-0.1, doc="See above.")
    max_steps: int = integer(200, 1, doc="Time limit.")

    def resolve(self) -> None:
        enemies = self.num_enemies or self.num_agents
        largest = max(self.num_agents, enemies)
        rows = self.block_rows(largest)
        columns = -(-largest // rows)
        least = max(2 * rows + 1, 4 * columns + 8)
        if self.size is not None and self.size < least:
            raise ConfigError(
                f"size: expected at least {least} for armies of {self.num_agents} and {enemies} (blocks of {rows} rows "
                f"and {columns} columns), got {self.size}. Use a larger size, or None."
            )
        self._put(num_enemies=enemies, size=self.size or max(5 * rows, least))

    @staticmethod
    def block_rows(bodies: int) -> int:
        """Rows of the block in which so many begin."""
        return math.isqrt(bodies - 1) + 1


class Battle(GridEnv[BattleState, BattleDraws]):
    """N agents against E enemies on an open map; the side whose bodies are all dead has lost.

    ::

        # # # # # # # # # # # #     1 ... 4  agents     e  enemies     #  wall
        # . . . . . . . . . . #
        # 1 . 3 . . . . e . e #     actions: 0 stay; 1 ... 12 go to a cell at most two away, row-major:
        # . . . . . . . . . . #              (-2,0) (-1,-1) (-1,0) (-1,1) (0,-2) (0,-1) (0,1) (0,2) (1,-1) ... (2,0);
        # 2 . 4 . . . . e . e #              13 ... 20 strike (-1,-1) (-1,0) (-1,1) (0,-1) (0,1) (1,-1) (1,0) (1,1)
        # . . . . . . . . . . #
        # # # # # # # # # # # #     each sees the (2v+1) x (2v+1) cells around it

    A step has three parts. Blows: all fall at once; each takes ``damage`` from the enemy on the cell, those on friends,
    walls and empty cells nothing. Who is at 0 is dead and gone, and has struck all the same. Recovery: the living gain
    ``recovery``, up to ``hit_points``. Moves: all at once; nobody may enter a cell that was wall or taken after the
    blows, not even one that is just being left; of those who want the same open cell one, drawn at random, gets it, and
    the others stay. Moves jump over what is between.

    The enemies are scripted. With probability ``strength`` an enemy strikes the weakest agent beside it; with none
    there, it goes to that open cell in reach which is fewest king's moves from an agent (distances above v count as
    equal); ties at random. Otherwise it takes one of the 21 actions at random.

    Reward of each agent alive before the step: ``step_reward``, ``attack_penalty`` for each blow, and
    ``attack_opponent_reward`` if it hit an enemy; ``kill_reward`` for each enemy killed, shared equally by those who
    struck it in that step; ``dead_penalty`` if it died. Terminates when an army is dead; success means that it was the
    enemy's, and not the own one as well.

    Flat observation: for each cell of the window, row-major, two numbers: (h, 0) agent, (-1, 0) wall or outside, (0, h)
    enemy, (0, 0) empty, with h the share of hit points left; then row / (size - 1), column / (size - 1), the own share
    of hit points, and the own reward of the step before. All zeros for the dead. Sparse: one entry for each cell, and
    four.

    The armies begin as blocks on every second cell, mirrored, as many rows as the square root of the larger one; which
    side is whose is drawn.

    Source: ``battle_v4`` of MAgent2 (Zheng et al. 2018, "MAgent: a many-agent reinforcement learning platform", and the
    Farama Foundation's version), at the scales of ExpoComm. Kept: the published sizes of armies and maps, the ring of
    wall, the blocks (with a gap of nine columns instead of seven to nine), actions, hit points, damage and recovery as
    documented, the order of a step, all rewards. Different: blows and moves are simultaneous, not in the order of a
    list, so that the reward for a kill may be shared; windows are square, not round, and tell of walls in one channel;
    enemies are scripted, not learned.

    Raises:
        ConfigError: A setting out of range, or a map too small for the blocks.
    """

    id = "battle"
    settings_class = BattleSettings
    settings: BattleSettings
    named_actions: ClassVar[tuple[str, ...]] = (
        "stay",
        *(f"go {r:+d},{c:+d}" for r, c in _MOVES),
        *(f"strike {r:+d},{c:+d}" for r, c in crowd.NEIGHBOURS),
    )
    grid_setting: ClassVar[str | None] = "size"
    adjustable: ClassVar[tuple[str, ...]] = ("strength",)
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "20-v0": {"num_agents": 20, "size": 25},
        "42-v0": {"num_agents": 42, "size": 35},
        "64-v0": {"num_agents": 64, "size": 40},
    }

    def sizes(self) -> Sizes:
        own = self.settings
        return Sizes(own.num_agents, 21, 2 * (2 * own.vision + 1) ** 2 + 4, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.num_enemies, self.size, self.vision = chosen.num_enemies, chosen.size, chosen.vision
        self.strength, self.hit_points = chosen.strength, chosen.hit_points
        self.damage, self.recovery = chosen.damage, chosen.recovery
        self._rows = chosen.block_rows(max(self.num_agents, self.num_enemies))
        self._build_tables()

    def _build_tables(self) -> None:
        self.board = board = crowd.Board(self.size, self.vision, self.device)
        here, beside = [(0, 0)], list(crowd.NEIGHBOURS)
        self._step_A = board.offsets([*here, *_MOVES, *here * 8])
        self._aim_A = board.offsets([*here * 13, *beside])
        self._bodies = torch.arange(self.num_agents + self.num_enemies, device=self.device)
        one, none = torch.ones((), device=self.device), torch.zeros((), device=self.device)
        self._seen_ring = board.ring(crowd.pair(-one, none))
        self._ring = board.ring(torch.tensor(_WALL, dtype=torch.int32, device=self.device))
        self._start_S = torch.stack([self._block(max(self.num_agents, self.num_enemies), side) for side in (0, 1)])

    def _block(self, bodies: int, side: int) -> Tensor:
        """Cells of an army that stands left (0) or right (1): column by column, from the front."""
        number = torch.arange(bodies, device=self.device)
        row = (self.size - 2 * self._rows + 1) // 2 + 2 * (number % self._rows)
        column = self.size // 2 - 5 - 2 * (number // self._rows)
        return self.board.cell(row, self.size - 1 - column if side else column)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> BattleDraws:
        none = key.new_empty(key.shape[0], 0)
        if isinstance(t, Tensor):
            rank, clever, noise = crowd.chances(key, t, self._bodies, self.strength)
            return BattleDraws(none.to(torch.bool), rank, clever[:, self.num_agents :], noise[:, self.num_agents :])
        right = random.bits(random.stream(key, "side"))[:, None] < 0
        return BattleDraws(right, none.to(torch.int32), none.to(torch.bool), none.to(torch.int32))

    def initial(self, draws: BattleDraws) -> BattleState:
        side = draws.right[:, 0].to(torch.int64)
        cell, foe = self._start_S[side, : self.num_agents], self._start_S[1 - side, : self.num_enemies]
        hp, foe_hp = (torch.full_like(x, self.hit_points, dtype=torch.int32) for x in (cell, foe))
        return BattleState(cell, hp, foe, foe_hp, torch.zeros_like(cell, dtype=torch.float32))

    def _people(self, state: BattleState) -> Tensor:
        """``[B, C]``: hit points of agents, minus those of enemies, and the ring."""
        limbo = self.board.limbo
        grid = self.board.write(self._ring, torch.where(state.hp > 0, state.cell, limbo), state.hp)
        return grid.scatter_(1, torch.where(state.foe_hp > 0, state.foe, limbo), -state.foe_hp)

    def transition(
        self, state: BattleState, action: Int[Tensor, "B N"], draws: BattleDraws
    ) -> tuple[BattleState, Float[Tensor, "B N"], Flags]:
        board, N = self.board, self.num_agents
        people = self._people(state)
        act = torch.cat([action, self._script(state, people, draws)], 1)
        cell, hp = torch.cat([state.cell, state.foe], 1), torch.cat([state.hp, state.foe_hp], 1)
        alive, aim = hp > 0, cell + self._aim_A[act]
        struck = people.gather(1, aim)
        struck = torch.cat([-struck[:, :N], struck[:, N:]], 1)
        hit = alive & (act > 12) & (struck > 0) & (struck < _WALL)  # the ring has turned negative for agents
        blows = torch.zeros_like(people).scatter_add_(1, aim, hit.to(torch.int32))
        left = hp - self.damage * torch.where(alive, blows.gather(1, cell), 0)
        standing = left > 0
        healed = torch.where(standing, (left + self.recovery).clamp_(max=self.hit_points), 0)
        closed = board.write(board.border, torch.where(standing, cell, board.limbo), True)
        moved = crowd.settle(cell, cell + self._step_A[act], crowd.stay(draws.rank, standing), closed)
        both, swarm = blows.gather(1, aim)[:, :N], slice(None, N)
        killed = hit[:, swarm] & (struck[:, swarm] <= self.damage * both)
        reward = self._reward(
            alive[:, swarm], action > 12, hit[:, swarm], killed / both.clamp(min=1), standing[:, swarm]
        )
        new = BattleState(
            moved[:, :N].clone(), healed[:, :N].clone(), moved[:, N:].clone(), healed[:, N:].clone(), reward
        )
        survived, won = standing[:, :N].any(1), ~standing[:, N:].any(1)
        return new, reward.clone(), Flags(~survived | won, survived & won)

    def _reward(self, alive: Tensor, blow: Tensor, hit: Tensor, kills: Tensor, standing: Tensor) -> Tensor:
        worth = self.settings
        reward = worth.step_reward + worth.attack_penalty * blow + worth.attack_opponent_reward * hit
        reward = reward + worth.kill_reward * kills + worth.dead_penalty * ~standing
        return torch.where(alive, reward, 0.0)

    def _script(self, state: BattleState, people: Tensor, draws: BattleDraws) -> Tensor:
        """What the enemies do, ``[B, E]``."""
        board, start, far = self.board, self.board.near_start, self.vision + 2
        beside_BKE = crowd.read(people, state.foe[:, None] + self._aim_A[13:, None])
        prey_BKE = (beside_BKE > 0) & (beside_BKE < _WALL)
        worth_BKE = torch.where(prey_BKE, 127 - 126 * beside_BKE // self.hit_points, 0)
        close = far - board.near(state.cell, state.hp > 0)
        here = close.gather(1, state.foe - start)
        close *= people[:, start : start + close.shape[1]] == 0
        go_BKE = crowd.read(close, state.foe[:, None] + (self._step_A[:13, None] - start))
        go_BKE[:, 0] = here
        plan = torch.where(prey_BKE.any(1), 13 + board.best(worth_BKE, draws.noise), board.best(go_BKE, draws.noise))
        return torch.where(draws.clever, plan, (draws.noise * 21) >> 16)

    def observe(self, state: BattleState, form: Form) -> Observation:
        alive, limbo = state.hp > 0, self.board.limbo
        share, foe_share = ratio(state.hp, self.hit_points), ratio(state.foe_hp, self.hit_points)
        zero, none = torch.zeros_like(share), torch.zeros_like(foe_share)
        grid = self.board.write(self._seen_ring, torch.where(alive, state.cell, limbo), crowd.pair(share, zero))
        grid.scatter_(1, torch.where(state.foe_hp > 0, state.foe, limbo), crowd.pair(none, foe_share))
        own = torch.cat([ratio(self.positions(state), self.size - 1), torch.stack([share, state.gain], -1)], -1)
        return self.board.see(grid, state.cell, own, form, alive)

    def alive(self, state: BattleState) -> Bool[Tensor, "B N"]:
        return state.hp > 0

    def gone(self, state: BattleState) -> Gone:
        dead = state.hp <= 0
        return Gone(dead, {"cell": dead, "gain": dead, "foe": state.foe_hp <= 0})

    def positions(self, state: BattleState) -> Float[Tensor, "B N 2"]:
        return self.board.place(state.cell)

    def describe(self, state: BattleState) -> Scene:
        return Scene(
            size=(self.size, self.size),
            agents=self.positions(state),
            finished=state.hp <= 0,
            entities={"enemy": self.board.place(state.foe)},
            active={"enemy": state.foe_hp > 0},
            field=self.board.picture(self.board.border[None]).repeat(state.cell.shape[0], 1, 1).to(torch.float32),
        )

    def solve(self, state: BattleState) -> Int[Tensor, "B N"]:
        """Strike the enemy beside it that all who stand there can kill, or the weakest; else go to the nearest."""
        board, alive, foes = self.board, state.hp > 0, state.foe_hp > 0
        people = self._people(state)
        around = state.cell[:, None] + self._aim_A[13:, None]
        reach = torch.zeros_like(people).scatter_add_(
            1, around.flatten(1), alive[:, None].expand(around.shape).flatten(1).to(torch.int32)
        )
        beside, blows = -crowd.read(people, around), crowd.read(reach, around)
        worth = torch.where(beside > 0, 64 - 63 * beside // self.hit_points, 0)
        worth = worth + 64 * ((beside > 0) & (beside <= self.damage * blows))
        goal = board.write(board.nobody, torch.where(foes, state.foe, board.limbo), True)
        goal[:, board.limbo] = False
        steps = board.walk(goal, board.border.expand_as(goal), state.cell)
        steps = steps.masked_fill_((people != 0)[:, : board.cells], 4 * board.cells)
        step = 1 + crowd.read(steps, state.cell[:, None] + self._step_A[1:13, None]).argmin(1)
        return torch.where((beside > 0).any(1), 13 + worth.argmax(1), step)
