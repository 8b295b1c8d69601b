"""Physics around obstacles, in a vortex and of two species that react, against closed forms and numbers by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gnncomm.envs.chemical.diffusion import BOUNDARIES, Medium, diffuse_step, largest_dt, point_source_table
from gnncomm.envs.chemical.wind import Transport, react
from torch import Tensor

NOTHING = torch.zeros(6, 7, dtype=torch.bool)


def wall(rows: int, columns: int, column: int) -> Tensor:
    closed = torch.zeros(rows, columns, dtype=torch.bool)
    closed[:, column] = True
    return closed


def some_obstacles() -> Tensor:
    closed = torch.zeros(6, 7, dtype=torch.bool)
    closed[2, 1:4] = closed[4, 5] = closed[0, 6] = True
    return closed


def random_field(closed: Tensor, seed: int = 0) -> Tensor:
    return torch.tensor(np.random.default_rng(seed).random(closed.shape)) * ~closed


def run(transport: Transport, c: Tensor, steps: int, q: Tensor | None = None) -> Tensor:
    q = torch.zeros_like(c) if q is None else q
    for _ in range(steps):
        c = transport.step(c, q)
    return c


@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("wind", [(0.0, 0.0), (0.5, -0.3)])
def test_without_obstacles_and_vortex_it_is_the_plain_scheme(boundary: str, wind: tuple[float, float]) -> None:
    medium = Medium(0.7, wind, 0.2, 0.1, boundary)
    transport = Transport(medium, NOTHING)
    c, q = random_field(NOTHING), random_field(NOTHING, 1)
    assert torch.allclose(transport.step(c, q), diffuse_step(c, q, medium), rtol=1e-13, atol=1e-15)
    assert torch.allclose(transport.point_source_table(), point_source_table(6, 7, medium), rtol=1e-9, atol=1e-12)
    if boundary != "reflect":  # behind closed walls the largest loss is that of an inner cell, too
        assert transport.largest_dt == pytest.approx(largest_dt(medium))


@pytest.mark.parametrize("boundary", ["reflect", "periodic"])
@pytest.mark.parametrize(
    ("wind", "vortex"), [((0.0, 0.0), 0.0), ((0.4, -0.7), 0.0), ((0.0, 0.0), 0.8), ((0.2, 0.3), -0.5)]
)
def test_mass_is_conserved_around_obstacles(boundary: str, wind: tuple[float, float], vortex: float) -> None:
    closed = some_obstacles()
    transport = Transport(Medium(0.4, wind, dt=0.1, boundary=boundary), closed, vortex)
    assert transport.largest_dt > 0.1
    start = random_field(closed)
    end = run(transport, start, 500)
    assert float(end.sum()) == pytest.approx(float(start.sum()), rel=1e-12)
    assert bool((end[closed] == 0).all())
    assert bool((end >= 0).all())
    assert not torch.allclose(end, start)


def test_nothing_passes_a_wall_and_everything_a_door() -> None:
    closed = wall(5, 7, 3)
    medium = Medium(1.0, (0.0, 0.5), dt=0.1)
    start = torch.zeros(5, 7, dtype=torch.float64)
    start[2, 1] = 1.0
    behind = run(Transport(medium, closed), start, 1000)[:, 4:]
    assert float(behind.abs().max()) == 0.0
    closed[1, 3] = False
    still = Transport(Medium(1.0, dt=0.1), closed)
    open_end = run(still, start, 5_000)
    assert torch.allclose(open_end[~closed], torch.full((31,), 1 / 31, dtype=torch.float64), rtol=1e-9)  # 35 - 4 cells


def test_flux_past_an_obstacle_by_hand() -> None:
    """3 x 3, the middle closed: the cell above it keeps 1 - 2 D dt and gives D dt to its two neighbours."""
    closed = torch.zeros(3, 3, dtype=torch.bool)
    closed[1, 1] = True
    c = torch.zeros(3, 3, dtype=torch.float64)
    c[0, 1] = 1.0
    after = Transport(Medium(0.5, dt=0.2), closed).step(c, torch.zeros_like(c))
    assert after.tolist() == [[pytest.approx(0.1), pytest.approx(0.8), pytest.approx(0.1)], [0, 0, 0], [0, 0, 0]]
    # wind (rows, columns) = (0.3, 0.4): down is closed, right carries dt (D + 0.4), left dt D
    blown = Transport(Medium(0.5, (0.3, 0.4), dt=0.2), closed).step(c, torch.zeros_like(c))
    assert blown[0].tolist() == pytest.approx([0.1, 1 - 0.1 - 0.18, 0.18])
    assert float(blown[1:].abs().max()) == 0.0


def test_vortex_by_hand() -> None:
    """2 x 2: psi is 1 at the centre and 0 elsewhere, so all four faces carry the largest speed, round and round."""
    transport = Transport(Medium(0.0, dt=0.25), torch.zeros(2, 2, dtype=torch.bool), vortex=2.0)
    c = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    for expected in ([[0.5, 0], [0.5, 0]], [[0.25, 0], [0.5, 0.25]]):  # half of it crosses a face in each step
        c = transport.step(c, torch.zeros_like(c))
        assert c.tolist() == expected
    assert transport.largest_dt == pytest.approx(0.5)


@pytest.mark.parametrize("closed", [NOTHING, some_obstacles()])
def test_maximum_principle_in_the_vortex(closed: Tensor) -> None:
    """What is uniform stays so, and neither the largest concentration rises nor the smallest falls."""
    transport = Transport(Medium(0.1, dt=0.2), closed, vortex=1.5)
    uniform = (~closed).double()
    assert torch.allclose(run(transport, uniform, 300), uniform, rtol=1e-12, atol=1e-14)
    c = random_field(closed)
    for _ in range(50):
        after = transport.step(c, torch.zeros_like(c))
        assert float(after[~closed].max()) <= float(c[~closed].max()) + 1e-15
        assert float(after[~closed].min()) >= float(c[~closed].min()) - 1e-15
        c = after


def test_vortex_turns_a_blob_round() -> None:
    """Near the centre the vortex is a rotation: a blob beside it comes by all four sides in turn."""
    transport = Transport(Medium(0.0, dt=0.05), torch.zeros(41, 41, dtype=torch.bool), vortex=1.0)
    step, seen = torch.arange(41).double() - 20, []
    c = torch.exp(-((step[:, None] + 8) ** 2 + step**2) / 8)  # above the centre
    for _ in range(1500):
        c = transport.step(c, torch.zeros_like(c))
        seen.append((float((c.sum(1) @ step) / c.sum()), float((c.sum(0) @ step) / c.sum())))
    rows, columns = np.array(seen).T
    left, below, right = columns.argmin(), rows.argmax(), columns.argmax()
    assert 0 < left < below < right
    assert columns[left] < -3
    assert rows[below] > 2


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_limit_is_the_border_of_stability(boundary: str) -> None:
    """At the limit nothing turns negative; a little beyond it the cell that gives most does."""
    rates = {"diffusion": 0.6, "wind": (0.4, -0.3), "decay": 0.2, "boundary": boundary}
    closed = some_obstacles()
    limit = Transport(Medium(**rates), closed, 0.7).largest_dt  # type: ignore[arg-type]  # a dict of mixed settings
    unit = torch.eye(42, dtype=torch.float64).view(42, 6, 7) * ~closed
    for dt, lowest in ((limit, -1e-15), (1.05 * limit, -0.01)):
        after = Transport(Medium(**rates, dt=dt), closed, 0.7).step(unit, torch.zeros_like(unit))  # type: ignore[arg-type]
        assert (float(after.min()) >= lowest) == (dt == limit)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_steady_state_around_obstacles(boundary: str) -> None:
    """It stands still under the step, holds q / k behind closed walls, and no concentration is in an obstacle."""
    closed = some_obstacles()
    transport = Transport(Medium(0.8, (0.2, -0.1), 0.25, 0.1, boundary), closed, 0.4)
    table = transport.point_source_table()
    q = torch.eye(42, dtype=torch.float64).view(42, 6, 7) * ~closed
    assert float((transport.step(table, q) - table).abs().max()) < 1e-13
    assert bool((table[:, closed] == 0).all())
    assert bool((table[~closed.flatten()][:, ~closed] > 0).all())
    if boundary != "absorb":
        assert torch.allclose(table.sum((1, 2)), 4.0 * (~closed).double().flatten(), rtol=1e-10)


@pytest.mark.parametrize("wind", [(0.6, 0.0), (0.3, -0.5)])
def test_a_gaussian_moves_with_the_wind(wind: tuple[float, float]) -> None:
    """First moment v t; variance grows by 2 (D + |v| (1 - |v| dt) / 2) t, the numerical diffusion included."""
    dt, steps, place = 0.1, 100, torch.arange(61).double() - 30
    transport = Transport(Medium(0.2, wind, dt=dt, boundary="periodic"), torch.zeros(61, 61, dtype=torch.bool))
    c = run(transport, torch.exp(-(place[:, None] ** 2 + place**2) / 8), steps)
    for axis, speed in enumerate(wind):
        share = c.sum(1 - axis) / c.sum()
        mean = float(share @ place)
        assert mean == pytest.approx(speed * dt * steps, abs=1e-4)
        assert float(share @ (place - mean) ** 2) == pytest.approx(
            4 + 2 * (0.2 + abs(speed) * (1 - abs(speed) * dt) / 2) * dt * steps, rel=1e-3
        )


def test_upwind_advection_is_of_first_order() -> None:
    """A sine carried round a ring: half the step and half the cell, half the error."""
    errors = []
    for cells in (40, 80, 160):
        speed = cells / 40  # the same wind, in smaller cells
        medium = Medium(0.0, (0.0, speed), dt=0.2 / speed, boundary="periodic")
        start = 1 + torch.sin(2 * torch.pi * (torch.arange(cells).double() + 0.5) / cells).expand(2, -1)
        transport = Transport(medium, torch.zeros(2, cells, dtype=torch.bool))
        errors.append(float((run(transport, start, 10 * cells // 2) - start).abs().max()))
        assert 10 * cells // 2 * medium.dt * speed == pytest.approx(cells)  # once round
    assert [errors[0] / errors[1], errors[1] / errors[2]] == pytest.approx([2, 2], rel=0.3)


@pytest.mark.parametrize(("a", "b"), [(2.0, 0.5), (0.5, 2.0), (1.0, 1.0), (3.0, 0.0), (0.0, 0.0), (1.0, 1.0 + 1e-9)])
@pytest.mark.parametrize("rate_time", [0.0, 0.1, 3.0, 1e4])
def test_reaction_is_the_well_mixed_solution(a: float, b: float, rate_time: float) -> None:
    """A(t) = A d / (A - B exp(-r d t)) with d = A - B, and A / (1 + r A t) for equal amounts."""
    x = float(react(torch.tensor(a).double(), torch.tensor(b).double(), rate_time))
    if abs(a - b) < 1e-6:
        left = a / (1 + rate_time * a)
    else:
        small, large, d = min(a, b), max(a, b), abs(a - b)
        left = large * d / (large - small * math.exp(-rate_time * d)) if large else 0.0
        left -= large - a
    assert a - x == pytest.approx(left, rel=1e-7, abs=1e-9)
    assert 0.0 <= x <= min(a, b)


def test_reaction_in_steps_is_the_reaction_at_once() -> None:
    """The exact flow of the equation: n steps of t / n end where one step of t does."""
    generator = np.random.default_rng(0)
    a, b = (torch.tensor(generator.random(50) * 4) for _ in range(2))
    at_once, c = react(a, b, 2.0), torch.zeros_like(a)
    for _ in range(16):
        x = react(a - c, b - c, 2.0 / 16)
        c = c + x
    assert torch.allclose(c, at_once, rtol=1e-11, atol=1e-13)
    euler = torch.zeros_like(a)
    for _ in range(20_000):
        euler = euler + 1e-4 * (a - euler) * (b - euler)
    assert torch.allclose(euler, at_once, rtol=1e-3, atol=1e-4)


def reacting(dt: float, time: float) -> tuple[Tensor, Tensor, Tensor]:
    transport = Transport(Medium(0.5, (0.2, -0.1), dt=dt), some_obstacles(), 0.3)
    a, b = random_field(some_obstacles(), 2), random_field(some_obstacles(), 3)
    c, nothing = torch.zeros_like(a), torch.zeros_like(a)
    for _ in range(round(time / dt)):
        a, b, c = (transport.step(x, nothing) for x in (a, b, c))
        x = react(a, b, 1.5 * dt)
        a, b, c = a - x, b - x, c + x
    return a, b, c


def test_reaction_and_transport_conserve_both_elements() -> None:
    first = [float(random_field(some_obstacles(), seed).sum()) for seed in (2, 3)]
    a, b, c = reacting(0.05, 5.0)
    assert float(a.sum() + c.sum()) == pytest.approx(first[0], rel=1e-12)
    assert float(b.sum() + c.sum()) == pytest.approx(first[1], rel=1e-12)
    assert float(c.sum()) > 0.5 * min(first)
    assert min(float(x.min()) for x in (a, b, c)) >= 0.0


def test_splitting_is_of_first_order() -> None:
    finest = reacting(0.1 / 64, 1.0)[2]
    errors = [float((reacting(0.1 / n, 1.0)[2] - finest).abs().max()) for n in (1, 2, 4)]
    assert [errors[0] / errors[1], errors[1] / errors[2]] == pytest.approx([2, 2], rel=0.15)
