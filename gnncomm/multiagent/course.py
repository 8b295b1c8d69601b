"""Where a team stands in its episodes, and what it is shown there: plain shapes in, a ``TimeStep`` out."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.errors import DtypeError, NonFiniteError, ShapeError
from gnncomm.policy import CommPolicy, PolicyState
from gnncomm.types import TimeStep


@functools.lru_cache(maxsize=64)
def episode_key(seed: int, episode: int) -> int:
    """The identity of an episode, for all draws in it."""
    return int(random.bits(random.stream(seed, "episode"), episode))


@dataclass(frozen=True)
class Shown:
    """What a loop shows a team, in its plain shapes."""

    observations: Any  # [N, D]
    positions: Any = None  # [N, P]
    action_mask: Any = None  # [N, A]
    alive: Any = None  # [N]
    entered: Any = None  # [N]


class Course:
    """Where a team stands: its episode and its step, what it remembers, and what it was shown last.

    Args:
        policy: of the team.
        num_agents: N.
        seed: names the draws of the episodes.
    """

    def __init__(self, policy: CommPolicy, num_agents: int, seed: int) -> None:
        self.policy, self.num_agents, self.seed = policy, num_agents, seed
        self.episode, self.time = 0, 0
        self.state: PolicyState = policy.initial_state(1, num_agents)
        self.last: TimeStep | None = None

    def advance(self, timestep: TimeStep, state: PolicyState) -> None:
        """``timestep`` is over, and left ``state``."""
        self.time, self.state, self.last = self.time + 1, state, timestep

    def end(self) -> None:
        """The next step begins an episode."""
        self.episode, self.time, self.state = self.episode + 1, 0, self.policy.initial_state(1, self.num_agents)

    @functools.cached_property
    def blank(self) -> TimeStep:
        """A step in which everybody lives, nothing ends and nothing is seen; rewards come later."""
        count, device = self.num_agents, self.policy.like.device
        no, number = torch.zeros(1, dtype=torch.bool), torch.zeros(1, dtype=torch.int64)
        whole = TimeStep(
            obs=torch.zeros(1, count, self.policy.obs_dim),
            reward=torch.zeros(1, count),
            discount=torch.ones(1, count),
            alive=torch.ones(1, count, dtype=torch.bool),
            terminated=no,
            truncated=no,
            success=no,
            first=no,
            key=number,
            step=number,
            entered=torch.zeros(1, count, dtype=torch.bool),
        )
        return whole.map(lambda value: value.to(device))

    def timestep(self, shown: Shown) -> TimeStep:
        """What the team sees now, with an axis of one environment.

        Raises:
            ShapeError: not these shapes, or positions in some steps only. DtypeError: a mask that is none.
            NonFiniteError: a living agent observes NaN or infinity.
        """
        blank, device = self.blank, self.policy.like.device
        count, width = self.num_agents, self.policy.obs_dim
        obs = floats("observations", shown.observations, (count, width), f"[N={count}, D={width}]").to(device)
        alive = self._mask("alive", shown.alive, (count,), f"[N={count}]", blank.alive)
        entered = self._mask("entered", shown.entered, (count,), f"[N={count}]", blank.entered)
        _require_finite(obs, alive[0])
        if self.time and self.last is not None:
            entered = entered | (alive & ~self.last.alive)
        wanted = (count, self.policy.num_actions)
        return replace(
            blank,
            obs=obs.unsqueeze(0),
            alive=alive,
            entered=entered,
            first=torch.full_like(blank.first, self.time == 0),
            key=torch.full_like(blank.key, episode_key(self.seed, self.episode)),
            step=torch.full_like(blank.step, self.time),
            pos=self._places(shown.positions),
            action_mask=self._mask("action_mask", shown.action_mask, wanted, f"[N={count}, A={wanted[1]}]", None),
        )

    def _places(self, positions: Any) -> Tensor | None:
        last = None if self.last is None else self.last.pos
        if self.last is not None and (positions is None) != (last is None):
            raise ShapeError(
                f"positions: expected {'none' if last is None else 'some'}, as in the steps before, got "
                f"{'none' if positions is None else 'some'}. Give them in all steps, or in none."
            )
        if positions is None:
            return None
        width = None if last is None else last.shape[-1]
        name = f"[N={self.num_agents}, P{'' if width is None else f'={width}'}]"
        return floats("positions", positions, (self.num_agents, width), name).to(self.policy.like.device).unsqueeze(0)

    def _mask(self, name: str, given: Any, shape: tuple[int, ...], words: str, usual: Tensor | None) -> Any:
        if given is None:
            return usual
        return mask(name, given, shape, words).to(self.policy.like.device).unsqueeze(0)


@contextmanager
def one_thread() -> Iterator[None]:
    """A row for each agent is too little work to share: threads would wait for each other, longer on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rewards_of(rewards: Any, alive: Tensor) -> Tensor:
    """``[1, N]`` from ``[N]``, or from one number for all; rows of those not ``alive`` may hold anything.

    Raises:
        ShapeError: neither. NonFiniteError: NaN or infinity.
    """
    words = f"[N={alive.shape[-1]}], or one number for all"
    reward = _tensor("rewards", rewards, words, torch.float32).to(alive.device)
    reward = reward.expand(alive.shape[-1]) if not reward.dim() else reward
    _require_shape("rewards", reward, alive.shape[-1:], words)
    reward = torch.where(alive | reward.isfinite(), reward, 0.0)
    if not bool(reward.isfinite().all()):
        raise NonFiniteError(f"Expected finite rewards, got {reward[0].tolist()}.")
    return reward


def _require_finite(obs_ND: Tensor, alive_N: Tensor) -> None:
    broken = alive_N & ~obs_ND.isfinite().all(-1)
    if bool(broken.any()):
        agent = int(broken.nonzero()[0, 0])
        raise NonFiniteError(
            f"Agent {agent} expected a finite observation, got {obs_ND[agent].tolist()}: mend what it sees, or say "
            "that it is not alive."
        )


def floats(name: str, values: Any, shape: tuple[int | None, ...], words: str) -> Tensor:
    """``values`` as float32 of a shape, in which None is any width; refuses what is no rectangular array of numbers."""
    found = _tensor(name, values, words, torch.float32)
    _require_shape(name, found, shape, words)
    return found


def mask(name: str, values: Any, shape: tuple[int, ...], words: str) -> Tensor:
    """``values`` as bool of a shape."""
    found = _tensor(name, values, words, None)
    if found.dtype != torch.bool:
        raise DtypeError(f"Expected {name} {words} as bool, got {found.dtype}: say True and False.")
    _require_shape(name, found, shape, words)
    return found


def _tensor(name: str, values: Any, words: str, dtype: torch.dtype | None) -> Tensor:
    try:
        return torch.as_tensor(values, dtype=dtype)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShapeError(
            f"Expected {name} {words} as a tensor, an array or lists of equal length ({error})."
        ) from error


def _require_shape(name: str, found: Tensor, shape: tuple[int | None, ...], words: str) -> None:
    fits = found.dim() == len(shape) and all(
        want in (None, have) for want, have in zip(shape, found.shape, strict=True)
    )
    if not fits:
        raise ShapeError(f"Expected {name} {words}, got {tuple(found.shape)}.")
