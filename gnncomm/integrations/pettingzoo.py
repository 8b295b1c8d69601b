"""Training on foreign environments: any PettingZoo ``ParallelEnv``, and Gymnasium environments with ``Tuple`` spaces.

    env = envs.make("pettingzoo:mpe2.simple_spread_v3", num_envs=16, pos="observation[2:4]", N=5)

The part after the colon is a module that has a ``parallel_env``, ``module:attribute``, or a name of PettingZoo's
registry (one with a slash). In ``gymnasium:lbforaging:Foraging-8x8-2p-1f-v3`` it is what ``gymnasium.make`` takes.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gnncomm import checks, random
from gnncomm.errors import ConfigError, StateError
from gnncomm.integrations import kinds, options
from gnncomm.integrations.drawing import CELLS, on_grid, side_by_side
from gnncomm.integrations.floor import no_ceiling, uniform_action
from gnncomm.integrations.form import NO_SEED, Kind, Task
from gnncomm.integrations.workers import Workers
from gnncomm.shapes import Int
from gnncomm.types import Box, Group, Scene, TimeStep

TRIAL = 25
"""Random steps that show whether agents get the same rewards."""

_CPU = torch.device("cpu")


class ForeignEnv:
    """B environments of another library in worker processes, as ``gnncomm.types.VectorEnv``.

    **Rows.** ``possible_agents``, in order. Observations are flattened (``gymnasium.spaces.flatten``: one-hot for
    Discrete), made float32 and padded with zeros to the widest. Actions are ``Discrete``; where agents have different
    numbers of them, or observe ``{"observation", "action_mask"}``, the time step has an ``action_mask``. Or they are
    bounded ``Box`` of floats, flattened and padded to the widest: ``box`` says so. Who is not in ``agents`` is not
    alive: zeros and reward 0.

    **Ends.** An agent that terminates has discount 0. An agent that is truncated while others go on keeps discount 1:
    ``timestep.cut`` names it, and its row shows the observation that came with the truncation, for a bootstrap. Where
    none came, its discount is 0. The episode ends when ``agents`` is empty: truncated if anybody was truncated then
    (those keep discount 1), else terminated. After ``step_limit`` steps it is truncated here. Success: every agent that
    acted has ``infos[agent]["success"]`` True. Nothing resets itself.

    **Seeds.** Episode e of seed s is reset with ``bits(stream(s, "episode"), e)`` modulo 2^31, so the trajectory of an
    environment depends on its seed and its actions, if it draws from its own generator. One that draws from the global
    generators of ``random`` or ``numpy`` (which are seeded with it) needs ``num_workers=num_envs`` for that.

    **Saving.** A foreign environment cannot be saved, but its episodes can be played again: ``state_dict`` holds seeds,
    counters and the actions of the running episodes, ``load_state_dict`` replays them and compares what comes.

    Args:
        kind, source: See the module.
        num_envs: B.
        device: Where tensors live; the environments themselves run on the CPU.
        observation: ``"flat"``.
        num_workers: W processes, or B where that is fewer; as many as there are cores if None.
        timeout: Seconds without a sign of life after which a worker counts as hanging.
        step_limit: Largest length of an episode; ``max_steps`` of the contract.
        pos: Where positions are: ``"observation[2:4]"`` (entries of each agent's flattened observation), or
            ``"module:function"``, called in the worker with the environment after each reset and step; it gives a
            dict from each living agent to its P coordinates. None: no positions.
        area: ``"low:high"``, the coordinates that pictures show; x to the right, y up, on 20 x 20 cells.
        strict: Whether each observation must lie in its space. False: its size and finiteness are enough.
        newcomers: Whether agents may appear within an episode; ``timestep.entered`` says when.
        teams: Who plays with whom: kinds of agents (names without numbers) joined by ``+`` are a team, ``,`` separates
            teams, ``"all"`` is one team. None: see ``groups``.
        fresh: Whether each episode gets an environment made anew. For those whose ``reset(seed)`` leaves something of
            the episode before, and which therefore cannot be repeated: lbforaging 2.0 places no player where one stood
            last.
        pictures: Whether the environment is made with ``render_mode="rgb_array"``, where its metadata offers that and
            its maker takes it, so that ``picture`` shows what it draws.
        **settings: Those of the environment itself, as JSON.

    Raises:
        ConfigError: A setting out of range, an unknown source, spaces that are not covered.
        EnvContractError: The environment breaks its contract; names environment, step, agent and field.
        WorkerError: A worker died or hangs, or its environment raised an error. No process is left then.
        DeviceError: A device this machine does not have.
    """

    _seed: Tensor
    _episode: Tensor
    _started: bool

    def __init__(
        self,
        kind: Kind,
        source: str,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        *,
        num_workers: int | None = None,
        timeout: float = 8.0,
        step_limit: int = 1000,
        pos: str | None = None,
        area: str = "-1:1",
        strict: bool = True,
        newcomers: bool = False,
        fresh: bool = False,
        teams: str | None = None,
        pictures: bool = False,
        **settings: Any,
    ) -> None:
        self.id = f"{kind}:{source}"
        self.num_envs, self.max_steps = (
            checks.integer("num_envs", num_envs, 1),
            checks.integer("step_limit", step_limit, 1),
        )
        self.device = checks.device(device)
        if observation != "flat":
            raise ConfigError(
                f"observation: expected 'flat' for {self.id!r}, whose observations are dense, got {observation!r}. "
                "Pass observation='flat'."
            )
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        num_workers = cores if num_workers is None else checks.integer("num_workers", num_workers, 1)
        self._low, self._high = options.area(area)
        own = {"num_workers": num_workers, "timeout": timeout, "step_limit": step_limit, "pos": pos, "area": area}
        self.config: dict[str, Any] = {**own, "strict": strict, "newcomers": newcomers, "fresh": fresh, **settings}
        self.config |= {} if teams is None else {"teams": teams}
        self.config |= {"pictures": True} if pictures else {}
        cut, function = options.positions(pos)
        task = Task(
            kind,
            source,
            options.plain(settings),
            first=0,
            count=0,
            pos_slice=cut,
            pos_function=function,
            strict=checks.flag("strict", strict),
            newcomers=checks.flag("newcomers", newcomers),
            fresh=checks.flag("fresh", fresh),
            pictures=checks.flag("pictures", pictures),
        )
        self.workers = Workers(
            task, self.num_envs, min(num_workers, self.num_envs), options.seconds("timeout", timeout)
        )
        self._begin(newcomers)
        self._teams = kinds.declared(teams, self.workers.form.agents)

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """Agents that are alike, and the team of each, see ``gnncomm.integrations.kinds``.

        Where neither names nor the setting ``teams`` tell teams, ``TRIAL`` random steps are played when this is first
        asked for; a running episode is played again up to where it was.

        Raises:
            ConfigError: nobody knows who plays with whom.
        """
        form = self.workers.form
        return kinds.groups(form, self._teams or kinds.undeclared(form.agents, self._trial(), self.id))

    def _trial(self) -> Tensor:
        """``[S, B, N]``: rewards of random actions."""
        counters: tuple[Tensor, Tensor, bool] = self._seed, self._episode, self._started
        running = self.state_dict() if self._started else None
        now, rewards = self.reset(seed=0), []
        for _ in range(TRIAL):
            now = self.step(self.floor_action(now.key))
            rewards.append(now.reward)
            now = self.reset(where=now.done) if bool(now.done.any()) else now
        if running is None:
            self._seed, self._episode, self._started = counters
        else:
            self.load_state_dict(running)
        return torch.stack(rewards)

    def _begin(self, newcomers: bool) -> None:
        form = self.workers.form
        self.agents = tuple(form.agents)
        self.num_agents, self.num_actions, self.obs_dim = len(form.agents), form.num_actions, form.width
        self._newcomers = newcomers
        self.box = Box(*(tuple(map(tuple, side)) for side in (form.low, form.high))) if form.low else None
        self._counts_N = torch.tensor(form.actions)
        self._bounds = None if self.box is None else (torch.tensor(form.low), torch.tensor(form.high))
        self._seed = checks.seeds(0, self.num_envs, _CPU)
        self._episode, self._step = torch.zeros_like(self._seed), torch.zeros_like(self._seed)
        dtype = torch.int32 if self.box is None else torch.float32
        self._actions_BTN = torch.zeros(self.num_envs, self.max_steps, *form.action[1], dtype=dtype)
        self._started = False

    @property
    def _key(self) -> Int[Tensor, " B"]:
        return random.bits(random.stream(self._seed, "episode"), self._episode)

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        """See ``VectorEnv``.

        Raises:
            ConfigError: ``seed`` is no int in ``[0, 2^63)`` or no such ``[B]`` tensor, or came with ``where``.
            ShapeError, DtypeError: ``where`` is not bool ``[B]``.
            StateError: ``where`` was given before the first full reset, or the workers have ended.
        """
        if where is not None:
            if seed is not None:
                raise ConfigError("reset: expected seed or where, got both. Reset all environments to give new seeds.")
            self._require_started("reset(where=...)")
            due_B = checks.rows(where, self.num_envs).cpu()
            self._episode = self._episode + due_B
        else:
            due_B = torch.ones(self.num_envs, dtype=torch.bool)
            if seed is not None:
                self._seed, self._episode = checks.seeds(seed, self.num_envs, _CPU), torch.zeros_like(self._episode)
            elif self._started:
                self._episode = self._episode + 1
        self._renew(due_B)
        return self._timestep()

    def _renew(self, due_B: Tensor) -> None:
        seed_B = torch.where(due_B, self._key & (2**31 - 1), NO_SEED)
        self.workers.reset(seed_B.numpy())
        self._step = torch.where(due_B, 0, self._step)
        self._actions_BTN[due_B] = 0
        self._started = True

    def step(self, action: Tensor) -> TimeStep:
        """Advance by ``action [B, N]`` int64, or ``[B, N, A]`` numbers within ``box``; those of the dead are ignored.

        Raises:
            StateError: Before the first reset, while an environment is at its end, after the workers have ended.
            ActionError: Another shape or type, or a value that the agent does not have.
            EnvContractError, WorkerError: See the class.
        """
        self._require_started("step")
        if bool((ended := self._ended()).any()):
            raise checks.over(ended)
        alive_BN = self._read("alive")
        if self._bounds is None:
            shape = (self.num_envs, self.num_agents)
            taken_BN = checks.actions(action, alive_BN, shape, self._counts_N, self.device, self.agents)
        else:
            taken_BN = checks.numbers(action, alive_BN, self._bounds, self.device, self.agents)
        self._advance(torch.ones(self.num_envs, dtype=torch.bool), taken_BN)
        return self._timestep()

    def _advance(self, due_B: Tensor, action_BN: Tensor) -> None:
        self.workers.step(due_B.numpy(), action_BN.numpy())
        rows_B = due_B.nonzero().squeeze(-1)
        self._actions_BTN[rows_B, self._step[rows_B]] = action_BN[rows_B].to(self._actions_BTN.dtype)
        self._step = self._step + due_B

    def _read(self, name: str) -> Tensor:
        """A copy of a field of all records, ``[B, ...]``."""
        return torch.from_numpy(np.array(self.workers.records[name]))

    def _ended(self) -> Tensor:
        return self._read("terminated") | self._read("truncated") | (self._step >= self.max_steps)

    def _timestep(self) -> TimeStep:
        form, terminated_B = self.workers.form, self._read("terminated")
        truncated_B = self._read("truncated") | ((self._step >= self.max_steps) & ~terminated_B)
        found = TimeStep(
            obs=self._read("obs"),
            reward=self._read("reward"),
            discount=self._read("discount").to(torch.float32),
            alive=self._read("alive"),
            terminated=terminated_B,
            truncated=truncated_B,
            success=self._read("success"),
            first=self._step == 0,
            key=self._key,
            step=self._step.clone(),
            pos=self._read("pos") if form.coordinates else None,
            action_mask=self._read("mask") if form.offers_mask else None,
            entered=self._read("entered") if self._newcomers else None,
            cut=self._read("cut"),
        )
        return found if self.device.type == "cpu" else found.map(lambda x: x.to(self.device))

    @property
    def judged(self) -> Tensor:
        """``[B]`` bool: where the last step said of an agent whether it succeeded."""
        return self._read("judged").to(self.device)

    def floor_action(self, key: Int[Tensor, " B"]) -> Tensor:
        """Uniformly random among the allowed actions, a function of ``key [B]`` and the current step."""
        mask = self._read("mask") if self.workers.form.offers_mask else None
        found = uniform_action(key.cpu(), self._step, self.num_agents, self.num_actions, self._bounds, mask)
        return found.to(self.device)

    def ceiling_action(self) -> Int[Tensor, "B N"]:
        """There is none.

        Raises:
            StateError: Always.
        """
        raise no_ceiling(self.id)

    def scene(self) -> Scene:
        """Agents on a grid of 20 x 20 cells that covers ``area``, or side by side where positions are not known."""
        self._require_started("scene")
        finished_BN = ~self._read("alive") & ~self._ended()[:, None]
        if not self.workers.form.coordinates:
            return Scene((1, self.num_agents), side_by_side(*finished_BN.shape), finished_BN, {}, {})
        return Scene((CELLS, CELLS), on_grid(self._read("pos"), self._low, self._high), finished_BN, {}, {})

    def picture(self) -> NDArray[np.uint8] | None:
        """See ``gnncomm.types.Pictured``."""
        self._require_started("picture")
        return self.workers.picture()

    def state_dict(self) -> dict[str, Tensor]:
        """Seeds, counters, the actions of the running episodes, and what was seen last, to compare with."""
        self._require_started("state_dict")
        counters = {"seed": self._seed, "episode": self._episode, "step": self._step, "actions": self._actions_BTN}
        seen = {name: self._read(name) for name in ("obs", "reward", "alive")}
        return {name: value.clone() for name, value in (counters | seen).items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        """Play the running episodes again up to where they were; gives the time step that was current then.

        Raises:
            StateError: Missing or unknown names, or the environment gives something else than it did: it depends on
                more than its seed and its actions, and cannot be continued.
            ShapeError, DtypeError: A tensor of another shape or type; names it.
            CheckpointMismatchError: A counter or action that no episode has; nothing is replayed.
        """
        blank = {"seed": self._seed, "episode": self._episode, "step": self._step, "actions": self._actions_BTN}
        blank |= {name: self._read(name) for name in ("obs", "reward", "alive")}
        checks.saved_state(state, blank, self.id)
        options.replayable(
            {name: value.cpu() for name, value in state.items()},
            self.max_steps,
            (torch.zeros_like(self._counts_N), self._counts_N - 1) if self._bounds is None else self._bounds,
            self.id,
        )
        mine = {name: value.cpu().clone() for name, value in state.items()}
        self._seed, self._episode = mine["seed"], mine["episode"]
        self._renew(torch.ones(self.num_envs, dtype=torch.bool))
        for t in range(int(mine["step"].max())):
            action = mine["actions"][:, t]
            self._advance(mine["step"] > t, action.long() if self.box is None else action)
        for name in ("obs", "reward", "alive"):
            other = (self._read(name) != mine[name]).nonzero()
            if len(other):
                env, *rest = other[0].tolist()
                raise StateError(
                    f"load_state_dict: expected {self.id!r} to repeat itself when the episode of environment {env} is "
                    f"played again, but {name} of agent {self.agents[rest[0]]!r} differs. It depends on more than its "
                    "seed and its actions, so a training on it cannot be resumed. Start a new run, with fresh=True if "
                    "its reset leaves something of the episode before, or num_workers=num_envs if it draws from global "
                    "generators."
                )
        return self._timestep()

    def close(self) -> None:
        """End the worker processes; does nothing the second time. Forgetting the environment does it, too."""
        self.workers.close()

    def _require_started(self, verb: str) -> None:
        if not self._started:
            raise StateError(f"{verb}: expected a running episode, but there was no reset yet. Call reset() first.")

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.config.items())
        return f"ForeignEnv({self.id!r}, num_envs={self.num_envs}, num_agents={self.num_agents}{settings})"
