"""What agents see of a square grid, in the layout of IC3Net's environments: counts of what is in each cell around."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gnncomm.shapes import Int
from gnncomm.types import SparseObs

_OUTSIDE = 1


class Window:
    """The (2v+1) x (2v+1) cells around an agent, row-major, each with dim^2 + 4 counts.

    Entries 0 ... dim^2 - 1 are the number of the cell, one-hot; of the four behind them, called kinds here, 1 says
    "outside the grid" and the others count subjects: agents or things of that kind in the cell.

    The non-zeros come in one of two forms, whichever is shorter: after the W = (2v+1)^2 places one entry for each
    subject (its count's place in the vector, value 1 if it is in the window, else value 0), or for each cell of the
    window its place and the count of each kind.

    Args:
        dim: Side of the grid.
        vision: v.
        kinds: Kind of each subject, S numbers in {0, 2, 3}; subjects of a kind stand together.
        device: Where the tables live.

    Shapes:
        viewer ``[B, M, 2]`` and subject ``[B, S, 2]`` are (row, column), int64.
    """

    def __init__(self, dim: int, vision: int, kinds: Sequence[int], device: torch.device) -> None:
        cells, side = dim * dim, 2 * vision + 1
        self._dim, self._vision = dim, vision
        self.count = side * side
        self.vocabulary = cells + 4
        self.width = self.count * self.vocabulary
        offset = torch.arange(side) - vision
        row_CW = (torch.arange(cells) // dim)[:, None] + offset.repeat_interleave(side)
        col_CW = (torch.arange(cells) % dim)[:, None] + offset.repeat(side)
        inside_CW = (row_CW >= 0) & (row_CW < dim) & (col_CW >= 0) & (col_CW < dim)
        cell_CW = row_CW * dim + col_CW
        start_W = torch.arange(self.count) * self.vocabulary
        self.place_CW = (start_W + torch.where(inside_CW, cell_CW, cells + _OUTSIDE)).to(device)
        self._one_each = len(kinds) < len(set(kinds)) * self.count
        if self._one_each:
            self._build_pairs(dim, vision, kinds, device)
        else:
            self._build_counts(torch.where(inside_CW, cell_CW, cells), start_W, kinds, device)

    def _build_pairs(self, dim: int, vision: int, kinds: Sequence[int], device: torch.device) -> None:
        """Tables over the offset from viewer to subject: codes of two cells differ by the number of the offset."""
        span, order = 2 * dim - 1, sorted(set(kinds))
        step = torch.arange(span) - (dim - 1)
        row_SS, col_SS = step[:, None].expand(span, span), step.expand(span, span)
        seen_SS = (row_SS.abs() <= vision) & (col_SS.abs() <= vision)
        start_SS = ((row_SS + vision) * (2 * vision + 1) + col_SS + vision) * self.vocabulary + dim * dim
        self._pair_index = torch.cat([torch.where(seen_SS, start_SS + kind, 0).flatten() for kind in order]).to(device)
        self._pair_value = seen_SS.flatten().repeat(len(order)).float().to(device)
        self._span = span
        self._table_S = torch.tensor([order.index(k) * span**2 + (dim - 1) * (span + 1) for k in kinds], device=device)
        self._kind_S = torch.tensor(kinds, dtype=torch.int32, device=device) + dim * dim
        # Places first; what follows is written over.
        self._row_CK = torch.cat([self.place_CW, self.place_CW.new_zeros(dim * dim, len(kinds))], 1)

    def _build_counts(self, cell_CW: Tensor, start_W: Tensor, kinds: Sequence[int], device: torch.device) -> None:
        """Tables of what is looked up where; each kind has its own dim^2 + 1 counters, the last for "outside"."""
        cells, order = len(cell_CW), sorted(set(kinds))
        self._counters = (cells + 1) * len(order)
        self._offset_S = torch.tensor([order.index(kind) * (cells + 1) for kind in kinds], device=device)
        self._of_kind = [[s for s, kind in enumerate(kinds) if kind == wanted] for wanted in order]
        lookup_CWG = cell_CW[..., None] + torch.arange(len(order)) * (cells + 1)
        kind_CWG = (start_W[:, None] + cells + torch.tensor(order)).expand(cells, -1, -1)
        self._lookup_CL = lookup_CWG.flatten(1).to(device)
        self._row_CK = torch.cat([self.place_CW[..., None], kind_CWG.to(device)], -1).flatten(1)

    def look(self, viewer: Int[Tensor, "B M 2"], subject: Int[Tensor, "B S 2"]) -> SparseObs:
        """The non-zeros of what the viewers see."""
        rows, viewers, _ = viewer.shape
        cell = _code(viewer, self._dim).view(-1)
        if self._one_each:
            pairs = self._pairs_compiled if torch.compiler.is_compiling() else self._pairs
            return SparseObs(*pairs(cell, viewer, subject), self.width)
        index_BMK = self._row_CK.index_select(0, cell).view(rows, viewers, -1)
        if torch.compiler.is_compiling() and self.count == 1:
            return SparseObs(index_BMK, self._counts_compiled(viewer, subject), self.width)
        return SparseObs(index_BMK, self._counts(cell, viewer, subject), self.width)

    def _counts(self, cell: Tensor, viewer: Tensor, subject: Tensor) -> Tensor:
        rows, viewers, _ = viewer.shape
        count_BT = torch.zeros(rows, self._counters, device=viewer.device)
        counted_BS = _code(subject, self._dim) + self._offset_S
        count_BT.scatter_add_(1, counted_BS, torch.ones_like(counted_BS, dtype=torch.float32))
        lookup_BL = self._lookup_CL.index_select(0, cell).view(rows, -1)
        value_BMWE = torch.ones(rows, viewers, self.count, self._row_CK.shape[1] // self.count, device=viewer.device)
        value_BMWE[..., 1:] = count_BT.gather(1, lookup_BL).view(rows, viewers, self.count, -1)
        return value_BMWE.flatten(2)

    def _counts_compiled(self, viewer: Tensor, subject: Tensor) -> Tensor:
        """The same numbers by comparison, for a window of one cell: a fused pass has no use for counters in memory."""
        here, there = _code(viewer, self._dim), _code(subject, self._dim)
        counts = [torch.ones(here.shape, device=viewer.device)]
        for subjects in self._of_kind:
            same = [(here == there[:, s : s + 1]).float() for s in subjects]
            counts.append(sum(same[1:], same[0]))
        return torch.stack(counts, -1)

    def _pairs(self, cell: Tensor, viewer: Tensor, subject: Tensor) -> tuple[Tensor, Tensor]:
        """One look-up for each pair of a viewer and a subject: the fewest passes over memory of single operations."""
        pairs = (*viewer.shape[:2], subject.shape[1])
        from_BM, to_BS = _code(viewer, self._span).int(), (_code(subject, self._span) + self._table_S).int()
        offset = (to_BS[:, None, :] - from_BM[:, :, None]).view(-1)
        index_BMK = self._row_CK.index_select(0, cell).view(*pairs[:2], -1)
        value_BMK = torch.ones(index_BMK.shape, device=viewer.device)
        index_BMK[..., self.count :] = self._pair_index.index_select(0, offset).view(pairs)
        value_BMK[..., self.count :] = self._pair_value.index_select(0, offset).view(pairs)
        return index_BMK, value_BMK

    def _pairs_compiled(self, cell: Tensor, viewer: Tensor, subject: Tensor) -> tuple[Tensor, Tensor]:
        """The same numbers by arithmetic: in one fused pass it is vectorised, and look-ups are not."""
        vision, viewer_, subject_ = self._vision, viewer.int(), subject.int()
        offset = subject_[:, None] - viewer_[:, :, None] + vision
        row, col = offset.unbind(-1)
        seen = (row >= 0) & (row <= 2 * vision) & (col >= 0) & (col <= 2 * vision)
        start = (row * (2 * vision + 1) + col) * self.vocabulary
        index = torch.where(seen, start + self._kind_S, 0).long()
        place = self.place_CW[cell].view(*viewer.shape[:2], -1)
        one = torch.ones(place.shape, device=viewer.device)
        return torch.cat([place, index], -1), torch.cat([one, seen.float()], -1)


def _code(place: Tensor, stride: int) -> Tensor:
    """``row * stride + column`` of ``[B, X, 2]``."""
    return torch.add(place[..., 1], place[..., 0], alpha=stride)
