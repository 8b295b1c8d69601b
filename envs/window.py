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
        viewer ``[B, M]`` and subject ``[B, S]`` are cells, row * dim + column, int64.
    """

    def __init__(self, dim: int, vision: int, kinds: Sequence[int], device: torch.device) -> None:
        cells, side = dim * dim, 2 * vision + 1
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
        span = 2 * dim - 1
        step = torch.arange(span) - (dim - 1)
        row_SS, col_SS = step[:, None].expand(span, span), step.expand(span, span)
        seen_SS = (row_SS.abs() <= vision) & (col_SS.abs() <= vision)
        start_SS = ((row_SS + vision) * (2 * vision + 1) + col_SS + vision) * self.vocabulary + dim * dim
        order = sorted(set(kinds))
        self._pair_index = torch.cat([torch.where(seen_SS, start_SS + kind, 0).flatten() for kind in order]).to(device)
        self._pair_value = seen_SS.flatten().repeat(len(order)).float().to(device)
        code_C = (torch.arange(dim * dim) // dim * span + torch.arange(dim * dim) % dim).int()
        table_S = torch.tensor([order.index(kind) * span * span for kind in kinds], dtype=torch.int32)
        self._subject_code = code_C.to(device)
        self._viewer_code = (code_C - (dim - 1) * (span + 1)).to(device)
        self._table_S = table_S.to(device)
        # Places first; what follows is written over.
        self._row_CK = torch.cat([self.place_CW, self.place_CW.new_zeros(dim * dim, len(kinds))], 1)

    def _build_counts(self, cell_CW: Tensor, start_W: Tensor, kinds: Sequence[int], device: torch.device) -> None:
        """Tables of what is looked up where; each kind has its own dim^2 + 1 counters, the last for "outside"."""
        cells, order = len(cell_CW), sorted(set(kinds))
        self._counters = (cells + 1) * len(order)
        self._offset_S = torch.tensor([order.index(kind) * (cells + 1) for kind in kinds], device=device)
        lookup_CWG = cell_CW[..., None] + torch.arange(len(order)) * (cells + 1)
        kind_CWG = (start_W[:, None] + cells + torch.tensor(order)).expand(cells, -1, -1)
        self._lookup_CL = lookup_CWG.flatten(1).to(device)
        self._row_CK = torch.cat([self.place_CW[..., None], kind_CWG.to(device)], -1).flatten(1)

    def look(self, viewer: Int[Tensor, "B M"], subject: Int[Tensor, "B S"]) -> SparseObs:
        """The non-zeros of what ``viewer`` see."""
        rows, viewers = viewer.shape
        index_BMK = self._row_CK.index_select(0, viewer.reshape(-1)).view(rows, viewers, -1)
        if self._one_each:
            return self._one_entry_each(index_BMK, viewer, subject)
        count_BT = torch.zeros(rows, self._counters, device=viewer.device)
        count_BT.scatter_add_(1, subject + self._offset_S, torch.ones_like(subject, dtype=torch.float32))
        lookup_BL = self._lookup_CL.index_select(0, viewer.reshape(-1)).view(rows, -1)
        value_BMWE = torch.ones(rows, viewers, self.count, index_BMK.shape[-1] // self.count, device=viewer.device)
        value_BMWE[..., 1:] = count_BT.gather(1, lookup_BL).view(rows, viewers, self.count, -1)
        return SparseObs(index_BMK, value_BMWE.flatten(2), self.width)

    def _one_entry_each(self, index_BMK: Tensor, viewer: Tensor, subject: Tensor) -> SparseObs:
        from_BM = self._viewer_code.index_select(0, viewer.reshape(-1)).view(viewer.shape)
        to_BS = self._subject_code.index_select(0, subject.reshape(-1)).view(subject.shape) + self._table_S
        offset = (to_BS[:, None, :] - from_BM[:, :, None]).view(-1)
        pairs = (*viewer.shape, subject.shape[1])
        value_BMK = torch.ones(index_BMK.shape, device=viewer.device)
        index_BMK[..., self.count :] = self._pair_index.index_select(0, offset).view(pairs)
        value_BMK[..., self.count :] = self._pair_value.index_select(0, offset).view(pairs)
        return SparseObs(index_BMK, value_BMK, self.width)
