"""Learners of policies: targets and losses by hand, laws that tie them to each other, closed forms, small games."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.errors import ConfigError
from gnncomm.learn import PPO, PPOConfig, Rollout, TrainConfig, Training, begin, build_policy, collect
from gnncomm.learn.a2c import A2C, A2CConfig
from gnncomm.learn.coma import COMA, COMAConfig, counterfactual
from gnncomm.learn.credit import of_messages
from gnncomm.learn.losses import Term, policy_loss, value_loss
from gnncomm.learn.maddpg import MADDPG, MADDPGConfig
from gnncomm.learn.reinforce import Reinforce, ReinforceConfig, returns
from gnncomm.policy import Categorical, CommPolicy, Evaluation, LocalCritic
from gnncomm.policy.joint import JointCritic
from tests.learn.games import Game, chain, greedy_return, one_shot, tabular

RAW: dict[str, Any] = {"normalise_returns": False, "normalise_advantages": False, "entropy": 0.0, "entropy_end": 0.0}
KINDS: dict[str, Any] = {"ppo": PPO, "a2c": A2C, "reinforce": Reinforce, "coma": COMA, "maddpg": MADDPG}


def joint(game: Game, own: bool) -> JointCritic:
    return JointCritic(game.num_agents, game.obs_dim, game.num_actions, hidden=16, own=own)


def training(game: Game, name: str, updates: int, length: int, **settings: Any) -> Training:
    torch.manual_seed(0)
    critic = {"coma": joint(game, False), "maddpg": joint(game, True)}.get(name, LocalCritic(game.obs_dim))
    policy = tabular(game, critic, family=Categorical)
    kind = KINDS[name]
    learner = kind(policy, kind.Config(**settings), updates, length=length)
    return Training(game, policy, learner, updates=updates)


def run(made: Training) -> Training:
    while not made.finished:
        made.advance()
    return made


def played(game: Game, policy: CommPolicy, length: int, **wanted: Any) -> Rollout:
    carry, tally = begin(game, policy, 0)
    return collect(game, policy, carry, length, 0, tally, **wanted)[0]


def endless(limit: int, num_envs: int = 4) -> Game:
    """Each step pays 1 and leads on; time is up after ``limit``."""
    return Game(torch.ones(1, 2), torch.zeros(1, 2, dtype=torch.int64), num_envs=num_envs, limit=limit)


# ---- REINFORCE ----


def three_steps() -> tuple[Reinforce, Rollout]:
    """Two agents, three steps, rewards of one's own by hand; nobody prefers anything, and V is 0."""
    game = Game(torch.zeros(3, 2, 2), torch.tensor([1, 2, -1]).view(3, 1, 1).expand(3, 2, 2), num_envs=2)
    policy = tabular(game, LocalCritic(game.obs_dim), family=Categorical)
    torch.nn.init.zeros_(policy.critic.net[2].weight)  # type: ignore[index, union-attr]
    torch.nn.init.zeros_(policy.critic.net[2].bias)  # type: ignore[index, union-attr]
    rollout = played(game, policy, 3)
    reward = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 1.0]]).unsqueeze(1).expand(3, 2, 2)
    learner = Reinforce(policy, ReinforceConfig(shared_reward=0.5), length=3)
    learner.optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    return learner, replace(rollout, reward=reward.contiguous())


def test_returns_of_reinforce_by_hand() -> None:
    """Own: 4 3 3 and 3 3 1. Means of a step: 0.5 1 2, summed 3.5 3 2. Half of each."""
    _, rollout = three_steps()
    want = torch.tensor([[3.75, 3.25], [3.0, 3.0], [2.5, 1.5]])
    for b in range(2):
        assert returns(rollout, None, 1.0, 0.5)[:, b].tolist() == want.tolist()
    # Agent 0 finishes with the first step: its own return ends there, its share of the team's does not.
    discount = rollout.discount.clone()
    discount[0, :, 0] = 0.0
    assert returns(replace(rollout, discount=discount), None, 1.0, 0.5)[0, 0].tolist() == [0.5 * 1 + 0.5 * 3.5, 3.25]


def test_the_gradient_of_reinforce_is_a_sum_over_agents_divided_by_steps() -> None:
    """Of the logit of action a at (agent, step): -R (1[a] - 1/2), summed over 2 episodes, divided by their 6 steps."""
    learner, rollout = three_steps()
    learner.config = replace(learner.config, lr=1.0, value_coef=0.0)
    before = learner.policy.actor.weight.detach().clone()  # type: ignore[union-attr]
    learner.update(rollout)
    moved = (learner.policy.actor.weight.detach() - before).T.view(2, 3, 2)  # type: ignore[union-attr, operator]
    want = torch.zeros(2, 3, 2)
    for i, own in enumerate([[3.75, 3.0, 2.5], [3.25, 3.0, 1.5]]):
        for t, value in enumerate(own):
            for b in range(2):
                for a in range(2):
                    want[i, t, a] += value * ((int(rollout.action[t, b, i]) == a) - 0.5) / 6
    torch.testing.assert_close(moved, want)


