"""Chemical: agents that smell only where they stand look for hidden sources and must meet on each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from ..frame.base import Flags, Form, Gone, GridEnv, Sizes
from ..frame.meeting import meet
from ..frame.rules import Kind, ratio
from ..frame.settings import checked, choice, integer, number
from .diffusion import BOUNDARIES, diffuse_step, point_source_table
from .world import LAYOUTS, Ground, WorldSettings, check_wind, sense

_STAY = 4
_LARGEST_DIM = 64  # the table of point sources has dim^4 entries


@dataclass(frozen=True)
class ChemicalDraws(Batch):
    """Where everything begins, the noise of the N sensors, and what sources do in a step."""

    cells: Int[Tensor, "B C"]  # N agents, then S sources, numbers of free cells; empty after a reset
    gain_noise: Float[Tensor, "B N"]
    base_noise: Float[Tensor, "B N"]
    drift: Int[Tensor, "B Q"]  # the move of each source (4 for none); empty at a reset and where sources stand still
    emits: Bool[Tensor, "B P"]  # whether each source emits; empty at a reset and where all always do


@dataclass(frozen=True)
class ChemicalState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]
    source: Int[Tensor, "B S 2"]
    active: Bool[Tensor, "B S"]
    field: Float[Tensor, "B rows columns"]  # concentration
    reading: Float[Tensor, "B N"]  # what the sensors say, on the scale of the observation
    last_action: Int[Tensor, "B N"]  # -1 before the first


@dataclass(frozen=True)
class ChemicalSettings(WorldSettings):
    """See ``Chemical``."""

    dim: int = integer(10, 2, _LARGEST_DIM, doc="Side of the grid, at most 64.")
    num_agents: int = integer(5, 1, doc="N.")
    num_sources: int = integer(2, 1, doc="S.")
    team: int = integer(2, 1, lambda own: own.num_agents, doc="Agents that must meet on a source.")
    max_steps: int = integer(50, 1, doc="Time limit.")
    time_cost: float = number(0.01, 0.0, doc="Cost of a step for each agent.")
    shaping: float = number(0.0, 0.0, doc="Reward for a reading that rises by 1.")
    diffusion: float = number(1.0, 0.0, doc="D >= 0, cells^2 per unit of time.")
    wind: tuple[float, float] = checked((0.0, 0.0), check_wind, doc="v, (rows, columns) in cells per unit of time.")
    decay: float = number(
        0.2, 0.0, doc="k >= 0, per unit of time; positive unless the boundary absorbs, else nothing is steady."
    )
    emission: float = number(1.0, 1e-6, doc="q > 0.")
    dt: float = number(0.2, 1e-9, doc="Length of an explicit step.")
    substeps: int = integer(5, 1, doc="Explicit steps for each step of the agents.")
    boundary: str = choice(
        "reflect",
        BOUNDARIES,
        doc='``"reflect"``, ``"periodic"`` or ``"absorb"`` (for the field; agents never leave the grid).',
    )
    gain: float = number(100.0, 1e-6, doc="Steepness of the logarithmic scale of the sensor.")
    noise: float = number(0.05, 0.0, doc="Relative noise of a sensor.")
    floor_noise: float = number(0.005, 0.0, doc="Absolute noise of a sensor.")
    vortex: float = number(
        0.0, doc="Largest speed of a vortex around the middle, positive counter-clockwise, cells per unit of time."
    )
    obstacles: str = choice(
        "none", LAYOUTS, doc='``"none"``, ``"pillars"`` or ``"rooms"``; nothing flows or moves through them.'
    )
    source_speed: float = number(0.0, 0.0, 1.0, doc="Probability that a source moves in a step.")
    duty: float = number(1.0, 1e-3, 1.0, doc="Share of the steps in which a source emits, in (0, 1].")

    def resolve(self) -> None:
        free = int((~self.world[0]).sum())
        if self.num_agents + self.num_sources > free:
            raise ConfigError(
                f"num_agents + num_sources: expected at most {free}, the free cells, got {self.num_agents} + "
                f"{self.num_sources}. Use a larger dim."
            )


class Chemical(GridEnv[ChemicalState, ChemicalDraws]):
    """N agents in a chemical field neutralise S hidden sources, ``team`` of them at a time.

    ::

        . . - - . . .      o   hidden source; concentration falls off around it: # + - .
        . - + + - . .      1 2 agents, each smells the concentration of its own cell only, with noise
        - + # o # 1 .
        . - + # + - .      a source is neutralised when at least ``team`` agents stand on it at the same step
        . . - 2 - . .      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A step: all agents move, stopped by the border and by obstacles (they may share a cell); active sources with at
    least ``team`` agents on them stop emitting for good; the other active sources move with probability
    ``source_speed`` to one of the four sides, stopped likewise; the field advances by ``substeps`` explicit steps of
    ``dt``; the sensors read it. Everything begins on a different cell, the field in the steady state of its sources.

    Field: dc/dt = D lap(c) - v . grad(c) - k c + q on unit cells, see ``diffusion`` and, for obstacles and the
    vortex, ``wind``; q = ``emission`` in the cell of an active source, or with ``duty`` < 1 ``emission`` /
    ``duty`` in a step in which it emits, which it does with probability ``duty``, and else 0. Steady concentration
    decays over about sqrt(D / k) cells.

    Reward, the same for all: +1 for each source neutralised now, -``time_cost``. Terminated and success when no source
    is active. ``shaping`` adds for each agent ``shaping`` times the change of its own reading: potential-based, so what
    is optimal without discount stays so (Ng, Harada and Russell 1999, "Policy invariance under reward transformations",
    theorem 1), and a search that begins blind has something to learn from at every step.

    Flat observation, width 8: the reading log(1 + gain c') / log(1 + gain) with
    c' = max(0, c (1 + noise e1) + floor_noise e2), e1 and e2 standard normal; row / (dim - 1); column / (dim - 1); the
    own last action one-hot (zeros before the first). Sparse: 4 entries.

    Ours. Neighbouring work: Vergassola, Villermaux and Shraiman 2007, "Infotaxis as a strategy for searching without
    gradients" (searchers in an advected and diffusing plume).

    Raises:
        ConfigError: A setting out of range, too few cells or agents, or ``dt`` beyond the stability limit.
    """

    id = "chemical"
    settings_class = ChemicalSettings
    settings: ChemicalSettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay")
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "plume-v0": {
            "dim": 12,
            "num_sources": 1,
            "max_steps": 60,
            "diffusion": 0.4,
            "wind": [0.0, 0.8],
            "decay": 0.02,
            "boundary": "absorb",
            "duty": 0.5,
        },
        "rooms-v0": {"dim": 11, "max_steps": 80, "obstacles": "rooms", "vortex": 0.5, "source_speed": 0.1},
    }

    def sizes(self) -> Sizes:
        return Sizes(self.settings.num_agents, 5, 8, self.settings.max_steps)

    def build(self) -> None:
        own = self.settings
        closed, self.medium, transport = own.world
        self.dim, self.num_sources, self.team, self.substeps = own.dim, own.num_sources, own.team, own.substeps
        self.time_cost, self.shaping, self.emission, self.gain = own.time_cost, own.shaping, own.emission, own.gain
        self.noise, self.floor_noise, self.duty = own.noise, own.floor_noise, own.duty
        self.source_speed = own.source_speed
        self._agents = torch.arange(self.num_agents, device=self.device)
        self._sources = torch.arange(self.num_sources, device=self.device)
        self._sensors_21 = torch.arange(2, device=self.device)[:, None]
        self._ground = Ground(closed, self.device)
        table = transport.point_source_table() if transport else point_source_table(own.dim, own.dim, self.medium)
        self._plume_CHW = (self.emission * table).float().to(self.device)
        self._transport = transport and transport.to(torch.float32, self.device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> ChemicalDraws:
        nothing = key.new_empty(key.shape[0], 0)
        if isinstance(t, Tensor):
            cells, t_B = nothing, t
        else:
            start, count = random.stream(key, "start"), self.num_agents + self.num_sources
            cells = random.sample_without_replacement(start, len(self._ground.free_F), count)
            t_B = torch.zeros_like(key)
        sensor = random.stream(key, "sensor")[:, None]
        gain_noise, base_noise = random.normal(
            sensor[..., None], t_B[:, None, None], self._sensors_21, self._agents
        ).unbind(1)
        drift, emits = nothing, nothing.bool()
        if self.source_speed and isinstance(t, Tensor):
            u = random.uniform(random.stream(key, "drift")[:, None], t[:, None], self._sources)
            drift = (4.0 * ratio(u, self.source_speed)).clamp_max(4.0).to(torch.int64)
        if self.duty < 1.0 and isinstance(t, Tensor):
            emits = random.uniform(random.stream(key, "duty")[:, None], t[:, None], self._sources) < self.duty
        return ChemicalDraws(cells, gain_noise, base_noise, drift, emits)

    def initial(self, draws: ChemicalDraws) -> ChemicalState:
        place = self._ground.place(draws.cells)
        pos, source = place[:, : self.num_agents], place[:, self.num_agents :]
        cell = self._ground.cell(source)
        # Added one after the other: a sum's order, and so its last bit, must not depend on the batch.
        field = self._plume_CHW[cell[:, 0]]
        for s in range(1, self.num_sources):
            field = field + self._plume_CHW[cell[:, s]]
        return ChemicalState(
            pos=pos,
            source=source,
            active=torch.ones_like(source[..., 0], dtype=torch.bool),
            field=field,
            reading=self._read(field, pos, draws),
            last_action=torch.full_like(pos[..., 0], -1),
        )

    def transition(
        self, state: ChemicalState, action: Int[Tensor, "B N"], draws: ChemicalDraws
    ) -> tuple[ChemicalState, Float[Tensor, "B N"], Flags]:
        pos = self._ground.move(state.pos, action)
        present_BS = (pos[:, :, None] == state.source[:, None]).all(-1).sum(1)
        neutralised_BS = state.active & (present_BS >= self.team)
        active = state.active & ~neutralised_BS
        source = state.source
        if self.source_speed:
            source = self._ground.move(source, torch.where(active, draws.drift, 4))
        field = self._advance(state.field, source, active & draws.emits if self.duty < 1.0 else active)
        new = ChemicalState(pos, source, active, field, self._read(field, pos, draws), action)
        reward_B = neutralised_BS.sum(1).to(torch.float32) - self.time_cost
        reward_BN = reward_B[:, None].repeat(1, self.num_agents)
        if self.shaping:
            reward_BN = reward_BN + self.shaping * (new.reading - state.reading)
        done = ~active.any(1)
        return new, reward_BN, Flags(done, done.clone())

    def _advance(self, field: Tensor, source: Tensor, emitting: Tensor) -> Tensor:
        emitted = torch.where(emitting, self.emission / self.duty, 0.0)
        q = torch.zeros_like(field).flatten(1).scatter_add_(1, self._ground.cell(source), emitted).view_as(field)
        for _ in range(self.substeps):
            field = diffuse_step(field, q, self.medium) if self._transport is None else self._transport.step(field, q)
        return field

    def _read(self, field: Tensor, pos: Tensor, draws: ChemicalDraws) -> Tensor:
        true = field.flatten(1).gather(1, self._ground.cell(pos))
        return sense(true, self.gain, self.noise * draws.gain_noise, self.floor_noise * draws.base_noise)

    def observe(self, state: ChemicalState, form: Form) -> Observation:
        scaled = ratio(state.pos, self.dim - 1)
        acted = state.last_action >= 0
        value = torch.cat([state.reading[..., None], scaled, acted[..., None].to(torch.float32)], -1)
        last = 3 + state.last_action.clamp_min(0)
        fixed = torch.arange(3, device=self.device).expand(*last.shape, 3)
        sparse = SparseObs(torch.cat([fixed, last[..., None]], -1), value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: ChemicalState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: ChemicalState) -> Scene:
        walls, standing = self._ground.walls(state.pos.shape[0])
        on_gone_BN = ((state.pos[:, :, None] == state.source[:, None]).all(-1) & ~state.active[:, None]).any(-1)
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=on_gone_BN,
            entities={"source": state.source.to(torch.float32), **walls},
            active={"source": state.active.clone(), **standing},
            field=state.field.clone(),
        )

    def gone(self, state: ChemicalState) -> Gone:
        return Gone(torch.zeros_like(state.last_action, dtype=torch.bool), {"source": ~state.active})

    @property
    def ceiling_kind(self) -> Kind:
        """With one or two sources that stay where they are, if there is time enough."""
        enough = self.max_steps >= 2 * self.num_sources * (self.dim - 1)
        still = enough and self.source_speed == 0 and self.shaping == 0
        return "optimal" if still and self._ground.open and self.num_sources <= 2 else "reference"

    def solve(self, state: ChemicalState) -> Int[Tensor, "B N"]:
        """Teams for the active sources as in ``envs.frame.meeting.meet``, each on the shortest paths, rows first."""
        apart = partial(torch.broadcast_tensors, state.source[:, None])
        distance_BNS = self._ground.distance(*apart(state.pos[:, :, None]))
        between_BSS = self._ground.distance(*apart(state.source[:, :, None]))
        goal_BN = meet(distance_BNS, between_BSS, state.active, self.team)
        goal_BN2 = state.source.gather(1, goal_BN[..., None].expand(-1, -1, 2))
        return torch.where(state.active.any(1, keepdim=True), self._ground.toward(state.pos, goal_BN2), _STAY)
