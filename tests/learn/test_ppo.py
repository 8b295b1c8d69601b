"""The update: minibatches, schedules, the dead, and numbers that are none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm.errors import NonFiniteError
from gnncomm.learn import PPO, Rollout

Setup = Callable[..., Any]
JUNK = [float("nan"), float("inf"), float("-inf")]


def copied(learner: PPO) -> dict[str, Tensor]:
    """Everything that an update may change."""
    slots = learner.optimizer.state_dict()["state"]
    found = dict(learner.policy.state_dict()) | dict(learner.return_norm.state_dict())
    found |= {f"{i}.{name}": value for i, slot in slots.items() for name, value in slot.items()}
    return {name: value.detach().clone() for name, value in found.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(value.equal(b[name]) for name, value in a.items())


def spoil(x: Tensor, at: tuple[int, int, int], value: float) -> Tensor:
    x = x.clone()
    x[at] = value
    return x


def test_minibatches_are_sets_of_environments_and_use_each_once(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    made = setup(num_envs=7, ppo={"epochs": 3, "minibatches": 3})
    row = {int(key): b for b, key in enumerate(made.rollout.timestep.key[0])}
    assert len(row) == 7
    chunks: list[list[int]] = []
    unroll = made.learner.policy.unroll

    def watched(timestep: Any, action: Tensor, state: Any, choice: Tensor) -> Any:
        assert timestep.alive.shape[0] == 5
        assert timestep.alive.shape[2] == 3, "all steps and all agents of an environment stay together"
        chunk = [row[int(key)] for key in timestep.key[0]]
        assert action.equal(made.rollout.action[:, chunk])
        assert state.memory.equal(made.rollout.state.memory[chunk])
        chunks.append(chunk)
        return unroll(timestep, action, state, choice)

    monkeypatch.setattr(made.learner.policy, "unroll", watched)
    made.learner.update(made.rollout)
    assert [len(chunk) for chunk in chunks] == [3, 2, 2] * 3
    epochs = [chunks[i] + chunks[i + 1] + chunks[i + 2] for i in (0, 3, 6)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2], "drawn anew for each epoch"
    first_update = list(chunks)
    made.learner.update(made.rollout)
    assert chunks[9:] != first_update, "and for each update"


def test_learning_rate_schedule(setup: Setup) -> None:
    linear = setup(ppo={"lr": 0.01, "lr_schedule": "linear"})
    assert [linear.learner.update(linear.rollout)["lr"] for _ in range(5)] == pytest.approx(
        [0.01, 0.0075, 0.005, 0.0025, 0.0]
    )
    constant = setup(ppo={"lr": 0.01, "lr_schedule": "constant"})
    assert [constant.learner.update(constant.rollout)["lr"] for _ in range(5)] == [0.01] * 5


def test_entropy_schedule(setup: Setup) -> None:
    """With nothing else in the loss and steps of next to no size, gradients are in the proportion of the weights."""
    made = setup(
        ppo={"lr": 1e-12, "entropy": 0.4, "entropy_end": 0.1, "value_coef": 0.0, "minibatches": 1, "epochs": 1}
    )
    zero = torch.zeros_like(made.rollout.reward)
    rollout = replace(made.rollout, reward=zero, value=zero, next_value=zero)
    # The normaliser of the returns maps the value 0 to 0 as long as all it has seen is 0.
    norms = [made.learner.update(rollout)["grad_norm"] for _ in range(6)]
    assert norms[0] > 0
    weights = [0.4, 0.325, 0.25, 0.175, 0.1, 0.1]
    assert [norm / norms[0] for norm in norms] == pytest.approx([w / 0.4 for w in weights], rel=1e-3)


def test_metrics_before_any_step_are_those_of_an_unchanged_policy(setup: Setup) -> None:
    made = setup(ppo={"epochs": 1, "minibatches": 1})
    metrics = made.learner.update(made.rollout)
    assert metrics["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert metrics["clip_fraction"] == 0
    assert metrics["policy_loss"] == pytest.approx(0, abs=1e-5), "advantages have mean 0 and ratios are 1"


def test_shared_reward_goes_from_own_to_common(setup: Setup) -> None:
    made = setup(ppo={"normalise_returns": False, "normalise_advantages": False, "gamma": 0.0, "shared_reward": 0.25})
    reward = torch.randn_like(made.rollout.reward)
    advantage = made.learner._targets(replace(made.rollout, reward=reward)).advantage
    expected = 0.75 * reward + 0.25 * reward.mean(-1, keepdim=True) - made.rollout.value
    torch.testing.assert_close(advantage, expected, rtol=0, atol=1e-6)


def test_normalised_advantages_have_mean_0_and_variance_1_over_the_living(setup: Setup) -> None:
    made = setup()
    alive = torch.rand(made.rollout.reward.shape) < 0.7
    rollout = replace(made.rollout, timestep=replace(made.rollout.timestep, alive=alive))
    advantage = made.learner._targets(rollout).advantage
    assert advantage[alive].mean().item() == pytest.approx(0, abs=1e-5)
    assert advantage[alive].var(unbiased=False).item() == pytest.approx(1, abs=1e-3)


def with_deaths(rollout: Rollout) -> tuple[Rollout, Tensor]:
    """Some agents die for good; returns where they are dead."""
    length, num_envs, num_agents = rollout.reward.shape
    last = torch.randint(1, length + 2, (num_envs, num_agents))
    alive = torch.arange(length).view(-1, 1, 1) < last
    discount = torch.where(torch.arange(1, length + 1).view(-1, 1, 1) < last, rollout.discount, 0.0)
    dead = ~alive
    assert dead.any()
    now = replace(rollout.timestep, alive=alive)
    return replace(rollout, timestep=now, discount=discount, paid=alive), dead


@pytest.mark.parametrize("junk", [*JUNK, 1e6])
@pytest.mark.parametrize("algo", ["ippo", "mappo"])
def test_the_dead_teach_nothing(setup: Setup, junk: float, algo: str) -> None:
    """Whatever their rows hold, the update is the same to the last bit."""

    def learned(value: float | None) -> dict[str, Tensor]:
        torch.manual_seed(1)
        made = setup(algo=algo, observation="flat")
        rollout, dead = with_deaths(made.rollout)
        if value is not None:
            names = ("reward", "value", "next_value", "log_prob", "discount")
            spoiled = {name: torch.where(dead, value, getattr(rollout, name)) for name in names}
            obs = torch.where(dead.unsqueeze(-1), value, rollout.timestep.obs)
            rollout = replace(rollout, **spoiled, timestep=replace(rollout.timestep, obs=obs))
        made.learner.update(rollout)
        return copied(made.learner)

    clean = learned(None)
    assert same(learned(junk), clean)


@pytest.mark.parametrize("step", [0, 2, 4])
@pytest.mark.parametrize("value", JUNK)
@pytest.mark.parametrize("name", ["reward", "value", "next_value", "log_prob", "discount"])
def test_a_number_that_is_none_is_named_and_changes_nothing(setup: Setup, name: str, value: float, step: int) -> None:
    made = setup(num_envs=3, ppo={"minibatches": 3, "normalise_returns": False, "normalise_advantages": False})
    rollout = replace(made.rollout, discount=torch.ones_like(made.rollout.discount))
    made.learner.update(rollout)
    before = copied(made.learner)
    bad = replace(rollout, **{name: spoil(getattr(rollout, name), (step, 1, 2), value)})
    with pytest.raises(NonFiniteError, match=f"{name} of agent 2 in environment 1 at step {step} "):
        made.learner.update(bad)
    assert same(copied(made.learner), before)
    assert made.learner.updates == 1


@pytest.mark.parametrize("value", JUNK)
@pytest.mark.parametrize("call", [1, 2, 6])
def test_a_gradient_that_is_none_takes_the_whole_update_back(setup: Setup, value: float, call: int) -> None:
    """Also in the last of six minibatches, when five steps have been taken already."""
    made = setup()
    made.learner.update(made.rollout)
    before = copied(made.learner)
    calls = 0

    def spoiled(grad: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return torch.full_like(grad, value) if calls == call else grad

    handle = made.learner.policy.actor.weight.register_hook(spoiled)
    with pytest.raises(NonFiniteError, match=r"first parameter: .+ Nothing was applied"):
        made.learner.update(made.rollout)
    assert same(copied(made.learner), before)
    handle.remove()
    made.learner.update(made.rollout)
    again = setup()
    for _ in range(2):
        again.learner.update(again.rollout)
    assert same(copied(made.learner), copied(again.learner)), "it goes on as if nothing had happened"


def test_a_loss_that_overflows_takes_the_whole_update_back(setup: Setup) -> None:
    made = setup(ppo={"normalise_returns": False})
    before = copied(made.learner)
    large = torch.full_like(made.rollout.reward, 1e30)  # finite, but not its square
    with pytest.raises(NonFiniteError, match="got loss inf"):
        made.learner.update(replace(made.rollout, reward=large))
    assert same(copied(made.learner), before)


def test_an_update_does_change_what_is_compared(setup: Setup) -> None:
    made = setup()
    made.learner.update(made.rollout)
    before = copied(made.learner)
    made.learner.update(made.rollout)
    after = copied(made.learner)
    assert before.keys() == after.keys()
    assert not any(value.equal(after[name]) for name, value in before.items() if value.numel() > 1)


def test_gradients_are_clipped(setup: Setup) -> None:
    """A step of plain descent is as long as the rate times the norm at most."""
    made = setup(ppo={"epochs": 1, "minibatches": 1, "max_grad_norm": 1e-3, "value_coef": 100.0})
    made.learner.optimizer = torch.optim.SGD(made.learner.policy.parameters(), lr=1.0)
    before = torch.cat([p.detach().flatten().clone() for p in made.learner.policy.parameters()])
    metrics = made.learner.update(made.rollout)
    after = torch.cat([p.detach().flatten() for p in made.learner.policy.parameters()])
    assert metrics["grad_norm"] > 0.1
    assert (after - before).norm().item() == pytest.approx(1e-3 * metrics["lr"], rel=1e-2)


def test_the_normaliser_takes_in_the_returns_of_the_living(setup: Setup) -> None:
    made = setup(ppo={"gamma": 0.0, "shared_reward": 0.0})
    rollout, dead = with_deaths(made.rollout)
    rollout = replace(rollout, reward=torch.where(dead, 100.0, torch.randn_like(rollout.reward) + 3))
    made.learner.update(rollout)
    living = rollout.reward[~dead]  # with gamma 0 the return is the reward
    normalised = made.learner.return_norm.normalise(living)
    assert normalised.mean().item() == pytest.approx(0, abs=1e-4)
    assert normalised.var(unbiased=False).item() == pytest.approx(1, abs=1e-3)


def test_the_entropy_bonus_is_that_of_the_living(setup: Setup) -> None:
    """Nothing else is in the loss. The dead have one action left and an entropy of 0, which would lower any mean."""
    coef = 0.5
    ppo = {"epochs": 1, "minibatches": 1, "entropy": coef, "entropy_end": coef, "value_coef": 0.0, "shared_reward": 0.0}
    made = setup(ppo=ppo | {"normalise_returns": False})
    rollout, dead = with_deaths(made.rollout)
    policy, zero = made.learner.policy, torch.zeros_like(rollout.reward)
    taken = torch.nn.functional.one_hot(rollout.action, policy.num_actions).bool()
    mask = taken | ~dead.unsqueeze(-1)
    rollout = replace(rollout, reward=zero, value=zero, next_value=zero)
    rollout = replace(rollout, timestep=replace(rollout.timestep, action_mask=mask))
    now = policy.unroll(rollout.timestep, rollout.action, rollout.state, rollout.choice)
    assert now.entropy[dead].abs().max() == 0
    bonus = now.entropy[~dead].mean()
    gradients = torch.autograd.grad(coef * bonus, list(policy.parameters()), allow_unused=True)
    norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
    metrics = made.learner.update(replace(rollout, log_prob=now.log_prob.detach()))
    assert metrics["entropy"] == pytest.approx(bonus.item(), rel=1e-5)
    assert metrics["grad_norm"] == pytest.approx(norm.item(), rel=1e-4)
    assert dead.float().mean() > 0.1, "a mean over all differs by a tenth at least"


def test_targets_are_normalised_with_moments_that_know_them(setup: Setup) -> None:
    """Three numbers by hand: returns 1, 2, 6 in an empty normaliser have mean 3 and variance 14/3."""
    made = setup(num_envs=1, length=1, ppo={"gamma": 0.0, "shared_reward": 0.0, "minibatches": 1})
    assert made.rollout.reward.shape == (1, 1, 3)
    rollout = replace(made.rollout, reward=torch.tensor([[[1.0, 2.0, 6.0]]]))
    target = made.learner._targets(rollout).value[0, 0]
    scale = (14 / 3) ** 0.5
    assert target.tolist() == pytest.approx([-2 / scale, -1 / scale, 3 / scale], rel=1e-5)
    # And with those from before the update values are restored: 0.5 means 3 + 0.5 sqrt(14/3) now, it meant 0.5 before.
    again = replace(rollout, value=torch.full((1, 1, 3), 0.5))
    made.learner.config = replace(made.learner.config, normalise_advantages=False)
    advantage = made.learner._targets(again).advantage[0, 0]
    restored = 3 + 0.5 * scale
    assert advantage.tolist() == pytest.approx([1 - restored, 2 - restored, 6 - restored], rel=1e-5)


def test_returns_that_are_all_the_same_are_divided_by_the_floor(setup: Setup) -> None:
    """The variance is 1e-4 at least: an error of 0.02 in such a return is 2 in what the critic predicts."""
    made = setup(num_envs=1, length=1, ppo={"gamma": 0.0, "shared_reward": 0.0, "minibatches": 1})
    made.learner._targets(replace(made.rollout, reward=torch.full((1, 1, 3), 7.0)))
    assert made.learner.return_norm.normalise(torch.tensor(7.02)).item() == pytest.approx(2.0, rel=1e-3)
    assert made.learner.return_norm.restore(torch.tensor(2.0)).item() == pytest.approx(7.02, rel=1e-6)
