"""What the players of level-based foraging see: lists of food and players, with those not seen left out.

Everything is ``[things, ..., B]`` with the environments innermost in memory, and one integer holds a thing's place and
level, so that the lists close up by a few passes of compare and exchange instead of a sort.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.host import constant
from gnncomm.shapes import Float, Int


@dataclass(frozen=True)
class Grid:
    """Cells are numbered ``row * stride + column``, with ``stride`` the power of two above the columns."""

    rows: int
    columns: int

    @property
    def bits(self) -> int:
        return self.columns.bit_length()

    @property
    def stride(self) -> int:
        return 1 << self.bits

    def split(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """Row and column."""
        return cell >> self.bits, cell & (self.stride - 1)


def any_of(flags: Tensor) -> Tensor:
    """Along the first, short axis; quicker than ``any``."""
    first, *others = flags.unbind(0)
    for other in others:
        first = first | other
    return first


class Seeing:
    """The observation ``[y, x, level]`` of each visible food and player; see ``envs.foraging.Foraging``."""

    def __init__(self, grid: Grid, num_agents: int, sight: int, highest: int, levels: bool) -> None:
        self.grid, self.num_agents, self.sight, self.levels = grid, num_agents, sight, levels
        self.everything = sight >= max(grid.rows, grid.columns) - 1
        self._level_bits = highest.bit_length()
        self._row_bits = grid.rows.bit_length()
        self._place_bits = self._level_bits + grid.bits + self._row_bits
        self.dtype = torch.int32 if self._place_bits + num_agents.bit_length() < 30 else torch.int64
        # Sorts behind everything, and its lower bits read (-1, -1, level 0).
        self._unseen = 1 << (30 if self.dtype == torch.int32 else 62)
        self._others = tuple(tuple(j for j in range(num_agents) if j != i) for i in range(num_agents))

    def __call__(
        self,
        player: Int[Tensor, "N B"],
        level: Int[Tensor, "N B"],
        food: Int[Tensor, "F B"],
        amount: Int[Tensor, "F B"],
    ) -> Float[Tensor, "B N D"]:
        everyone = [part.to(self.dtype) for part in (player, level, food, amount)]
        return self._all(*everyone) if self.everything else self._near(*everyone)

    def _all(self, player: Tensor, level: Tensor, food: Tensor, amount: Tensor) -> Tensor:
        """The window is the grid: all see the same, each itself first."""
        seen_PB = self._unpacked(self._closed_up(self._packed(food, amount), amount > 0)).to(torch.float32)
        width = 3 if self.levels else 2
        own_QB = torch.stack([*self.grid.split(player), level][:width], 1).flatten(0, 1).to(torch.float32)
        planes = []
        for first in range(0, width * self.num_agents, width):
            planes += [seen_PB, own_QB[first : first + width], own_QB[:first], own_QB[first + width :]]
        flat_BD: Tensor = torch.cat(planes).t().contiguous()
        return flat_BD.view(flat_BD.shape[0], self.num_agents, -1)

    def _near(self, player: Tensor, level: Tensor, food: Tensor, amount: Tensor) -> Tensor:
        row_NB, column_NB = self.grid.split(player)
        y_NB, x_NB = row_NB.clamp(max=self.sight), column_NB.clamp(max=self.sight)  # itself in its window
        corner_NB = player - (y_NB << self.grid.bits) - x_NB
        food_row, food_column = (part[:, None] for part in self.grid.split(food))
        inside_FNB = (food_row - row_NB).abs() <= self.sight
        inside_FNB = inside_FNB & ((food_column - column_NB).abs() <= self.sight) & (amount > 0)[:, None]
        seen = self._closed_up(self._packed(food[:, None] - corner_NB, amount[:, None]), inside_FNB)
        planes = [self._unpacked(seen), *(part[None] for part in (y_NB, x_NB, level)[: 3 if self.levels else 2])]
        if self.num_agents > 1:
            planes.append(self._company(row_NB, column_NB, row_NB - y_NB, column_NB - x_NB, level))
        return torch.cat(planes).to(torch.float32).permute(2, 1, 0).contiguous()

    def _company(self, row: Tensor, column: Tensor, top: Tensor, left: Tensor, level: Tensor) -> Tensor:
        """The others ``[(N - 1) * width, N, B]``. They are seen up to 2 * sight from the corner of the window, which
        is further than sight where the border cuts the window off; the reference's habit."""
        others = constant(self._others, torch.int64, row.device).t().flatten()
        shape = (self.num_agents - 1, self.num_agents, -1)
        row, column, level = (part.index_select(0, others).view(shape) for part in (row, column, level))
        y, x = row - top, column - left
        visible = (y >= 0) & (x >= 0) & (y <= 2 * self.sight) & (x <= 2 * self.sight)
        order = torch.arange(self.num_agents - 1, dtype=self.dtype, device=row.device)[:, None, None]
        packed = self._packed((y << self.grid.bits) + x, level) + (order << self._place_bits)
        return self._unpacked(self._closed_up(packed, visible), 3 if self.levels else 2)

    def _packed(self, cell: Tensor, level: Tensor) -> Tensor:
        return ((cell + self.grid.stride + 1) << self._level_bits) + level

    def _unpacked(self, packed: Tensor, width: int = 3) -> Tensor:
        """``[M, ...] -> [M * width, ...]``: y, x, level of each."""
        cell = packed >> self._level_bits
        y = ((cell >> self.grid.bits) & ((1 << self._row_bits) - 1)) - 1
        x = (cell & (self.grid.stride - 1)) - 1
        return torch.stack([y, x, packed & ((1 << self._level_bits) - 1)][:width], 1).flatten(0, 1)

    def _closed_up(self, packed: Tensor, seen: Tensor) -> Tensor:
        """In order along the first, short axis, those not seen last."""
        rows = list((packed * seen + ~seen * self._unseen).to(self.dtype).unbind(0))
        for last in range(len(rows) - 1, 0, -1):
            for k in range(last):
                rows[k], rows[k + 1] = torch.minimum(rows[k], rows[k + 1]), torch.maximum(rows[k], rows[k + 1])
        return torch.stack(rows)