def test_what_follows_the_first_episode_is_not_learned_from_and_one_must_end() -> None:
    learner, rollout = three_steps()
    learner.config = replace(learner.config, lr=1.0)
    done = torch.tensor([[False, True], [False, False], [True, True]])
    short = replace(rollout, done=done)
    junk = short.reward.clone()
    junk[1:, 1] = 1e3
    metrics = learner.update(replace(short, reward=junk))
    # Steps 3 + 1. V and log-probabilities are the same everywhere, so the loss is -ln(1/2) times what was returned.
    total = 3.75 + 3.25 + 3 + 3 + 2.5 + 1.5 + (0.5 * 1 + 0.5 * 0.5) + (0.5 * 0.5)
    assert metrics["policy_loss"] == pytest.approx(total * 0.6931472 / 4, rel=1e-5)
    with pytest.raises(ConfigError, match="at least max_steps"):
        learner.update(replace(rollout, done=torch.zeros_like(rollout.done)))


def test_faithful_counts_who_lives_after_the_step() -> None:
    game = endless(3)
    policy = tabular(game, family=Categorical)
    learner = Reinforce(policy, ReinforceConfig(faithful=True), length=3)
    assert learner.experience.after
    rollout = played(game, policy, 3, keep_after=True)
    gone = torch.zeros_like(rollout.timestep.alive)
    assert rollout.after is not None
    assert not learner._counting(replace(rollout, after=replace(rollout.after, alive=gone))).any()


def gated(**changes: Any) -> tuple[CommPolicy, Any, Rollout]:
    """A team with gates on a relay of 3, its environments, and 4 steps of it with the states in between."""
    names = {"scheduler": "gate", "comm": "mean", "memory": "gru", "integration": "before"} | changes
    settings = {"num_agents": 3, "num_symbols": 2, "steps": 4}
    config = TrainConfig.of(env="relay", env_settings=settings, hidden=6, num_envs=5, **names)
    world = envs.make("relay", num_envs=5, observation="sparse", **settings)
    policy = build_policy(config, world)
    carry, tally = begin(world, policy, 3)
    return policy, world, collect(world, policy, carry, 4, 0, tally, chunk=1)[0]


def test_gates_are_learned_by_reinforce() -> None:
    policy, _, rollout = gated()
    learner = Reinforce(policy, ReinforceConfig(shared_reward=1.0, detach_gap=0), length=4)
    now = policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
    gain = returns(rollout, None, 1.0, 1.0).unsqueeze(-1) - now.baseline.detach()
    want = -(gain * now.choice_log_prob).sum() / 20
    gradient = torch.autograd.grad(want, policy.scheduler.lin.weight, retain_graph=True)[0]  # type: ignore[union-attr]
    assert gradient.abs().max() > 0
    terms = learner._losses(now, rollout, returns(rollout, None, 1.0, 1.0), rollout.timestep.alive, torch.tensor(20))
    assert terms["choice_loss"].value.item() == pytest.approx(want.item(), rel=1e-5)


# ---- PPO and A2C ----


def test_the_first_step_of_ppo_is_that_of_a2c() -> None:
    """Before any step the ratio is 1 and its gradient that of the log-probability."""
    after = []
    for name in ("ppo", "a2c"):
        passes = {"epochs": 1, "minibatches": 1, "value_clip": False} if name == "ppo" else {"optimizer": "adam"}
        made = training(chain(3), name, 1, 6, lr=0.1, lam=0.9, **passes)
        made.advance()
        after.append(torch.cat([p.detach().flatten() for p in made.policy.parameters()]))
    torch.testing.assert_close(*after)


