"""Law 2 for policies: only messages cross from agent to agent, over the edges that topology and scheduler give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gnncomm import random
from gnncomm.deploy import run_team, team_of
from gnncomm.errors import NonFiniteError
from gnncomm.policy import CommPolicy, PolicyState
from gnncomm.policy.checks import planted_nan
from gnncomm.schedule import Decider
from gnncomm.testing.law import require_close, require_untouched
from gnncomm.testing.layer import require_heard, require_outside
from gnncomm.testing.trace import Seen, play, spread
from gnncomm.types import SparseObs, TimeStep, VectorEnv

_ROW = ("environment", "agent")
MANY_ROWS = 80
"""Rows of a trial, so that forms for many rows are tried, too."""


@dataclass(frozen=True)
class Trial:
    """Some time steps of an environment, and what a policy carries into the first."""

    steps: tuple[TimeStep, ...]
    state: PolicyState

    def first(self, count: int) -> Trial:
        """The first ``count`` steps."""
        return Trial(self.steps[:count], self.state)


def trial(policy: CommPolicy, env: VectorEnv, seed: int = 0, length: int = 1) -> Trial:
    """``length`` steps in the middle of episodes, with a random memory and messages in flight."""
    before = first_steps(policy, env, seed, 2 + length)
    state = before.state
    for now in before.steps[:2]:
        with torch.no_grad():
            state = policy.act(now, state).state
    memory = state.memory
    numbers = random.normal(seed, 21, torch.arange(memory.numel(), device=memory.device), dtype=torch.float64)
    # Where every step is a first one (one-step episodes) no memory would ever be read.
    first, *later = before.steps[2:]
    first = replace(first, first=torch.zeros_like(first.first))
    return Trial((first, *later), replace(state, memory=0.5 * numbers.view(memory.shape).to(memory.dtype)))


def first_steps(policy: CommPolicy, env: VectorEnv, seed: int = 0, length: int = 4) -> Trial:
    """The first ``length`` steps of episodes, with actions that do not depend on the policy."""
    now, steps = env.reset(seed=seed), []
    for _ in range(length):
        steps.append(now)
        after = env.step(env.floor_action(now.key))
        now = env.reset(where=after.done) if bool(after.done.any()) else after
    return Trial(tuple(steps), policy.initial_state(env.num_envs, env.num_agents))


@torch.no_grad()
def check_poison(policy: CommPolicy, moments: Trial, key: int | None = 0) -> None:
    """Law 2: what agents see and remember that cannot reach i leaves all of i untouched, over all steps of the trial.

    That is its logits, its memory, what it carries on the wire, its bits, costs and decisions to talk. Who reaches whom
    is told by topology and scheduler alone; a channel may say that less arrived, never more. In the memories of the
    others there is NaN (a large number where the policy refuses NaN), in their observations a large number.
    """
    num_envs, num_agents = moments.steps[0].alive.shape
    device = moments.steps[0].alive.device
    repeats = max(1, -(-MANY_ROWS // (num_envs * num_agents**2)))
    copies = torch.arange(num_envs, device=device).repeat_interleave(num_agents).repeat(repeats)
    mine = torch.arange(num_agents, device=device).repeat(num_envs * repeats)
    steps, state = [now.select(copies) for now in moments.steps], moments.state.select(copies)
    clean = list(play(policy, steps, state, key))
    harmless = ~_reach(policy, clean)[torch.arange(len(copies), device=device), :, mine]
    if not bool(harmless.any()):
        return
    obs = [_with_large_obs(now, harmless) for now in steps]
    for poison in (torch.nan, 1e3):
        memory = torch.where(harmless.unsqueeze(-1), poison, state.memory)
        try:
            with planted_nan():
                spoilt = list(play(policy, obs, replace(state, memory=memory), key))
        except NonFiniteError:
            continue
        _require_untouched(policy, clean, spoilt, harmless)
        return


def _lasting(policy: CommPolicy) -> bool:
    """Whether what is said at one step may be read at a later one."""
    num_agents = 2
    return any(policy.wire.channel.carried_dim(layer.msg_channels, num_agents) for layer in policy.comm.rounds)


def _edges(policy: CommPolicy, seen: Seen, steps: int) -> list[Tensor]:
    """``[B, N, N]`` for each round: where something may have crossed, now or (in a longer trial) later."""
    if steps > 1 and _lasting(policy):
        return seen.talked()
    return seen.heard(policy.wire.scheduler.decider)


def _reach(policy: CommPolicy, seen: Sequence[Seen]) -> Tensor:
    """``[B, sender, receiver]`` bool: a path over the edges of all rounds, one after the other, leads there."""
    own = torch.eye(seen[0].could.shape[1], dtype=torch.bool, device=seen[0].could.device)
    taint = own.expand_as(seen[0].could)  # receiver, source
    for each in seen:
        taint = spread(taint, _edges(policy, each, len(seen)))
    return taint.transpose(1, 2)


def _require_untouched(policy: CommPolicy, clean: Sequence[Seen], spoilt: Sequence[Seen], harmless: Tensor) -> None:
    """Equal wherever nothing spoilt can have come."""
    taint = harmless.unsqueeze(-1)
    # A receiver's choice changes what its senders carry and pay.
    own_business = policy.wire.scheduler.decider in (Decider.NOBODY, Decider.SENDER)
    for number, (mine, theirs) in enumerate(zip(clean, spoilt, strict=True)):
        # A scheduler may have opened or closed other edges, and silence tells something, too.
        both = (_edges(policy, each, len(clean)) for each in (mine, theirs))
        taint = spread(taint, [a | b for a, b in zip(*both, strict=True)])
        wants, gots = _private(mine, own_business), _private(theirs, own_business)
        why = f"only agents that cannot reach this one in {number + 1} step(s) saw or remembered something else"
        for name, want in wants.items():
            rows = want.flatten(2) if want.dim() > 2 else want.unsqueeze(-1)
            got = torch.where(taint, rows, gots[name].view(rows.shape))
            require_untouched("poison", name, got, rows, _ROW, why)


def _private(seen: Seen, own_business: bool) -> dict[str, Tensor]:
    """All that belongs to one agent after a step, ``[B, N, ...]``."""
    decision, talk = seen.decision, seen.decision.talk
    found = {"logits": decision.logits, "memory": decision.state.memory, "row": talk.h}
    if own_business:
        found |= {f"wire.{name}": value for name, value in talk.state.tensors().items()}
        found |= {name: getattr(talk, name) for name in ("bits", "cost", "log_prob", "entropy")}
        found["choice"] = talk.choice
    return {name: value for name, value in found.items() if value.numel()}


def _with_large_obs(now: TimeStep, where: Tensor) -> TimeStep:
    if isinstance(now.obs, SparseObs):
        value = torch.where(where.unsqueeze(-1), 1e3 + now.obs.value, now.obs.value)
        return replace(now, obs=replace(now.obs, value=value))
    return replace(now, obs=torch.where(where.unsqueeze(-1), 1e3 + now.obs, now.obs))


POINTS = 4
"""At a single point a derivative may vanish by chance: behind a rectifier, at a saturated softmax."""


def check_jacobian(policy: CommPolicy, moments: Trial) -> None:
    """Law 2: d logits_i / d (o_j, memory_j) is exactly zero outside the K-hop in-neighbourhood, not zero within."""
    now, state, rounds = moments.steps[0], moments.state, len(policy.comm.rounds)
    fixed = policy.wire.scheduler.decider is Decider.NOBODY
    sensitivity = torch.zeros(())
    for point in range(POINTS):
        memory = state.memory * (1 + point) * (-1) ** point
        seen, sensitivity_BNN = _sensitivity(policy, now, replace(state, memory=memory))
        # Where rows decide, also edges that are not used may have a derivative: that of the choice.
        path_BNN = _reach(policy, [seen]) if fixed else spread_of(seen.could, rounds)
        require_outside(sensitivity_BNN, path_BNN, "the observation or memory", rounds)
        sensitivity = sensitivity + sensitivity_BNN
        fresh_BNN = spread_by([t & a for t, a in zip(seen.talked(), seen.arrived(of_any_age=False), strict=True)])
        if require_heard(sensitivity, fresh_BNN, "the observation or memory", final=point == POINTS - 1):
            return


def spread_by(edges: Sequence[Tensor]) -> Tensor:
    """``[B, sender, receiver]``: a path over ``edges`` of the rounds, one after the other."""
    own = torch.eye(edges[0].shape[1], dtype=torch.bool, device=edges[0].device)
    return spread(own.expand_as(edges[0]), edges).transpose(1, 2)


def spread_of(edges: Tensor, rounds: int) -> Tensor:
    """``[B, sender, receiver]``: a path of at most ``rounds`` of the same ``edges``."""
    return spread_by([edges] * rounds)


def _sensitivity(policy: CommPolicy, now: TimeStep, state: PolicyState) -> tuple[Seen, Tensor]:
    """``[B, sender j, receiver i]``: how much the logits of i change with what j sees and remembers."""
    obs = now.obs.to_flat() if isinstance(now.obs, SparseObs) else now.obs
    obs = obs.to(state.memory.dtype).clone().requires_grad_()
    memory = state.memory.clone().requires_grad_()
    (seen,) = play(policy, [replace(now, obs=obs, action_mask=None)], replace(state, memory=memory))
    direction = random.normal(5, torch.arange(policy.actions.width, device=obs.device), dtype=torch.float64)
    rows = []
    for projected in (seen.decision.logits * direction.to(obs.dtype)).sum((0, 2)):
        gradients = torch.autograd.grad(projected, [obs, memory], retain_graph=True, allow_unused=True)
        rows.append(sum(g.abs().sum(-1) for g in gradients if g is not None))
    return seen, torch.stack([torch.as_tensor(row).expand(now.alive.shape) for row in rows], -1)


@torch.no_grad()
def check_split_brain(policy: CommPolicy, env: VectorEnv, length: int = 6, key: int = 0, seed: int = 0) -> None:
    """Law 2: N ``LocalAgent``s that exchange only messages choose what the joint policy chose (the last environment).

    The mailbox carries each message as if nobody else had spoken, so that a medium that mixes them is seen.
    """
    now, state = env.reset(seed=seed), policy.initial_state(env.num_envs, env.num_agents)
    team, b = team_of(policy, env.num_agents), env.num_envs - 1
    why = f"the agents of environment {b} acted alone, each from its own row and the messages that reached it"
    for _ in range(length):
        together = policy.act(now, state, key)
        alone = run_team(team, now, key, env=b)
        alive = now.alive[b]
        logits = torch.stack([decision.logits for decision in alone])
        require_close("split-brain", "logits", logits[alive], together.logits[b, alive], ("agent",), why)
        action = torch.stack([torch.as_tensor(decision.action, device=alive.device) for decision in alone])
        require_close("split-brain", "action", action[alive], together.action[b, alive], ("agent",), why)
        log_prob = torch.stack([decision.log_prob for decision in alone])
        joint = together.log_prob + together.choice_log_prob.sum(-1)
        require_close("split-brain", "log_prob", log_prob[alive], joint[b, alive], ("agent",), why)
        after = env.step(together.action)
        now, state = (env.reset(where=after.done) if bool(after.done.any()) else after), together.state
