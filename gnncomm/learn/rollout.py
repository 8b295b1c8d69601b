"""Experience: what a learner learns from, and how it is collected."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gnncomm.errors import NonFiniteError
from gnncomm.policy import CommPolicy, PolicyState
from gnncomm.types import Batch, TimeStep, VectorEnv, stack


@dataclass(frozen=True)
class Rollout:
    """T steps of B environments. Minibatches are sets of environments: the rows of a graph stay together."""

    timestep: TimeStep  # [T, B, ...] what the team saw
    action: Tensor  # [T, B, N]
    choice: Tensor  # [T, B, N, K * C] decisions of the scheduler
    log_prob: Tensor  # [T, B, N]
    value: Tensor  # [T, B, N]
    next_value: Tensor  # [T, B, N] of the state after the step, before any reset
    reward: Tensor  # [T, B, N]
    discount: Tensor  # [T, B, N]
    done: Tensor  # [T, B]
    state: PolicyState  # [B, N, S] before the first step

    def require_finite(self) -> None:
        """Refuse NaN and infinity in what living agents got and thought; rows of the dead may hold anything.

        Raises:
            NonFiniteError: names the tensor, step, environment and agent.
        """
        alive_TBN = self.timestep.alive
        read = {"reward": alive_TBN, "discount": alive_TBN, "value": alive_TBN, "log_prob": alive_TBN}
        read["next_value"] = alive_TBN & (self.discount != 0)
        for name, mask_TBN in read.items():
            x_TBN: Tensor = getattr(self, name)
            bad = (mask_TBN & ~x_TBN.isfinite()).nonzero()
            if len(bad):
                t, env, agent = bad[0].tolist()
                raise NonFiniteError(
                    f"Expected a finite {name} of agent {agent} in environment {env} at step {t} of the rollout, got "
                    f"{float(x_TBN[t, env, agent])}. Nothing was learned from it; "
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

    running_return: Tensor  # [B], mean over agents, summed over time
    episodes: int = 0
    total_return: float = 0.0
    total_length: int = 0
    successes: int = 0

    def add(self, after: TimeStep) -> None:
        self.running_return = self.running_return + after.reward.mean(-1)
        done = after.done
        count = int(done.sum())
        if count:
            self.episodes += count
            self.total_return += float(self.running_return[done].sum())
            self.total_length += int(after.step[done].sum())
            self.successes += int(after.success[done].sum())
            self.running_return = torch.where(done, 0.0, self.running_return)

    def flush(self) -> dict[str, float]:
        """Means over the episodes that ended since the last call, NaN if none."""
        count = self.episodes or float("nan")
        means = {
            "episodes": float(self.episodes),
            "return": self.total_return / count,
            "length": self.total_length / count,
            "success": self.successes / count,
        }
        self.episodes, self.total_return, self.total_length, self.successes = 0, 0.0, 0, 0
        return means


@torch.no_grad()
def collect(
    env: VectorEnv, policy: CommPolicy, carry: Carry, length: int, key: int | Tensor, tally: EpisodeTally
) -> tuple[Rollout, Carry]:
    """Let ``policy`` act for ``length`` steps from where ``carry`` stopped. ``key`` names the stream of its draws."""
    now, state = carry.timestep, carry.state
    seen, decisions, afters, cut_values = [], [], [], []
    for _ in range(length):
        decision = policy.act(now, state, key)
        after = env.step(decision.action)
        tally.add(after)
        seen.append(now)
        decisions.append(decision)
        afters.append(after)
        cut_values.append(_value_where_truncated(policy, after, decision.state))
        done = after.done
        now, state = (env.reset(where=done) if bool(done.any()) else after), decision.state
    last_value = policy.act(now, state).value
    value_TBN = torch.stack([d.value for d in decisions])
    next_value_TBN = torch.cat([value_TBN[1:], last_value.unsqueeze(0)])
    for t, cut in enumerate(cut_values):
        if cut is not None:
            next_value_TBN[t, afters[t].truncated] = cut
    rollout = Rollout(
        timestep=stack(seen),
        action=torch.stack([d.action for d in decisions]),
        choice=torch.stack([d.choice for d in decisions]),
        log_prob=torch.stack([d.log_prob for d in decisions]),
        value=value_TBN,
        next_value=next_value_TBN,
        reward=torch.stack([a.reward for a in afters]),
        discount=torch.stack([a.discount for a in afters]),
        done=torch.stack([a.done for a in afters]),
        state=carry.state,
    )
    return rollout, Carry(now, state)


def _value_where_truncated(policy: CommPolicy, after: TimeStep, state: PolicyState) -> Tensor | None:
    """The value of the last observation of episodes that were cut, ``[number of cuts, N]``."""
    if not bool(after.truncated.any()):
        return None
    return policy.act(after.select(after.truncated), state.select(after.truncated)).value


def begin(env: VectorEnv, policy: CommPolicy, seed: int | Tensor) -> tuple[Carry, EpisodeTally]:
    """First episodes in all environments; ``seed`` as for their ``reset``."""
    timestep = env.reset(seed=seed)
    tally = EpisodeTally(torch.zeros(env.num_envs, device=timestep.reward.device))
    return Carry(timestep, policy.initial_state(env.num_envs, env.num_agents)), tally
