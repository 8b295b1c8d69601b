"""The board on which crowds live: moves, distances, windows, against loops that a reader can check."""

from __future__ import annotations

import itertools
from collections import deque

import pytest
import torch
from gnncomm.envs.crowds.board import NEIGHBOURS, Board, chances, pair, read, settle, stay
from torch import Tensor

from gnncomm.types import SparseObs

CPU = torch.device("cpu")
NOBODY = 2**31 - 1


def line(*cells: int) -> Tensor:
    return torch.tensor([cells])


def ranks(*values: int) -> Tensor:
    return torch.tensor([values], dtype=torch.int32)


def closed_at(total: int, *cells: int) -> Tensor:
    return torch.zeros(1, total, dtype=torch.bool).scatter(1, torch.tensor([cells]), True)


@pytest.mark.parametrize(
    ("cell", "target", "rank", "walls", "after"),
    [
        ((1, 5), (2, 6), (7, 8), (), (2, 6)),  # two free ways
        ((1, 3), (2, 2), (7, 8), (), (2, 3)),  # the smaller rank gets the cell
        ((1, 3), (2, 2), (8, 7), (), (1, 2)),
        ((1, 2), (2, 3), (7, 8), (), (1, 3)),  # nobody follows into a cell that is being left
        ((1, 2), (2, 1), (7, 8), (), (1, 2)),  # nobody swaps
        ((1, 2, 3), (2, 3, 1), (7, 8, 9), (), (1, 2, 3)),  # nor goes round in a ring
        ((1, 4), (2, 5), (7, 8), (2,), (1, 5)),  # a wall
        ((1, 3), (1, 2), (7, 8), (), (1, 2)),  # who stays does not contend
        ((1, 3), (2, 2), (NOBODY, 8), (), (1, 2)),  # nor does who has no rank
        ((1,), (2,), (NOBODY,), (), (1,)),
        ((1, 3, 5), (2, 2, 4), (9, 8, 7), (), (1, 2, 4)),
    ],
)
def test_who_gets_a_cell(
    cell: tuple[int, ...],
    target: tuple[int, ...],
    rank: tuple[int, ...],
    walls: tuple[int, ...],
    after: tuple[int, ...],
) -> None:
    closed = closed_at(8, *cell, *walls)
    assert settle(line(*cell), line(*target), ranks(*rank), closed).tolist() == [list(after)]


def crowd(seed: int, batch: int = 20, bodies: int = 30) -> tuple[Board, Tensor, Tensor, Tensor, Tensor]:
    """Bodies on different cells of a small board, where they want to go, ranks, and what is closed."""
    generator = torch.Generator().manual_seed(seed)
    board = Board(9, 2, CPU)
    cell = torch.stack([board.inner[torch.randperm(49, generator=generator)[:bodies]] for _ in range(batch)])
    moves = board.offsets([(0, 0), *NEIGHBOURS])
    target = cell + moves[torch.randint(9, cell.shape, generator=generator)]
    rank = torch.stack([torch.randperm(bodies, generator=generator) for _ in range(batch)]).to(torch.int32)
    return board, cell, target, rank, board.write(board.border, cell, True)


@pytest.mark.parametrize("seed", range(4))
def test_moves_agree_with_a_loop_and_keep_bodies_apart(seed: int) -> None:
    _, cell, target, rank, closed = crowd(seed)
    after = settle(cell, target, rank, closed)
    for b in range(len(cell)):
        taken = {}
        for body in rank[b].argsort().tolist():  # the first in rank takes an open cell
            want = int(target[b, body])
            if not closed[b, want] and want not in taken.values():
                taken[body] = want
        expected = [taken.get(body, int(cell[b, body])) for body in range(cell.shape[1])]
        assert after[b].tolist() == expected
        assert len(set(expected)) == len(expected)
        wanted = {int(c) for c in target[b] if not closed[b, c]}
        assert wanted == set(taken.values())  # an open cell that somebody wants does not stay empty
    assert bool((after != cell).any())


def test_the_order_of_bodies_does_not_matter() -> None:
    _, cell, target, rank, closed = crowd(9)
    order = torch.randperm(cell.shape[1], generator=torch.Generator().manual_seed(1))
    after = settle(cell, target, rank, closed)
    assert torch.equal(settle(cell[:, order], target[:, order], rank[:, order], closed), after[:, order])


