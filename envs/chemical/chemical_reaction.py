"""Chemical reaction: carriers of A, who can smell where it works, and carriers of B, who cannot, make C together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import ConfigError
from gnncomm.host import constant
from gnncomm.shapes import Float, Int
from gnncomm.types import Batch, Observation, Scene, SparseObs

from ..frame.base import Flags, Form, GridEnv, Sizes
from ..frame.rules import ratio
from ..frame.settings import checked, choice, integer, number
from .diffusion import BOUNDARIES, Medium
from .wind import Transport, react
from .world import LAYOUTS, Ground, WorldSettings, check_wind, sense

_STAY, _OPEN = 4, 5
_SMELL = 4.0  # cells over which the smell of the site decays, sqrt(D / k)


@dataclass(frozen=True)
class ChemicalReactionDraws(Batch):
    """Numbers of the free cells where everything begins (N agents, then the site; empty after a reset), and noise."""

    cells: Int[Tensor, "B C"]
    gain_noise: Float[Tensor, "B 4 N"]
    base_noise: Float[Tensor, "B 4 N"]


@dataclass(frozen=True)
class ChemicalReactionState(Batch):
    """Positions are (row, column); species are A, B, C."""

    pos: Int[Tensor, "B N 2"]
    site: Int[Tensor, "B 2"]
    field: Float[Tensor, "B 3 rows columns"]  # concentration
    supply: Int[Tensor, "B N"]  # how often each agent can still release
    made: Float[Tensor, " B"]  # C that was made since the reset
    reading: Float[Tensor, "B N 4"]  # what the sensors say, on the scale of the observation
    last_action: Int[Tensor, "B N"]  # -1 before the first


@dataclass(frozen=True)
class ChemicalReactionSettings(WorldSettings):
    """See ``ChemicalReaction``."""

    dim: int = integer(8, 3, 64, doc="Side of the grid, 3 to 64.")
    num_agents: int = integer(4, 2, doc="N, at least 2.")
    target: float = number(2.0, 1e-6, doc="How much C must be made.")
    supply: int = integer(8, 1, doc="How often an agent can release.")
    max_steps: int = integer(40, 1, doc="Time limit.")
    time_cost: float = number(0.01, 0.0, doc="Cost of a step for each agent.")
    rate: float = number(1.0, 1e-6, doc="r > 0, per unit of time and concentration.")
    diffusion: float = number(0.2, 0.0, doc="See ``Chemical``.")
    wind: tuple[float, float] = checked((0.0, 0.0), check_wind, doc="See ``Chemical``.")
    vortex: float = number(0.0, doc="See ``Chemical``.")
    decay: float = number(0.2, 0.0, doc="See ``Chemical``.")
    emission: float = number(1.0, 1e-6, doc="What a release adds, > 0.")
    dt: float = number(0.25, 1e-9, doc="See ``Chemical``.")
    substeps: int = integer(4, 1, doc="See ``Chemical``.")
    boundary: str = choice("reflect", BOUNDARIES, doc="See ``Chemical``.")
    obstacles: str = choice("none", LAYOUTS, doc="See ``Chemical``.")
    gain: float = number(100.0, 1e-6, doc="Of the sensors, see ``Chemical``.")
    noise: float = number(0.05, 0.0, doc="Of the sensors, see ``Chemical``.")
    floor_noise: float = number(0.002, 0.0, doc="Of the sensors, see ``Chemical``.")

    def resolve(self) -> None:
        free = int((~self.world[0]).sum())
        if self.num_agents + 1 > free:
            raise ConfigError(
                f"num_agents: expected fewer than the {free} free cells, got {self.num_agents}. Use a larger dim."
            )


class ChemicalReaction(GridEnv[ChemicalReactionState, ChemicalReactionDraws]):
    """Two crews must release their chemicals at the same hidden place at the same time.

    ::

        . . . . . . b      a a  carriers of A: smell the site
        . a . . . . .      b b  carriers of B: do not, and have to be told
        . . s s s . .      s    the site, 3 x 3 cells around a hidden centre: only there A + B -> C
        . . s * s . .
        . . s s s b .      actions: 0 up, 1 right, 2 down, 3 left, 4 stay, 5 release
        a . . . . . .

    The first half of the agents (rounded up) carries A, the others B. A step: all agents move, stopped by the border
    and by obstacles (they may share a cell), or release ``emission`` of what they carry in their own cell, as long as
    their ``supply`` lasts; then the field advances by ``substeps`` steps of ``dt``, in each of which A, B and C are
    carried, diffuse and decay, and then react; the sensors read it. All begin on different cells, without chemicals.

    Field: for each species dc/dt = D lap(c) - v . grad(c) - k c + q, and at the site dA/dt = dB/dt = -r A B,
    dC/dt = r A B, which is solved exactly in each cell and step (``envs.chemical.wind``); ``emission`` is spread evenly
    over the ``substeps``. Without decay A + C and B + C are conserved.

    Reward, the same for all: the share of ``target`` that was made in this step (in all at most 1), -``time_cost``.
    Terminated and success when ``target`` of C was made.

    Flat observation, width 15: the readings of A, B, C in the own cell and of the site's smell (0 for carriers of B);
    whether it carries A, B; row / (dim - 1); column / (dim - 1); the share of its supply that is left; the own last
    action one-hot (zeros before the first). Readings are log(1 + gain c') / log(1 + gain) with
    c' = max(0, c (1 + noise e1) + floor_noise e2), e1 and e2 standard normal. The smell is the steady field of a source
    of strength 1 in the centre of the site (D = 1, k = 1 / 16, no wind), around the same obstacles. Sparse: 9 entries.

    Ours. The splitting of transport and reaction is of first order in ``dt`` (LeVeque 2002, "Finite volume methods for
    hyperbolic problems", section 17.3).

    Raises:
        ConfigError: A setting out of range, too few cells or agents, or ``dt`` beyond the stability limit.
    """

    id = "chemical_reaction"
    settings_class = ChemicalReactionSettings
    settings: ChemicalReactionSettings
    named_actions: ClassVar[tuple[str, ...]] = ("up", "right", "down", "left", "stay", "release")
    grid_setting: ClassVar[str | None] = "dim"
    protocols: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "reaction-v0": {"dim": 8, "num_agents": 4, "target": 2.0, "max_steps": 40},
        "stirred-v0": {
            "dim": 8,
            "num_agents": 4,
            "target": 2.0,
            "max_steps": 40,
            "vortex": 0.4,
            "obstacles": "pillars",
        },
    }

    def sizes(self) -> Sizes:
        return Sizes(self.settings.num_agents, 6, 15, self.settings.max_steps)

    def build(self) -> None:
        own = self.settings
        closed, self.medium, transport = own.world
        self.dim, self.target, self.supply, self.rate = own.dim, own.target, own.supply, own.rate
        self.time_cost, self.emission, self.substeps, self.gain = own.time_cost, own.emission, own.substeps, own.gain
        self.noise, self.floor_noise = own.noise, own.floor_noise
        self._build_tables(closed, Transport(self.medium, closed) if transport is None else transport)

    def _build_tables(self, closed: Tensor, transport: Transport) -> None:
        self._ground = Ground(closed, self.device)
        self._transport = transport.to(torch.float32, self.device)
        air = Transport(Medium(diffusion=1.0, decay=_SMELL**-2, dt=0.2), closed)
        self._smell_CC = air.point_source_table().flatten(1).float().to(self.device)
        near = torch.arange(self.dim)[:, None] - torch.arange(self.dim)
        within = (near.abs() <= 1).float()
        reach_CC = torch.einsum("ij,kl->ikjl", within, within).reshape(self.dim**2, -1)  # [centre, cell]
        self._rate_CC = (self.rate * self.medium.dt * reach_CC).to(self.device)
        self._carries_a = torch.arange(self.num_agents, device=self.device) < (self.num_agents + 1) // 2
        self._sensors_41 = torch.arange(8, device=self.device).view(2, 4, 1)
        self._agents = torch.arange(self.num_agents, device=self.device)

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> ChemicalReactionDraws:
        if isinstance(t, Tensor):
            cells, t_B = key.new_empty(key.shape[0], 0), t
        else:
            start = random.stream(key, "start")
            cells = random.sample_without_replacement(start, len(self._ground.free_F), self.num_agents + 1)
            t_B = torch.zeros_like(key)
        sensor = random.stream(key, "sensor")[:, None, None, None]
        noise_B24N = random.normal(sensor, t_B[:, None, None, None], self._sensors_41, self._agents)
        return ChemicalReactionDraws(cells, *noise_B24N.unbind(1))

    def initial(self, draws: ChemicalReactionDraws) -> ChemicalReactionState:
        place = self._ground.place(draws.cells)
        pos, site = place[:, : self.num_agents], place[:, self.num_agents]
        field = torch.zeros(len(pos), 3, self.dim, self.dim, device=self.device)
        return ChemicalReactionState(
            pos=pos,
            site=site,
            field=field,
            supply=torch.full_like(pos[..., 0], self.supply),
            made=torch.zeros_like(field[:, 0, 0, 0]),
            reading=self._read(field, pos, site, draws),
            last_action=torch.full_like(pos[..., 0], -1),
        )

    def transition(
        self, state: ChemicalReactionState, action: Int[Tensor, "B N"], draws: ChemicalReactionDraws
    ) -> tuple[ChemicalReactionState, Float[Tensor, "B N"], Flags]:
        pos = self._ground.move(state.pos, action.clamp_max(_STAY))
        releases = (action == _OPEN) & (state.supply > 0)
        field, made = self._advance(state, pos, releases)
        total = state.made + made
        reading = self._read(field, pos, state.site, draws)
        new = ChemicalReactionState(pos, state.site, field, state.supply - releases.long(), total, reading, action)
        done = total >= self.target
        gained = ratio(total.clamp_max(self.target) - state.made, self.target)
        reward = (gained - self.time_cost)[:, None].repeat(1, self.num_agents)
        return new, reward, Flags(done, done.clone())

    def _advance(self, state: ChemicalReactionState, pos: Tensor, releases: Tensor) -> tuple[Tensor, Tensor]:
        """The field after a step, and how much C was made in it."""
        per_time = self.emission / (self.substeps * self.medium.dt)
        cells = self.dim * self.dim
        released = torch.where(releases, per_time, 0.0)
        target = self._ground.cell(pos) + torch.where(self._carries_a, 0, cells)
        q = released.new_zeros(len(pos), 3 * cells).scatter_add_(1, target, released).view_as(state.field)
        rate = self._rate_CC[self._ground.cell(state.site)].view(-1, self.dim, self.dim)
        field, made = state.field, torch.zeros_like(state.made)
        for _ in range(self.substeps):
            field = self._transport.step(field, q)
            x = react(field[:, 0], field[:, 1], rate)
            field = field + torch.stack([-x, -x, x], 1)
            made = made + x.sum((1, 2))
        return field, made

    def _read(self, field: Tensor, pos: Tensor, site: Tensor, draws: ChemicalReactionDraws) -> Tensor:
        cell = self._ground.cell(pos)
        species = field.flatten(2).gather(2, cell[:, None].expand(-1, 3, -1))
        smell = self._smell_CC[self._ground.cell(site)].gather(1, cell)
        true = torch.cat([species, smell[:, None]], 1)
        reading = sense(true, self.gain, self.noise * draws.gain_noise, self.floor_noise * draws.base_noise)
        told = torch.cat([reading[:, :3], torch.where(self._carries_a, reading[:, 3], 0.0)[:, None]], 1)
        return told.transpose(1, 2).contiguous()

    def observe(self, state: ChemicalReactionState, form: Form) -> Observation:
        shape = state.last_action.shape
        role = torch.ones(*shape, 1, device=self.device)
        scaled = ratio(state.pos, self.dim - 1)
        left = ratio(state.supply[..., None], self.supply)
        acted = (state.last_action >= 0)[..., None].to(torch.float32)
        value = torch.cat([state.reading, role, scaled, left, acted], -1)
        index = constant((0, 1, 2, 3, 4, 6, 7, 8, 9), torch.int64, self.device).repeat(*shape, 1)
        index[..., 4] += (~self._carries_a).long()
        index[..., 8] += state.last_action.clamp_min(0)
        sparse = SparseObs(index, value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: ChemicalReactionState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: ChemicalReactionState) -> Scene:
        walls, standing = self._ground.walls(state.pos.shape[0])
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=state.supply == 0,
            entities={"site": state.site[:, None].to(torch.float32), **walls},
            active={"site": (state.made < self.target)[:, None], **standing},
            field=state.field[:, 2].clone(),
        )

    def solve(self, state: ChemicalReactionState) -> Int[Tensor, "B N"]:
        """All go to one cell of the site, release there when the other crew is at most a step away, and else wait.

        The cell is the one where somebody of either crew can be soonest, the middle of these; where supplies are short,
        it is the middle of the site, where least is carried off, and both crews must be there. Short, not optimal.
        """
        goal = self._workplace(state)
        steps = self._ground.distance(state.pos, goal.expand_as(state.pos))
        first_a, first_b = self._first(steps)
        near = 0 if self._short else 1
        ready = (steps == 0) & (torch.where(self._carries_a, first_b[:, None], first_a[:, None]) <= near)
        walk = self._ground.toward(state.pos, goal.expand_as(state.pos))
        return torch.where(ready & (state.supply > 0), _OPEN, walk)

    def _first(self, steps: Int[Tensor, "B *more N"]) -> tuple[Tensor, Tensor]:
        """Of each crew, the steps of the one that is nearest."""
        far = 4 * self.dim**2
        a, b = torch.where(self._carries_a, steps, far), torch.where(self._carries_a, far, steps)
        return a.amin(-1), b.amin(-1)

    @property
    def _short(self) -> bool:
        """Whether the smaller crew carries less than four times what is to be made."""
        return (self.num_agents // 2) * self.supply * self.emission < 4 * self.target

    def _workplace(self, state: ChemicalReactionState) -> Int[Tensor, "B 1 2"]:
        if self._short:
            return state.site[:, None]
        around_92 = torch.cartesian_prod(*[torch.arange(-1, 2, device=self.device)] * 2)
        cell_B92 = (state.site[:, None] + around_92).clamp(
            0, self.dim - 1
        )  # beyond the border: a cell of the site, too
        pairs = torch.broadcast_tensors(state.pos[:, None], cell_B92[:, :, None])
        soonest_B9 = torch.maximum(*self._first(self._ground.distance(*pairs)))
        cost_B9 = 3 * soonest_B9 + around_92.abs().sum(-1)
        cost_B9 = torch.where(self._ground.closed_C[self._ground.cell(cell_B92)], 99 * self.dim**2, cost_B9)
        return cell_B92.gather(1, cost_B9.argmin(1)[:, None, None].expand(-1, 1, 2))
