"""Terms of the loss: weights, names in the log, parts that add their own, and modules that are trained along."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gnncomm import envs
from gnncomm.errors import ConfigError, GnnCommError, ShapeError
from gnncomm.layers import CommStack, MeanComm
from gnncomm.learn import PPO, PPOConfig, Rollout, Term, begin, collect, masked_mean
from gnncomm.learn.losses import explained_variance, joined, total
from gnncomm.policy import GRU, CommPolicy, Evaluation

H = 8
Made = tuple[PPO, Rollout]
ONCE = PPOConfig(epochs=1, minibatches=1)


class Small(MeanComm):
    """A layer that wants to stay small."""

    def training_losses(self, evaluation: Evaluation, rollout: Rollout) -> Mapping[str, Term]:
        return {"size": Term(torch.stack([p.square().sum() for p in self.parameters()]).sum(), 0.5)}


class Predict(nn.Module):
    """What the heads read says which episode step it is; a loss with weights of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.lin = nn.Linear(H, 1)

    def forward(self, evaluation: Evaluation, rollout: Rollout) -> Mapping[str, Term]:
        error = self.lin(evaluation.features).squeeze(-1) - rollout.timestep.step.unsqueeze(-1)
        return {"prediction": Term(masked_mean(error.square(), rollout.timestep.alive), 0.1)}


@pytest.fixture
def made() -> Callable[..., Made]:
    """A fresh learner and what it learns from; the same whenever it is asked for."""

    def make(layer: type[MeanComm] = MeanComm, config: PPOConfig = ONCE, **more: Any) -> Made:
        torch.manual_seed(0)
        env = envs.make("relay", num_envs=8)
        policy = CommPolicy(env.obs_dim, env.num_actions, CommStack([layer(H, H)]), GRU(H))
        rollout, _ = collect(env, policy, (start := begin(env, policy, 0))[0], 3, 0, start[1])
        return PPO(policy, config, **more), rollout

    return make


def weights(learner: PPO) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in learner.policy.state_dict().items()}


def test_the_sum_by_hand() -> None:
    terms = {"a": Term(torch.tensor(2.0), 3.0), "b": Term(torch.tensor(5.0), -0.5), "c": Term(torch.tensor(1.0))}
    assert float(total(terms)) == 3 * 2 - 0.5 * 5 + 1


def test_explained_variance_by_hand() -> None:
    """Errors 0, 1, 0 have the variance 2/9, returns 0, 2, 4 have 8/3; the dead do not count."""
    value, returns = torch.tensor([0.0, 1.0, 4.0, math.nan]), torch.tensor([0.0, 2.0, 4.0, 9.0])
    alive = torch.tensor([True, True, True, False])
    assert float(explained_variance(value, returns, alive)) == pytest.approx(1 - (2 / 9) / (8 / 3), rel=1e-6)
    assert math.isnan(float(explained_variance(value, torch.ones(4), alive)))


def test_a_term_is_logged_as_it_is_and_weighs_what_it_says(made: Callable[..., Made]) -> None:
    """The action's bias gets the gradient of the term: 2 * weight * bias beside what it gets anyway."""
    plain, rollout = made()
    plain.policy.actor.bias.data.fill_(0.25)

    def pull(evaluation: Evaluation, rollout: Rollout) -> Mapping[str, Term]:
        return {"pull": Term(learner.policy.actor.bias.square().sum(), weight)}

    gradients = []
    for weight in (0.0, 1.0, 3.0):
        learner, rollout = made(losses=[pull], config=PPOConfig(epochs=1, minibatches=1, max_grad_norm=1e6))
        learner.policy.actor.bias.data.fill_(0.25)
        metrics = learner.update(rollout)
        assert metrics["pull"] == pytest.approx(0.0625 * len(learner.policy.actor.bias)), "without its weight"
        gradients.append(learner.policy.actor.bias.grad)
        if weight == 0.0:
            without = plain.update(rollout)
            assert {name: value for name, value in metrics.items() if name != "pull"} == without
            assert all(value.equal(weights(learner)[name]) for name, value in weights(plain).items())
    torch.testing.assert_close(gradients[1] - gradients[0], torch.full_like(gradients[0], 0.5))
    torch.testing.assert_close(gradients[2] - gradients[0], torch.full_like(gradients[0], 1.5))


def test_a_part_of_the_policy_adds_its_own(made: Callable[..., Made]) -> None:
    plain, rollout = made()
    learner, same = made(Small)
    assert rollout.log_prob.equal(same.log_prob)
    size = sum(float(p.detach().square().sum()) for p in learner.policy.comm.parameters())
    assert learner.update(same)["size"] == pytest.approx(size, rel=1e-6)
    plain.update(rollout)
    assert not all(value.equal(weights(learner)[name]) for name, value in weights(plain).items())


def test_a_loss_with_weights_is_trained_along_and_goes_on_as_it_was(made: Callable[..., Made]) -> None:
    learner, rollout = made(losses=[Predict()], total_updates=100)
    first = learner.update(rollout)["prediction"]
    saved, counters = learner.state()
    held = {group: {name: value.clone() for name, value in tensors.items()} for group, tensors in saved.items()}
    before = weights(learner)
    later = [learner.update(rollout)["prediction"] for _ in range(30)]
    assert later[-1] < 0.9 * first
    again, _ = made(losses=[Predict()], total_updates=100)
    again.policy.load_state_dict(before)
    again.restore(held, counters)
    assert [again.update(rollout)["prediction"] for _ in range(30)] == later
    assert again.updates == 31
    assert all(value.equal(weights(again)[name]) for name, value in weights(learner).items())


@pytest.mark.parametrize(
    ("terms", "error", "words"),
    [
        ({"entropy": Term(torch.zeros(()))}, ConfigError, "two called 'entropy'"),
        ({"mine": torch.zeros(())}, ConfigError, r"'mine': expected Term\(value"),
        ({"mine": Term(torch.zeros(()), math.inf)}, ConfigError, "a finite weight"),
        ({"mine": Term(torch.zeros(3))}, ShapeError, r"expected a scalar, got \[3\]"),
    ],
)
def test_terms_that_are_none(made: Callable[..., Made], terms: Any, error: type[GnnCommError], words: str) -> None:
    learner, rollout = made(losses=[lambda evaluation, rollout: terms])
    with pytest.raises(error, match=words):
        learner.update(rollout)
    assert joined([]) == {}
