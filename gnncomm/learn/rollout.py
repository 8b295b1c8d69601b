"""Experience: what a learner learns from, and how it is collected."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from gnncomm.errors import ConfigError, NonFiniteError
from gnncomm.host import Pending, may_ask, pending, refuse
from gnncomm.learn.returns import paid, team_mean
from gnncomm.policy import CommPolicy, Decision, Play, PolicyState, Talk, team
from gnncomm.types import Batch, Judging, TimeStep, VectorEnv, joined, stack


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
    starts: PolicyState | None = None  # [T / L, B, N, S] before the steps 0, L, 2 L, ...; None: nobody asked for it

    def chunks(self) -> Self:
        """The T / L parts of L steps each, as if they were environments: ``[L, T / L * B, ...]``.

        All agents of an environment stay together, and each part begins with the state that it was played with.
        """
        if self.starts is None:
            raise ConfigError("Expected a rollout with the states in between, got one that was collected without.")
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        count = self.starts.memory.shape[0]
        mine = {name: parted(value, count) for name, value in tensors.items() if isinstance(value, Tensor)}
        timestep = self.timestep.map(lambda value: parted(value, count))
        after = None if self.after is None else self.after.map(lambda value: parted(value, count))
        state = self.starts.map(lambda value: value.flatten(0, 1))
        one = replace(self, timestep=timestep, state=state, after=after, starts=None)
        return replace(one, **mine)  # type: ignore[arg-type]  # these are tensors

    def environments(self, index: Tensor) -> Self:
        """The same steps of the environments ``index`` only."""
        tensors = {item.name: getattr(self, item.name) for item in fields(self)}
        mine = {name: value[:, index] for name, value in tensors.items() if isinstance(value, Tensor)}
        starts = None if self.starts is None else self.starts.select(index, dim=1)
        after = None if self.after is None else self.after.select(index, dim=1)
        timestep, state = self.timestep.select(index, dim=1), self.state.select(index)
        return replace(self, **mine, timestep=timestep, after=after, state=state, starts=starts)

    def require_finite(self) -> None:
        """Refuse NaN and infinity in what living agents got and thought; rows of the dead may hold anything.

        Raises:
            NonFiniteError: names the tensor, step, environment and agent.
        """
        refuse(torch.stack([bad.any() for bad in self._broken().values()]), self._not_finite)

    def _broken(self) -> dict[str, Tensor]:
        """Where what has to be a number is none, by name."""
        alive_TBN = self.timestep.alive
        special = {"reward": self.paid | alive_TBN, "next_value": alive_TBN & (self.discount != 0)}
        found = {}
        for name in ("reward", "discount", "value", "log_prob", "next_value", "baseline", "choice_log_prob"):
            x: Tensor = getattr(self, name)
            mask = special.get(name, alive_TBN)
            found[name] = (mask if x.dim() == mask.dim() else mask.unsqueeze(-1)) & ~x.isfinite()
        return found

    def _not_finite(self) -> NonFiniteError | None:
        for name, broken in self._broken().items():
            bad = broken.nonzero()
            if len(bad):
                t, env, agent, *number = bad[0].tolist()
                place = f"at step {t} of the rollout" + "".join(f", round {k}" for k in number)
                return NonFiniteError(
                    f"Expected a finite {name} of agent {agent} in environment {env} {place}, got "
                    f"{float(getattr(self, name)[tuple(bad[0])])}. Nothing was learned from it; "
                    f"{'mend the environment' if name in ('reward', 'discount') else 'lower the learning rate'}."
                )
        return None


def require_divisor(setting: str, chunk: int, length: int) -> None:
    """Refuse chunks that do not fit into a rollout (0: there are none)."""
    if chunk and length % chunk:
        fits = [n for n in range(1, length + 1) if length % n == 0]
        raise ConfigError(
            f"learner.{setting}={chunk} must divide the steps of a rollout, got rollout={length}: expected one of "
            f"{fits[:12]}."
        )


def parted(x: Tensor, count: int) -> Tensor:
    """``[T, B, ...]`` as ``[T / count, count * B, ...]``: parts of time side by side."""
    side_by_side: Tensor = x.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)
    return side_by_side


@dataclass(frozen=True)
class Carry(Batch):
    """Where collecting stopped: what the environments show and what the policy remembers."""

    timestep: TimeStep
    state: PolicyState


class EpisodeTally:
    """Sums over the episodes that ended while collecting, and over those still running.

    Args:
        running_return: ``[B]``, reward of the team (see ``team_mean``), summed over time.
    """

    def __init__(self, running_return: Tensor, sums: Tensor | None = None) -> None:
        self.running_return = running_return
        self.sums = torch.zeros(11, dtype=torch.float64, device=running_return.device) if sums is None else sums
        """Of what ``flush`` gives, exact up to 2^53: episodes, returns, lengths, successes, how many told of one, and
        see ``_wire``."""

    def add(self, now: TimeStep, talk: Talk, after: TimeStep, judged: bool | Tensor = True) -> None:
        """Take in the step from ``now`` to ``after``, with what was said in between; ``judged`` as in ``Judging``."""
        self.running_return = self.running_return + team_mean(after.reward, paid(now, after))
        done = after.done
        wire = _wire(now.alive, talk)
        if may_ask(done.device) and not bool(done.any()):
            self.sums[5:] += wire
            return
        ended = torch.stack(
            [done, torch.where(done, self.running_return, 0.0), done * after.step, done & after.success, done & judged]
        )
        self.sums = self.sums + torch.cat([ended.double().sum(1), wire])
        self.running_return = torch.where(done, 0.0, self.running_return)

    def flush(self) -> dict[str, float]:
        """Means over the episodes that ended since the last call, NaN if none; of what was said over all steps.

        The success is NaN, too, where none of these episodes told whether there was one.
        """
        episodes, returned, length, successes, judged, bits, agent_steps, edges, steps, spoken, rounds = (
            self.sums.tolist()
        )
        self.sums = torch.zeros_like(self.sums)
        count = episodes or float("nan")
        return {
            "episodes": episodes,
            "return": returned / count,
            "length": length / count,
            "success": successes / count if judged else float("nan"),
            "bits_per_agent_step": bits / max(agent_steps, 1),
            "edges_per_step": edges / max(steps, 1),
            "gates_open": spoken / max(rounds, 1),
        }


def _wire(alive: Tensor, talk: Talk) -> Tensor:
    """``[6]`` float64 of one step: bits, living agents, messages read, environments, agents that spoke in a round, and
    how many times one could have."""
    num_envs, living = len(alive), alive.sum()
    graphs = [arrival.graph for arrivals in talk.arrivals for arrival in arrivals]
    edges = [graph.in_degree.sum() * (num_envs // graph.num_graphs) for graph in graphs]
    spoken = sum(((spoke & alive).sum() for spoke in talk.spoke), start=torch.zeros_like(living))
    counts = [living, sum(edges, start=torch.zeros_like(living)), torch.full_like(living, num_envs), spoken]
    bits = torch.where(alive, talk.bits, 0.0).double().sum()
    return torch.stack([bits, *counts, living * len(talk.spoke)])


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
    chunk: int = 0,
) -> tuple[Rollout, Carry]:
    """Let ``policy`` act for ``length`` steps from where ``carry`` stopped. ``key`` names the stream of its draws.

    ``keep_after``: whether the rollout shows what came of each step, too; with ``chunk``, it says what the team
    remembered before every so many steps.
    """
    found = Pending()
    with nullcontext() if may_ask(carry.timestep.alive.device) else pending(found):
        rollout, carry = played(env, policy, carry, length, key, tally, keep_after, chunk)
    found.settle()
    return rollout, carry


def played(
    env: VectorEnv,
    policy: CommPolicy,
    carry: Carry,
    length: int,
    key: int | Tensor,
    tally: EpisodeTally,
    keep_after: bool = False,
    chunk: int = 0,
) -> tuple[Rollout, Carry]:
    """``collect`` without a question to the device: what is refused waits for whoever calls."""
    play = Play(env, carry.timestep, team(policy, carry.state, key))
    state, steps, ends, starts = carry.state, list[Step](), list[_End](), list[PolicyState]()
    seen = list[TimeStep]()
    for now, decision, after in play.steps(length):
        if chunk and len(steps) % chunk == 0:
            starts.append(state)
        tally.add(now, decision.talk, after, env.judged if isinstance(env, Judging) else True)
        steps.append(Step.of(now, decision, after))
        state = decision.state
        ends.append(_End.of(after, state))
        if keep_after:
            seen.append(after)
    # What is expected is what the team that acts expects: sampled choices, drawn as they would be if it played on.
    next_value_TBN = torch.stack([*(step.value for step in steps[1:]), policy.value(play.now, state, key)])
    next_value_TBN = _with_cut(policy, ends, next_value_TBN, key)
    rollout = Rollout(
        **vars(stack(steps)),
        next_value=next_value_TBN,
        state=carry.state,
        after=stack(seen) if keep_after else None,
        starts=stack(starts) if chunk else None,
    )
    return rollout, Carry(play.now, state)


@dataclass(frozen=True)
class _End:
    """What came of a step: whose return goes on unobserved, and what is asked for it, of those environments alone.

    The state of a team is by far the largest of what a step leaves, and is kept where it is needed: where a device
    cannot be asked which environments these are, of all.
    """

    cut: Tensor  # [B, N]
    last: Carry | None  # None: of nobody

    @classmethod
    def of(cls, after: TimeStep, state: PolicyState) -> _End:
        cut_BN, last = _cut(after), Carry(_alive_at_the_end(after), state)
        if not may_ask(cut_BN.device):
            return cls(cut_BN, last)
        some_B = cut_BN.any(-1)
        return cls(cut_BN, last.select(some_B) if bool(some_B.any()) else None)


def _with_cut(policy: CommPolicy, ends: list[_End], next_value: Tensor, key: int | Tensor) -> Tensor:
    """``next_value [T, B, N]``; where a return goes on unobserved, what is expected at its last observation.

    One call for all steps.
    """
    parts = [end.last for end in ends if end.last is not None]
    if not parts:
        return next_value
    last, cut_TBN = joined(parts), torch.stack([end.cut for end in ends])
    found = policy.value(last.timestep, last.state, key)
    if not may_ask(cut_TBN.device):
        return torch.where(cut_TBN, found.view_as(next_value), next_value)
    value = next_value.clone()
    value[cut_TBN.any(-1)] = found
    return torch.where(cut_TBN, value, next_value)


def _cut(after: TimeStep) -> Tensor:
    """``[B, N]``: whose return goes on unobserved."""
    cut_BN = after.truncated.unsqueeze(-1).expand_as(after.alive)
    return cut_BN if after.cut is None else cut_BN | after.cut


def _alive_at_the_end(after: TimeStep) -> TimeStep:
    """``after``, in which who is cut is still there, and nobody where the episode terminated: who may do nothing."""
    alive = after.alive & ~after.terminated.unsqueeze(-1)
    return replace(after, alive=alive if after.cut is None else alive | after.cut)


def begin(env: VectorEnv, policy: CommPolicy, seed: int | Tensor) -> tuple[Carry, EpisodeTally]:
    """First episodes in all environments; ``seed`` as for their ``reset``."""
    timestep = env.reset(seed=seed)
    tally = EpisodeTally(torch.zeros(env.num_envs, device=timestep.reward.device))
    return Carry(timestep, policy.initial_state(env.num_envs, env.num_agents)), tally
