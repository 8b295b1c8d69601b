"""Experience: what a learner learns from, and how it is collected."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from gnncomm.errors import NonFiniteError
from gnncomm.learn.returns import paid, team_mean
from gnncomm.policy import CommPolicy, Decision, Play, PolicyState, team
from gnncomm.types import Batch, TimeStep, VectorEnv, stack


@dataclass(frozen=True)
class Step(Batch):
    """What one step of B environments leaves in a rollout: what the team saw, decided, expected and got."""

    timestep: TimeStep  # [B, ...] what the team saw
    action: Tensor  # [B, N]
    choice: Tensor  # [B, N, K * C] decisions of the scheduler
    log_prob: Tensor  # [B, N] of the action
    choice_log_prob: Tensor  # [B, N, K] of the choices in each round
    value: Tensor  # [B, N] baseline of the action
    baseline: Tensor  # [B, N, K] baselines of the choices
    reward: Tensor  # [B, N]
    paid: Tensor  # [B, N] bool: whose reward is the team's, see ``returns.paid``
    discount: Tensor  # [B, N]
    done: Tensor  # [B]

    @classmethod
    def of(cls, now: TimeStep, decision: Decision, after: TimeStep) -> Step:
        """What came of ``decision`` at ``now``."""
        return Step(
            now,
            decision.action,
            decision.choice,
            decision.log_prob,
            decision.choice_log_prob,
            decision.value,
            decision.baseline,
            after.reward,
            paid(now, after),
            after.discount,
            after.done,
        )


@dataclass(frozen=True)
class Rollout(Step):
    """T steps of B environments, all of ``Step`` as ``[T, B, ...]``.

    Minibatches are sets of environments: the rows of a graph stay together.
    """

    next_value: Tensor  # [T, B, N] of the state after the step, before any reset
    state: PolicyState  # [B, N, S] before the first step
    after: TimeStep | None = None  # [T, B, ...] what came of each step, before any reset; None: nobody asked for it

    def environments(self, index: Tensor) -> Self:
        """The same steps of the environments ``index`` only."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        mine = {name: value[:, index] for name, value in tensors.items() if isinstance(value, Tensor)}
        after = None if self.after is None else self.after.select(index, dim=1)
        shown = {"timestep": self.timestep.select(index, dim=1), "after": after}
        return replace(self, **mine, **shown, state=self.state.select(index))

    def require_finite(self) -> None:
        """Refuse NaN and infinity in what living agents got and thought; rows of the dead may hold anything.

        Raises:
            NonFiniteError: names the tensor, step, environment and agent.
        """
        alive_TBN = self.timestep.alive
        special = {"reward": self.paid | alive_TBN, "next_value": alive_TBN & (self.discount != 0)}
        for name in ("reward", "discount", "value", "log_prob", "next_value", "baseline", "choice_log_prob"):
            x: Tensor = getattr(self, name)
            mask = special.get(name, alive_TBN)
            bad = ((mask if x.dim() == mask.dim() else mask.unsqueeze(-1)) & ~x.isfinite()).nonzero()
            if len(bad):
                t, env, agent, *number = bad[0].tolist()
                place = f"at step {t} of the rollout" + "".join(f", round {k}" for k in number)
                raise NonFiniteError(
                    f"Expected a finite {name} of agent {agent} in environment {env} {place}, got "
                    f"{float(x[tuple(bad[0])])}. Nothing was learned from it; "
                    f"{'mend the environment' if name in ('reward', 'discount') else 'lower the learning rate'}."
                )


@dataclass(frozen=True)
class Carry(Batch):
    """Where collecting stopped: what the environments show and what the policy remembers."""

    timestep: TimeStep
    state: PolicyState


