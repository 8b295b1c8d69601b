"""Our environments as a batched ``torchrl.envs.EnvBase``."""

from __future__ import annotations

from typing import Any

import torch
from tensordict import TensorDict, TensorDictBase
from torch import Tensor
from torchrl.data import Bounded, Categorical, Composite, Unbounded
from torchrl.envs import EnvBase

from gnncomm import environments
from gnncomm.policy import with_state
from gnncomm.types import TeamSpec, TimeStep, VectorEnv

_FLAGS = ("done", "terminated", "truncated")


class CommEnv(EnvBase):
    """B environments of ``gnncomm.environments.make`` as one TorchRL environment of ``batch_size [B]``.

    ``("agents", ...)`` holds, for N agents in a group of one name:

    * ``observation [B, N, D]``, padded to the widest agent; ``mask [B, N]``: who takes part in the next decision;
    * where the environment has them ``action_mask [B, N, A]`` (who takes no part may do anything), ``position
      [B, N, P]``, and ``entered [B, N]``: the row passed to another agent;
    * ``action``: ``[B, N]`` int64, or ``[B, N, A]`` numbers; ``reward [B, N, 1]``;
    * ``terminated``, ``truncated``, ``done [B, N, 1]``: whose return ended by the rules or was cut with this step; they
      stay True for those who are gone. Losses that are told of them (``set_keys``) bootstrap as ours do.

    Of the whole there are ``done``, ``terminated``, ``truncated [B, 1]``, which alone reset; ``success [B, 1]``,
    meaningful where an episode ended; ``episode`` and ``step [B, 1]`` int64, the moment, by which draws are named; and
    with ``state=True`` the ``state [B, S]``, for central critics.

    Episodes are those of ``env.reset(seed)``: ``set_seed(s)`` counts for the next full reset, and an environment that
    ends goes on with the next episode of its own seed.

    Args:
        env: id, class, function or environment, see ``gnncomm.environments.make``.
        num_envs: B.
        device: where tensors live.
        state: whether the state of the environment is shown.
        group: name of the group that all agents are in.
        seed: of the first full reset.
        **settings: those of the environment.

    Raises:
        ConfigError, DeviceError: as ``make``. ShapeError: ``state=True`` where the environment tells none.
    """

    def __init__(
        self,
        env: Any = "predator_prey",
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        *,
        state: bool = False,
        group: str = "agents",
        seed: int = 0,
        **settings: Any,
    ) -> None:
        made = environments.make(env, num_envs, device, "flat", **settings)
        made = with_state(made) if state else made
        super().__init__(device=made.device, batch_size=torch.Size([made.num_envs]))
        self.vector_env: VectorEnv = made
        self.group = group
        self.team = TeamSpec.of(made)
        self.group_map = {group: [f"agent_{n}" for n in range(made.num_agents)]}
        self._pending: int | None = seed
        self._make_specs(made.reset(seed=seed))

    def _make_specs(self, first: TimeStep) -> None:
        batch, rows = self.batch_size, torch.Size([*self.batch_size, self.team.num_agents])

        def numbers(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Unbounded:
            return Unbounded(shape=torch.Size(shape), dtype=dtype, device=self.device)

        def flags(*shape: int) -> Categorical:
            return Categorical(2, shape=torch.Size(shape), dtype=torch.bool, device=self.device)

        def tree(whole: dict[str, Any], agents: dict[str, Any]) -> Composite:
            inner = Composite(agents, shape=rows, device=self.device)
            return Composite({**whole, self.group: inner}, shape=batch, device=self.device)

        def spec(value: Tensor) -> Any:
            return flags(*value.shape) if value.dtype == torch.bool else numbers(value.shape, value.dtype)

        seen = self._seen(first)
        mine = {name: spec(value) for name, value in seen.pop(self.group).items()}
        self.observation_spec = tree({name: spec(value) for name, value in seen.items()}, mine)
        self.action_spec = tree({}, {"action": self._actions()})
        self.reward_spec = tree({}, {"reward": numbers((*rows, 1))})
        self.done_spec = tree({name: flags(*batch, 1) for name in _FLAGS}, {name: flags(*rows, 1) for name in _FLAGS})
        self._mask_actions(first)

    def _actions(self) -> Categorical | Bounded:
        rows, box = torch.Size([*self.batch_size, self.team.num_agents]), self.team.box
        if box is None:
            return Categorical(self.team.num_actions, shape=rows, dtype=torch.int64, device=self.device)
        low, high = (
            torch.tensor(side, device=self.device).expand(*self.batch_size, -1, -1) for side in (box.low, box.high)
        )
        return Bounded(low, high, shape=low.shape, dtype=torch.float32, device=self.device)

    def _seen(self, now: TimeStep) -> dict[str, Any]:
        """What the specs of observations promise."""
        own = {
            "observation": now.obs,
            "mask": now.alive,
            "action_mask": _allowed(now),
            "position": now.pos,
            "entered": now.entered,
        }
        whole = {"episode": now.key, "step": now.step, "success": now.success}
        found: dict[str, Any] = {name: value.unsqueeze(-1) for name, value in whole.items()}
        if now.state is not None:
            found["state"] = now.state
        return found | {self.group: {name: value for name, value in own.items() if value is not None}}

    def _said(self, now: TimeStep, begun_B: Tensor | None = None) -> TensorDict:
        """``begun``: whose episode began with this call, after a reset; None after a step, which alone pays."""
        cut_BN = now.truncated.unsqueeze(-1) if now.cut is None else now.truncated.unsqueeze(-1) | now.cut
        ended_BN = now.discount == 0
        going_B1 = torch.ones_like(now.done).unsqueeze(-1) if begun_B is None else ~begun_B.unsqueeze(-1)
        whole = _flags(now.terminated.unsqueeze(-1) & going_B1, now.truncated.unsqueeze(-1) & going_B1)
        each = _flags((ended_BN & going_B1).unsqueeze(-1), (cut_BN & ~ended_BN & going_B1).unsqueeze(-1))
        seen = self._seen(now)
        reward = {} if begun_B is not None else {"reward": now.reward.unsqueeze(-1)}
        self._mask_actions(now)
        rows = torch.Size([*self.batch_size, self.team.num_agents])
        agents = TensorDict({**seen.pop(self.group), **each, **reward}, batch_size=rows, device=self.device)
        return TensorDict({**seen, **whole, self.group: agents}, batch_size=self.batch_size, device=self.device)

    def _mask_actions(self, now: TimeStep) -> None:
        """So that random actions are allowed ones."""
        allowed = _allowed(now)
        if allowed is not None:
            self.input_spec["full_action_spec", self.group, "action"].update_mask(allowed.clone())

    def _reset(self, tensordict: TensorDictBase | None = None, **_: Any) -> TensorDict:
        where = None if tensordict is None else tensordict.get("_reset", None)
        begun_B = torch.ones(self.batch_size, dtype=torch.bool) if where is None else where.view(self.batch_size)
        if where is not None and (self._pending is None or not bool(begun_B.all())):
            return self._said(self.vector_env.reset(where=begun_B), begun_B)
        now, self._pending = self.vector_env.reset(seed=self._pending), None
        return self._said(now, begun_B.to(now.done.device))

    def _step(self, tensordict: TensorDictBase) -> TensorDict:
        return self._said(self.vector_env.step(tensordict[self.group, "action"]))

    def _set_seed(self, seed: int | None) -> None:
        self._pending = seed

    def __repr__(self) -> str:
        return f"CommEnv({self.vector_env.id!r}, num_envs={self.vector_env.num_envs}, agents={self.team.num_agents})"


def _flags(terminated: Tensor, truncated: Tensor) -> dict[str, Tensor]:
    return {"done": terminated | truncated, "terminated": terminated, "truncated": truncated}


def _allowed(now: TimeStep) -> Tensor | None:
    """Allowed actions; whoever takes no part may do anything, as a distribution needs one."""
    return None if now.action_mask is None else now.action_mask | ~now.alive.unsqueeze(-1)
