"""Where an episode of level-based foraging begins: the players, the food and their levels.

**The same distribution as rejection sampling.** The published environment draws cells independently and uniformly,
with replacement, and takes a drawn cell if it is valid at that moment. A cell that is invalid once stays invalid, since
things are only added; so only the first time a cell is drawn can matter, and the cells in the order of their first draw
are a uniformly random permutation. Taking the valid cells in the order of a random permutation is therefore the same
process, and it needs no attempts: the cell that is taken next is the valid one with the largest of independent scores.
The published environment gives up after 1000 draws; ours, when no valid cell is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm import checks, random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Int
from gnncomm.types import Batch

MAX_LEVEL = 1000
"""Levels are packed beside coordinates into one integer where observations are sorted."""

Level = int | Sequence[int]


@dataclass(frozen=True)
class ForagingDraws(Batch):
    """What is where at the beginning, in cells ``row * columns + column``; all empty after a reset."""

    player: Int[Tensor, "B N"]
    level: Int[Tensor, "B N"]
    food: Int[Tensor, "B F"]
    food_level: Int[Tensor, "B F"]  # 0: there was no place for it


def levels(name: str, value: Level, count: int, low: int) -> tuple[int, ...]:
    """One level for each of ``count``: an int for all, or one int each."""
    if isinstance(value, list | tuple):
        if len(value) != count:
            raise ConfigError(f"{name}: expected one int, or {count} of them, got {len(value)}. Give one for each.")
        return tuple(checks.integer(f"{name}[{k}]", one, low, MAX_LEVEL) for k, one in enumerate(value))
    return (checks.integer(name, value, low, MAX_LEVEL),) * count


@dataclass(frozen=True)
class Placing:
    """The rules of placing.

    Players begin on different cells, uniformly. Player n has a level uniform on ``[player_low, player_high]``, food
    one uniform on ``[food_low, food_high]``; where these ranges differ from each other they are dealt out in random
    order. ``food_high = None`` stands for the sum of the three lowest player levels, and with ``coop`` all food has
    its highest level. Food lies inside the border, on cells without a player, no two pieces of it within the
    surrounding 3 x 3 cells or two cells apart in a row or column.
    """

    rows: int
    columns: int
    player_low: tuple[int, ...]
    player_high: tuple[int, ...]
    food_low: tuple[int, ...]
    food_high: tuple[int, ...] | None
    coop: bool

    def __post_init__(self) -> None:
        cells = self.rows * self.columns
        if len(self.player_low) >= cells:
            raise ConfigError(
                f"num_agents: expected less than the {cells} cells, got {len(self.player_low)}. Use a larger size."
            )
        for who, low, high in (
            ("player", self.player_low, self.player_high),
            ("food", self.food_low, self.food_high or self.food_low),
        ):
            for k, (least, most) in enumerate(zip(low, high, strict=True)):
                if least > most:
                    raise ConfigError(
                        f"min_{who}_level: expected at most max_{who}_level = {most}, got {least} ({who} {k}). "
                        "Lower it, or raise the other."
                    )
        weakest, strongest = sum(sorted(self.player_low)[:3]), sum(self.player_high)
        if self.food_high is None and not self.coop and max(self.food_low) > weakest:
            raise ConfigError(
                f"min_food_level: expected at most {weakest}, the least that the three lowest player levels can sum "
                f"up to, got {max(self.food_low)}. Lower it, or give max_food_level."
            )
        least = max(self.food_low) if not self.coop or self.food_high is None else max(self.food_high)
        if least > strongest:
            raise ConfigError(
                f"{'max' if self.coop else 'min'}_food_level: expected at most {strongest}, what all players together "
                f"can load, got {least}. Lower it, or raise max_player_level."
            )

    @property
    def highest(self) -> int:
        """The highest level that anything can have."""
        food = sum(sorted(self.player_high)[-3:]) if self.food_high is None else max(self.food_high)
        return max(food, *self.player_high)

    def nothing(self, key: Int[Tensor, " B"]) -> ForagingDraws:
        """After the reset nothing is left to chance."""
        none = key.new_empty(key.shape[0], 0)
        return ForagingDraws(none, none, none, none)

    def draw(self, key: Int[Tensor, " B"]) -> ForagingDraws:
        """The beginning of one episode for each key."""
        cells = self.rows * self.columns
        player = random.sample_without_replacement(random.stream(key, "players"), cells, len(self.player_low))
        level = self._level(random.stream(key, "player levels"), self.player_low, self.player_high)
        food = self._food(random.stream(key, "food"), player)
        high = self.food_high
        if high is None:
            most = level.sort(1).values[:, :3].sum(1, keepdim=True).expand(-1, len(self.food_low))
        else:
            most = constant(high, torch.int64, key.device).expand(len(key), -1)
        food_level = self._food_level(random.stream(key, "food levels"), most)
        return ForagingDraws(player, level, food.clamp(min=0), torch.where(food >= 0, food_level, 0))

    def _level(self, key: Tensor, low: tuple[int, ...], high: tuple[int, ...]) -> Tensor:
        least, most = (constant(bound, torch.int64, key.device).expand(len(key), -1) for bound in (low, high))
        dealt = self._deal(key, (low, high))
        least, most = (least, most) if dealt is None else (least.gather(1, dealt), most.gather(1, dealt))
        return _between(key, least, most)

    def _food_level(self, key: Tensor, most: Tensor) -> Tensor:
        low, high = self.food_low, self.food_high or self.food_low
        dealt = self._deal(key, (low, high))
        least = constant(low, torch.int64, key.device).expand(len(key), -1)
        if dealt is not None:
            least, most = least.gather(1, dealt), most.gather(1, dealt)
        return most.clone() if self.coop else _between(key, least, most)

    @staticmethod
    def _deal(key: Tensor, ranges: tuple[tuple[int, ...], tuple[int, ...]]) -> Tensor | None:
        """Whose range is whose; None where all are the same."""
        if all(len(set(bound)) == 1 for bound in ranges):
            return None
        return random.sample_without_replacement(random.stream(key, "deal"), len(ranges[0]), len(ranges[0]))

    def _food(self, key: Tensor, player: Tensor) -> Tensor:
        """The cells of the food ``[B, F]`` in the order of placing; -1 where no valid cell was left."""
        sides = (torch.arange(1, length - 1, device=key.device) for length in (self.rows, self.columns))
        row, column = torch.meshgrid(*sides, indexing="ij")
        inner_I = (row * self.columns + column).flatten()
        row_I, column_I = inner_I // self.columns, inner_I % self.columns
        down_II, across_II = (row_I[:, None] - row_I).abs(), (column_I[:, None] - column_I).abs()
        apart_II = (torch.maximum(down_II, across_II) > 1) & (down_II + across_II > 2)
        score_BI = random.uniform(key[:, None], inner_I, dtype=torch.float64)
        taken = torch.zeros(len(key), self.rows * self.columns, dtype=torch.bool, device=key.device)
        taken = taken.scatter(1, player, True)
        score_BI = torch.where(taken[:, inner_I], -1.0, score_BI)
        found = []
        for _ in self.food_low:
            best, which = score_BI.max(1)
            found.append(torch.where(best >= 0, inner_I[which], -1))
            score_BI = torch.where(apart_II[which] | (best < 0)[:, None], score_BI, -1.0)
        return torch.stack(found, 1)


def _between(key: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Uniform on ``[low, high]``, both ends included."""
    each = torch.arange(low.shape[1], device=key.device)
    return low + random.integers(key[:, None], high - low + 1, each)
