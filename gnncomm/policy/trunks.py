"""Critics that do not read what the actor reads: a trunk of their own, and what it looks at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from gnncomm.errors import ShapeError
from gnncomm.graph.given import copied
from gnncomm.layers import CommStack
from gnncomm.policy.critic import Critic
from gnncomm.policy.encoder import encoded, living_obs
from gnncomm.topology import Topology
from gnncomm.types import TimeStep, VectorEnv


class TrunkCritic(Critic):
    """:math:`V_i = head(z)_i`: rows z of its own instead of the actor's features, from what the time step shows.

    With ``x_i = encoder(o_i)``, z is x; :math:`ReLU(x_i + W_s s)` with the environment's state s; or x after rounds of
    communication over ``topology``, a graph network. It exists in training only, so nothing of this is on the wire. The
    dead enter as zeros and have no edges. A ``CentralCritic`` as head makes z the joint observation (MAPPO, Yu et al.
    2022), a ``LocalCritic`` leaves each agent its own.

    It knows no memory, no message and no choice: its value is right where observations (or s) tell enough.

    Args:
        encoder: any encoder of rows of width ``head.hidden``.
        head: of features of that width.
        comm, topology: rounds of a graph network; None: no rounds.
        state_dim: S, width of ``timestep.state``; 0: it is not looked at.
    """

    looks = True

    def __init__(
        self,
        encoder: nn.Module,
        head: Critic,
        comm: CommStack | None = None,
        topology: Topology | None = None,
        state_dim: int = 0,
    ) -> None:
        super().__init__()
        self.hidden, self.state_dim = head.hidden, state_dim
        self.encoder, self.head, self.comm, self.topology = encoder, head, comm, topology
        self.state = nn.Linear(state_dim, head.hidden, bias=False) if state_dim else None

    def another(self, in_channels: int) -> TrunkCritic:
        """The same look at the time step; rows before a round are not read, whatever their width."""
        encoder, comm = copied("Each baseline of a TrunkCritic", (self.encoder, self.comm))
        return TrunkCritic(encoder, self.head.another(self.hidden), comm, self.topology, self.state_dim)

    def forward(self, features: Tensor, alive: Tensor, timestep: TimeStep | None = None) -> Tensor:
        assert timestep is not None  # a critic that looks is shown what there is
        obs = living_obs(timestep.obs, alive)
        obs = replace(obs, value=obs.value.to(features)) if not isinstance(obs, Tensor) else obs.to(features)
        rows = encoded(self.encoder, obs)
        if self.state is not None:
            rows = torch.relu(rows + self.state(require_state(timestep, self.state_dim).to(rows)).unsqueeze(-2))
        if self.comm is not None and self.topology is not None:
            rows = self._rounds(self.comm, self.topology, rows, alive, timestep)
        value: Tensor = self.head(rows, alive, timestep)
        return value

    @staticmethod
    def _rounds(comm: CommStack, topology: Topology, rows: Tensor, alive: Tensor, timestep: TimeStep) -> Tensor:
        lead = rows.shape[:-2]
        pos = None if timestep.pos is None else timestep.pos.reshape(-1, *timestep.pos.shape[-2:])
        graph = topology(alive.reshape(-1, alive.shape[-1]), pos, timestep.step.flatten(), timestep.key.flatten())
        after: Tensor = comm(rows.reshape(-1, *rows.shape[-2:]), graph)
        return after.view(*lead, *after.shape[-2:])


def require_state(timestep: TimeStep, state_dim: int) -> Tensor:
    """The environment's state ``[..., S]``.

    Raises:
        ShapeError: the time step shows none of that width.
    """
    state = timestep.state
    if state is None or state.shape[-1] != state_dim:
        got = "none" if state is None else list(state.shape)
        raise ShapeError(
            f"This critic sees the environment's state: expected timestep.state [..., S={state_dim}], got {got}. Use "
            "gnncomm.policy.WithState(env)."
        )
    return state


class WithState:
    """An environment whose time steps show its ``state() [B, S]``, for critics that see it; all else is as it was.

    Each is of a class of its own, which has what ``env`` has: from Python 3.12 on, ``isinstance`` with a protocol looks
    at classes only.
    """

    def __new__(cls, env: Any = None) -> Self:
        names = [name for name in dir(env) if env is not None and not name.startswith("_") and not hasattr(cls, name)]
        return super().__new__(type(cls.__name__, (cls,), {name: _inner(name) for name in names}) if names else cls)

    def __init__(self, env: Any) -> None:
        self.env = env
        self.shown_state_dim: int = env.state_dim

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # while it is copied
            raise AttributeError(name)
        return getattr(self.env, name)

    def _shown(self, now: TimeStep) -> TimeStep:
        return replace(now, state=self.env.state())

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        return self._shown(self.env.reset(seed=seed, where=where))

    def step(self, action: Tensor) -> TimeStep:
        return self._shown(self.env.step(action))

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        return self._shown(self.env.load_state_dict(state))


def _inner(name: str) -> property:
    return property(lambda outer: getattr(outer.env, name))


def has_state(env: VectorEnv) -> bool:
    """Whether it tells a ``state() [B, S]``."""
    return hasattr(env, "state") and hasattr(env, "state_dim")


def with_state(env: VectorEnv) -> VectorEnv:
    """``env`` with its state in each time step; as it is where that is so already.

    Raises:
        ShapeError: the environment has no ``state()``.
    """
    if isinstance(env, WithState):
        return env
    if not has_state(env):
        raise ShapeError(f"{env.id} tells no state() of width state_dim: expected another critic than 'state'.")
    shown: VectorEnv = WithState(env)  # the rest by __getattr__
    return shown
