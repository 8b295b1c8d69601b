"""Laws 2 to 6 for policies: locality, independence of environments, silence, determinism, ratio one."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import torch

from gnncomm.learn import Rollout, begin, collect
from gnncomm.policy import CommPolicy, PolicyState
from gnncomm.schedule import Always, Decider
from gnncomm.testing.channel import check_channel
from gnncomm.testing.law import LawError, require, require_bits, require_close, require_finite, require_same_tensors
from gnncomm.testing.locality import check_jacobian, check_poison, check_split_brain, first_steps, trial
from gnncomm.testing.wire import check_bits, check_edges, check_living
from gnncomm.topology import Empty
from gnncomm.types import TimeStep, VectorEnv, stack

_ROW = ("environment", "agent")
_ROLLOUT = ("time", "environment", "agent")


def check_policy(
    policy: CommPolicy,
    env: VectorEnv,
    length: int | None = None,
    key: int = 0,
    seed: int = 0,
    modes: tuple[bool, ...] = (True, False),
) -> tuple[str, ...]:
    """Laws 2 to 6 for ``policy``, on what ``env`` shows, in training and in evaluation mode.

    Works on copies of the policy, in float64, and for poison in its own type as well. ``env`` is
    reset with ``seed`` and is left somewhere else.

    Args:
        policy: yours or ours, trained or not.
        env: at least 2 environments (law 3 has nothing to compare otherwise).
        length: steps of the two rollouts of law 5; None takes ``env.max_steps + 2``, so that episodes end in them.
        key: of the action draws.
        seed: of the environments and the trials.
        modes: of ``policy.train(mode)``; one alone where many policies share the modes among them.

    Returns:
        The laws that do not apply, because the policy's scheduler declares to need more than they allow, one line
        each; empty for most. The rest of such a policy is tried with a scheduler that lets everyone talk.

    Raises:
        LawError: names the law, the tensor, the environment, the agent and the mode.
    """
    require(env.num_envs > 1, "batch independence", "expected an env with num_envs >= 2, to have something to compare.")
    for training in modes:
        try:
            _check_mode(copy.deepcopy(policy).train(training), env, length, key, seed)
        except LawError as broken:
            broken.add_note(f"{'training' if training else 'evaluation'} mode")
            raise
    scheduler = policy.wire.scheduler
    reason = f"{type(scheduler).__name__} needs {scheduler.needs}"
    exempt = [] if scheduler.local else [f"poison and jacobian: {reason}"]
    return (*exempt, *([f"split-brain: {reason}"] if scheduler.decider is Decider.TEAM else []))


def _check_mode(policy: CommPolicy, env: VectorEnv, length: int | None, key: int, seed: int) -> None:
    subject = copy.deepcopy(policy).double()
    now, state = situation(subject, env, seed)
    check_batch_independence(subject, now, state, key)
    check_locality(subject, env, seed)
    check_gradient_mode(subject, now, state, key)
    if policy.wire.scheduler.local:
        check_poison(policy, trial(policy, env, seed))
    check_silence(subject, now, state)
    if policy.wire.scheduler.decider is not Decider.TEAM:
        check_split_brain(subject, env, key=key, seed=seed)
    played = play_twice(subject, env, length, key, seed)
    check_ratio_one(subject, env, length, key, seed, played)
    check_determinism(subject, env, length, key, seed, played)


def check_locality(policy: CommPolicy, env: VectorEnv, seed: int = 0) -> None:
    """Law 2 with the laws of the wire: on the policy's own wire, and for some steps over a topology without edges.

    Where the scheduler needs more than its two ends to decide an edge, everyone talks in its place.
    """
    fresh = first_steps(policy, env, seed)
    check_edges(policy, fresh)
    for width in {layer.msg_channels for layer in policy.comm.rounds}:
        check_channel(policy.wire.channel, width, dtype=policy.like.dtype)
    check_bits(policy, fresh)
    if not policy.wire.scheduler.local:
        policy = policy.with_wire(replace(policy.wire, scheduler=Always()))
    moments = trial(policy, env, seed, length=3)
    check_poison(policy, moments.first(1))
    check_poison(policy, moments)
    check_poison(policy.with_wire(replace(policy.wire, topology=Empty())), moments)
    check_jacobian(policy, moments)


def situation(policy: CommPolicy, env: VectorEnv, seed: int = 0) -> tuple[TimeStep, PolicyState]:
    """A moment in the middle of episodes, with a random memory and messages in flight."""
    moments = trial(policy, env, seed)
    return moments.steps[0], moments.state


def check_gradient_mode(policy: CommPolicy, now: TimeStep, state: PolicyState, key: int = 0) -> None:
    """The other laws hold where gradients are recorded if they hold where none are: the decisions are the same."""
    with torch.no_grad():
        want = policy.act(now, state, key)
    with torch.enable_grad():
        got = policy.act(now, state, key)
    why = "the same moment, with and without gradients"
    for name, mine, theirs in (
        ("logits", got.logits, want.logits),
        ("value", got.value, want.value),
        ("memory", got.state.memory, want.state.memory),
        ("bits", got.talk.bits, want.talk.bits),
    ):
        require_close("gradient mode", name, mine.detach(), theirs, _ROW, why)


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
        baseline = together.baseline[b]
        require_close("batch independence", "baseline", alone.baseline[0], baseline, ("agent", "round"), why)
        require_close("batch independence", "action", alone.action[0], together.action[b], ("agent",), why)
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
        check_living(subject, step)
        decision = subject.act(step, state, 0)
        for tensor in ("log_prob", "value", "choice_log_prob", "baseline"):
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
class Played:
    """Two rollouts, the second from where the first stopped, in the middle of episodes."""

    rollouts: tuple[Rollout, ...]
    episodes: int


@torch.no_grad()
def play_twice(policy: CommPolicy, env: VectorEnv, length: int | None = None, key: int = 0, seed: int = 0) -> Played:
    """Two rollouts of ``length`` steps, beside other draws of torch; None takes ``env.max_steps + 2``."""
    return _play(policy, env, length, key, seed, count=2, other_draws=1)


def _play(
    policy: CommPolicy, env: VectorEnv, length: int | None, key: int, seed: int, count: int, other_draws: int
) -> Played:
    length = env.max_steps + 2 if length is None else length
    rollouts = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(other_draws)
        carry, tally = begin(env, policy, seed)
        for _ in range(count):
            rollout, carry = collect(env, policy, carry, length, key, tally)
            rollouts.append(rollout)
    return Played(tuple(rollouts), int(tally.flush()["episodes"]))


@torch.no_grad()
def check_ratio_one(
    policy: CommPolicy,
    env: VectorEnv,
    length: int | None = None,
    key: int = 0,
    seed: int = 0,
    played: Played | None = None,
) -> None:
    """Law 5: before any update ``unroll`` gives the log-probabilities and values that ``act`` recorded.

    For two whole rollouts, and for a minibatch of one environment of the second. Episodes must end within them.
    ``played``: what ``play_twice`` gave with the same arguments, which is done here otherwise.
    """
    played = play_twice(policy, env, length, key, seed) if played is None else played
    steps = sum(len(rollout.done) for rollout in played.rollouts)
    require(played.episodes > 0, "ratio one", f"no episode ended within {steps} steps: give a larger length.")
    first, second = played.rollouts
    last = torch.tensor([env.num_envs - 1], device=second.done.device)
    for mine in (first, second, second.environments(last)):
        alive = mine.timestep.alive
        now = policy.unroll(mine.timestep, mine.action, mine.state, mine.choice)
        why = f"nothing was learned since (unroll of {alive.shape[1]} environment(s))"
        for name in ("log_prob", "value"):
            got, want = getattr(now, name), getattr(mine, name)
            require_close("ratio one", name, torch.where(alive, got, want), want, _ROLLOUT, why)
        for name in ("choice_log_prob", "baseline"):
            got, want = getattr(now, name), getattr(mine, name)
            got = torch.where(alive.unsqueeze(-1), got, want)
            require_close("ratio one", name, got, want, (*_ROLLOUT, "round"), why)
        entropy = torch.where(alive, now.entropy, 0.0)
        require_finite("ratio one", "entropy", entropy, _ROLLOUT, "log-probabilities are finite")


@torch.no_grad()
def check_determinism(
    policy: CommPolicy,
    env: VectorEnv,
    length: int | None = None,
    key: int = 0,
    seed: int = 0,
    played: Played | None = None,
) -> None:
    """Law 6: the same seeds give the same bits, whatever the global generators say, and acting changes no weight.

    For the first of two rollouts; ``played`` as in ``check_ratio_one``.
    """
    before = {name: value.clone() for name, value in policy.state_dict().items()}
    played = play_twice(policy, env, length, key, seed) if played is None else played
    first = played.rollouts[0]
    (second,) = _play(policy, env, length, key, seed, count=1, other_draws=2).rollouts
    for name in ("action", "log_prob", "value", "reward"):
        why = "the same seeds were played twice"
        require_bits("determinism", name, getattr(second, name), getattr(first, name), _ROLLOUT, why)
    same = ("time", "environment")
    require_same_tensors("determinism", second.timestep.tensors(), first.timestep.tensors(), same, "as above")
    weights = dict(policy.state_dict())
    require_same_tensors("determinism", weights, before, (), "acting must not change the policy")
