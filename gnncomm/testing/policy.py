"""Laws 2 to 6 for policies: locality, independence of environments, silence, determinism, ratio one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.deploy import run_team, team_of
from gnncomm.learn import Rollout, begin, collect
from gnncomm.policy import CommPolicy, PolicyState, Talk
from gnncomm.policy.checks import planted_nan
from gnncomm.schedule import Decider
from gnncomm.testing.law import require, require_bits, require_close, require_finite, require_same_tensors
from gnncomm.testing.layer import require_local
from gnncomm.topology import Empty
from gnncomm.types import SparseObs, TimeStep, VectorEnv, stack

_ROW = ("environment", "agent")
_ROLLOUT = ("time", "environment", "agent")


def check_policy(
    policy: CommPolicy, env: VectorEnv, length: int | None = None, key: int = 0, seed: int = 0
) -> tuple[str, ...]:
    """Laws 2 to 6 for ``policy``, on what ``env`` shows.

    Works on a float64 copy of the policy. ``env`` is reset with ``seed`` and is left somewhere else.

    Args:
        policy: yours or ours, trained or not.
        env: at least 2 environments (law 3 has nothing to compare otherwise).
        length: steps of the two rollouts of law 5; None takes ``env.max_steps + 2``, so that episodes end in them.
        key: of the action draws.
        seed: of the environments and the trials.

    Returns:
        The laws that do not apply, because the policy's scheduler declares to need more than they allow, one line
        each; empty for most.

    Raises:
        LawError: names the law, the tensor, the environment and the agent.
    """
    require(env.num_envs > 1, "batch independence", "expected an env with num_envs >= 2, to have something to compare.")
    subject = copy.deepcopy(policy).double()
    now, state = situation(subject, env, seed)
    check_batch_independence(subject, now, state, key)
    scheduler = subject.wire.scheduler
    if scheduler.local:
        check_poison(subject, now, state)
        check_jacobian(subject, now, state)
    check_silence(subject, now, state)
    if scheduler.decider is not Decider.TEAM:
        check_split_brain(subject, env, key=key, seed=seed)
    check_ratio_one(subject, env, length, key, seed)
    check_determinism(subject, env, key=key, seed=seed)
    reason = f"{type(scheduler).__name__} needs {scheduler.needs}"
    exempt = [] if scheduler.local else [f"poison and jacobian: {reason}"]
    return (*exempt, *([f"split-brain: {reason}"] if scheduler.decider is Decider.TEAM else []))


def situation(policy: CommPolicy, env: VectorEnv, seed: int = 0) -> tuple[TimeStep, PolicyState]:
    """A moment in the middle of episodes, with a random memory and messages in flight."""
    now = env.reset(seed=seed)
    state = policy.initial_state(env.num_envs, env.num_agents)
    for _ in range(2):
        with torch.no_grad():
            state = policy.act(now, state).state
        after = env.step(env.floor_action(now.key))
        now = env.reset(where=after.done) if bool(after.done.any()) else after
    memory = state.memory
    numbers = random.normal(seed, 21, torch.arange(memory.numel(), device=memory.device), dtype=torch.float64)
    # Where every step is a first one (one-step episodes) no memory would ever be read.
    remembered = 0.5 * numbers.view(memory.shape).to(memory.dtype)
    return replace(now, first=torch.zeros_like(now.first)), replace(state, memory=remembered)


def _agents(value: Tensor) -> Tensor:
    return torch.arange(value.shape[1], device=value.device)


@torch.no_grad()
def check_poison(policy: CommPolicy, now: TimeStep, state: PolicyState) -> None:
    """Law 2: what agents that cannot reach i in K rounds see and remember leaves i's logits and memory bit-equal.

    Their memory and what they have in flight become NaN and their observation a large number (the policy refuses NaN
    there, so it could not show).
    """
    num_envs, num_agents = now.alive.shape
    rounds = len(policy.comm.rounds)
    copies = torch.arange(num_envs, device=now.alive.device).repeat_interleave(num_agents)
    mine = _agents(now.alive).repeat(num_envs)
    now, state = now.select(copies), state.select(copies)
    clean = policy.act(now, state)
    every = torch.arange(len(copies), device=copies.device)
    # Where rows decide who talks, it tells something that an old or false message arrives.
    any_age = policy.wire.scheduler.decider is not Decider.NOBODY
    harmless = ~_reach(clean.talk, of_any_age=any_age)[every, :, mine]
    late = harmless & ~_reach(clean.talk, of_any_age=True)[every, :, mine]
    poisoned = replace(state, memory=torch.where(harmless.unsqueeze(-1), torch.nan, state.memory))
    if state.wire is not None:  # what is in flight from those who reach nobody near, at any age
        flight = torch.where(late[..., None, None], torch.nan, state.wire.flight)
        poisoned = replace(poisoned, wire=replace(state.wire, flight=flight))
    with planted_nan():
        spoilt = policy.act(_with_large_obs(now, harmless), poisoned)
    # A scheduler may have opened or closed other edges, and silence tells something, too: only who is out of reach
    # over the edges of both is harmless.
    reach = _reach(clean.talk, spoilt.talk, of_any_age=any_age)[every, :, mine]
    late_reach = _reach(clean.talk, spoilt.talk, of_any_age=True)[every, :, mine]
    fair = ~((harmless & reach) | (late & late_reach)).any(-1)
    for name, got, want in (
        ("logits", spoilt.logits, clean.logits),
        ("memory", spoilt.state.memory, clean.state.memory),
    ):
        shape = (num_envs, num_agents, -1)
        got_BNA = torch.where(fair.unsqueeze(-1), got[every, mine], want[every, mine]).view(shape)
        why = f"only agents that cannot reach this one in {rounds} round(s) saw or remembered something else"
        require_bits("poison", name, got_BNA, want[every, mine].view(shape), _ROW, why)


def _reach(*talks: Talk, of_any_age: bool = False) -> Tensor:
    """``[B, N, N]`` bool: a path over the edges of the rounds, one after the other, of any of ``talks``.

    Edges count that brought something said in the same round, or with ``of_any_age`` all.
    """
    own_NN = torch.eye(talks[0].h.shape[1], dtype=torch.bool, device=talks[0].h.device)
    reach_BNN = own_NN.expand(len(talks[0].h), -1, -1)
    for graphs in zip(*(talk.graphs if of_any_age else talk.fresh for talk in talks), strict=True):
        step_BNN = own_NN.expand_as(reach_BNN)
        for graph in graphs:
            step_BNN = step_BNN | graph.dense
        reach_BNN = (reach_BNN.float() @ step_BNN.float()) > 0
    return reach_BNN


def _with_large_obs(now: TimeStep, where: Tensor) -> TimeStep:
    if isinstance(now.obs, SparseObs):
        value = torch.where(where.unsqueeze(-1), 1e3 + now.obs.value, now.obs.value)
        return replace(now, obs=replace(now.obs, value=value))
    return replace(now, obs=torch.where(where.unsqueeze(-1), 1e3 + now.obs, now.obs))


def check_jacobian(policy: CommPolicy, now: TimeStep, state: PolicyState) -> None:
    """Law 2: d logits_i / d (o_j, memory_j) is exactly zero outside the K-hop in-neighbourhood, not zero within."""
    obs = now.obs.to_flat() if isinstance(now.obs, SparseObs) else now.obs
    obs = obs.to(state.memory.dtype).clone().requires_grad_()
    memory = state.memory.clone().requires_grad_()
    decision = policy.act(replace(now, obs=obs, action_mask=None), replace(state, memory=memory))
    direction = random.normal(5, torch.arange(policy.num_actions, device=obs.device), dtype=torch.float64)
    rows = []
    for projected in (decision.logits * direction.to(obs.dtype)).sum((0, 2)):
        gradients = torch.autograd.grad(projected, [obs, memory], retain_graph=True, allow_unused=True)
        rows.append(sum(g.abs().sum(-1) for g in gradients if g is not None))
    sensitivity_BNN = torch.stack([torch.as_tensor(row).expand(now.alive.shape) for row in rows], -1)
    reach_BNN = _reach(decision.talk)
    if policy.wire.scheduler.decider is not Decider.NOBODY:
        # The weight of an edge may be new although what arrives over it is old or false.
        by_weight_BNN = _reach(decision.talk, of_any_age=True) & ~reach_BNN
        sensitivity_BNN = torch.where(by_weight_BNN, 0.0, sensitivity_BNN)
    require_local(sensitivity_BNN, reach_BNN, "the observation or memory", len(policy.comm.rounds))


@torch.no_grad()
def check_split_brain(policy: CommPolicy, env: VectorEnv, length: int = 6, key: int = 0, seed: int = 0) -> None:
    """Law 2: N ``LocalAgent``s that exchange only messages choose what the joint policy chose (environments 0, 1)."""
    now, state = env.reset(seed=seed), policy.initial_state(env.num_envs, env.num_agents)
    teams = [team_of(policy, env.num_agents) for _ in range(min(env.num_envs, 2))]
    for _ in range(length):
        together = policy.act(now, state, key)
        for b, team in enumerate(teams):
            alone = run_team(team, now, key, env=b)
            alive = now.alive[b]
            why = f"the agents of environment {b} acted alone, each from its own row and the messages that reached it"
            logits = torch.stack([decision.logits for decision in alone])
            require_close("split-brain", "logits", logits[alive], together.logits[b, alive], ("agent",), why)
            action = torch.tensor([decision.action for decision in alone], device=alive.device)
            require_bits("split-brain", "action", action[alive], together.action[b, alive], ("agent",), why)
            log_prob = torch.stack([decision.log_prob for decision in alone])
            require_close("split-brain", "log_prob", log_prob[alive], together.log_prob[b, alive], ("agent",), why)
        after = env.step(together.action)
        now, state = (env.reset(where=after.done) if bool(after.done.any()) else after), together.state


@torch.no_grad()
def check_batch_independence(policy: CommPolicy, now: TimeStep, state: PolicyState, key: int = 0) -> None:
    """Law 3: one environment at a time, the policy decides what it decided for all at once."""
    together = policy.act(now, state, key)
    for b in range(now.alive.shape[0]):
        one = torch.tensor([b], device=now.alive.device)
        alone = policy.act(now.select(one), state.select(one), key)
        why = f"environment {b} was decided without the others"
        require_close("batch independence", "logits", alone.logits[0], together.logits[b], ("agent",), why)
        require_close("batch independence", "value", alone.value[0], together.value[b], ("agent",), why)
        require_bits("batch independence", "action", alone.action[0], together.action[b], ("agent",), why)
        memory = together.state.memory[b]
        require_close("batch independence", "memory", alone.state.memory[0], memory, ("agent",), why)


def check_silence(policy: CommPolicy, now: TimeStep, state: PolicyState) -> None:
    """Law 4: no edges, all dead, one alive: finite decisions and gradients."""
    mute = policy.with_wire(replace(policy.wire, topology=Empty()))
    nobody = torch.zeros_like(now.alive)
    only_first = now.alive & (now.alive.cumsum(-1) == 1)
    for subject, alive, name in (
        (mute, now.alive, "no edges"),
        (policy, nobody, "all dead"),
        (policy, only_first, "one alive"),
    ):
        step = replace(now, alive=alive)
        decision = subject.act(step, state, 0)
        for tensor in ("log_prob", "value"):
            require_finite("empty inboxes", tensor, getattr(decision, tensor).detach(), _ROW, f"there were {name}")
        require_finite("empty inboxes", "memory", decision.state.memory.detach(), _ROW, f"there were {name}")
        evaluation = subject.unroll(stack([step]), decision.action.unsqueeze(0), state, decision.choice.unsqueeze(0))
        total = sum(value.sum() for value in evaluation.tensors().values())
        parameters = {key: p for key, p in subject.named_parameters() if p.requires_grad}
        gradients = torch.autograd.grad(torch.as_tensor(total), list(parameters.values()), allow_unused=True)
        for key, gradient in zip(parameters, gradients, strict=True):
            if gradient is not None:
                require_finite("empty inboxes", f"gradient of {key}", gradient, (), f"there were {name}")


@dataclass(frozen=True)
class _Collected:
    rollouts: list[Rollout]
    episodes: int


def _collect(policy: CommPolicy, env: VectorEnv, length: int, key: int, seed: int) -> _Collected:
    """Two rollouts: the second begins in the middle of episodes."""
    carry, tally = begin(env, policy, seed)
    rollouts = []
    for _ in range(2):
        rollout, carry = collect(env, policy, carry, length, key, tally)
        rollouts.append(rollout)
    return _Collected(rollouts, tally.episodes)


@torch.no_grad()
def check_ratio_one(policy: CommPolicy, env: VectorEnv, length: int | None = None, key: int = 0, seed: int = 0) -> None:
    """Law 5: before any update ``unroll`` gives the log-probabilities and values that ``act`` recorded.

    For the whole rollout, and for a minibatch of one environment. Episodes must end within the two rollouts.
    """
    length = env.max_steps + 2 if length is None else length
    collected = _collect(policy, env, length, key, seed)
    require(collected.episodes > 0, "ratio one", f"no episode ended within {2 * length} steps: give a larger length.")
    for rollout in collected.rollouts:
        for rows in (torch.arange(env.num_envs), torch.tensor([env.num_envs - 1])):
            rows = rows.to(rollout.done.device)
            chosen = rollout.timestep.select(rows, dim=1)
            now = policy.unroll(chosen, rollout.action[:, rows], rollout.state.select(rows), rollout.choice[:, rows])
            why = f"nothing was learned since (unroll of {len(rows)} environment(s))"
            for name, got, want in (
                ("log_prob", now.log_prob, rollout.log_prob[:, rows]),
                ("value", now.value, rollout.value[:, rows]),
            ):
                got = torch.where(chosen.alive, got, want)
                require_close("ratio one", name, got, want, _ROLLOUT, why)
            entropy = torch.where(chosen.alive, now.entropy, 0.0)
            require_finite("ratio one", "entropy", entropy, _ROLLOUT, "log-probabilities are finite")


@torch.no_grad()
def check_determinism(policy: CommPolicy, env: VectorEnv, length: int = 8, key: int = 0, seed: int = 0) -> None:
    """Law 6: the same seeds give the same bits, whatever the global generators say, and acting changes no weight."""
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    runs = []
    for global_seed in (1, 2):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(global_seed)
            runs.append(_collect(policy, env, length, key, seed).rollouts)
    for first, second in zip(*runs, strict=True):
        for name in ("action", "log_prob", "value", "reward"):
            why = "the same seeds were played twice"
            require_bits("determinism", name, getattr(second, name), getattr(first, name), _ROLLOUT, why)
        same = ("time", "environment")
        require_same_tensors("determinism", second.timestep.tensors(), first.timestep.tensors(), same, "as above")
    weights = dict(policy.state_dict())
    require_same_tensors("determinism", weights, before, (), "acting must not change the policy")
