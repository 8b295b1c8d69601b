"""What ``pursuit`` and ``battle`` share: many bodies on a board, at most one on a cell, and no loop over any of them.

A cell is one number: the board lies in a frame of ``pad`` cells and is stored row by row, so that a neighbour is a
constant away and a window never leaves the storage. Behind it lies ``limbo``: a few cells that stay empty, where the
windows of the dead look. Nothing here compares bodies with bodies: who stands where is written into the cells and read
from the cells, so that time and memory grow with the board and the bodies, never with their pairs.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Observation, SparseObs

from ..frame.base import Form

NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))
"""The eight cells around, row-major."""

_LAST = 2**31 - 1
_ODD = (29097, 23845, 20753, 9199, 8599, 28179, 30623, 26119, 24679, 20015, 11247, 14515, 22419)
"""Chosen so that their multiples of a random number are about independent, by pairs and by threes."""


class Board:
    """A square board of ``side * side`` cells, whose outermost ring is wall, in a frame.

    Args:
        side: Cells along a side, the ring included.
        vision: How far bodies see: a window is ``(2 vision + 1)^2`` cells.
        device: Where the tables live.
    """

    def __init__(self, side: int, vision: int, device: torch.device) -> None:
        self.side, self.vision, self.device = side, vision, device
        self.pad = pad = vision + 1  # nobody jumps further than one cell beyond the ring
        self.width = side + 2 * pad
        self.cells = self.width**2
        self.limbo, self.total = self.cells, self.cells + 2 * vision + 1
        self.near_start = vision * (self.width + 1)
        line = torch.arange(self.width, device=device)
        edge = (line <= pad) | (line >= pad + side - 1)
        self.border = torch.zeros(self.total, dtype=torch.bool, device=device)
        self.border[: self.cells] = (edge[:, None] | edge).flatten()
        self.inner = (~self.border[: self.cells]).nonzero().squeeze(-1)
        self.nobody = torch.zeros_like(self.border)
        line = torch.arange(self.total, device=device)
        self._place = torch.stack([line // self.width - pad, line % self.width - pad], -1).to(torch.float32)
        size = 2 * vision + 1
        self._rows = torch.arange(-vision, vision + 1, device=device) * self.width - vision
        self._slots = torch.arange(size**2, device=device) * 2
        self._own = torch.arange(4, device=device) + 2 * size**2
        self._odd = torch.tensor(_ODD, dtype=torch.int32, device=device)
        self._number = torch.arange(len(_ODD), dtype=torch.int32, device=device)

    @property
    def obs_dim(self) -> int:
        """Width of what ``see`` gives: two numbers for each cell of the window, and four of the agent's own."""
        return 2 * (2 * self.vision + 1) ** 2 + 4

    def offsets(self, moves: Sequence[tuple[int, int]]) -> Int[Tensor, " A"]:
        """What to add to a cell to go (rows, columns) from it."""
        return torch.tensor([row * self.width + column for row, column in moves], device=self.device)

    def cell(self, row: Tensor, column: Tensor) -> Tensor:
        """int64: the number of the cell in this row and column (int64, any shapes that fit) of the board."""
        return (row + self.pad) * self.width + column + self.pad

    def ring(self, value: Tensor) -> Tensor:
        """``[total]``: ``value`` on the ring and outside, else 0."""
        return torch.where(self.border, value, 0)

    def place(self, cell: Int[Tensor, "B M"]) -> Float[Tensor, "B M 2"]:
        """(row, column) of a cell."""
        return self._place.index_select(0, cell.flatten()).view(*cell.shape, 2)

    def write(self, blank: Tensor, cell: Int[Tensor, "B M"], value: Tensor | float) -> Tensor:
        """``[B, total]``: a copy of ``blank [total]`` for each environment, with ``value`` on ``cell``."""
        return blank.repeat(cell.shape[0], 1).scatter_(1, cell, value)

    def picture(self, grid: Tensor) -> Tensor:
        """``[B, side, side]`` of ``grid [B, total]``: the board without its frame."""
        square = grid[:, : self.cells].view(-1, self.width, self.width)
        return square[:, self.pad : self.pad + self.side, self.pad : self.pad + self.side]

    def near(self, cell: Int[Tensor, "B M"], present: Bool[Tensor, "B M"] | None = None) -> Tensor:
        """King's moves to the nearest of the bodies on ``cell``, uint8; ``vision + 1`` if more than ``vision``.

        The answer for a cell is in the column ``cell - near_start``. Walls do not count.
        """
        cell = cell if present is None else torch.where(present, cell, self.limbo)
        far = torch.full((cell.shape[0], self.total), self.vision + 1, dtype=torch.uint8, device=self.device)
        grid, width = far.scatter_(1, cell, 0)[:, : self.cells], self.width
        for _ in range(self.vision):  # each round looks one cell further, and drops the frame it cannot answer for
            across = torch.minimum(torch.minimum(grid[:, :-2], grid[:, 2:]), grid[:, 1:-1])
            around = torch.minimum(
                torch.minimum(across[:, : -2 * width], across[:, 2 * width :]), across[:, width:-width]
            )
            grid = torch.minimum(grid[:, width + 1 : -width - 1], around.add_(1))
        return grid

    def walk(
        self, goal: Bool[Tensor, "B C"], closed: Bool[Tensor, "B C"], start: Int[Tensor, "B N"]
    ) -> Int[Tensor, "B D"]:
        """Steps (up, right, down, left) to the nearest goal around closed cells, int32; for policies that see it all.

        Goals count as open, and so do ``start`` cells. Stops once all ``start`` cells have an answer, or none will
        come; cells without one hold a number larger than any distance.
        """
        far = 4 * self.cells
        steps = torch.full(goal.shape, far, dtype=torch.int32, device=self.device).masked_fill_(goal, 0)[
            :, : self.cells
        ]
        shut = closed & ~goal
        shut = shut.scatter(1, start, False)[:, self.width : self.cells - self.width]
        first, last, width = self.width, self.cells - self.width, self.width
        for tried in range(self.cells):
            sides = torch.minimum(steps[:, first - 1 : last - 1], steps[:, first + 1 : last + 1])
            ends = torch.minimum(steps[:, : last - width], steps[:, first + width :])
            step = torch.minimum(sides, ends).add_(1).masked_fill_(shut, far)
            body = torch.minimum(steps[:, first:last], step)
            if tried % 8 == 7 and (
                bool((steps.gather(1, start) < far).all()) or torch.equal(body, steps[:, first:last])
            ):
                break
            steps = torch.cat([steps[:, :first], body, steps[:, last:]], 1)
        return steps

    def see(
        self,
        grid: Int[Tensor, "B C"],
        cell: Int[Tensor, "B N"],
        own: Float[Tensor, "B N 4"],
        form: Form,
        alive: Bool[Tensor, "B N"] | None = None,
    ) -> Observation:
        """The windows around ``cell`` in ``grid`` (pairs of numbers, ``pair``), then ``own``; zeros for the dead.

        At most one number of a pair may be other than 0. Flat: the pairs row by row, ``obs_dim`` numbers. Sparse: one
        entry for each cell of the window, and four.
        """
        count, size = cell.shape[0] * self.total, 2 * self.vision + 1
        rows = cell[..., None] + self._rows
        if alive is not None:
            rows = torch.where(alive[..., None], rows, self.limbo)
            own = torch.where(alive[..., None], own, 0.0)
        rows += torch.arange(0, count, self.total, device=self.device)[:, None, None]
        lines = grid.reshape(-1).unfold(0, size, 1)  # line c: the cells from c on
        window_BNW = lines.index_select(0, rows.flatten()).view(*cell.shape, size * size)
        if form == "flat":
            return torch.cat([window_BNW, own.view(torch.int64)], -1).view(torch.float32)
        team, other = window_BNW.view(torch.float32).unflatten(-1, (-1, 2)).unbind(-1)
        index = torch.cat([self._slots + (other != 0), self._own.expand(*cell.shape, 4)], -1)
        return SparseObs(index, torch.cat([team + other, own], -1), self.obs_dim)

    def best(self, score_BKM: Tensor, noise: Int[Tensor, "B M"]) -> Int[Tensor, "B M"]:
        """The option with the largest score (0 to 127, at most 13 options), ties by ``noise`` (16 random bits).

        Each of the tied is chosen about equally often: within 6 %, of two or three within 2 %.
        """
        options = score_BKM.shape[1]
        luck = (noise[:, None] * self._odd[:options, None]).bitwise_and_(0x1FFFE0).add_(self._number[:options, None])
        return (luck.add_(score_BKM.to(torch.int32), alpha=2**21).amax(1) & 31).to(torch.int64)


