"""``evaluate``: the trained team beside the controls that say what its communication is worth."""

from __future__ import annotations

from dataclasses import replace

import torch

from gnncomm.errors import ConfigError, ResourceError, StateError
from gnncomm.evaluation.play import evaluating, play, team
from gnncomm.evaluation.report import ARMS, Arm, Report
from gnncomm.evaluation.shuffle import Overheard, Partners, Shuffled
from gnncomm.evaluation.statistics import paired_difference
from gnncomm.evaluation.traffic import Traffic
from gnncomm.learn.config import DEFAULT_SEED
from gnncomm.learn.resources import memory_of, size_of
from gnncomm.policy import CommPolicy
from gnncomm.topology import Empty
from gnncomm.types import Rated, Single, VectorEnv

_OUTCOME = 17
"""Bytes that an episode leaves: its return, its length and its success."""
_AT_ONCE = 100
"""Environments side by side, where only one was given."""


def muted(policy: CommPolicy) -> CommPolicy:
    """The same weights on a wire without edges (``Empty``): no message arrives."""
    return policy.with_wire(replace(policy.wire, topology=Empty()))


@torch.no_grad()
def evaluate(
    policy: CommPolicy, env: VectorEnv | Single, episodes: int = 1000, seed: int = DEFAULT_SEED, greedy: bool = True
) -> Report:
    """Play the same episodes with five policies and compare.

    ``trained`` is the policy as it is; ``muted`` the same on a wire without edges (``Empty``); ``shuffled`` the same
    with each message replaced by that of the same agent, step and round in another episode (``Shuffled``); ``floor``
    and ``ceiling`` are the environment's own (``ceiling`` is None where it has none). Episode e is drawn from
    (``seed``, e) for all five, so differences between policies are paired; neither the episodes nor the partners of
    shuffled messages depend on ``num_envs``. No episode of an evaluation occurs in a training.

    Args:
        policy: neither its weights nor its modes are changed.
        env: its running episodes are given up; one ``MultiAgentEnv`` goes on where it is.
        episodes: E >= 2.
        seed: of the list of episodes; with ``greedy=False`` also the key of the action draws.
        greedy: whether the three teams take their most likely actions, or sample as in training.

    Raises:
        ConfigError: fewer than 2 episodes, or a policy of other widths than the environment.
        ResourceError: more episodes than memory can hold the outcomes of.
        EnvContractError: an episode never ends. NonFiniteError: a return is NaN or infinite.
    """
    if isinstance(env, Single):
        env = env.vector(max(2, min(episodes, _AT_ONCE)))
    _check(policy, env, episodes)
    wire, partners = policy.wire, Partners()
    trained = policy.with_wire(replace(wire, channel=Overheard(partners, wire.channel)))
    shuffled = policy.with_wire(replace(wire, channel=Shuffled(partners, wire.channel)))
    key, teams = None if greedy else seed, policy.teams
    traffic = Traffic(policy.comm)
    with evaluating(policy):
        played = {
            "trained": play(env, team(trained, env, key, traffic, partners), episodes, seed, teams),
            "muted": play(env, team(muted(policy), env, key), episodes, seed, teams),
            "shuffled": play(env, team(shuffled, env, key, None, partners), episodes, seed, teams),
            "floor": play(env, lambda now, _: env.floor_action(now.key), episodes, seed, teams),
        }
        if _has_ceiling(env):
            played["ceiling"] = play(env, lambda *_: env.ceiling_action(), episodes, seed, teams)
    ours, theirs = played["trained"], played["shuffled"]
    gain = paired_difference(ours.returns, theirs.returns)
    judged = any(outcomes.judged for outcomes in played.values())
    arms = {name: Arm.of(outcomes, judged) for name, outcomes in played.items()}
    kind = env.ceiling_kind if isinstance(env, Rated) else "reference"
    return Report(
        env=env.id,
        episodes=episodes,
        seed=seed,
        greedy=greedy,
        gain=gain,
        gains={name: paired_difference(ours.teams[name], theirs.teams[name]) for name in ours.teams},
        without_partner=partners.without_partner,
        wire=traffic.use(),
        ceiling_kind=kind,
        outcomes=played,
        **arms,
    )


def _has_ceiling(env: VectorEnv) -> bool:
    """Whether somebody who sees the whole state is known to do well: not so in environments of other libraries."""
    env.reset(seed=0)
    try:
        env.ceiling_action()
    except StateError:
        return False
    return True


def _check(policy: CommPolicy, env: VectorEnv, episodes: int) -> None:
    if not isinstance(policy, CommPolicy) or not isinstance(env, VectorEnv):
        raise ConfigError(
            f"evaluate: expected a CommPolicy (learner.policy, load(run).policy) and environments (gnncomm.envs.make, "
            f"MultiAgentEnv), got {type(policy).__name__} and {type(env).__name__}."
        )
    if episodes < 2:
        raise ConfigError(f"evaluate: expected at least 2 episodes, for an interval, got {episodes}.")
    need, have = episodes * len(ARMS) * _OUTCOME, memory_of("cpu")
    if need > have:
        raise ResourceError(
            f"Expected an evaluation whose numbers fit into {size_of(have)} of memory, got {episodes:,} episodes, "
            f"which need at least {size_of(need)}. Play fewer."
        )
    if (policy.obs_dim, policy.num_actions) != (env.obs_dim, env.num_actions):
        raise ConfigError(
            f"evaluate: expected a policy for {env.id!r} with obs_dim={env.obs_dim} and num_actions="
            f"{env.num_actions}, got {policy.obs_dim} and {policy.num_actions}. Use the environment it was trained in."
        )
