"""Level-based foraging: players of different levels gather food that only enough of them together can load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from ..frame.base import Flags, Form, Gone, GridEnv, Settings, Sizes
from ..frame.settings import checked, flag, integer, number
from .placing import ForagingDraws, Placing, levels
from .planning import Planner
from .seeing import Grid, Seeing, any_of

_LARGEST = 500
_LOAD = 5


@dataclass(frozen=True)
class ForagingState(Batch):
    """Places are cell numbers, see ``envs.foraging_seeing.Grid``. All int32."""

    player: Int[Tensor, "B N"]
    level: Int[Tensor, "B N"]
    food: Int[Tensor, "B F"]
    food_level: Int[Tensor, "B F"]  # 0: eaten, or never placed
    spawned: Int[Tensor, " B"]  # sum of all food levels at the beginning


def _protocols() -> dict[str, dict[str, Any]]:
    """All of the published experiments, and 8x8-2p-2f, which has the sizes of Jumanji's default."""
    found: dict[str, dict[str, Any]] = {}
    for size, players, food in ((8, 2, 3), (8, 3, 3), (10, 4, 2)):
        team = {"size": size, "num_agents": players, "max_food": food}
        for coop, sight in product((False, True), (size, 2)):
            name = f"{size}x{size}-{players}p-{food}f{'-coop' * coop}{'-s2' * (sight == 2)}-v0"
            found[name] = {**team, "force_coop": coop, "sight": sight}
    found["5x5-4p-1f-coop-v0"] = {"size": 5, "num_agents": 4, "max_food": 1, "force_coop": True}
    found["8x8-2p-2f-coop-v0"] = {"num_agents": 2, "max_food": 2, "force_coop": True}
    found["8x8-2p-2f-v0"] = {"num_agents": 2, "max_food": 2}
    return found


@dataclass(frozen=True)
class ForagingSettings(Settings):
    """See ``Foraging``."""

    size: int = integer(8, 3, _LARGEST, doc="Rows of the grid.")
    columns: int = integer(None, 3, _LARGEST, doc="Columns; ``size`` if None.")
    num_agents: int = integer(3, 1, doc="Number of players N.")
    max_food: int = integer(3, 1, doc="Number of pieces of food F; fewer where no more fit.")
    sight: int = integer(
        None, 0, lambda own: max(own.size, own.columns or own.size), doc="Radius of the window; the whole grid if None."
    )
    force_coop: bool = flag(False, doc="All food has its highest level.")
    min_player_level: int | Sequence[int] = checked(
        1,
        lambda name, value, own: levels(name, value, own.num_agents, 1),
        doc="Levels are uniform between them. One int, or one for each player, dealt out in random order.",
    )
    max_player_level: int | Sequence[int] = checked(
        2,
        lambda name, value, own: levels(name, value, own.num_agents, 1),
        doc="Levels are uniform between them. One int, or one for each player, dealt out in random order.",
    )
    min_food_level: int | Sequence[int] = checked(
        1,
        lambda name, value, own: levels(name, value, own.max_food, 1),
        doc="The same for food; at most the sum of the three lowest player levels if None.",
    )
    max_food_level: int | Sequence[int] | None = checked(
        None,
        lambda name, value, own: levels(name, value, own.max_food, 1),
        doc="The same for food; at most the sum of the three lowest player levels if None.",
    )
    penalty: float = number(0.0, 0.0, doc="Cost of loading in vain.")
    normalize_reward: bool = flag(True, doc="Whether the return of an episode is at most 1.")
    observe_agent_levels: bool = flag(
        True, doc="Whether levels of players are in the observation (else 2 entries for each player)."
    )
    max_steps: int = integer(50, 1, doc="Time limit.")

    def resolve(self) -> None:
        columns = self.columns or self.size
        sight = max(self.size, columns) if self.sight is None else self.sight
        self._put(columns=columns, sight=sight)
        self.placing()

    def placing(self) -> Placing:
        """The rules of placing; refuses levels that do not fit together."""
        low, high = (levels("", level, self.num_agents, 1) for level in (self.min_player_level, self.max_player_level))
        least = levels("", self.min_food_level, self.max_food, 1)
        most = None if self.max_food_level is None else levels("", self.max_food_level, self.max_food, 1)
        return Placing(self.size, self.columns, low, high, least, most, self.force_coop)


