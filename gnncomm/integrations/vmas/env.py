"""B worlds of a VMAS scenario, which are one tensor program already."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from gnncomm import checks, host, random
from gnncomm.errors import ConfigError, StateError, did_you_mean, require_extra
from gnncomm.integrations import kinds, options
from gnncomm.integrations.drawing import CELLS, on_grid
from gnncomm.integrations.floor import no_ceiling, uniform_action
from gnncomm.integrations.form import Form
from gnncomm.integrations.vmas import snapshot
from gnncomm.types import Box, Group, Scene, TimeStep

TRIAL = 25
"""Random steps that show whether agents get the same rewards."""
_SMALL = 2**31 - 1


class VmasEnv:
    """B worlds of ``vmas.make_env(scenario)`` as ``gnncomm.types.VectorEnv``.

    **Rows.** The scenario's agents that a policy moves, in order. Observations are flattened, those of a dict in its
    order, and padded with zeros to the widest; positions are those of the world. Actions are numbers within ``box``,
    or one of the product of the choices of each axis (and symbol), where ``continuous_actions`` is False; where agents
    have unlike numbers of them, the time step has an ``action_mask``. Nobody dies.

    **Ends.** The scenario's ``done`` terminates, ``step_limit`` steps truncate. Nothing resets itself.

    **Seeds.** Each world is reset by itself, after the simulator was seeded with the key of its episode. A scenario
    that draws in its steps, too, does so for all worlds at once: their draws are a function of the keys and steps of
    all, so the same batch repeats itself, and another batch differs.

    **Saving.** ``state_dict`` holds every tensor and number of the worlds, from which the scenarios of VMAS 1.5.2 go on
    to the bit; but for ``football`` and ``road_traffic``, which keep more.

    Args:
        scenario: a name that VMAS lists.
        num_envs: B.
        device: where the simulation runs.
        observation: ``"flat"``.
        continuous_actions: numbers, or choices.
        step_limit: largest length of an episode; ``max_steps`` of the contract.
        done_is_success: whether an episode that the scenario ends was solved, as in navigation; in others, as in
            balance, it may have failed. False: success is not known.
        area: ``"low:high"``, the coordinates that pictures show; x to the right, y up, on 20 x 20 cells.
        teams: who plays with whom, see ``gnncomm.integrations.kinds``.
        **settings: those of the scenario: ``n_agents=4``.

    Raises:
        MissingExtraError: VMAS is not installed.
        ConfigError: no such scenario or setting, or a value out of range.
    """

    def __init__(
        self,
        scenario: str,
        num_envs: int = 1,
        device: str | torch.device = "cpu",
        observation: str = "flat",
        *,
        continuous_actions: bool = True,
        step_limit: int = 100,
        done_is_success: bool = False,
        area: str = "-1:1",
        teams: str | None = None,
        **settings: Any,
    ) -> None:
        self.id = f"vmas:{scenario}"
        self.num_envs = checks.integer("num_envs", num_envs, 1)
        self.max_steps = checks.integer("step_limit", step_limit, 1)
        self.device = checks.device(device)
        checks.choice("observation", observation, ("flat",))
        self._low, self._high = options.area(area)
        self._done_is_success = checks.flag("done_is_success", done_is_success)
        own = {"continuous_actions": checks.flag("continuous_actions", continuous_actions), "step_limit": step_limit}
        self.config: dict[str, Any] = {**own, "done_is_success": done_is_success, "area": area, **settings}
        self.config |= {} if teams is None else {"teams": teams}
        self._scenario = scenario
        self._world = _make(scenario, self.num_envs, self.device, continuous_actions, settings)
        self._form = _form(self._world, continuous_actions)
        self.agents = tuple(self._form.agents)
        self.num_agents, self.num_actions, self.obs_dim = len(self.agents), self._form.num_actions, self._form.width
        low, high = self._form.low, self._form.high
        self.box = Box(tuple(map(tuple, low)), tuple(map(tuple, high))) if low else None
        sides = torch.tensor(low, device=self.device), torch.tensor(high, device=self.device)
        self._bounds = sides if low else None
        self._counts_N = torch.tensor(self._form.actions, device=self.device)
        self._mask_NA = torch.arange(self.num_actions, device=self.device) < self._counts_N[:, None]
        self._teams = kinds.declared(teams, self._form.agents)
        self._seed = checks.seeds(0, self.num_envs, self.device)
        self._episode = torch.zeros_like(self._seed)
        self._now: TimeStep | None = None

    @functools.cached_property
    def groups(self) -> tuple[Group, ...]:
        """Agents that are alike, and the team of each, see ``gnncomm.integrations.kinds``.

        Raises:
            ConfigError: nobody knows who plays with whom.
        """
        return kinds.groups(self._form, self._teams or kinds.undeclared(self._form.agents, self._trial(), self.id))

    def _trial(self) -> Tensor:
        """``[S, B, N]``: rewards of random actions, in worlds of their own."""
        other = VmasEnv(self._scenario, 2, self.device, **{**self.config, "teams": kinds.EVERYBODY})
        now, rewards = other.reset(seed=0), []
        for _ in range(TRIAL):
            now = other.step(other.floor_action(now.key))
            rewards.append(now.reward)
            now = other.reset(where=now.done)
        return torch.stack(rewards)

    def reset(self, seed: int | Tensor | None = None, where: Tensor | None = None) -> TimeStep:
        """See ``VectorEnv``.

        Raises:
            ConfigError: ``seed`` is no int in ``[0, 2^63)`` or no such ``[B]`` tensor, or came with ``where``.
            ShapeError, DtypeError: ``where`` is not bool ``[B]``. StateError: ``where`` before the first full reset.
        """
        if where is not None and seed is not None:
            raise ConfigError("reset: expected seed or where, got both. Reset all environments to give new seeds.")
        if where is not None:
            self._current("reset(where=...)")
            due_B = checks.rows(where, self.num_envs).to(self.device)
        else:
            due_B = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if seed is not None:
            self._seed, self._episode = checks.seeds(seed, self.num_envs, self.device), torch.zeros_like(self._episode)
        elif self._now is not None:
            self._episode = self._episode + due_B
        key_B = random.bits(random.stream(self._seed, "episode"), self._episode)
        for number in due_B.nonzero().squeeze(-1).tolist():  # the simulator resets one after the other, too
            self._world.seed(int(key_B[number]) & _SMALL)
            self._world.reset_at(number, return_observations=False)
        new = self._begun(key_B, due_B)
        self._now = new if self._now is None else new.where(due_B, self._now)
        return self._now.map(torch.clone)

    def _begun(self, key_B: Tensor, due_B: Tensor) -> TimeStep:
        step_B = torch.zeros_like(self._seed) if self._now is None else torch.where(due_B, 0, self._now.step)
        self._world.seed(_of_all(key_B, step_B))
        (seen,) = self._world.get_from_scenario(
            get_observations=True, get_rewards=False, get_infos=False, get_dones=False
        )
        nothing = torch.zeros(self.num_envs, self.num_agents, device=self.device)
        return self._timestep(seen, nothing, torch.zeros_like(due_B), key_B, step_B)

    def step(self, action: Tensor) -> TimeStep:
        """Advance by ``action [B, N]`` int64, or ``[B, N, A]`` numbers within ``box``.

        Raises:
            StateError: before the first reset, or while an environment is at its end.
            ActionError: another shape or type, or a value that the agent does not have.
        """
        now = self._current("step")
        host.refuse(now.done, lambda: checks.over(now.done))
        shape = (self.num_envs, self.num_agents)
        if self._bounds is None:
            taken = checks.actions(action, None, shape, self._counts_N, self.device, self.agents).unsqueeze(-1)
        else:
            taken = checks.numbers(action, now.alive, self._bounds, self.device, self.agents)
        each = [taken[:, n, : self._form.actions[n] if self._bounds else 1] for n in range(self.num_agents)]
        self._world.seed(_of_all(now.key, now.step + 1))
        seen, rewards, over, _ = self._world.step(each)
        self._now = self._timestep(
            seen, torch.stack([each.reshape(self.num_envs) for each in rewards], 1), over.bool(), now.key, now.step + 1
        )
        return self._now.map(torch.clone)

    def _timestep(self, seen: list[Any], reward: Tensor, over_B: Tensor, key_B: Tensor, step_B: Tensor) -> TimeStep:
        rows = [torch.nn.functional.pad(x, (0, self.obs_dim - x.shape[-1])) for x in map(_flat, seen)]
        alive_BN = torch.ones_like(reward, dtype=torch.bool)
        differ = self._bounds is None and len(set(self._form.actions)) > 1
        return TimeStep(
            obs=torch.stack(rows, 1),
            reward=reward.float(),
            discount=(~over_B).float().unsqueeze(-1).expand_as(reward).clone(),
            alive=alive_BN,
            terminated=over_B,
            truncated=(step_B >= self.max_steps) & ~over_B,
            success=over_B.clone() if self._done_is_success else torch.zeros_like(over_B),
            first=step_B == 0,
            key=key_B.clone(),
            step=step_B,
            pos=torch.stack([agent.state.pos for agent in self._world.agents], 1).clone(),
            action_mask=self._mask_NA.expand(self.num_envs, -1, -1).clone() if differ else None,
        )

    def floor_action(self, key: Tensor) -> Tensor:
        """Uniformly random among the allowed actions, a function of ``key [B]`` and the current step."""
        step_B = torch.zeros_like(self._seed) if self._now is None else self._now.step
        mask = (
            None if self._bounds or len(set(self._form.actions)) == 1 else self._mask_NA.expand(self.num_envs, -1, -1)
        )
        return uniform_action(key, step_B, self.num_agents, self.num_actions, self._bounds, mask)

    def ceiling_action(self) -> Tensor:
        """There is none.

        Raises:
            StateError: always.
        """
        raise no_ceiling(self.id)

    def scene(self) -> Scene:
        """Agents and landmarks on a grid of 20 x 20 cells that covers ``area``."""
        now = self._current("scene")
        assert now.pos is not None  # of every world
        landmarks = {mark.name: mark.state.pos[:, None] for mark in self._world.world.landmarks}
        drawn = {name: on_grid(pos, self._low, self._high) for name, pos in landmarks.items()}
        there = {name: torch.ones_like(pos[..., 0], dtype=torch.bool) for name, pos in landmarks.items()}
        finished_BN = torch.zeros_like(now.alive)
        return Scene((CELLS, CELLS), on_grid(now.pos, self._low, self._high), finished_BN, drawn, there)

    def state_dict(self) -> dict[str, Tensor]:
        """Seeds, episodes, what was said last, and every tensor of the worlds."""
        now = self._current("state_dict").tensors("now.")
        own = {"seed": self._seed, "episode": self._episode}
        return {name: value.clone() for name, value in (own | now).items()} | snapshot.read(self._world)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> TimeStep:
        """Go on from there; gives the time step that was current then.

        Raises:
            StateError: missing or unknown names. ShapeError, DtypeError: of counters and what was said last.
            CheckpointMismatchError: of the worlds.
        """
        blank = self.reset(seed=0).tensors("now.") | {"seed": self._seed, "episode": self._episode}
        checks.saved_state(
            {name: value for name, value in state.items() if not name.startswith("world.")}, blank, self.id
        )
        state = {name: value.to(self.device).clone() for name, value in state.items()}
        worlds = {name: value for name, value in state.items() if name.startswith("world.")}
        snapshot.write(self._world, worlds, self.id)
        self._seed, self._episode = state["seed"], state["episode"]
        self._now = self._current("load_state_dict").with_tensors(state, "now.")
        return self._now.map(torch.clone)

    def _current(self, verb: str) -> TimeStep:
        if self._now is None:
            raise StateError(f"{verb}: expected a running episode, but there was no reset yet. Call reset() first.")
        return self._now

    def __repr__(self) -> str:
        settings = "".join(f", {name}={value!r}" for name, value in self.config.items())
        return f"VmasEnv({self._scenario!r}, num_envs={self.num_envs}, num_agents={self.num_agents}{settings})"


def _make(scenario: str, num_envs: int, device: torch.device, numbers: bool, settings: Mapping[str, Any]) -> Any:
    require_extra("vmas", "vmas")
    import vmas

    known = sorted({*vmas.scenarios, *vmas.mpe_scenarios, *vmas.debug_scenarios})
    if scenario not in known:
        raise ConfigError(
            f"vmas: expected a scenario that VMAS lists, got {scenario!r}. {did_you_mean(scenario, known)}"
        )
    how = {
        "seed": 0,
        "continuous_actions": numbers,
        "clamp_actions": numbers,
        "num_envs": num_envs,
        "device": str(device),
    }
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Scenario kwargs", UserWarning)
        try:
            world = vmas.make_env(scenario, **how, **options.plain(settings))
        except (UserWarning, TypeError, AssertionError) as error:
            raise ConfigError(
                f"vmas:{scenario}: expected settings of the scenario, got {dict(settings)}: {error}"
            ) from error
    sizes = [world.get_agent_action_size(agent) for agent in world.agents]
    world.step([torch.zeros(num_envs, size, device=device) for size in sizes])  # makes more tensors, which are saved
    return world


def _form(world: Any, numbers: bool) -> Form:
    agents = list(world.agents)
    moves = [world.get_agent_action_space(agent) for agent in agents]
    (seen,) = world.get_from_scenario(get_observations=True, get_rewards=False, get_infos=False, get_dones=False)
    counts = [move.shape[0] if numbers else int(move.n) for move in moves]
    low, high = (
        [[*map(float, side), *[0.0] * (max(counts) - len(side))] for side in sides] if numbers else []
        for sides in ([getattr(move, "low", ()) for move in moves], [getattr(move, "high", ()) for move in moves])
    )
    widths = [_flat(one).shape[-1] for one in seen]
    return Form([agent.name for agent in agents], widths, counts, masked=False, coordinates=2, low=low, high=high)


def _flat(seen: Any) -> Tensor:
    """``[B, D]``."""
    if isinstance(seen, Tensor):
        return seen.flatten(1).float()
    parts: Iterable[Any] = seen.values()
    return torch.cat([_flat(part) for part in parts], -1)


def _of_all(key_B: Tensor, step_B: Tensor) -> int:
    return int(random.bits(random.stream(key_B, "vmas"), step_B).sum()) & _SMALL
