"""The window of IC3Net's observations: both sparse forms, looked up and computed, against counting cell by cell."""

from __future__ import annotations

import pytest
import torch
from gnncomm.envs.frame.window import Window
from torch import Tensor

CPU = torch.device("cpu")


def count(dim: int, vision: int, kinds: list[int], viewer: Tensor, subject: Tensor) -> Tensor:
    """The flat vectors, one cell after the other."""
    side, vocabulary = 2 * vision + 1, dim * dim + 4
    flat = torch.zeros(*viewer.shape[:2], side, side, vocabulary)
    for b, m in torch.cartesian_prod(torch.arange(viewer.shape[0]), torch.arange(viewer.shape[1])).tolist():
        for i in range(side):
            for j in range(side):
                row, col = int(viewer[b, m, 0]) + i - vision, int(viewer[b, m, 1]) + j - vision
                inside = 0 <= row < dim and 0 <= col < dim
                flat[b, m, i, j, row * dim + col if inside else dim * dim + 1] = 1
                for s, kind in enumerate(kinds):
                    flat[b, m, i, j, dim * dim + kind] += subject[b, s].tolist() == [row, col]
    return flat.flatten(2)


@pytest.mark.parametrize(
    ("dim", "vision", "kinds", "entries"),
    [
        (5, 0, [2, 3, 3, 3], 3),  # 2 counts are fewer than 4 subjects
        (5, 0, [3], 2),
        (4, 0, [2, 3, 0], 4),
        (6, 1, [2, 3, 3, 3, 3], 9 + 5),
        (3, 1, [2] * 6 + [3] * 12, 27),  # 18 subjects are not fewer than 18 counts
        (7, 2, [2, 2, 3, 3, 0, 0, 0], 25 + 7),
        (2, 2, [2, 3], 25 + 2),
        (1, 1, [3], 10),
    ],
)
def test_both_forms_count_what_is_there(dim: int, vision: int, kinds: list[int], entries: int) -> None:
    window = Window(dim, vision, kinds, CPU)
    generator = torch.Generator().manual_seed(dim)
    viewer = torch.randint(dim, (6, 3, 2), generator=generator)
    subject = torch.randint(dim, (6, len(kinds), 2), generator=generator)
    seen = window.look(viewer, subject)
    expected = count(dim, vision, kinds, viewer, subject)
    assert seen.index.shape == (6, 3, entries)
    assert seen.index.dtype == torch.int64
    assert window.width == expected.shape[-1]
    assert torch.equal(seen.to_flat(), expected)
    assert not bool(((seen.value == 0) & (seen.index != 0)).any()) or not window._one_each


def test_what_a_compiled_step_computes_is_what_is_looked_up() -> None:
    kinds = [0, 2, 3, 3, 3]
    window = Window(8, 1, kinds, CPU)
    generator = torch.Generator().manual_seed(0)
    viewer, subject = (torch.randint(8, (64, n, 2), generator=generator) for n in (4, 5))
    cell = (viewer[..., 0] * 8 + viewer[..., 1]).flatten()
    for one, other in zip(
        window._pairs(cell, viewer, subject), window._pairs_compiled(cell, viewer, subject), strict=True
    ):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)


def test_a_window_of_one_cell_is_counted_by_comparison_when_compiled() -> None:
    window = Window(3, 0, [2, 2, 3, 3, 3, 0], CPU)
    generator = torch.Generator().manual_seed(0)
    viewer, subject = (torch.randint(3, (64, n, 2), generator=generator) for n in (4, 6))
    cell = (viewer[..., 0] * 3 + viewer[..., 1]).flatten()
    counted = window._counts(cell, viewer, subject)
    assert float(counted.max()) >= 2.0
    assert torch.equal(window._counts_compiled(viewer, subject), counted)