@dataclass
class EpisodeTally:
    """Sums over the episodes that ended while collecting, and over those still running."""

    running_return: Tensor  # [B], reward of the team (see ``team_mean``), summed over time
    episodes: int = 0
    total_return: float = 0.0
    total_length: int = 0
    successes: int = 0
    bits: float | Tensor = 0.0  # on the wire, by agents alive
    agent_steps: int | Tensor = 0

    def add(self, now: TimeStep, bits: Tensor, after: TimeStep) -> None:
        """Take in the step from ``now`` to ``after``, with ``bits [B, N]`` on the wire in between."""
        self.bits = self.bits + torch.where(now.alive, bits, 0.0).double().sum()
        self.agent_steps = self.agent_steps + now.alive.sum()
        self.running_return = self.running_return + team_mean(after.reward, paid(now, after))
        done = after.done
        count = int(done.sum())
        if count:
            self.episodes += count
            self.total_return += float(self.running_return[done].sum())
            self.total_length += int(after.step[done].sum())
            self.successes += int(after.success[done].sum())
            self.running_return = torch.where(done, 0.0, self.running_return)

    def flush(self) -> dict[str, float]:
        """Means over the episodes that ended since the last call, NaN if none; and of the bits over its steps."""
        count = self.episodes or float("nan")
        means = {
            "episodes": float(self.episodes),
            "return": self.total_return / count,
            "length": self.total_length / count,
            "success": self.successes / count,
            "bits_per_agent_step": float(self.bits) / max(int(self.agent_steps), 1),
        }
        self.episodes, self.total_return, self.total_length, self.successes = 0, 0.0, 0, 0
        self.bits, self.agent_steps = 0.0, 0
        return means


@torch.no_grad()
def collect(
    env: VectorEnv,
    policy: CommPolicy,
    carry: Carry,
    length: int,
    key: int | Tensor,
    tally: EpisodeTally,
    *,
    keep_after: bool = False,
) -> tuple[Rollout, Carry]:
    """Let ``policy`` act for ``length`` steps from where ``carry`` stopped. ``key`` names the stream of its draws.

    ``keep_after``: whether the rollout shows what came of each step, too.
    """
    play = Play(env, carry.timestep, team(policy, carry.state, key))
    steps, ends, cuts, state = [], [], [], carry.state
    for now, decision, after in play.steps(length):
        tally.add(now, decision.talk.bits, after)
        steps.append(Step.of(now, decision, after))
        ends.append(after)
        cuts.append(_where_cut(policy, after, decision.state, key))
        state = decision.state
    # What is expected is what the team that acts expects: sampled choices, drawn as they would be if it played on.
    next_value_TBN = torch.stack([*(step.value for step in steps[1:]), policy.value(play.now, state, key)])
    for next_value_BN, cut in zip(next_value_TBN, cuts, strict=True):
        if cut is not None:
            next_value_BN.copy_(torch.where(*cut, next_value_BN))
    came = stack(ends) if keep_after else None
    rollout = Rollout(**vars(stack(steps)), next_value=next_value_TBN, state=carry.state, after=came)
    return rollout, Carry(play.now, state)


def _where_cut(
    policy: CommPolicy, after: TimeStep, state: PolicyState, key: int | Tensor
) -> tuple[Tensor, Tensor] | None:
    """Whose return goes on unobserved ``[B, N]``, and what is expected of it at its last observation ``[B, N]``."""
    cut_BN = after.truncated.unsqueeze(-1).expand_as(after.alive)
    if after.cut is not None:
        cut_BN = cut_BN | after.cut
        after = replace(after, alive=after.alive | after.cut)
    if not bool(cut_BN.any()):
        return None
    rows_B = cut_BN.any(-1)
    value = policy.value(after.select(rows_B), state.select(rows_B), key)
    value_BN = value.new_zeros(cut_BN.shape)
    value_BN[rows_B] = value
    return cut_BN, value_BN


def begin(env: VectorEnv, policy: CommPolicy, seed: int | Tensor) -> tuple[Carry, EpisodeTally]:
    """First episodes in all environments; ``seed`` as for their ``reset``."""
    timestep = env.reset(seed=seed)
    tally = EpisodeTally(torch.zeros(env.num_envs, device=timestep.reward.device))
    return Carry(timestep, policy.initial_state(env.num_envs, env.num_agents)), tally