class Foraging(GridEnv[ForagingState, ForagingDraws]):
    """N players gather food; the levels of those who load it together must reach its level.

    ::

        . . . . . .      A1 B2  players and their levels
        . . *3 . B2 .    *3     food of level 3: A and B must load it together, each from a cell beside it
        . . A1 . . .     food lies inside the border, and nobody steps on it
        . . . . . .
        . . . . *1 .     actions: 0 none, 1 north, 2 south, 3 west, 4 east, 5 load
        . . . . . .

    A step: an action that is not at hand (into the border or food; loading without food beside) counts as none. All
    move at once; where several head for one cell, those who stay on it included, all of them stay where they were.
    Then those who load the same food sum up their levels; if the sum reaches its level it is gone, and each of them is
    rewarded.

    Reward of a loader: ``level * food / (sum of the loaders' levels * sum of all food)``, so that an episode in which
    everything is eaten gives 1 in all; without ``normalize_reward``, ``level * food``. Loading in vain: ``-penalty``.
    End: terminated with success when no food is left. The reference says terminated at the time limit, too; here that
    is truncated.

    Flat observation, ``3 F + 3 N`` wide: y, x, level of each food in the window, row by row, then of itself, then of
    the other players in the window in the order of their indices; (-1, -1, 0) for each that is missing. The window is
    ``sight`` cells in every direction, cut off by the border, and coordinates count from its upper left corner. No
    entry is always 0, so the sparse form has all ``D`` entries. ``action_mask``: the actions at hand.

    Source: Albrecht and Ramamoorthy 2013; Papoudakis et al. 2021, "Benchmarking multi-agent deep reinforcement learning
    algorithms in cooperative tasks"; rules of the package ``lbforaging`` 2.0.0, followed step by step, its habits
    included: two players end on one cell if one is kept from leaving it by a clash while the other, alone, heads for
    it; swaps are allowed; near the upper and left border players are seen further than ``sight``. Where things begin:
    ``envs.foraging_placing``.

    Raises:
        ConfigError: A setting out of range, more players than cells, or food that all players together cannot load.
    """

    id = "foraging"
    settings_class = ForagingSettings
    settings: ForagingSettings
    named_actions: ClassVar[tuple[str, ...]] = ("none", "north", "south", "west", "east", "load")
    grid_setting: ClassVar[str | None] = "size"
    no_op: ClassVar[int | None] = 0
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = _protocols()
    adjustable: ClassVar[tuple[str, ...]] = ("penalty",)

    def sizes(self) -> Sizes:
        own = self.settings
        width = 3 * own.max_food + (3 if own.observe_agent_levels else 2) * own.num_agents
        return Sizes(own.num_agents, 6, width, own.max_steps)

    def build(self) -> None:
        chosen = self.settings
        self.rows, self.columns, self.sight, self.max_food = chosen.size, chosen.columns, chosen.sight, chosen.max_food
        self.penalty, self.normalize_reward = chosen.penalty, chosen.normalize_reward
        self.observe_agent_levels = chosen.observe_agent_levels
        self.grid, self.placing = Grid(self.rows, self.columns), chosen.placing()
        self._build_tables()

    def _build_tables(self) -> None:
        device, stride = self.device, self.grid.stride
        self._planner = Planner(self.rows, self.columns, self.num_agents, device)
        self._seeing = Seeing(self.grid, self.num_agents, self.sight, self.placing.highest, self.observe_agent_levels)
        self._index_D = torch.arange(self.obs_dim, device=device)
        self._self_NN1 = (torch.eye(self.num_agents, dtype=torch.int32, device=device) << 24)[..., None]
        sides = (-stride, stride, -1, 1)  # the cells to the north, south, west, east
        self._gone = (self.rows + 2) * stride  # a cell beside no other, where eaten food is
        beside = torch.zeros(3 * self._gone, dtype=torch.int32)
        for bit, step in enumerate(sides):
            beside[self._gone + step] = 1 << bit
        self._beside = beside.to(device)  # by food - player + gone: on which side of the player it is, as a bit
        row, column = self.grid.split(torch.arange(self.rows * stride))
        walls = [row == 0, row == self.rows - 1, column == 0, column == self.columns - 1]
        walls_C = torch.stack([wall.int() << (4 + bit) for bit, wall in enumerate(walls)]).sum(0, dtype=torch.int32)
        self._walls = walls_C.flatten().to(device)  # by cell, as bits
        around_K = torch.arange(256)  # 4 bits of food, 4 bits of walls
        free_4K = [((around_K | around_K >> 4) >> bit & 1) == 0 for bit in range(4)]
        mask_K8 = torch.zeros(256, 8, dtype=torch.bool)
        mask_K8[:, :6] = torch.stack([around_K >= 0, *free_4K, around_K & 15 > 0], 1)
        self._mask_K = mask_K8.view(torch.int64).flatten().to(device)  # eight bools in one number: one look-up
        steps_K6 = torch.tensor([0, *sides, 0]) * mask_K8[:, :6]
        self._steps_K = steps_K6.flatten().to(torch.int32).to(device)  # by around * 6 + action

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> ForagingDraws:
        return self.placing.nothing(key) if isinstance(t, Tensor) else self.placing.draw(key)

    def initial(self, draws: ForagingDraws) -> ForagingState:
        player, food = (
            (cell // self.columns * self.grid.stride + cell % self.columns).to(torch.int32)
            for cell in (draws.player, draws.food)
        )
        level, food_level = draws.level.to(torch.int32), draws.food_level.to(torch.int32)
        return ForagingState(player, level, food, food_level, food_level.sum(1, dtype=torch.int32))

    def _planes(self, state: ForagingState) -> tuple[Tensor, ...]:
        """Players, their levels, food, its levels ``[M, B]``: with the environments innermost in memory, where
        tensor operations are quickest."""
        parts = (state.player, state.level, state.food, state.food_level)
        planes: tuple[Tensor, ...] = torch.cat([part.t() for part in parts]).split([part.shape[1] for part in parts])
        return planes

    def _around(self, player_NB: Tensor, food_FB: Tensor, food_level_FB: Tensor) -> tuple[Tensor, Tensor]:
        """On which side of whom food is ``[F, N, B]``, and all that is around each player ``[N, B]``; as bits."""
        there_FB = food_FB + (food_level_FB == 0) * self._gone + self._gone
        apart_FNB = there_FB[:, None] - player_NB
        side_FNB = self._beside.index_select(0, apart_FNB.flatten()).view(apart_FNB.shape)
        walls_NB = self._walls.index_select(0, player_NB.flatten()).view(player_NB.shape)
        return side_FNB, side_FNB.sum(0, dtype=torch.int32) + walls_NB

    def transition(
        self,
        state: ForagingState,
        action: Int[Tensor, "B N"],
        draws: ForagingDraws,  # nothing is drawn after the reset
    ) -> tuple[ForagingState, Float[Tensor, "B N"], Flags]:
        player_NB, level_NB, food_FB, food_level_FB = self._planes(state)
        action_NB = action.to(torch.int32).t().contiguous()
        side_FNB, around_NB = self._around(player_NB, food_FB, food_level_FB)
        step_NB = self._steps_K.index_select(0, (around_NB * 6 + action_NB).flatten()).view(player_NB.shape)
        goal_NB = player_NB + step_NB
        clash_NB = any_of(goal_NB[:, None] + self._self_NN1 == goal_NB)
        load_FNB = (side_FNB > 0) * (level_NB * (action_NB == _LOAD))
        strength_FB = load_FNB.sum(1, dtype=torch.int32)
        eaten_FB = food_level_FB * ((strength_FB >= food_level_FB) & (strength_FB > 0))
        reward_NB = self._reward(load_FNB > 0, eaten_FB, strength_FB, level_NB, state.spawned)
        left_FB = food_level_FB - eaten_FB
        done = ~any_of(left_FB > 0)
        player = (player_NB + step_NB * ~clash_NB).t().contiguous()
        after = ForagingState(player, state.level, state.food, left_FB.t().contiguous(), state.spawned)
        return after, reward_NB.t().contiguous(), Flags(done, done.clone())

    def _reward(self, loads: Tensor, eaten: Tensor, strength: Tensor, level: Tensor, spawned: Tensor) -> Tensor:
        """``[N, B]``. In float64 and rounded once, as the reference's numbers are when they become float32."""
        food_NB = (loads * eaten[:, None]).sum(0, dtype=torch.int32)  # nobody stands beside two pieces
        strength_NB = (loads * strength[:, None]).sum(0, dtype=torch.int32)
        reward_NB = (level * food_NB).to(torch.float64)
        if self.normalize_reward:
            reward_NB = reward_NB / (strength_NB * spawned).clamp(min=1)
        if self.penalty:
            reward_NB = reward_NB - self.penalty * ((strength_NB > 0) & (food_NB == 0))
        return reward_NB.to(torch.float32)

    def allowed(self, state: ForagingState) -> Bool[Tensor, "B N 6"]:
        player_NB, _, food_FB, food_level_FB = self._planes(state)
        around_NB = self._around(player_NB, food_FB, food_level_FB)[1]
        mask_NB1 = self._mask_K.index_select(0, around_NB.flatten()).view(*player_NB.shape, 1)
        return mask_NB1.view(torch.bool)[..., :6].transpose(0, 1)

    def observe(self, state: ForagingState, form: Form) -> Observation:
        flat = self._seeing(*self._planes(state))
        if form == "flat":
            return flat
        return SparseObs(self._index_D.expand(flat.shape).contiguous(), flat, self.obs_dim)

    def positions(self, state: ForagingState) -> Float[Tensor, "B N 2"]:
        return self._places(state.player).to(torch.float32)

    def _places(self, cell: Tensor) -> Tensor:
        return torch.stack(self.grid.split(cell), -1)

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

    def gone(self, state: ForagingState) -> Gone:
        return Gone(torch.zeros_like(state.player, dtype=torch.bool), {"food": state.food_level == 0})

    def solve(self, state: ForagingState) -> Int[Tensor, "B N"]:
        """All go to one piece of food after the other, see ``envs.foraging_planning``."""
        parts = (self._places(state.player), state.level, self._places(state.food), state.food_level)
        return self._planner(*(part.to(torch.int64) for part in parts))