def test_who_may_not_move_has_no_rank() -> None:
    assert stay(ranks(3, 4), torch.tensor([[True, False]])).tolist() == [[3, NOBODY]]


def test_cells_and_places() -> None:
    board = Board(7, 3, CPU)
    row, column = torch.tensor([[0, 3, 6]]), torch.tensor([[6, 2, 0]])
    cell = board.cell(row, column)
    assert board.place(cell).tolist() == [[[0, 6], [3, 2], [6, 0]]]
    assert board.place(cell + board.offsets([(-1, 2)])).tolist() == [[[-1, 8], [2, 4], [5, 2]]]
    picture = board.picture(board.write(board.border, board.cell(row, column), True))[0]
    ring = torch.ones(7, 7, dtype=torch.bool)
    ring[1:-1, 1:-1] = False
    ring[3, 2] = True
    assert torch.equal(picture, ring)
    assert len(board.inner) == 25
    assert not bool(board.border[board.limbo :].any())


@pytest.mark.parametrize("vision", [2, 4])
def test_near_is_the_kings_distance(vision: int) -> None:
    board = Board(12, vision, CPU)
    generator = torch.Generator().manual_seed(vision)
    cell = torch.stack([board.inner[torch.randperm(100, generator=generator)[:3]] for _ in range(20)])
    present = torch.rand(cell.shape, generator=generator) < 0.7
    near = board.near(cell, present)
    where = torch.cartesian_prod(torch.arange(-1, 13), torch.arange(-1, 13))  # one cell beyond the ring, too
    probe = board.cell(where[:, 0], where[:, 1]) - board.near_start
    apart = (board.place(cell)[:, :, None] - where).abs().amax(-1)
    expected = torch.where(present[..., None], apart, 99.0).amin(1).clamp(max=vision + 1)
    assert torch.equal(near[:, probe].to(torch.float32), expected)
    assert bool((expected == vision + 1).any())


def breadth_first(board: Board, goals: set[int], closed: Tensor) -> dict[int, int]:
    steps, queue = dict.fromkeys(goals, 0), deque(goals)
    while queue:
        at = queue.popleft()
        for to in (at - 1, at + 1, at - board.width, at + board.width):
            if to not in steps and not bool(closed[to]):
                steps[to] = steps[at] + 1
                queue.append(to)
    return steps


def test_walk_is_the_shortest_way_around_walls() -> None:
    board = Board(10, 2, CPU)
    for seed in range(6):
        generator = torch.Generator().manual_seed(seed)
        cells = board.inner[torch.randperm(64, generator=generator)][None]
        walls, goal, start = cells[:, :20], cells[:, 20:22], cells[:, 22:40]
        closed = board.write(board.border, walls, True)
        steps = board.walk(board.write(board.nobody, goal, True), closed, start)
        truth = breadth_first(board, set(goal[0].tolist()), closed[0])
        far = 4 * board.cells
        assert [int(steps[0, c]) for c in start[0]] == [truth.get(int(c), far) for c in start[0]]
    assert len(truth) > 20


def test_what_a_window_shows() -> None:
    """Vision 2 from (1, 1) of a map of side 6: two rows and columns of wall, a fellow, and one of the others."""
    board = Board(6, 2, CPU)
    me, fellow, other = (board.cell(torch.tensor([[r]]), torch.tensor([[c]])) for r, c in ((1, 1), (1, 2), (3, 3)))
    grid = board.ring(pair(torch.tensor(-1.0), torch.tensor(0.0)))[None].clone()
    grid.scatter_(1, me, pair(torch.tensor([[0.75]]), torch.zeros(1, 1)))
    grid.scatter_(1, fellow, pair(torch.tensor([[0.5]]), torch.zeros(1, 1)))
    grid.scatter_(1, other, pair(torch.zeros(1, 1), torch.tensor([[0.25]])))
    own = torch.tensor([[[1.0, 2.0, 3.0, 4.0]]])
    flat = board.see(grid, me, own, "flat")
    assert isinstance(flat, Tensor)
    assert flat.shape[-1] == board.obs_dim == 54
    team, others = flat[0, 0, :50].view(5, 5, 2).unbind(-1)
    assert team.tolist() == [
        [-1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1],
        [-1, -1, 0.75, 0.5, 0],
        [-1, -1, 0, 0, 0],
        [-1, -1, 0, 0, 0],
    ]
    assert others.nonzero().tolist() == [[4, 4]]
    assert float(others[4, 4]) == 0.25
    assert flat[0, 0, 50:].tolist() == [1, 2, 3, 4]
    sparse = board.see(grid, me, own, "sparse")
    assert isinstance(sparse, SparseObs)
    assert sparse.index.shape[-1] == 29
    assert torch.equal(sparse.to_flat(), flat)


