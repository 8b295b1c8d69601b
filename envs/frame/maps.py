"""Maps of free cells and obstacles, batched: making them, and finding ways through them.

Cells are numbered row-major, ``cell = row * dim + column``; a bool map is True where a cell is free. Directions are
up, right, down, left throughout. What loops here loops over steps of a search, never over environments, and runs at
resets and in reference policies, not in steps.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.shapes import Bool, Float, Int

DIRECTIONS = ((-1, 0), (0, 1), (1, 0), (0, -1))  # up, right, down, left
FAR = 32000
"""Distance of what cannot be reached."""


def neighbors(dim: int) -> Int[Tensor, "C 4"]:
    """The cells up, right, down and left of each; ``dim * dim`` stands for outside."""
    return torch.stack([_shifted(dim, row, column) for row, column in DIRECTIONS], 1)


def windows(dim: int, before: int, after: int) -> Int[Tensor, "C W"]:
    """The cells ``before`` rows and columns before to ``after`` behind each one, row-major; ``dim * dim``: outside."""
    offset = range(-before, after + 1)
    return torch.stack([_shifted(dim, row, column) for row in offset for column in offset], 1)


def _shifted(dim: int, rows: int, columns: int) -> Tensor:
    cell = torch.arange(dim * dim)
    row, column = cell // dim + rows, cell % dim + columns
    inside = (row >= 0) & (row < dim) & (column >= 0) & (column < dim)
    return torch.where(inside, row * dim + column, dim * dim)


def walked(key: Int[Tensor, " B"], dim: int, count: int) -> Bool[Tensor, "B C"]:
    """The first ``count`` different cells that a random walk visits; connected, and exactly ``count``.

    The walk begins anywhere and steps up, down, left or right with equal chance; a step off the grid is no step. Its
    rows and columns are walks on the integers, folded back at the borders (period 2 dim, the second half mirrored):
    a step beyond the last row lands on the last row again, so the law is that of the walk that stays, and all steps
    are one cumulative sum. Chunks of steps are added until every row of the batch has seen enough cells.
    """
    cells, steps = dim * dim, -(-8 * count // 32) * 32
    words = torch.arange(steps // 32, device=key.device)
    shifts = torch.arange(0, 64, 2, device=key.device)
    start = random.integers(random.stream(key, "walk.start"), cells)
    row, column = start[:, None] // dim, start[:, None] % dim
    never = torch.iinfo(torch.int32).max
    visit = torch.full((key.shape[0], cells), never, dtype=torch.int32, device=key.device)
    visit.scatter_(1, start[:, None], 0)
    stream, chunk = random.stream(key, "walk.step")[:, None], 0
    while bool(((visit < never).sum(1) < count).any()):
        draw = (random.bits(stream, chunk, words)[..., None] >> shifts & 3).flatten(1)
        row = ((draw == 0).int() - (draw == 1).int()).cumsum(1) + row[:, -1:]
        column = ((draw == 2).int() - (draw == 3).int()).cumsum(1) + column[:, -1:]
        time = torch.arange(chunk * steps + 1, (chunk + 1) * steps + 1, dtype=torch.int32, device=key.device)
        place = _fold(row, dim) * dim + _fold(column, dim)
        visit.scatter_reduce_(1, place, time.expand(place.shape), "amin")
        chunk += 1
    return visit <= visit.kthvalue(count, 1, keepdim=True).values


def _fold(place: Tensor, dim: int) -> Tensor:
    place = place % (2 * dim)
    return torch.where(place >= dim, 2 * dim - 1 - place, place)


def _relax(field: Tensor, free: Tensor) -> Tensor:
    """One round of a breadth-first search over ``field [..., dim + 2, dim + 2]``, whose rim stays ``FAR``, in place."""
    inner = field[..., 1:-1, 1:-1]
    near = torch.minimum(field[..., :-2, 1:-1], field[..., 2:, 1:-1])
    near = torch.minimum(near, field[..., 1:-1, :-2]).minimum(field[..., 1:-1, 2:])
    inner.copy_(torch.where(free, torch.minimum(inner, near + 1), FAR))
    return inner


def distances(
    free: Bool[Tensor, "*lead C"], source: Bool[Tensor, "*lead C"], at: Int[Tensor, "*lead"] | None = None
) -> Int[Tensor, "*lead C"]:
    """Steps from each cell to the nearest source, int16; ``FAR`` where there is no way.

    With ``at``, one cell for each map, the search ends as soon as all of those are reached: cells farther away than
    ``at`` may be left ``FAR``.
    """
    dim = round(source.shape[-1] ** 0.5)
    shape = (*source.shape[:-1], dim, dim)
    free = free.expand_as(source).reshape(shape)
    field = torch.full((*shape[:-2], dim + 2, dim + 2), FAR, dtype=torch.int16, device=source.device)
    inner = field[..., 1:-1, 1:-1]
    inner.copy_(torch.where(source.view(shape) & free, 0, FAR))
    for _ in range(dim * dim):
        before = inner.clone()
        _relax(field, free)
        found = at is not None and bool((inner.flatten(-2).gather(-1, at[..., None]) < FAR).all())
        if found or torch.equal(before, inner):
            break
    return inner.flatten(-2)


def toward(
    distance: Int[Tensor, "*lead C"], cell: Int[Tensor, "*lead"], neighbor: Int[Tensor, "C 4"]
) -> tuple[Int[Tensor, "*lead"], Bool[Tensor, "*lead"]]:
    """The first direction from ``cell`` that comes nearer to the source, and whether there is one."""
    outside = torch.full_like(distance[..., :1], FAR)
    around = torch.cat([distance, outside], -1).gather(-1, neighbor[cell])
    best, direction = around.min(-1)
    first = (around == best[..., None]).to(torch.int8).argmax(-1)
    return torch.where(best < FAR, first, direction), best < distance.gather(-1, cell[..., None]).squeeze(-1)


def components(free: Bool[Tensor, "B C"], neighbor: Int[Tensor, "C 4"]) -> Int[Tensor, "B C"]:
    """The lowest cell that can be reached from each free cell; C for obstacles.

    Every cell takes the lowest label around it, then the label of that label, until nothing changes. Labels only sink,
    so this ends; where it ends, neighbours agree.
    """
    cells = free.shape[1]
    label = torch.where(free, torch.arange(cells, device=free.device), cells)
    label = torch.cat([label, torch.full_like(label[:, :1], cells)], 1)
    around = neighbor.flatten().expand(free.shape[0], -1)
    while True:
        near = label.gather(1, around).unflatten(1, (cells, 4)).amin(-1)
        lower = torch.where(free, torch.minimum(label[:, :-1], near), cells)
        lower = torch.cat([lower, label[:, -1:]], 1)
        lower = lower.gather(1, lower)
        if torch.equal(lower, label):
            return label[:, :-1]
        label = lower


def pairs(
    region: Int[Tensor, "B C"], score: Float[Tensor, "B C"], count: int
) -> tuple[Int[Tensor, "B N"], Int[Tensor, "B N"], Bool[Tensor, " B"]]:
    """``count`` pairs of cells that can reach each other, all cells different, and whether there are so many.

    In the order of their scores the cells of a region pair up, the first with the second, the third with the fourth;
    the pairs with the lowest first cells are taken.
    """
    cells = region.shape[1]
    order = score.argsort(1)
    by_region = region.gather(1, order).argsort(dim=1, stable=True)
    order = order.gather(1, by_region)
    home = region.gather(1, order)
    place = torch.arange(cells, device=region.device)
    begins = torch.cat([torch.ones_like(home[:, :1], dtype=torch.bool), home[:, 1:] != home[:, :-1]], 1)
    rank = place - torch.where(begins, place, 0).cummax(1).values
    followed = torch.cat([~begins[:, 1:], torch.zeros_like(begins[:, :1])], 1)
    opens = (rank % 2 == 0) & followed & (home < cells)
    first = torch.where(opens, score.gather(1, order), 2.0).topk(count, largest=False).indices
    enough = opens.sum(1) >= count
    return order.gather(1, first), order.gather(1, (first + 1).clamp_max(cells - 1)), enough
