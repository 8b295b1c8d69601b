"""Advection, diffusion and decay of a concentration on a grid of unit cells: the physics of ``chemical``, pure.

    dc/dt = D lap(c) - v . grad(c) - k c + q

Finite volumes, explicit in time. Through the face between neighbours a and b (b behind a along an axis, wind v along
that axis) flows

    J = max(v, 0) c_a + min(v, 0) c_b - D (c_b - c_a)

(upwind advection, central diffusion: LeVeque 2002, "Finite volume methods for hyperbolic problems", section 4.8), and a
cell gains what flows in minus what flows out, so mass is conserved but for decay, sources and open walls. In the
interior the diffusive part is the 5-point Laplacian.

**Stability.** A cell keeps the share 1 - dt (4 D + |v_row| + |v_column| + k) of its own concentration and takes
non-negative shares of its neighbours'. If its own share is not negative either, that is for

    dt <= 1 / (4 D + |v_row| + |v_column| + k),

then without sources the field stays non-negative and its total, and so the scheme's error, cannot grow. For D = 0 this
is the Courant condition, for v = k = 0 the usual dt <= 1 / (4 D) of the explicit scheme. Upwinding adds a numerical
diffusion of |v| (1 - |v| dt) / 2 along each axis.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.shapes import Float

BOUNDARIES = ("reflect", "periodic", "absorb")


@dataclass(frozen=True)
class Medium:
    """What the chemical moves through. Lengths in cells; ``dt`` in the unit of time of the rates."""

    diffusion: float = 1.0
    wind: tuple[float, float] = (0.0, 0.0)  # (rows, columns)
    decay: float = 0.0
    dt: float = 0.1
    boundary: str = "reflect"  # no flux through the walls | opposite walls joined | concentration 0 outside


def largest_dt(medium: Medium) -> float:
    """The stability limit, ``1 / (4 D + |v_row| + |v_column| + k)``."""
    rate = 4.0 * medium.diffusion + abs(medium.wind[0]) + abs(medium.wind[1]) + medium.decay
    return 1.0 / rate if rate > 0.0 else math.inf


def diffuse_step(
    c: Float[Tensor, "*lead rows columns"], q: Float[Tensor, "*lead rows columns"], medium: Medium
) -> Float[Tensor, "*lead rows columns"]:
    """The concentration after one explicit step of ``medium.dt``; ``q`` is emitted per cell and unit of time."""
    after = c + medium.dt * (q - medium.decay * c)
    _flow(after, c, -2, medium.wind[0], medium)
    _flow(after, c, -1, medium.wind[1], medium)
    return after


def _flow(after: Tensor, c: Tensor, axis: int, wind: float, medium: Medium) -> None:
    """Move in ``after`` what crosses the faces of one axis in a step; what leaves one cell enters its neighbour."""
    forward = medium.dt * (medium.diffusion + max(wind, 0.0))
    backward = medium.dt * (medium.diffusion - min(wind, 0.0))
    last = c.shape[axis] - 1
    flux = forward * c.narrow(axis, 0, last) - backward * c.narrow(axis, 1, last)
    after.narrow(axis, 0, last).sub_(flux)
    after.narrow(axis, 1, last).add_(flux)
    if medium.boundary == "reflect":
        return
    out_at_end, out_at_start = forward * c.narrow(axis, last, 1), backward * c.narrow(axis, 0, 1)
    after.narrow(axis, last, 1).sub_(out_at_end)
    after.narrow(axis, 0, 1).sub_(out_at_start)
    if medium.boundary == "periodic":
        after.narrow(axis, 0, 1).add_(out_at_end)
        after.narrow(axis, last, 1).add_(out_at_start)


def point_source_table(rows: int, columns: int, medium: Medium) -> Float[Tensor, "cells rows columns"]:
    """For each cell, the steady field of a source of strength 1 in it (float64).

    The step is affine, c <- A c + dt q, so the steady field solves (1 - A) c = dt q; the columns of A are steps of unit
    fields. There is a solution if something takes mass away: decay, or an absorbing boundary.
    """
    cells = rows * columns
    unit = torch.eye(cells, dtype=torch.float64).view(cells, rows, columns)
    moved = diffuse_step(unit, torch.zeros_like(unit), medium).view(cells, cells)  # row s: A e_s
    loss = torch.eye(cells, dtype=torch.float64) - moved.T
    steady = torch.linalg.solve(loss, medium.dt * torch.eye(cells, dtype=torch.float64))
    table: Tensor = steady.T.reshape(cells, rows, columns)
    return table
