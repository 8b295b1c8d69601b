"""Level-based foraging: players of different levels gather food that only enough of them together can load."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from envs import inputs
from envs.base import Flags, Form, GridEnv
from envs.foraging_placing import ForagingDraws, Level, Placing, levels
from envs.foraging_planning import Planner
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, ConfigError, Observation, Scene, SparseObs

_LARGEST = 500
_LEVEL_BITS = 10
_NOT_SEEN = 1 << 62  # sorts behind everything, and its lower bits read (-1, -1, level 0)
_NOWHERE = -(1 << 20)
_LOAD = 5


@dataclass(frozen=True)
class ForagingState(Batch):
    """Places are cell numbers ``row * stride + column``, with the power of two ``stride`` above the columns."""

    player: Int[Tensor, "B N"]
    level: Int[Tensor, "B N"]
    food: Int[Tensor, "B F"]
    food_level: Int[Tensor, "B F"]  # 0: eaten, or never placed
    spawned: Int[Tensor, " B"]  # sum of all food levels at the beginning


def _protocols() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for size, players, food in ((8, 2, 3), (8, 3, 3), (10, 4, 2)):
        for coop in (False, True):
            for sight in (size, 2):
                name = f"{size}x{size}-{players}p-{food}f{'-coop' * coop}{'-s2' * (sight == 2)}-v0"
                found[name] = {
                    "size": size, "num_agents": players, "max_food": food, "force_coop": coop, "sight": sight
                }
    found["5x5-4p-1f-coop-v0"] = {"size": 5, "num_agents": 4, "max_food": 1, "force_coop": True, "sight": 5}
    return found


class Foraging(GridEnv[ForagingState, ForagingDraws]):
    """Doc."""

    grid_setting: ClassVar[str | None] = "size"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = _protocols()
    adjustable: ClassVar[tuple[str, ...]] = ("penalty",)

    def __init__(
        self,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        *,
        size: int = 8,
        columns: int | None = None,
        num_agents: int = 3,
        max_food: int = 3,
        sight: int | None = None,
        force_coop: bool = False,
        min_player_level: Level = 1,
        max_player_level: Level = 2,
        min_food_level: Level = 1,
        max_food_level: Level | None = None,
        penalty: float = 0.0,
        normalize_reward: bool = True,
        observe_agent_levels: bool = True,
        max_steps: int = 50,
    ) -> None:
        self.rows = inputs.integer("size", size, 3, _LARGEST)
        self.columns = self.rows if columns is None else inputs.integer("columns", columns, 3, _LARGEST)
        widest = max(self.rows, self.columns)
        self.sight = widest if sight is None else inputs.integer("sight", sight, 0, widest)
        self.max_food = inputs.integer("max_food", max_food, 1)
        self.penalty = inputs.number("penalty", penalty, 0.0)
        self.normalize_reward = inputs.flag("normalize_reward", normalize_reward)
        self.observe_agent_levels = inputs.flag("observe_agent_levels", observe_agent_levels)
        if inputs.integer("num_agents", num_agents, 1) > self.rows * self.columns - 1:
            raise ConfigError(
                f"num_agents: expected less than the {self.rows * self.columns} cells, got {num_agents}. Use a larger "
                "size."
            )
        config = {
            "size": size,
            "columns": self.columns,
            "num_agents": num_agents,
            "max_food": max_food,
            "sight": self.sight,
            "force_coop": inputs.flag("force_coop", force_coop),
            "min_player_level": min_player_level,
            "max_player_level": max_player_level,
            "min_food_level": min_food_level,
            "max_food_level": max_food_level,
            "penalty": penalty,
            "normalize_reward": normalize_reward,
            "observe_agent_levels": observe_agent_levels,
            "max_steps": max_steps,
        }
        self.placing = Placing(
            self.rows,
            self.columns,
            levels("min_player_level", min_player_level, num_agents, 1),
            levels("max_player_level", max_player_level, num_agents, 1),
            levels("min_food_level", min_food_level, max_food, 1),
            None if max_food_level is None else levels("max_food_level", max_food_level, max_food, 1),
            force_coop,
        )
        super().__init__(
            "foraging",
            config,
            num_envs=num_envs,
            num_agents=num_agents,
            num_actions=6,
            obs_dim=3 * max_food + (3 if observe_agent_levels else 2) * num_agents,
            max_steps=max_steps,
            device=device,
            observation=observation,
        )
        self._build_tables()

    def _build_tables(self) -> None:
        device = self.device
        self._bits = self.columns.bit_length()
        self._stride = 1 << self._bits
        self._sees_all = self.sight >= max(self.rows, self.columns) - 1
        self._planner = Planner(self.rows, self.columns, self.num_agents, device)
        self._move_A = torch.tensor([0, -self._stride, self._stride, -1, 1, 0], device=device)
        cell = torch.arange((self.rows + 2) * self._stride) - self._stride
        inside = (cell >= 0) & (cell < self.rows * self._stride) & (cell % self._stride < self.columns)
        self._inside = inside.to(device)  # by cell + stride
        N = self.num_agents
        order = [[i, *(j for j in range(N) if j != i)] for i in range(N)]
        self._order_NN = torch.tensor(order, device=device)  # itself, then the others
        self._apart_NN1 = ~torch.eye(N, dtype=torch.bool, device=device)[..., None]
        self._index_D = torch.arange(self.obs_dim, device=device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> ForagingDraws:
        return self.placing.nothing(key) if isinstance(t, Tensor) else self.placing.draw(key)

    def initial(self, draws: ForagingDraws) -> ForagingState:
        player, food = (
            (cell // self.columns * self._stride + cell % self.columns).t().contiguous().t()
            for cell in (draws.player, draws.food)
        )
        level, food_level = (x.t().contiguous().t() for x in (draws.level, draws.food_level))
        return ForagingState(player, level, food, food_level, food_level.sum(1))

    def _there(self, state: ForagingState) -> tuple[Tensor, Tensor, Tensor]:
        """Food, its levels, and players, with the environments innermost: what tensor operations are quickest with."""
        food_level_FB = state.food_level.t()
        food_FB = torch.where(food_level_FB > 0, state.food.t(), _NOWHERE)
        return food_FB, food_level_FB, state.player.t()

    def _beside(self, food_FB: Tensor, player_NB: Tensor) -> Tensor:
        apart_FNB = (food_FB[:, None] - player_NB).abs()
        return (apart_FNB == 1) | (apart_FNB == self._stride)

    def transition(
        self,
        state: ForagingState,
        action: Int[Tensor, "B N"],
        draws: ForagingDraws,  # nothing is drawn after the reset
    ) -> tuple[ForagingState, Float[Tensor, "B N"], Flags]:
        food_FB, food_level_FB, player_NB = self._there(state)
        action_NB, level_NB = action.t().contiguous(), state.level.t()
        goal_NB = player_NB + self._move_A[action_NB]
        free_NB = self._inside[goal_NB + self._stride] & ~(food_FB[:, None] == goal_NB).any(0)
        goal_NB = torch.where(free_NB, goal_NB, player_NB)
        clash_NB = ((goal_NB[:, None] == goal_NB) & self._apart_NN1).any(0)
        moved_NB = torch.where(clash_NB, player_NB, goal_NB)
        loads_FNB = self._beside(food_FB, player_NB) & (action_NB == _LOAD)
        strength_FB = torch.where(loads_FNB, level_NB, 0).sum(1)
        eaten_FB = (strength_FB >= food_level_FB) & (strength_FB > 0)
        reward_NB = self._reward(loads_FNB, eaten_FB, strength_FB, food_level_FB, level_NB, state.spawned)
        left_FB = torch.where(eaten_FB, 0, food_level_FB)
        done = ~(left_FB > 0).any(0)
        after = ForagingState(moved_NB.t(), state.level, state.food, left_FB.t(), state.spawned)
        return after, reward_NB.t(), Flags(done, done.clone())

    def _reward(self, loads: Tensor, eaten: Tensor, strength: Tensor, food: Tensor, level: Tensor, spawned: Tensor) -> Tensor:
        # in float64 and rounded once, as the reference's numbers are when they are cast to float32
        food_NB = torch.where(loads & eaten[:, None], food[:, None], 0).sum(0)
        strength_NB = torch.where(loads, strength[:, None], 0).sum(0)
        reward_NB = (level * food_NB).to(torch.float64)
        if self.normalize_reward:
            reward_NB = reward_NB / (strength_NB * spawned).clamp(min=1)
        failed_NB = (strength_NB > 0) & (food_NB == 0)
        return torch.where(failed_NB, -self.penalty, reward_NB).to(torch.float32)

    def allowed(self, state: ForagingState) -> Bool[Tensor, "B N 6"]:
        food_FB, _, player_NB = self._there(state)
        apart_FNB = food_FB[:, None] - player_NB
        food = [(apart_FNB == move).any(0) for move in (-self._stride, self._stride, -1, 1)]
        row, column = player_NB >> self._bits, player_NB & (self._stride - 1)
        edge = [row == 0, row == self.rows - 1, column == 0, column == self.columns - 1]
        moves = [~(blocked | wall) for blocked, wall in zip(food, edge, strict=True)]
        load = food[0] | food[1] | food[2] | food[3]
        return torch.stack([torch.ones_like(load), *moves, load], 0).permute(2, 1, 0).contiguous()

    def observe(self, state: ForagingState, form: Form) -> Observation:
        flat = self._full(state) if self._sees_all else self._partial(state)
        if form == "flat":
            return flat
        return SparseObs(self._index_D.expand(flat.shape).contiguous(), flat, self.obs_dim)

    def _full(self, state):
        food_FB, food_level_FB, player_NB = self._there(state)
        shift = self._stride + 1
        packed_FB = torch.where(food_level_FB > 0, (food_FB + shift << _LEVEL_BITS) | food_level_FB, _NOT_SEEN)
        seen_FB = _sorted(packed_FB)
        food = self._unpacked(seen_FB).flatten(0, 1)
        parts = [player_NB >> self._bits, player_NB & (self._stride - 1)]
        if self.observe_agent_levels:
            parts.append(state.level.t())
        players = torch.stack(parts, 1).flatten(0, 1)
        base = torch.cat([food, players], 0).to(torch.float32)
        P = len(parts)
        index = torch.cat([torch.arange(3 * self.max_food).expand(self.num_agents, -1), 3 * self.max_food + (self._order_NN[..., None] * P + torch.arange(P)).flatten(1)], 1)
        return base[index.flatten()].t().contiguous().view(-1, self.num_agents, self.obs_dim)

    def _unpacked(self, packed: Tensor) -> Tensor:
        """``[M, 3, ...]``: y, x, level of each."""
        code = packed >> _LEVEL_BITS
        return torch.stack([(code >> self._bits & 511) - 1, (code & (self._stride - 1)) - 1, packed & 1023], 1)

    def _partial(self, state):
        food_FB, food_level_FB, player_NB = self._there(state)
        s, shift = self.sight, self._stride + 1
        row_NB, column_NB = player_NB >> self._bits, player_NB & (self._stride - 1)
        food = state.food.t()
        near_FNB = ((food >> self._bits)[:, None] - row_NB).abs() <= s
        near_FNB &= ((food & (self._stride - 1))[:, None] - column_NB).abs() <= s
        near_FNB &= (food_level_FB > 0)[:, None]
        own_y, own_x = row_NB.clamp(max=s), column_NB.clamp(max=s)
        corner_NB = player_NB - (own_y << self._bits) - own_x
        packed = ((food_FB[:, None] - corner_NB + shift) << _LEVEL_BITS) | food_level_FB[:, None]
        seen = _sorted(torch.where(near_FNB, packed, _NOT_SEEN))
        parts = [self._unpacked(seen).flatten(0, 1)]
        own = [own_y, own_x, state.level.t()]
        parts.append(torch.stack(own, 0))
        raise NotImplementedError

    def positions(self, state: ForagingState) -> Float[Tensor, "B N 2"]:
        return self._places(state.player).to(torch.float32)

    def _places(self, cell: Tensor) -> Tensor:
        return torch.stack([cell >> self._bits, cell & (self._stride - 1)], -1)

    def central(self, state: ForagingState) -> Float[Tensor, "B S"]:
        parts = [self._places(state.player), state.level, self._places(state.food), state.food_level]
        return torch.cat([part.flatten(1) for part in parts], 1).to(torch.float32)

    def describe(self, state: ForagingState) -> Scene:
        return Scene(
            size=(self.rows, self.columns),
            agents=self.positions(state),
            finished=torch.zeros_like(state.player, dtype=torch.bool),
            entities={"food": self._places(state.food).to(torch.float32)},
            active={"food": state.food_level > 0},
        )

    def solve(self, state: ForagingState) -> Int[Tensor, "B N"]:
        return self._planner(self._places(state.player), state.level, self._places(state.food), state.food_level)


def _sorted(items: Tensor) -> Tensor:
    """Sorted along the first, short axis: compare and exchange, each a pass over the rest."""
    rows = list(items.unbind(0))
    for last in range(len(rows) - 1, 0, -1):
        for k in range(last):
            rows[k], rows[k + 1] = torch.minimum(rows[k], rows[k + 1]), torch.maximum(rows[k], rows[k + 1])
    return torch.stack(rows, 0)