def read(grid_BC: Tensor, cell: Int[Tensor, "B K M"]) -> Tensor:
    """What is written on the cells."""
    return grid_BC.gather(1, cell.flatten(1)).view(cell.shape)


def pair(first: Tensor, second: Tensor) -> Tensor:
    """Two float32 of any shape as one int64, to move in one piece; ``.view(torch.float32)`` undoes it."""
    return torch.stack([first, second], -1).view(torch.int64).squeeze(-1)


def settle(
    cell: Int[Tensor, "B M"], target: Int[Tensor, "B M"], rank: Int[Tensor, "B M"], closed: Bool[Tensor, "B C"]
) -> Int[Tensor, "B M"]:
    """Where all bodies stand after they moved at once from ``cell`` to ``target``.

    A body gets its target if the target is open and no other body with a smaller rank wants it; else it stays. Cells
    that are ``closed`` before the move (walls, and every body's own) stay so during it: nobody follows into a cell that
    is just being left, and two bodies never swap. ``rank`` is int32, no two equal but for those at 2^31 - 1, who do not
    want to move. The result does not depend on the order of bodies.
    """
    contest = torch.full(closed.shape, _LAST, dtype=torch.int32, device=cell.device)
    contest = contest.scatter_reduce_(1, target, rank, "amin")
    won = ~closed.gather(1, target) & (contest.gather(1, target) == rank) & (rank < _LAST)
    return torch.where(won, target, cell)


def stay(rank: Int[Tensor, "B M"], moving: Bool[Tensor, "B M"]) -> Int[Tensor, "B M"]:
    """``rank`` for ``settle``, but of those who are not ``moving``."""
    return torch.where(moving, rank, _LAST)


def chances(
    key: Int[Tensor, " B"], t: Int[Tensor, " B"], body: Int[Tensor, " M"], strength: float
) -> tuple[Int[Tensor, "B M"], Bool[Tensor, "B M"], Int[Tensor, "B M"]]:
    """For each ``body`` 0 ... M - 1 a rank (int32, all different), True with chance ``strength``, 16 random bits."""
    drawn = random.bits(random.stream(key, "luck")[:, None], t[:, None], body)
    places = max(body.shape[0] - 1, 1).bit_length()
    rank = ((drawn >> 40) & (2 ** min(24, 31 - places) - 1)) * 2**places + body
    clever = ((drawn >> 24) & 0xFFFF) < round(strength * 2**16)
    return rank.to(torch.int32), clever, (drawn & 0xFFFF).to(torch.int32)
