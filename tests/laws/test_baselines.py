"""No decision's baseline depends on that decision, whoever learns; and what that is worth.

A learner judges a decision by A = R - b. Where b knows the decision, the better it is fitted the less is left of A: a
fitted b takes away exactly the difference that the decision made. A new learner is tested by being listed.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.layers import AttentionComm, CommLayer, CommStack, MeanComm
from gnncomm.learn import PPO, PPOConfig, Rollout, begin, collect
from gnncomm.learn.rollout import Step
from gnncomm.policy import GRU, CentralCritic, CommPolicy, Critic, Encoder, LocalCritic, TrunkCritic, with_state
from gnncomm.schedule import Gate
from gnncomm.topology import Ring
from gnncomm.types import TeamSpec, TimeStep, VectorEnv, stack
from gnncomm.wire import Wire

H, N, STEPS, SYMBOLS = 8, 2, 2, 2

CRITICS: dict[str, Callable[[TeamSpec], Critic]] = {
    "ippo": lambda spec: LocalCritic(H),
    "mappo": lambda spec: CentralCritic(H, spec.num_agents),
    "joint observation": lambda spec: TrunkCritic(Encoder(spec.obs_dim, H), CentralCritic(H, spec.num_agents)),
    "state": lambda spec: TrunkCritic(Encoder(spec.obs_dim, H), LocalCritic(H), state_dim=spec.state_dim),
    "graph": lambda spec: TrunkCritic(
        Encoder(spec.obs_dim, H), LocalCritic(H), CommStack([MeanComm(H, H)], torch.nn.Tanh()), Ring()
    ),
}
TRUNKS = ("joint observation", "state", "graph")
"""Critics that read neither memory nor messages."""
INTEGRATIONS = ("previous", "before", "after")
GATES: dict[str, dict[str, bool]] = {
    "plain": {},
    "two_way": {"two_way": True},
    "delayed": {"delayed": True},
    "first_silent": {"first_silent": True},
}
GRID = [
    *itertools.product(("ippo", "mappo"), INTEGRATIONS, (1, 2), GATES),
    *itertools.product(TRUNKS, ("before", "after"), (2,), ("plain",)),
    *itertools.product(TRUNKS, ("previous",), (1,), ("two_way",)),
]


@dataclass(frozen=True)
class Team:
    """A learner and what it learns in."""

    policy: CommPolicy
    learner: PPO
    env: VectorEnv


def team(algo: str, integration: str, rounds: int, gate: str, env: VectorEnv) -> Team:
    torch.manual_seed(3)
    layers: list[CommLayer] = [MeanComm(H, H), AttentionComm(H, H)][:rounds]
    wire = Wire(scheduler=Gate(H, **GATES[gate]))  # type: ignore[arg-type]
    comm = CommStack(layers, torch.nn.Tanh())
    env = with_state(env) if algo == "state" else env
    critic = CRITICS[algo](TeamSpec.of(env))
    policy = CommPolicy(env.obs_dim, env.num_actions, comm, GRU(H), integration, wire, critic).double()
    with torch.no_grad():
        policy.scheduler.lin.weight.zero_()  # type: ignore[union-attr]
        policy.scheduler.lin.bias.zero_()  # type: ignore[union-attr]
        policy.actor.weight.mul_(300.0)  # so that an action does depend on what was heard
    config = PPOConfig(gamma=0.9, lam=1.0, shared_reward=1.0, normalise_advantages=False)
    return Team(policy, PPO(policy, config, 1), env)


# ---- the law ----


def judged(policy: CommPolicy, rollout: Rollout) -> tuple[Tensor, Tensor]:
    """Baselines of the actions ``[T, B, N]`` and of the choices ``[T, B, N, K]`` with the decisions of ``rollout``."""
    with torch.no_grad():
        now = policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
    return now.value, now.baseline


@pytest.mark.parametrize(("algo", "integration", "rounds", "gate"), GRID)
def test_no_baseline_depends_on_its_decision(algo: str, integration: str, rounds: int, gate: str) -> None:
    """Flip one choice at (t, agent, round): every baseline that was there before is the same, to the last bit.

    That is those of earlier steps, of earlier rounds, and of the same round, whose choices all agents make at once.
    What comes after it may change, and does.
    """
    env = envs.make("predator_prey", num_envs=2, num_agents=3, max_steps=3)
    it = team(algo, integration, rounds, gate, env)
    carry, tally = begin(it.env, it.policy, 0)
    carry = replace(carry, state=it.policy.initial_state(2, 3))
    rollout, _ = collect(it.env, it.policy, carry, 4, 0, tally)
    action_before, choice_before = judged(it.policy, rollout)
    heard, known = set(), set()
    for t, agent, k in itertools.product(range(4), range(3), range(rounds)):
        choice = rollout.choice.clone()
        choice[t, :, agent, k] = 1 - choice[t, :, agent, k]
        action_after, choice_after = judged(it.policy, replace(rollout, choice=choice))
        assert choice_after[t, ..., : k + 1].equal(choice_before[t, ..., : k + 1]), (t, agent, k)
        assert choice_after[:t].equal(choice_before[:t])
        assert action_after[:t].equal(action_before[:t]), "an action is judged by what was decided before it"
        if not action_after[t].equal(action_before[t]):
            heard.add((t, k))
        if k + 1 < rounds and not choice_after[t, ..., k + 1].equal(choice_before[t, ..., k + 1]):
            known.add((t, k))
    # The flips are real: the action's baseline does know the choices of its own step, later rounds those before them.
    # Episodes begin at steps 0 and 3. A delayed choice is used a step later, where all baselines may know it.
    within = set(itertools.product((1, 2), range(rounds)))
    if gate == "delayed" or algo in TRUNKS:
        assert not heard | known
        return
    assert heard >= within
    assert known >= {(t, k) for t, k in within if k + 1 < rounds}
    assert gate != "first_silent" or not {t for t, _ in heard | known} & {0, 3}


@pytest.mark.parametrize("algo", CRITICS)
def test_the_return_of_a_step_holds_no_value_of_that_step(algo: str) -> None:
    """So one return judges all decisions of a step, each against its own baseline."""
    env = envs.make("predator_prey", num_envs=2, num_agents=3, max_steps=3)
    it = team(algo, "after", 2, "plain", env)
    carry, tally = begin(it.env, it.policy, 0)
    rollout, _ = collect(it.env, it.policy, carry, 4, 0, tally)
    it.learner.config = replace(it.learner.config, lam=0.7, normalise_returns=False)
    targets = it.learner._targets(rollout)
    torch.testing.assert_close(targets.choice_advantage, targets.value.unsqueeze(-1) - rollout.baseline)
    torch.testing.assert_close(targets.advantage, targets.value - rollout.value)
    for t in range(4):
        value = rollout.value.clone()
        value[t] += 5.0
        moved = it.learner._targets(replace(rollout, value=value)).value
        torch.testing.assert_close(moved[t:], targets.value[t:])


# ---- what it is worth: every gate of a closed task, against the difference that it makes ----


def enumerated(policy: CommPolicy, env: VectorEnv, rounds: int) -> Rollout:
    """Two steps of relay with every symbol and every choice of every gate, once each; rewards are expected ones.

    The gates are fair coins (their weights are zero), so means over these rows are expectations.
    """
    coins = STEPS * N * rounds
    combinations = torch.tensor(list(itertools.product((0, 1), repeat=coins))).view(-1, STEPS, N, rounds)
    assert env.num_envs == SYMBOLS * len(combinations)
    now = env.reset(seed=0)
    symbol = torch.arange(SYMBOLS).repeat_interleave(len(combinations))
    choice = combinations.repeat(SYMBOLS, 1, 1, 1).permute(1, 0, 2, 3)
    action = torch.zeros(STEPS, env.num_envs, N, dtype=torch.int64)
    seen = []
    for t in range(STEPS):
        after = env.step(action[t])
        assert isinstance(now.obs, Tensor)
        obs = now.obs.clone()
        obs[:, 0, :SYMBOLS] = torch.nn.functional.one_hot(symbol, SYMBOLS).float()
        state = None if now.state is None else torch.zeros_like(now.state) + symbol.unsqueeze(-1)
        seen.append(replace(now, obs=obs.double(), state=state))
        now = after
    timestep: TimeStep = stack(seen)
    state = policy.initial_state(env.num_envs, N)
    action[-1] = symbol.unsqueeze(-1)
    with torch.no_grad():
        told = policy.unroll(timestep, action, state, choice)
    reward = torch.zeros(STEPS, env.num_envs, N, dtype=torch.float64)
    reward[-1] = told.log_prob[-1, :, 1:].exp()  # agent 1 names the symbol with this probability
    last = (torch.arange(STEPS) == STEPS - 1).view(-1, 1)
    done = last.expand(STEPS, env.num_envs)
    step = Step(
        timestep, action, choice, told.log_prob, told.choice_log_prob, told.value, told.baseline,
        reward, timestep.alive, (~done).double().unsqueeze(-1).expand_as(reward), done,
    )  # fmt: skip
    next_value = torch.cat([told.value[1:], torch.zeros_like(told.value[:1])])
    return Rollout(**vars(step), next_value=next_value, state=state)


def difference(x: Tensor, choice: Tensor) -> Tensor:
    """Mean of ``x [T, B, ...]`` where a gate was open, minus that where it was closed: ``[T, N, K]``."""
    x = x.expand_as(choice)
    open_, closed = choice == 1, choice == 0
    return torch.where(open_, x, 0).sum(1) / open_.sum(1) - torch.where(closed, x, 0).sum(1) / closed.sum(1)


@pytest.mark.parametrize(("algo", "integration", "rounds", "gate"), GRID)
def test_the_advantage_of_a_gate_is_the_difference_that_it_makes(
    algo: str, integration: str, rounds: int, gate: str
) -> None:
    """In sign and size, for both steps, both agents and all rounds: exact, since everything is enumerated."""
    env = envs.make(
        "relay", num_envs=SYMBOLS * 2 ** (STEPS * N * rounds), num_agents=N, num_symbols=SYMBOLS, steps=STEPS
    )
    it = team(algo, integration, rounds, gate, env)
    rollout = enumerated(it.policy, it.env, rounds)
    gamma, value = it.learner.config.gamma, rollout.reward[-1, :, :1]
    gained = torch.stack([gamma * value, value]).unsqueeze(-1)
    effect = difference(gained, rollout.choice.unflatten(-1, (rounds, 1)).squeeze(-1))
    advantage = difference(it.learner._targets(rollout).choice_advantage, rollout.choice)
    torch.testing.assert_close(advantage, effect, rtol=0, atol=1e-9)
    assert effect.abs().max() > 1e-4, "there is something to see"


@pytest.mark.parametrize("algo", CRITICS)
@pytest.mark.parametrize("rounds", [1, 2])
def test_a_gate_opens_where_the_difference_is_larger_than_the_price(algo: str, rounds: int) -> None:
    """The gradient of the loss by the logit of talking is p (1 - p) (price - difference), averaged over who decides."""
    env = envs.make(
        "relay", num_envs=SYMBOLS * 2 ** (STEPS * N * rounds), num_agents=N, num_symbols=SYMBOLS, steps=STEPS
    )
    it = team(algo, "after", rounds, "plain", env)
    rollout = enumerated(it.policy, it.env, rounds)
    gamma, value = it.learner.config.gamma, rollout.reward[-1, :, :1]
    effect = difference(torch.stack([gamma * value, value]).unsqueeze(-1), rollout.choice)
    gate = it.policy.scheduler
    assert isinstance(gate, Gate)
    for price in (0.0, 0.3):
        gate.price = price
        now = it.policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
        losses = it.learner._losses(now, rollout, it.learner._targets(rollout))
        (slope,) = torch.autograd.grad(losses["choice_loss"].value + losses["wire_cost"].value, gate.lin.bias)
        wanted = 0.25 * (rounds * price - effect.sum(-1).mean())
        torch.testing.assert_close(slope, torch.stack([-wanted, wanted]), rtol=0, atol=1e-9)