def test_windows_of_many_environments_and_of_the_dead() -> None:
    board = Board(8, 3, CPU)
    generator = torch.Generator().manual_seed(0)
    numbers = torch.rand(4, board.total, 2, generator=generator)
    numbers[:, board.limbo :] = 0
    grid = pair(*numbers.unbind(-1))
    cell = board.inner[torch.randint(36, (4, 5), generator=generator)]
    alive = torch.rand(4, 5, generator=generator) < 0.6
    flat = board.see(grid, cell, torch.ones(4, 5, 4), "flat", alive)
    assert isinstance(flat, Tensor)
    for b, n in itertools.product(range(4), range(5)):
        if not bool(alive[b, n]):
            assert not bool(flat[b, n].any())
            continue
        square = numbers[b, : board.cells].view(board.width, board.width, 2)
        row, column = int(cell[b, n]) // board.width, int(cell[b, n]) % board.width
        window = square[row - 3 : row + 4, column - 3 : column + 4]
        assert torch.equal(flat[b, n, :98], window.flatten())
        assert flat[b, n, 98:].tolist() == [1] * 4


@pytest.mark.parametrize(("options", "tied"), [(9, (3, 7)), (9, (0, 1, 8)), (13, (1, 5, 10)), (13, tuple(range(13)))])
def test_best_breaks_ties_evenly(options: int, tied: tuple[int, ...]) -> None:
    noise = torch.arange(2**16, dtype=torch.int32)[None]
    score = torch.full((1, options, 2**16), 4, dtype=torch.uint8)
    score[:, list(tied)] = 5
    chosen = Board(6, 2, CPU).best(score, noise)[0]
    share = torch.bincount(chosen, minlength=options) / 2**16
    assert set(chosen.unique().tolist()) == set(tied)
    assert share[list(tied)].tolist() == pytest.approx([1 / len(tied)] * len(tied), rel=0.06)


def test_best_prefers_any_larger_score() -> None:
    score = torch.tensor([0, 126, 127, 3]).view(1, 4, 1).expand(1, 4, 100)
    noise = torch.arange(0, 2**16, 656, dtype=torch.int32)[None]
    assert Board(6, 2, CPU).best(score, noise).unique().tolist() == [2]


def test_chances() -> None:
    key, t = torch.arange(200), torch.full((200,), 3)
    body = torch.arange(70)
    rank, clever, noise = chances(key, t, body, 0.25)
    assert all(len(set(row)) == 70 for row in rank.tolist())
    assert int(rank.min()) >= 0
    assert rank.argmin(1).unique().numel() > 50  # everybody is first now and then
    assert float(clever.float().mean()) == pytest.approx(0.25, abs=0.015)
    assert (int(noise.min()) >= 0, int(noise.max()) < 2**16) == (True, True)
    assert float(noise.float().mean()) == pytest.approx(2**15, rel=0.06)
    alone = chances(key[5:6], t[5:6], body, 0.25)
    assert all(torch.equal(part[0], whole[5]) for part, whole in zip(alone, (rank, clever, noise), strict=True))
    for strength in (0.0, 1.0):
        assert chances(key, t, body, strength)[1].float().mean().item() == strength


def test_pair_and_read() -> None:
    first, second = torch.tensor([1.5, -2.0]), torch.tensor([0.0, 7.25])
    assert pair(first, second).view(torch.float32).tolist() == [1.5, 0.0, -2.0, 7.25]
    grid = torch.arange(10).view(1, 10) ** 2
    assert read(grid, torch.tensor([[[1, 2], [3, 9]]])).tolist() == [[[1, 4], [9, 81]]]
