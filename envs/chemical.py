"""Chemical: agents that smell only where they stand look for hidden sources and must meet on each of them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from envs import inputs
from envs.base import Flags, Form, GridEnv
from envs.diffusion import BOUNDARIES, Medium, diffuse_step, largest_dt, point_source_table
from gnncomm import random
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Batch, ConfigError, Observation, Scene, SparseObs

_MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1), (0, 0))  # up, right, down, left, stay
_LARGEST_DIM = 64  # the table of point sources has dim^4 entries


@dataclass(frozen=True)
class ChemicalDraws(Batch):
    """Where everything begins (N agents, then S sources; empty after a reset), and the noise of the N sensors."""

    cells: Int[Tensor, "B C"]
    gain_noise: Float[Tensor, "B N"]
    base_noise: Float[Tensor, "B N"]


@dataclass(frozen=True)
class ChemicalState(Batch):
    """Positions are (row, column)."""

    pos: Int[Tensor, "B N 2"]
    source: Int[Tensor, "B S 2"]
    active: Bool[Tensor, "B S"]
    field: Float[Tensor, "B rows columns"]  # concentration
    reading: Float[Tensor, "B N"]  # what the sensors say, on the scale of the observation
    last_action: Int[Tensor, "B N"]  # -1 before the first


class Chemical(GridEnv[ChemicalState, ChemicalDraws]):
    """N agents in a chemical field neutralise S hidden sources, ``team`` of them at a time.

    ::

        . . - - . . .      o   hidden source; concentration falls off around it: # + - .
        . - + + - . .      1 2 agents, each smells the concentration of its own cell only, with noise
        - + # o # 1 .
        . - + # + - .      a source is neutralised when at least ``team`` agents stand on it at the same step
        . . - 2 - . .      actions: 0 up, 1 right, 2 down, 3 left, 4 stay

    A step: all agents move, stopped by the border (they may share a cell); active sources with at least ``team`` agents
    on them stop emitting for good; the field advances by ``substeps`` explicit steps of ``dt``; the sensors read it.
    Everything begins on a different cell, the field in the steady state of its sources.

    Field: dc/dt = D lap(c) - v . grad(c) - k c + q on unit cells, see ``envs.diffusion``; q = ``emission`` in the cell
    of an active source. Steady concentration decays over about sqrt(D / k) cells.

    Reward, the same for all: +1 for each source neutralised now, -``time_cost``. Terminated and success when no source
    is active. ``shaping`` adds for each agent ``shaping`` times the change of its own reading: potential-based, so what
    is optimal without discount stays so (Ng, Harada and Russell 1999, "Policy invariance under reward transformations",
    theorem 1), and a search that begins blind has something to learn from at every step.

    Flat observation, width 8: the reading log(1 + gain c') / log(1 + gain) with
    c' = max(0, c (1 + noise e1) + floor_noise e2), e1 and e2 standard normal; row / (dim - 1); column / (dim - 1); the
    own last action one-hot (zeros before the first). Sparse: 4 entries.

    Ours. Neighbouring work: Vergassola, Villermaux and Shraiman 2007, "Infotaxis as a strategy for searching without
    gradients" (searchers in an advected and diffusing plume).

    Args:
        num_envs, device, observation: See ``GridEnv``.
        dim: Side of the grid, at most 64.
        num_agents: N.
        num_sources: S.
        team: Agents that must meet on a source.
        max_steps: Time limit.
        time_cost: Cost of a step for each agent.
        shaping: Reward for a reading that rises by 1.
        diffusion: D >= 0, cells^2 per unit of time.
        wind: v, (rows, columns) in cells per unit of time.
        decay: k >= 0, per unit of time; positive unless the boundary absorbs, else nothing is steady.
        emission: q > 0.
        dt: Length of an explicit step.
        substeps: Explicit steps for each step of the agents.
        boundary: ``"reflect"``, ``"periodic"`` or ``"absorb"`` (for the field; agents never leave the grid).
        gain: Steepness of the logarithmic scale of the sensor.
        noise: Relative noise of a sensor.
        floor_noise: Absolute noise of a sensor.

    Raises:
        ConfigError: A setting out of range, too few cells or agents, or ``dt`` beyond the stability limit.
    """

    grid_setting: ClassVar[str | None] = "dim"
    recipe: Mapping[str, Any] = {
        "num_envs": 256,
        "rollout": 25,
        "steps": 1_500_000,
        "ppo": {"lr": 2e-3, "gamma": 0.98, "epochs": 2, "minibatches": 8},
    }
    beginner: Mapping[str, Any] = {"shaping": 3.0, "max_steps": 100}

    def __init__(
        self,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        *,
        dim: int = 10,
        num_agents: int = 5,
        num_sources: int = 2,
        team: int = 2,
        max_steps: int = 50,
        time_cost: float = 0.01,
        shaping: float = 0.0,
        diffusion: float = 1.0,
        wind: Sequence[float] = (0.0, 0.0),
        decay: float = 0.2,
        emission: float = 1.0,
        dt: float = 0.2,
        substeps: int = 5,
        boundary: str = "reflect",
        gain: float = 100.0,
        noise: float = 0.05,
        floor_noise: float = 0.005,
    ) -> None:
        self.dim = inputs.integer("dim", dim, 2, _LARGEST_DIM)
        self.num_sources = inputs.integer("num_sources", num_sources, 1)
        inputs.integer("num_agents", num_agents, 1)
        self.team = inputs.integer("team", team, 1, num_agents)
        self.time_cost = inputs.number("time_cost", time_cost, 0.0)
        self.shaping = inputs.number("shaping", shaping, 0.0)
        self.emission = inputs.number("emission", emission, 1e-6)
        self.substeps = inputs.integer("substeps", substeps, 1)
        self.gain = inputs.number("gain", gain, 1e-6)
        self.noise = inputs.number("noise", noise, 0.0)
        self.floor_noise = inputs.number("floor_noise", floor_noise, 0.0)
        self.medium = self._medium(diffusion, wind, decay, dt, boundary)
        if num_agents + num_sources > dim * dim:
            raise ConfigError(
                f"num_agents + num_sources: expected at most dim * dim = {dim * dim}, got {num_agents} + "
                f"{num_sources}. Use a larger dim."
            )
        config = {
            "dim": dim,
            "num_agents": num_agents,
            "num_sources": num_sources,
            "team": team,
            "max_steps": max_steps,
            "time_cost": time_cost,
            "shaping": shaping,
            "diffusion": diffusion,
            "wind": list(self.medium.wind),
            "decay": decay,
            "emission": emission,
            "dt": dt,
            "substeps": substeps,
            "boundary": boundary,
            "gain": gain,
            "noise": noise,
            "floor_noise": floor_noise,
        }
        super().__init__(
            "chemical",
            config,
            num_envs=num_envs,
            num_agents=num_agents,
            num_actions=5,
            obs_dim=8,
            max_steps=max_steps,
            device=device,
            observation=observation,
        )
        self._agents = torch.arange(num_agents, device=self.device)
        self._sensors_21 = torch.arange(2, device=self.device)[:, None]
        self._moves_A2 = torch.tensor(_MOVES, device=self.device)
        self._plume_CHW = (self.emission * point_source_table(dim, dim, self.medium)).float().to(self.device)

    @staticmethod
    def _medium(diffusion: float, wind: Sequence[float], decay: float, dt: float, boundary: str) -> Medium:
        if not isinstance(wind, list | tuple) or len(wind) != 2:
            raise ConfigError(f"wind: expected two numbers (rows, columns), got {wind!r}. Use (0.0, 0.0) for none.")
        medium = Medium(
            diffusion=inputs.number("diffusion", diffusion, 0.0),
            wind=(inputs.number("wind[0]", wind[0], -math.inf), inputs.number("wind[1]", wind[1], -math.inf)),
            decay=inputs.number("decay", decay, 0.0),
            dt=inputs.number("dt", dt, 1e-9),
            boundary=inputs.choice("boundary", boundary, BOUNDARIES),
        )
        if medium.dt > largest_dt(medium):
            raise ConfigError(
                f"dt: expected at most 1 / (4 D + |v_row| + |v_column| + k) = {largest_dt(medium):.6g}, got {dt}. "
                "Beyond it the explicit scheme is unstable; use a smaller dt and more substeps."
            )
        if medium.decay == 0.0 and medium.boundary != "absorb":
            raise ConfigError(
                f"decay: expected more than 0 with boundary {boundary!r}, got {decay}. What is emitted would never go "
                "away; give a decay or use boundary 'absorb'."
            )
        return medium

    def draws(self, key: Int[Tensor, " B"], t: Int[Tensor, " B"] | Literal[0]) -> ChemicalDraws:
        count = self.num_agents + self.num_sources
        if isinstance(t, Tensor):
            cells, t_B = key.new_empty(key.shape[0], 0), t
        else:
            start = random.stream(key, "start")
            cells, t_B = random.sample_without_replacement(start, self.dim * self.dim, count), torch.zeros_like(key)
        sensor = random.stream(key, "sensor")[:, None]
        gain_noise, base_noise = random.normal(
            sensor[..., None], t_B[:, None, None], self._sensors_21, self._agents
        ).unbind(1)
        return ChemicalDraws(cells, gain_noise, base_noise)

    def initial(self, draws: ChemicalDraws) -> ChemicalState:
        place = torch.stack([draws.cells // self.dim, draws.cells % self.dim], -1)
        pos, source = place[:, : self.num_agents], place[:, self.num_agents :]
        # Added one after the other: a sum's order, and so its last bit, must not depend on the batch.
        field = self._plume_CHW[draws.cells[:, self.num_agents]]
        for s in range(1, self.num_sources):
            field = field + self._plume_CHW[draws.cells[:, self.num_agents + s]]
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
        pos = (state.pos + self._moves_A2[action]).clamp_(0, self.dim - 1)
        present_BS = (pos[:, :, None] == state.source[:, None]).all(-1).sum(1)
        neutralised_BS = state.active & (present_BS >= self.team)
        active = state.active & ~neutralised_BS
        field = self._advance(state.field, state.source, active)
        new = ChemicalState(pos, state.source, active, field, self._read(field, pos, draws), action)
        reward_B = neutralised_BS.sum(1).to(torch.float32) - self.time_cost
        reward_BN = reward_B[:, None].repeat(1, self.num_agents)
        if self.shaping:
            reward_BN = reward_BN + self.shaping * (new.reading - state.reading)
        done = ~active.any(1)
        return new, reward_BN, Flags(done, done.clone())

    def _advance(self, field: Tensor, source: Tensor, active: Tensor) -> Tensor:
        emitted = torch.where(active, self.emission, 0.0)
        cell = source[..., 0] * self.dim + source[..., 1]
        q = torch.zeros_like(field).flatten(1).scatter_(1, cell, emitted).view_as(field)
        for _ in range(self.substeps):
            field = diffuse_step(field, q, self.medium)
        return field

    def _read(self, field: Tensor, pos: Tensor, draws: ChemicalDraws) -> Tensor:
        true = field.flatten(1).gather(1, pos[..., 0] * self.dim + pos[..., 1])
        noisy = true * (1.0 + self.noise * draws.gain_noise) + self.floor_noise * draws.base_noise
        return torch.log1p(self.gain * noisy.clamp_min(0.0)) / math.log1p(self.gain)

    def observe(self, state: ChemicalState, form: Form) -> Observation:
        scaled = state.pos.to(torch.float32) / (self.dim - 1)
        acted = state.last_action >= 0
        value = torch.cat([state.reading[..., None], scaled, acted[..., None].to(torch.float32)], -1)
        last = 3 + state.last_action.clamp_min(0)
        fixed = torch.arange(3, device=self.device).expand(*last.shape, 3)
        sparse = SparseObs(torch.cat([fixed, last[..., None]], -1), value, self.obs_dim)
        return sparse if form == "sparse" else sparse.to_flat()

    def positions(self, state: ChemicalState) -> Float[Tensor, "B N 2"]:
        return state.pos.to(torch.float32)

    def describe(self, state: ChemicalState) -> Scene:
        on_gone_BN = ((state.pos[:, :, None] == state.source[:, None]).all(-1) & ~state.active[:, None]).any(-1)
        return Scene(
            size=(self.dim, self.dim),
            agents=self.positions(state),
            finished=on_gone_BN,
            entities={"source": state.source.to(torch.float32)},
            active={"source": state.active.clone()},
            field=state.field.clone(),
        )

    def solve(self, state: ChemicalState) -> Int[Tensor, "B N"]:
        """Everyone takes the shortest path, rows first, to the active source that is nearest to all together."""
        distance_BS = (state.pos[:, :, None] - state.source[:, None]).abs().sum((1, 3))
        goal_B = torch.where(state.active, distance_BS, 4 * self.dim * self.num_agents).argmin(1)
        goal_B12 = state.source.gather(1, goal_B[:, None, None].expand(-1, 1, 2))
        rows, columns = (goal_B12 - state.pos).unbind(-1)
        action = torch.where(columns > 0, 1, torch.where(columns < 0, 3, 4))
        return torch.where(rows > 0, 2, torch.where(rows < 0, 0, action))
