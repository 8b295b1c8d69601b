"""Diffusion and advection around obstacles, in a wind that differs from place to place, and the reaction A + B -> C.

The scheme is that of ``diffusion``, with a wind and an opening of its own for each face between two cells. Through
a closed face nothing flows: obstacles are cells with closed faces.

**Wind.** On each open face the uniform wind of the medium plus that of a vortex with the stream function

    psi = s sin(pi i / rows) sin(pi j / columns)        at the corners (i, j) of the cells, 0 at those of obstacles

of which a face carries the difference between its two corners: towards higher rows psi(right) - psi(left), towards
higher columns psi(above) - psi(below), rows counted downwards. So what the vortex blows into a cell it blows out of it,
exactly; a uniform concentration stays uniform, and without sources the largest concentration cannot rise
(the maximum principle). A uniform wind piles up in front of obstacles and walls instead; mass is conserved either way.

**Stability.** As in ``diffusion``, a step is stable and keeps the field non-negative if no cell gives away more
than it has: dt (sum over its faces of (D + wind out of the cell) + k) <= 1.

**Reaction.** Where A and B meet, dA/dt = dB/dt = -r A B, dC/dt = r A B. In a well-mixed cell with hi >= lo the larger
and the smaller of A and B and d = hi - lo, which the reaction does not change, what turns into C within t is

    x = hi lo g / (1 + lo g),        g = (1 - exp(-r d t)) / d  ->  r t  for d -> 0

exactly, so x <= lo at any t: concentrations stay non-negative, and A + C and B + C stay what they are.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.shapes import Bool, Float

from .diffusion import Medium


@dataclass(frozen=True)
class _Axis:
    """Shares of a cell's concentration that cross its faces along one axis in a step; the last faces join or leave."""

    dim: int
    forward: Tensor  # over the faces between neighbours, to the cell behind
    backward: Tensor
    end: Tensor  # out of the last cell, forward
    start: Tensor  # out of the first cell, backward


