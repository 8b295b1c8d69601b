"""A fixed list of episodes, played to their end: the same episodes whoever plays, in however many environments."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from gnncomm import policy as policies
from gnncomm import random
from gnncomm.errors import EnvContractError
from gnncomm.evaluation.shuffle import Partners
from gnncomm.evaluation.traffic import Traffic
from gnncomm.learn.returns import paid, team_mean, team_share
from gnncomm.policy import CommPolicy, Teams
from gnncomm.shapes import Bool, Float, Int
from gnncomm.types import Judging, TimeStep, VectorEnv

Purpose = Literal["evaluate", "select"]
"""Why episodes are played: each has seeds of its own, so a checkpoint is chosen on others than those reported."""

Actor = Callable[[TimeStep, Tensor], Tensor]
"""Chooses ``[B, N]`` actions, told the time step and which counted episode each environment plays (-1: none)."""


@dataclass(frozen=True)
class Outcomes:
    """How E episodes went."""

    returns: Float[Tensor, " E"]  # float64; reward of the team (``team_mean``), summed over time
    length: Int[Tensor, " E"]
    success: Bool[Tensor, " E"]
    teams: Mapping[str, Tensor] = field(default_factory=dict)  # name -> [E] the same for each of several teams
    judged: bool = True  # whether any of them told of success, see ``gnncomm.types.Judging``


def team(
    policy: CommPolicy,
    env: VectorEnv,
    key: int | None,
    traffic: Traffic | None = None,
    partners: Partners | None = None,
) -> Actor:
    """``policy`` with a memory of its own; its draws are named by ``key``, None takes the most likely actions.

    ``traffic`` counts what it says in counted episodes; the ``partners`` of its channel hear which ones it plays.
    """
    decide = policies.team(policy, policy.initial_state(env.num_envs, env.num_agents), key)

    def act(now: TimeStep, episode: Tensor) -> Tensor:
        if partners is not None:
            partners.at(now.step, episode)
        decision = decide(now)
        if traffic is not None:
            traffic.count(decision.talk, now.alive, episode >= 0)
        return decision.action

    return act


def play(
    env: VectorEnv,
    actor: Actor,
    episodes: int,
    seed: int,
    teams: Teams | None = None,
    purpose: Purpose = "evaluate",
) -> Outcomes:
    """Episodes 0 ... ``episodes - 1``; episode e is the first one of ``random.seeds(purpose, seed, e)``.

    They are played in waves of ``env.num_envs``, each to its end, so short ones are not favoured. An environment that
    is done before its wave goes on with another episode that is not counted.

    Raises:
        EnvContractError: an episode runs beyond ``env.max_steps``.
    """
    starts = range(0, episodes, env.num_envs)
    waves = [_wave(env, actor, start, episodes, (purpose, seed), teams) for start in starts]
    return Outcomes(
        torch.cat([wave.returns for wave in waves]),
        torch.cat([wave.length for wave in waves]),
        torch.cat([wave.success for wave in waves]),
        {name: torch.cat([wave.teams[name] for wave in waves]) for name in waves[0].teams},
        any(wave.judged for wave in waves),
    )


def _wave(
    env: VectorEnv, actor: Actor, start: int, episodes: int, key: tuple[Purpose, int], teams: Teams | None
) -> Outcomes:
    """The episodes ``start``, ``start + 1``, ..., one in each environment; those beyond the last are not counted."""
    episode = torch.arange(start, start + env.num_envs, device=env.device)
    first = env.reset(seed=random.seeds(*key, episode))
    running = episode < episodes
    count = int(running.sum())
    returns = torch.zeros(env.num_envs, dtype=torch.float64, device=env.device)
    shares = returns.new_zeros(env.num_envs, env.num_agents if teams else 0)  # of each agent's team
    length, success, judged = torch.zeros_like(first.step), *(torch.zeros_like(first.success) for _ in range(2))

    def act(now: TimeStep) -> policies.Action:
        return policies.Action(actor(now, torch.where(running, episode, -1)))

    for now, _, after in policies.Play(env, first, act).steps(env.max_steps):
        reward, counts = after.reward.double(), paid(now, after)
        returns = torch.where(running, returns + team_mean(reward, counts), returns)
        if teams is not None:
            shares += torch.where(running.unsqueeze(-1), team_share(reward, counts, teams.index), 0.0)
        length = torch.where(running, after.step, length)
        success = torch.where(running, after.success, success)
        judged = judged | running & after.done & (env.judged if isinstance(env, Judging) else True)
        running = running & ~after.done
        if not bool(running.any()):
            apart = {name: shares[:count, teams.first(name)].cpu() for name in teams.names} if teams else {}
            return Outcomes(
                returns[:count].cpu(), length[:count].cpu(), success[:count].cpu(), apart, bool(judged.any())
            )
    raise EnvContractError(
        f"Expected episodes of {env.id!r} to end within max_steps={env.max_steps}, but {int(running.sum())} still run. "
        "Mend the environment: set truncated at max_steps."
    )


@contextmanager
def evaluating(policy: CommPolicy) -> Iterator[None]:
    """Within, the modules of ``policy`` are in evaluation mode; each gets its own mode back."""
    modes = {module: module.training for module in policy.modules()}
    policy.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