def test_losses_of_ppo_are_those_of_torchrl() -> None:
    """TorchRL 0.14.1 (torch 2.13.0), in doubles, of these numbers: ``loss_objective`` with its gradient, ``entropy``,
    and ``loss_critic``, which is no half, of ``ClipPPOLoss(actor, critic, clip_epsilon=0.2, clip_value=0.2,
    critic_coeff=1, loss_critic_type="l2", normalize_advantage=False)``.
    """
    double = torch.float64
    logits = torch.sin(torch.arange(18.0, dtype=double) * 1.7).view(6, 3).requires_grad_()
    action, mask = torch.tensor([0, 1, 2, 0, 1, 2]), torch.ones(6, dtype=torch.bool)
    old = torch.tensor([-1.0, -0.5, -2.0, -1.2, -0.9, -1.5], dtype=double)
    advantage = torch.tensor([1.0, -2.0, 0.5, 3.0, -1.0, -0.25], dtype=double)
    family = Categorical(3)
    loss = policy_loss(family.log_prob(logits, action), old, advantage, mask, 0.2)
    assert loss.item() == pytest.approx(-0.368014561572017, rel=1e-9)
    (gradient,) = torch.autograd.grad(loss, logits)
    want = [-0.07867608281976839, 0.06111682551675731, 0.01755925730301108]
    assert gradient[0].tolist() == pytest.approx(want, rel=1e-9)
    assert gradient[1:].abs().max() == 0
    assert family.entropy(logits).mean().item() == pytest.approx(0.9075117886521865, rel=1e-9)
    value, target = (
        torch.cos(torch.arange(6.0, dtype=double)),
        torch.tensor([0.5, 1.0, -1.0, 2.0, 0.0, 0.3], dtype=double),
    )
    before = torch.tensor([0.8, 0.9, -0.2, -1.5, -0.4, 0.1], dtype=double)
    assert 2 * value_loss(value, before, target, mask, 0.2).item() == pytest.approx(2.02313981287828, rel=1e-9)


def test_huber_by_hand() -> None:
    """Errors 0.5 and 3 beyond 1: 0.25 and 1 (2 * 3 - 1), half their mean."""
    value, zero, mask = torch.tensor([0.5, -3.0]), torch.zeros(2), torch.ones(2, dtype=torch.bool)
    assert value_loss(value, zero, zero, mask, None, 1.0).item() == pytest.approx(0.5 * (0.25 + 5) / 2)
    assert value_loss(value, zero, zero, mask, None, 0.0).item() == pytest.approx(0.5 * (0.25 + 9) / 2)


def test_moments_of_returns_by_minibatch_are_debiased() -> None:
    settings = {"epochs": 2, "minibatches": 2, "norm_every": "minibatch", "norm_rate": 0.25}
    made = training(chain(3), "ppo", 1, 6, **settings)
    made.advance()
    assert float(made.learner.return_norm.weight) == pytest.approx(1 - 0.75**4)  # type: ignore[attr-defined]