class Transport:
    """One explicit step of a medium on a grid with obstacles and a vortex.

    Args:
        medium: Diffusion, uniform wind, decay, step and boundary.
        closed: ``[rows, columns]``, True where an obstacle is.
        vortex: Largest speed of the vortex, cells per unit of time; positive turns counter-clockwise (rows counted
            downwards), negative clockwise, 0 is none.
    """

    def __init__(self, medium: Medium, closed: Bool[Tensor, "rows columns"], vortex: float = 0.0) -> None:
        self.medium, self.closed = medium, closed
        rows, columns = closed.shape
        psi = torch.outer(_arch(rows), _arch(columns))
        touched = torch.nn.functional.max_pool2d(torch.nn.functional.pad(closed.double()[None], (1, 1, 1, 1)), 2, 1)[0]
        psi = psi * (touched == 0)
        along_rows, along_columns = psi[1:-1].diff(dim=1), -psi[:, 1:-1].diff(dim=0)
        largest = max([float(x.abs().max()) for x in (along_rows, along_columns) if x.numel()], default=0.0)
        scale = vortex / largest if largest > 0.0 else 0.0
        self._axes = (
            self._axis(0, medium.wind[0], scale * along_rows),
            self._axis(1, medium.wind[1], scale * along_columns),
        )

    def _axis(self, dim: int, uniform: float, vortex: Tensor) -> _Axis:
        medium, free = self.medium, (~self.closed).double()
        last = free.shape[dim] - 1
        is_open = free.narrow(dim, 0, last) * free.narrow(dim, 1, last)
        wind = uniform + vortex
        first, final = free.narrow(dim, 0, 1), free.narrow(dim, last, 1)
        around = {"reflect": torch.zeros_like(first), "periodic": first * final}.get(medium.boundary)
        return _Axis(
            dim,
            medium.dt * is_open * (medium.diffusion + wind.clamp_min(0.0)),
            medium.dt * is_open * (medium.diffusion - wind.clamp_max(0.0)),
            medium.dt * (final if around is None else around) * (medium.diffusion + max(uniform, 0.0)),
            medium.dt * (first if around is None else around) * (medium.diffusion - min(uniform, 0.0)),
        )

    def to(self, dtype: torch.dtype, device: torch.device) -> Transport:
        """The same with the numbers of a step in ``dtype`` on ``device``."""
        other = object.__new__(Transport)
        other.medium, other.closed = self.medium, self.closed.to(device)
        other._axes = (self._cast(self._axes[0], dtype, device), self._cast(self._axes[1], dtype, device))
        return other

    @staticmethod
    def _cast(axis: _Axis, dtype: torch.dtype, device: torch.device) -> _Axis:
        parts = (axis.forward, axis.backward, axis.end, axis.start)
        return _Axis(axis.dim, *(x.to(device, dtype) for x in parts))

    @property
    def largest_dt(self) -> float:
        """The stability limit of the step."""
        share = torch.full(self.closed.shape, self.medium.decay * self.medium.dt, dtype=torch.float64)
        for axis in self._axes:
            last = share.shape[axis.dim] - 1
            share.narrow(axis.dim, 0, last).add_(axis.forward)
            share.narrow(axis.dim, 1, last).add_(axis.backward)
            share.narrow(axis.dim, last, 1).add_(axis.end)
            share.narrow(axis.dim, 0, 1).add_(axis.start)
        most = float(share.max())
        return self.medium.dt / most if most > 0.0 else math.inf

    def step(
        self, c: Float[Tensor, "*lead rows columns"], q: Float[Tensor, "*lead rows columns"]
    ) -> Float[Tensor, "*lead rows columns"]:
        """The concentration after one step; ``q`` is emitted per cell and unit of time, outside of obstacles."""
        medium = self.medium
        after = c + medium.dt * (q - medium.decay * c)
        for axis in self._axes:
            dim, last = axis.dim - 2, c.shape[axis.dim - 2] - 1
            flux = axis.forward * c.narrow(dim, 0, last) - axis.backward * c.narrow(dim, 1, last)
            after.narrow(dim, 0, last).sub_(flux)
            after.narrow(dim, 1, last).add_(flux)
            if medium.boundary == "reflect":
                continue
            out_at_end, out_at_start = axis.end * c.narrow(dim, last, 1), axis.start * c.narrow(dim, 0, 1)
            after.narrow(dim, last, 1).sub_(out_at_end)
            after.narrow(dim, 0, 1).sub_(out_at_start)
            if medium.boundary == "periodic":
                after.narrow(dim, 0, 1).add_(out_at_end)
                after.narrow(dim, last, 1).add_(out_at_start)
        return after

    def point_source_table(self) -> Float[Tensor, "cells rows columns"]:
        """For each cell, the steady field of a source of strength 1 in it (float64); zeros for obstacles.

        As ``diffusion.point_source_table``, over the open cells.
        """
        rows, columns = self.closed.shape
        cells = rows * columns
        open_F = (~self.closed).flatten().nonzero().squeeze(-1)
        unit = torch.eye(cells, dtype=torch.float64)[open_F].view(-1, rows, columns)
        moved_FF = self.step(unit, torch.zeros_like(unit)).view(-1, cells)[:, open_F]
        loss_FF = torch.eye(len(open_F), dtype=torch.float64) - moved_FF.T
        steady_FF = torch.linalg.solve(loss_FF, self.medium.dt * torch.eye(len(open_F), dtype=torch.float64))
        table = torch.zeros(cells, cells, dtype=torch.float64)
        table[open_F[:, None], open_F] = steady_FF.T
        return table.view(cells, rows, columns)


def _arch(count: int) -> Tensor:
    """``sin(pi i / count)`` at the corners 0 ... count, exactly 0 at both ends."""
    values = torch.sin(torch.pi * torch.arange(count + 1, dtype=torch.float64) / count)
    values[-1] = 0.0
    return values


def react(
    a: Float[Tensor, "*lead"], b: Float[Tensor, "*lead"], rate_time: float | Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead"]:
    """What of ``a`` and ``b`` turns into C; ``rate_time`` is r t, in 1 / concentration."""
    high, low = torch.maximum(a, b), torch.minimum(a, b)
    difference = high - low
    x = rate_time * difference
    # (1 - exp(-x)) / x, whose limit at 0 is 1; the inner choice keeps 0 / 0 out.
    share = torch.where(x > 0, -torch.expm1(-x) / torch.where(x > 0, x, 1.0), 1.0)
    g = rate_time * share
    return high * low * g / (1.0 + low * g)
