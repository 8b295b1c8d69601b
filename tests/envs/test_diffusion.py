"""The physics of the chemical field, against closed forms and an independent linear solve."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gnncomm.envs.chemical.diffusion import BOUNDARIES, Medium, diffuse_step, largest_dt, point_source_table
from torch import Tensor


def run(c: Tensor, medium: Medium, steps: int, q: Tensor | None = None) -> Tensor:
    q = torch.zeros_like(c) if q is None else q
    for _ in range(steps):
        c = diffuse_step(c, q, medium)
    return c


def blob(rows: int, columns: int, row: int, column: int) -> Tensor:
    c = torch.zeros(rows, columns, dtype=torch.float64)
    c[row, column] = 1.0
    return c


def moments(c: Tensor) -> tuple[float, float, float, float]:
    """Mean and variance of the row and of the column, with ``c`` as the density."""
    share = c / c.sum()
    row, column = torch.arange(c.shape[0]).double(), torch.arange(c.shape[1]).double()
    mean_row, mean_column = float(share.sum(1) @ row), float(share.sum(0) @ column)
    return (
        mean_row,
        mean_column,
        float(share.sum(1) @ (row - mean_row) ** 2),
        float(share.sum(0) @ (column - mean_column) ** 2),
    )


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
@pytest.mark.parametrize("wind", [(0.0, 0.0), (0.7, -0.4), (-1.0, 0.3)])
def test_mass_is_conserved(boundary: str, wind: tuple[float, float]) -> None:
    medium = Medium(diffusion=0.6, wind=wind, dt=0.2, boundary=boundary)
    start = torch.tensor(np.random.default_rng(0).random((3, 7, 9)))
    end = run(start, medium, 400)
    assert torch.allclose(end.sum((1, 2)), start.sum((1, 2)), rtol=1e-12, atol=0.0)
    assert not torch.allclose(end, start)


def test_sources_add_their_mass_and_open_walls_lose_it() -> None:
    q = blob(6, 6, 1, 4) * 0.3
    medium = Medium(dt=0.1)
    assert float(run(torch.zeros_like(q), medium, 50, q).sum()) == pytest.approx(0.3 * 50 * 0.1, rel=1e-12)
    masses = [float(run(blob(6, 6, 3, 3), Medium(dt=0.1, boundary="absorb"), n).sum()) for n in (0, 20, 40, 80)]
    assert masses == sorted(masses, reverse=True)
    assert masses[-1] < 0.7


def test_absorbing_wall_takes_a_flux_of_d_times_c() -> None:
    """Corner cell: two walls, two neighbours, so the share 1 - 4 D dt stays and D dt goes through each face."""
    medium = Medium(diffusion=0.5, dt=0.1, boundary="absorb")
    c = run(blob(3, 3, 0, 0), medium, 1)
    assert c[0, 0] == pytest.approx(1 - 4 * 0.5 * 0.1)
    assert c[0, 1] == c[1, 0] == pytest.approx(0.05)
    assert float(c.sum()) == pytest.approx(1 - 2 * 0.5 * 0.1)


def test_five_point_laplacian_by_hand() -> None:
    c = run(blob(5, 5, 2, 2), Medium(diffusion=2.0, dt=0.05), 1)
    assert c[2, 2] == pytest.approx(1 - 4 * 2 * 0.05)
    assert all(c[i] == pytest.approx(2 * 0.05) for i in ((1, 2), (3, 2), (2, 1), (2, 3)))
    assert float(c[1, 1]) == 0.0


@pytest.mark.parametrize("diffusion", [0.25, 1.0])
def test_variance_grows_as_2dt_per_axis(diffusion: float) -> None:
    """Exact for the scheme, too, as long as no wall is reached: a random walk with steps of variance 2 D dt."""
    medium = Medium(diffusion=diffusion, dt=0.1)
    for steps in (10, 40, 100):
        mean_row, mean_column, var_row, var_column = moments(run(blob(81, 81, 40, 40), medium, steps))
        assert (mean_row, mean_column) == pytest.approx((40.0, 40.0), abs=1e-9)
        assert (var_row, var_column) == pytest.approx((2 * diffusion * steps * 0.1,) * 2, rel=1e-6)


def test_decay_is_exponential() -> None:
    rate, dt, steps = 0.3, 0.01, 200
    end = run(torch.full((4, 4), 2.0, dtype=torch.float64), Medium(decay=rate, dt=dt), steps)
    assert torch.allclose(end, torch.full_like(end, 2.0 * (1 - rate * dt) ** steps), rtol=1e-12, atol=0.0)
    # (1 - x)^n = exp(n log(1 - x)), log(1 - x) = -x - x^2 / 2 - ...: relative error n (k dt)^2 / 2 to first order.
    exact = 2.0 * math.exp(-rate * dt * steps)
    assert abs(float(end[0, 0]) / exact - 1) <= 1.1 * steps * (rate * dt) ** 2 / 2


@pytest.mark.parametrize("wind", [(0.5, 0.0), (0.0, -0.8), (0.5, -0.25)])
def test_wind_carries_the_centre_of_mass(wind: tuple[float, float]) -> None:
    """The centre moves by v t exactly; upwinding adds |v| (1 - |v| dt) / 2 to D along each axis."""
    dt, steps = 0.2, 50
    medium = Medium(diffusion=0.1, wind=wind, dt=dt, boundary="periodic")
    start = blob(61, 61, 30, 30)
    mean_row, mean_column, var_row, var_column = moments(run(start, medium, steps))
    assert (mean_row - 30, mean_column - 30) == pytest.approx((wind[0] * dt * steps, wind[1] * dt * steps), rel=1e-6)
    widths = [2 * dt * steps * (0.1 + abs(v) * (1 - abs(v) * dt) / 2) for v in wind]
    assert (var_row, var_column) == pytest.approx(tuple(widths), rel=1e-4)


def test_courant_number_one_shifts_by_one_cell() -> None:
    medium = Medium(diffusion=0.0, wind=(0.0, 1.0), dt=1.0, boundary="periodic")
    start = torch.tensor(np.random.default_rng(1).random((3, 5)))
    assert torch.allclose(run(start, medium, 1), start.roll(1, 1), rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_largest_dt_is_the_border_of_stability(boundary: str) -> None:
    """At the limit nothing changes sign or grows; a little beyond it a checkerboard does."""
    rates = {"diffusion": 1.0, "wind": (0.3, -0.2), "decay": 0.1, "boundary": boundary}
    limit = largest_dt(Medium(**rates))  # type: ignore[arg-type]  # a dict of mixed settings
    assert limit == pytest.approx(1 / (4 + 0.3 + 0.2 + 0.1))
    one = blob(8, 8, 3, 3)
    assert float(run(one, Medium(**rates, dt=limit), 1).min()) >= -1e-15  # type: ignore[arg-type]
    assert float(run(one, Medium(**rates, dt=1.05 * limit), 1).min()) < -0.01  # type: ignore[arg-type]
    board = (torch.arange(8)[:, None] + torch.arange(8)).double() % 2 * 2 - 1
    assert float(run(board, Medium(**rates, dt=limit), 200).abs().sum()) <= float(board.abs().sum())  # type: ignore[arg-type]
    assert float(run(board, Medium(diffusion=1.0, dt=0.28, boundary=boundary), 200).abs().max()) > 1e6


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("wind", [(0.0, 0.0), (0.5, -0.3)])
def test_steady_state_of_a_point_source(boundary: str, wind: tuple[float, float]) -> None:
    """It stands still under the step, holds q / k of mass behind closed walls, and equals a solve built by hand."""
    medium = Medium(diffusion=0.8, wind=wind, decay=0.2, dt=0.1, boundary=boundary)
    table = point_source_table(4, 5, medium)
    q = torch.eye(20, dtype=torch.float64).view(20, 4, 5)
    assert float((diffuse_step(table, q, medium) - table).abs().max()) < 1e-13
    assert bool((table > 0).all())
    if boundary != "absorb":
        assert torch.allclose(table.sum((1, 2)), torch.full((20,), 1 / 0.2, dtype=torch.float64), rtol=1e-10)
    expected = np.linalg.solve(balance_by_hand(4, 5, medium), np.eye(20)).T
    assert np.allclose(table.view(20, 20).numpy(), expected, rtol=1e-10, atol=1e-14)


def balance_by_hand(rows: int, columns: int, medium: Medium) -> np.ndarray:
    """Loss minus gain of each cell from each cell, one face after the other: ``balance @ c = q`` when steady."""
    balance = np.eye(rows * columns) * medium.decay
    sides = ((1, 0, medium.wind[0]), (-1, 0, -medium.wind[0]), (0, 1, medium.wind[1]), (0, -1, -medium.wind[1]))
    for row in range(rows):
        for column in range(columns):
            for d_row, d_column, wind_out in sides:
                other = (row + d_row, column + d_column)
                inside = 0 <= other[0] < rows and 0 <= other[1] < columns
                if not inside and medium.boundary == "reflect":
                    continue
                here = row * columns + column
                leaves = medium.diffusion + max(wind_out, 0.0)
                balance[here, here] += leaves
                if inside or medium.boundary == "periodic":
                    balance[other[0] % rows * columns + other[1] % columns, here] -= leaves
    return balance


def test_developing_field_tends_to_the_steady_state() -> None:
    medium = Medium(decay=0.2, dt=0.2)
    q = blob(10, 10, 4, 4)
    assert torch.allclose(run(torch.zeros_like(q), medium, 600, q), point_source_table(10, 10, medium)[44], rtol=1e-8)