@pytest.mark.parametrize("chunk", [1, 2])
def test_chunks_keep_all_agents_and_begin_with_what_was_remembered(chunk: int) -> None:
    """Ratio one holds in each, memory and messages under way included; gradients stop at their beginnings."""
    policy, world, _ = gated(channel="delay:steps=1")
    carry, tally = begin(world, policy, 3)
    rollout = collect(world, policy, carry, 4, 0, tally, chunk=chunk)[0]
    parts = rollout.chunks()
    assert parts.reward.shape == (chunk, 5 * 4 // chunk, 3)
    now = policy.unroll(parts.timestep, parts.action, parts.state, parts.choice)
    torch.testing.assert_close(now.log_prob, parts.log_prob)
    torch.testing.assert_close(now.choice_log_prob, parts.choice_log_prob)
    torch.testing.assert_close(parts.log_prob[:, 5 : 2 * 5], rollout.log_prob[chunk : 2 * chunk])
    config = PPOConfig(chunk=chunk, minibatches=3)
    assert PPO(policy, config, length=4).update(rollout)["approx_kl"] < 1
    with pytest.raises(ConfigError, match=r"learner.chunk=3 must divide .* expected one of \[1, 2, 4\]"):
        PPO(policy, replace(config, chunk=3), length=4)


def test_a_message_is_worth_what_others_lose_without_it() -> None:
    """As if its sender had decided to be silent; 0 for whoever is silent."""
    policy, _, rollout = gated()
    got = of_messages(policy, rollout)
    steps = rollout.chunks()
    value = policy.unroll(steps.timestep, steps.action, steps.state, steps.choice).value
    for sender in range(3):
        silent = steps.choice.clone()
        silent[..., sender, :] = 0
        lost = value - policy.unroll(steps.timestep, steps.action, steps.state, silent).value
        lost[..., sender] = 0
        torch.testing.assert_close(got[..., sender, 0].flatten(), lost.sum(-1).flatten().detach(), rtol=1e-4, atol=1e-6)
    talks = rollout.choice.squeeze(-1) == 1
    assert got[..., 0][~talks].abs().max() == 0
    assert got[..., 0][talks].abs().max() > 1e-4
    with pytest.raises(ConfigError, match="samples none: expected gate"):
        PPO(gated(scheduler="always")[0], PPOConfig(choice_credit="counterfactual"))
    learner = PPO(policy, PPOConfig(choice_credit="counterfactual", chunk=2), length=4)
    assert learner.experience.chunk == 1
    assert learner.update(rollout)["choice_loss"] != 0


@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_learner_adds_terms_of_a_users_own(name: str) -> None:
    """A term that pulls the first logit up moves every actor; MADDPG left it out, in silence."""
    game = one_shot([[0.0, 0.0], [0.0, 0.0]])

    def pull(now: Evaluation, played: Rollout) -> dict[str, Term]:
        assert now.logits.shape[:3] == played.action.shape
        return {"pull": Term(-now.logits[..., 0].mean(), 10.0)}

    torch.manual_seed(0)
    critic = {"coma": joint(game, False), "maddpg": joint(game, True)}.get(name, LocalCritic(game.obs_dim))
    policy = tabular(game, critic, family=Categorical)
    settings = {"batch": 2, "buffer": 8, "gradient_steps": 2} if name == "maddpg" else {}
    made = Training(
        game, policy, KINDS[name](policy, KINDS[name].Config(**settings), 3, length=2, losses=[pull]), updates=3
    )
    metrics = [made.advance() for _ in range(3)]
    assert metrics[2]["pull"] < metrics[0]["pull"]


# ---- COMA and MADDPG ----


def test_the_counterfactual_advantage_by_hand() -> None:
    q, policy = torch.tensor([[1.0, 3.0]]), torch.tensor([[0.25, 0.75]])
    assert counterfactual(q, policy, torch.tensor([0])).item() == 1 - 2.5


def said(critic: JointCritic, q: float, value: float) -> None:
    """Makes it say these numbers of everything."""
    for layer, number in ((critic.head, q), (critic.value, value)):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.constant_(layer.bias, number)


def test_returns_of_coma_end_where_the_task_ends_and_are_bootstrapped_where_it_was_cut() -> None:
    """Q says 10, V says 4, a step pays 1, gamma 0.5, lambda 0.5; time is up after 2 steps, the rollout after 3."""
    game = endless(2)
    critic = joint(game, False)
    said(critic, 10.0, 4.0)
    policy = tabular(game, critic, family=Categorical)
    learner = COMA(policy, COMAConfig(gamma=0.5, lam=0.5), length=3)
    cut = 1 + 0.5 * 4
    first = 1 + 0.5 * (0.5 * 10 + 0.5 * cut)
    assert learner._returns(played(game, policy, 3))[:, 0, 0].tolist() == pytest.approx([first, cut, cut])
    over = chain(1, num_envs=4)
    said(critic, 10.0, 4.0)
    learner = COMA(tabular(over, critic, family=Categorical), COMAConfig(gamma=0.5, lam=0.5), length=2)
    rollout = played(over, learner.policy, 2)
    assert learner._returns(rollout).equal((rollout.action == 1).float()), "the reward of the last step, and no more"


def test_targets_of_maddpg_end_where_the_task_ends_and_are_bootstrapped_where_it_was_cut() -> None:
    """Q says 10, a step pays 1, gamma 0.5; every step of an episode counts, the last one, too."""
    for game, want in ((endless(2), [6.0, 6.0]), (chain(1, num_envs=4), [1.0])):
        made = training(game, "maddpg", 8, 4, gamma=0.5, batch=4, buffer=16, gradient_steps=1, lr=1e-9)
        for _ in range(2):
            made.advance()
        learner: MADDPG = made.learner  # type: ignore[assignment]
        said(learner.target.policy.critic, 10.0, 0.0)  # type: ignore[arg-type]
        episodes = learner._replay.sample(8, 0, 0)
        counts, y = learner._counting(episodes), learner.targets(episodes)
        assert (episodes.length == len(want)).all()
        assert counts[: len(want)].all()
        assert not counts[len(want) :].any()
        paid = y[: len(want)].squeeze(-1)
        if want == [1.0]:
            assert paid.equal((episodes.action[:1].squeeze(-1) == 1).float())
            assert paid.any()
        else:
            assert paid.mean(1).tolist() == want


def test_samples_are_one_hot_with_the_gradient_of_a_softmax() -> None:
    made = training(one_shot([[1.0, 0.0], [0.0, 0.0]]), "maddpg", 1, 1)
    logits = torch.randn(50, 8, 2, 2, requires_grad=True)
    learner: MADDPG = made.learner  # type: ignore[assignment]
    drawn = learner._sampled(logits, 0)
    hard = drawn.detach().round()
    torch.testing.assert_close(drawn.detach(), hard)
    assert (hard.sum(-1) == 1).all()
    share = hard[..., 0].mean().item()
    assert share == pytest.approx(logits.softmax(-1)[..., 0].mean().item(), abs=0.05)
    (gradient,) = torch.autograd.grad(drawn[..., 0].sum(), logits)
    assert gradient.sum(-1).abs().max() < 1e-5
    assert gradient[..., 0].min() >= 0


def test_the_actor_of_maddpg_leaves_the_critic_alone() -> None:
    made = training(one_shot([[1.0, 0.0], [0.0, 0.0]]), "maddpg", 4, 1, batch=4, buffer=16, gradient_steps=1)
    made.advance()
    made.advance()
    learner: MADDPG = made.learner  # type: ignore[assignment]
    state = learner.optimizer.state
    taken = {p: state[p]["step"].item() for p in made.policy.parameters() if p in state}
    assert taken[learner.critic.head.weight] == taken[made.policy.actor.weight] > 0  # type: ignore[index]


# ---- what they learn ----

QUICK: dict[str, dict[str, Any]] = {
    "ppo": {"lr": 0.05, "epochs": 2, "minibatches": 1},
    "a2c": {"lr": 0.05},
    "reinforce": {"lr": 0.05},
    "coma": {"lr": 0.05, "critic_steps": 4, "target_every_critic_steps": 20},
    "maddpg": {"lr": 0.05, "batch": 8, "buffer": 64, "gradient_steps": 2, "target_every_gradient_steps": 10},
}
"""Settings for games of a few steps."""


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
def test_a_reward_that_comes_only_with_the_last_step_is_learned(name: str) -> None:
    game = chain(1)
    made = run(training(game, name, 25, 1, **QUICK[name]))
    assert greedy_return(made, game) == 1.0
    weight: Tensor = made.policy.actor.weight  # type: ignore[assignment]
    assert (weight[1] - weight[0]).item() > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ppo", "a2c", "coma", "maddpg"])
def test_values_where_time_is_up_and_where_the_task_ends(name: str) -> None:
    """gamma 0.5, a step pays 1: 2 where only time is up, 1 where the task ends with the step."""
    for game, want in ((endless(2, 8), 2.0), (one_shot([[1.0, 1.0], [1.0, 1.0]]), 1.0)):
        settings = {**QUICK[name], "lr": 0.02, "gamma": 0.5}
        settings |= {} if name == "maddpg" else RAW
        made = run(training(game, name, 80, 2, **settings))
        shown = made.carry.timestep
        critic = made.policy.critic
        if isinstance(critic, JointCritic):
            one_hot = torch.nn.functional.one_hot(torch.zeros_like(shown.alive).long(), 2).float()
            found = critic.q(shown, one_hot)
        else:
            found = made.policy.value(shown, made.carry.state, 0)
        assert found.mean().item() == pytest.approx(want, abs=0.05)


CLIMB = [[11.0, -30.0, 0.0], [-30.0, 7.0, 6.0], [0.0, 0.0, 5.0]]
PENALTY = [[10.0, 0.0, -30.0], [0.0, 2.0, 0.0], [-30.0, 0.0, 10.0]]


@pytest.mark.slow
@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(("payoff", "least"), [(CLIMB, 5.0), (PENALTY, 2.0)], ids=["climb", "penalty"])
def test_games_in_which_a_miss_costs_much_end_in_an_equilibrium(name: str, payoff: Any, least: float) -> None:
    """Of Claus and Boutilier 1998: none need find the best one, each finds one that nobody leaves alone."""
    game = one_shot(payoff, num_envs=64)
    made = run(training(game, name, 150, 1, **QUICK[name]))
    assert greedy_return(made, game) >= least


def test_settings_are_refused_with_what_is_expected() -> None:
    game = chain(1)
    for make, text in (
        (lambda: COMAConfig(normalise_returns=True), "set it to False"),
        (lambda: COMA(tabular(game, family=Categorical)), "expected a policy whose critic is a JointCritic"),
        (lambda: MADDPG(tabular(game, joint(game, False), family=Categorical)), r"JointCritic\(own=True\)"),
        (lambda: MADDPGConfig(batch=10, buffer=5), "is more than the episodes"),
        (lambda: MADDPG(gated()[0]), "learns from old episodes, what Gate samples"),
        (lambda: A2CConfig(huber=-1.0), "huber must be a finite number >= 0"),
    ):
        with pytest.raises(ConfigError, match=text):
            make()
