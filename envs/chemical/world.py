"""What the chemical environments share: the ground with its obstacles, the medium that may be chosen, the sensors."""

from __future__ import annotations

import math
from functools import cached_property

import torch
from torch import Tensor

from gnncomm import checks
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int

from ..frame.meeting import walk
from ..frame.rules import ratio
from ..frame.settings import Settings
from .diffusion import Medium, largest_dt
from .wind import Transport

LAYOUTS = ("none", "pillars", "rooms")
_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_SMALLEST_ROOMS = 5


def layout(name: str, dim: int) -> Bool[Tensor, "dim dim"]:
    """Where obstacles are.

    ``pillars``: every cell whose row and column are both 1 modulo 3. ``rooms``: the middle row and the middle column,
    with a door in the middle of each of the four arms. From every free cell every other can be reached.
    """
    closed = torch.zeros(dim, dim, dtype=torch.bool)
    if name == "pillars":
        closed[1::3, 1::3] = True
    elif name == "rooms":
        if dim < _SMALLEST_ROOMS:
            raise ConfigError(
                f"obstacles: expected dim >= {_SMALLEST_ROOMS} with 'rooms', got {dim}. Use a larger dim."
            )
        middle = dim // 2
        closed[middle] = closed[:, middle] = True
        for door in (middle // 2, (middle + dim) // 2):
            closed[middle, door] = closed[door, middle] = False
    return closed


def check_wind(name: str, value: object, _: object) -> tuple[float, float]:
    """Two finite numbers (rows, columns)."""
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise ConfigError(f"{name}: expected two numbers (rows, columns), got {value!r}. Use (0.0, 0.0) for none.")
    row, column = (checks.number(f"{name}[{k}]", each, -math.inf) for k, each in enumerate(value))
    return row, column


def moving(medium: Medium, closed: Tensor, vortex: float) -> Transport | None:
    """What moves things in ``medium`` where the plain scheme of ``envs.chemical.diffusion`` does not suffice.

    Raises:
        ConfigError: A step beyond the stability limit; nothing that takes away what is emitted.
    """
    transport = Transport(medium, closed, vortex) if vortex or bool(closed.any()) else None
    limit = largest_dt(medium) if transport is None else transport.largest_dt
    if medium.dt > limit:
        rule = "1 / (4 D + |v_row| + |v_column| + k)" if transport is None else "1 / (largest rate of outflow)"
        raise ConfigError(
            f"dt: expected at most {rule} = {limit:.6g}, got {medium.dt}. "
            "Beyond it the explicit scheme is unstable; use a smaller dt and more substeps."
        )
    if medium.decay == 0.0 and medium.boundary != "absorb":
        raise ConfigError(
            f"decay: expected more than 0 with boundary {medium.boundary!r}, got {medium.decay}. What is emitted would "
            "never go away; give a decay or use boundary 'absorb'."
        )
    return transport


class WorldSettings(Settings):
    """Base of settings with a chemical world: its subclasses have these fields, and more."""

    dim: int
    obstacles: str
    diffusion: float
    wind: tuple[float, float]
    vortex: float
    decay: float
    dt: float
    boundary: str

    @cached_property
    def world(self) -> tuple[Tensor, Medium, Transport | None]:
        """Where obstacles are, the medium, and what moves things in it."""
        closed = layout(self.obstacles, self.dim)
        wind = check_wind("wind", self.wind, self)
        medium = Medium(self.diffusion, wind, self.decay, self.dt, self.boundary)
        return closed, medium, moving(medium, closed, self.vortex)


class Ground:
    """A square of ``dim x dim`` cells, some of them obstacles, on which agents and sources move.

    Args:
        closed: ``[dim, dim]``, True where an obstacle is.
        device: Where its tensors live.
    """

    def __init__(self, closed: Bool[Tensor, "dim dim"], device: torch.device) -> None:
        self.dim = closed.shape[0]
        self.open = not bool(closed.any())
        self.closed_C = closed.flatten().to(device)
        self.free_F = (~self.closed_C).nonzero().squeeze(-1)
        self.walls_M2 = closed.nonzero().to(device)
        self._moves_A2 = torch.tensor(_MOVES, device=device)

    def place(self, number: Int[Tensor, "*lead"]) -> Int[Tensor, "*lead 2"]:
        """(row, column) of the free cells with these numbers."""
        cell = number if self.open else self.free_F[number]
        return torch.stack([cell // self.dim, cell % self.dim], -1)

    def cell(self, place: Int[Tensor, "*lead 2"]) -> Int[Tensor, "*lead"]:
        """``row * dim + column``."""
        return place[..., 0] * self.dim + place[..., 1]

    def move(self, place: Int[Tensor, "*lead 2"], action: Int[Tensor, "*lead"]) -> Int[Tensor, "*lead 2"]:
        """One cell up, right, down, left, or none (4); stopped by the border and by obstacles."""
        to = (place + self._moves_A2[action]).clamp_(0, self.dim - 1)
        return to if self.open else torch.where(self.closed_C[self.cell(to)][..., None], place, to)

    def walls(self, rows: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Obstacles as entities of a scene, and that they are there; empty if there are none."""
        if self.open:
            return {}, {}
        place = self.walls_M2.to(torch.float32).repeat(rows, 1, 1)
        return {"wall": place}, {"wall": torch.ones_like(place[..., 0], dtype=torch.bool)}

    def distance(self, place: Int[Tensor, "*lead 2"], goal: Int[Tensor, "*lead 2"]) -> Int[Tensor, "*lead"]:
        """Steps from one to the other."""
        if self.open:
            return (place - goal).abs().sum(-1)
        return self._steps_CC[self.cell(goal), self.cell(place)]

    def toward(self, place: Int[Tensor, "*lead 2"], goal: Int[Tensor, "*lead 2"]) -> Int[Tensor, "*lead"]:
        """The first move of a shortest path: rows before columns, or around obstacles."""
        if self.open:
            return walk(goal - place)
        tried = torch.arange(len(_MOVES), device=place.device).expand(*place.shape[:-1], -1)
        to = self.move(place[..., None, :].expand(*tried.shape, 2), tried)
        nearest = self.distance(to, goal[..., None, :].expand_as(to)).argmin(-1)
        return torch.where((place == goal).all(-1), len(_MOVES) - 1, nearest)

    @cached_property
    def _steps_CC(self) -> Tensor:
        """``[goal, place]``, by relaxing from all goals at once until nothing changes."""
        cells, far = self.dim * self.dim, 2 * self.dim * self.dim
        steps = torch.full((cells, cells), far, device=self.closed_C.device).fill_diagonal_(0)
        board = steps.view(cells, self.dim, self.dim)
        while True:
            padded = torch.nn.functional.pad(board, (1, 1, 1, 1), value=far)
            sides = (padded[:, :-2, 1:-1], padded[:, 2:, 1:-1], padded[:, 1:-1, :-2], padded[:, 1:-1, 2:])
            best = torch.stack([board, *(side + 1 for side in sides)]).amin(0)
            best = torch.where(self.closed_C.view(self.dim, self.dim), board, best)
            if torch.equal(best, board):
                return board.reshape(cells, cells)
            board = best


def sense(
    true: Float[Tensor, "*lead"], gain: float, relative: Float[Tensor, "*lead"], absolute: Float[Tensor, "*lead"]
) -> Float[Tensor, "*lead"]:
    """What a sensor says of a concentration: ``log(1 + gain c') / log(1 + gain)``, c' = max(0, c (1 + e1) + e2)."""
    noisy = true * (1.0 + relative) + absolute
    return ratio(torch.log1p(gain * noisy.clamp_min(0.0)), math.log1p(gain))
