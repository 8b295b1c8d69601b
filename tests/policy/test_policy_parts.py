"""Encoders, critics, action draws, masks and state of CommPolicy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from scipy import stats
from torch import Tensor

from gnncomm.channel import Loss
from gnncomm.errors import ActionMaskError, ConfigError, DtypeError, NonFiniteError, ShapeError
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, LSTM, CentralCritic, CommPolicy, Encoder, Integration, LocalCritic, Memory, PolicyState
from gnncomm.policy.actions import choose_action
from gnncomm.topology import Empty, Full, Ring
from gnncomm.types import SparseObs, TimeStep, stack
from gnncomm.wire import Wire

B, N, D, A, H = 6, 3, 5, 4, 8


def moment(num_envs: int = B, **changes: Tensor | SparseObs) -> TimeStep:
    generator = torch.Generator().manual_seed(1)
    no = torch.zeros(num_envs, dtype=torch.bool)
    now = TimeStep(
        obs=torch.randn(num_envs, N, D, generator=generator),
        reward=torch.zeros(num_envs, N),
        discount=torch.ones(num_envs, N),
        alive=torch.ones(num_envs, N, dtype=torch.bool),
        terminated=no,
        truncated=no,
        success=no,
        first=no,
        key=100 + torch.arange(num_envs),
        step=torch.arange(num_envs) % 4,
    )
    return replace(now, **changes)


def policy(memory: Callable[[int], Memory] = GRU, wire: Wire | None = None, central: bool = False) -> CommPolicy:
    critic = CentralCritic(H, N) if central else LocalCritic(H)
    return CommPolicy(D, A, AttentionComm(H, H), memory(H), Integration.BEFORE, wire, critic)


def remembering(subject: CommPolicy, memory: Tensor) -> PolicyState:
    return replace(subject.initial_state(B, N), memory=memory)


# ---- encoder ----


def test_sparse_and_flat_encoders_agree_in_values_and_gradients() -> None:
    encoder = Encoder(9, H).double()
    index = torch.randint(0, 9, (2, 4, N, 6))  # repeated indices add up
    sparse = SparseObs(index, torch.randn(2, 4, N, 6, dtype=torch.float64), 9)
    direction = torch.randn(2, 4, N, H, dtype=torch.float64)
    outs, grads = [], []
    for obs in (sparse, sparse.to_flat()):
        out = encoder(obs)
        outs.append(out)
        grads.append(torch.autograd.grad((out * direction).sum(), list(encoder.parameters())))
    torch.testing.assert_close(*outs)
    for mine, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_float32_observations_enter_a_float64_policy() -> None:
    encoder = Encoder(9, H).double()
    sparse = SparseObs(torch.tensor([[1, 3]]), torch.tensor([[1.0, 0.5]]), 9)
    assert encoder(sparse).dtype == encoder(sparse.to_flat()).dtype == torch.float64
    torch.testing.assert_close(encoder(sparse), encoder(sparse.to_flat()))


def test_encoder_by_hand() -> None:
    encoder = Encoder(2, 2)
    with torch.no_grad():
        encoder.weight.copy_(torch.tensor([[1.0, -1.0], [2.0, 3.0]]))
        encoder.bias.copy_(torch.tensor([0.5, 0.0]))
    assert encoder(torch.tensor([[1.0, 2.0], [1.0, 0.0]])).tolist() == [[5.5, 5.0], [1.5, 0.0]]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("form", ["flat", "sparse"])
def test_observations_that_are_not_finite_are_named(bad: float, form: str) -> None:
    now = moment()
    assert isinstance(now.obs, Tensor)
    now.obs[4, 1, 2] = bad
    if form == "sparse":
        index = torch.arange(D).expand(B, N, D)
        now = replace(now, obs=SparseObs(index, now.obs, D))
    subject = policy()
    with pytest.raises(NonFiniteError, match="environment 4, agent 1, feature 2"):
        subject.act(now, subject.initial_state(B, N))
    dead = now.alive.clone()
    dead[4, 1] = False
    decision = subject.act(replace(now, alive=dead), subject.initial_state(B, N))
    assert bool(decision.logits.isfinite().all())
    assert bool(decision.value.isfinite().all())


@pytest.mark.parametrize(
    ("obs", "kind", "words"),
    [
        (torch.ones(B, N, D + 1), ShapeError, "width 5, got 6"),
        (torch.ones(B, N, D, dtype=torch.int64), DtypeError, r"use obs\.float\(\)"),
        (torch.ones(B, N, D, dtype=torch.bool), DtypeError, r"use obs\.float\(\)"),
        (SparseObs(torch.zeros(B, N, 2, dtype=torch.int64), torch.ones(B, N, 2), D + 1), ShapeError, "got 6"),
    ],
)
def test_observations_of_another_form_are_refused(obs: Tensor, kind: type[Exception], words: str) -> None:
    subject = policy()
    with pytest.raises(kind, match=words):
        subject.act(moment(obs=obs), subject.initial_state(B, N))


# ---- state ----


@pytest.mark.parametrize("memory", [GRU, LSTM])
def test_memory_is_fresh_where_first(memory: Callable[[int], Memory]) -> None:
    subject = policy(memory)
    old = remembering(subject, torch.randn(B, N, subject.memory.state_dim))
    first = torch.tensor([True, False, True, False, False, False])
    mixed = subject.act(moment(), old)
    now = replace(moment(), first=first)
    got = subject.act(now, old)
    fresh = subject.act(now, subject.initial_state(B, N))
    assert got.logits[first].equal(fresh.logits[first])
    assert got.logits[~first].equal(mixed.logits[~first])
    assert not got.logits[first].allclose(mixed.logits[first])


def test_acting_changes_nothing() -> None:
    subject, now = policy(), moment()
    state = remembering(subject, torch.randn(B, N, H))
    kept, weights = state.memory.clone(), {k: v.clone() for k, v in subject.state_dict().items()}
    one, two = subject.act(now, state, 3), subject.act(now, state, 3)
    assert one.action.equal(two.action)
    assert state.memory.equal(kept)
    assert all(v.equal(weights[k]) for k, v in subject.state_dict().items())


@pytest.mark.parametrize("shape", [(B + 1, N, H), (B, N + 1, H), (B, N, H + 1), (N, B, H)])
def test_a_state_of_another_batch_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"policy state \[B=6, N=3, S=8\].*use initial_state"):
        policy().act(moment(), remembering(policy(), torch.zeros(shape)))


def test_with_wire_shares_the_weights() -> None:
    subject = policy(wire=Wire(Full()))
    mute = subject.with_wire(Wire(Empty()))
    assert all(p is q for p, q in zip(subject.parameters(), mute.parameters(), strict=True))
    now, state = moment(), remembering(subject, torch.randn(B, N, H))
    assert not mute.act(now, state).logits.allclose(subject.act(now, state).logits)
    assert isinstance(subject.wire.topology, Full)


def test_widths_must_agree() -> None:
    with pytest.raises(ConfigError, match="8 -> 4"):
        CommPolicy(D, A, MeanComm(8, 4))
    with pytest.raises(ConfigError, match="memory 5"):
        CommPolicy(D, A, MeanComm(8, 8), GRU(5))
    with pytest.raises(ShapeError, match="built for 3 agents, got 2"):
        CentralCritic(H, 3)(torch.zeros(B, 2, H), torch.ones(B, 2, dtype=torch.bool))


# ---- action draws ----


def test_actions_are_drawn_from_the_softmax() -> None:
    logits = torch.tensor([0.3, -1.0, 1.2, 0.0])
    count = 40_000
    action = choose_action(logits.expand(count, A), 5, torch.arange(count), torch.tensor(3), torch.tensor(1))
    observed = torch.bincount(action, minlength=A)
    expected = logits.softmax(-1).double() * count
    assert stats.chisquare(observed.numpy(), (expected * count / expected.sum()).numpy()).pvalue > 1e-3


def test_agents_steps_and_episodes_draw_independently() -> None:
    logits = torch.zeros(1, 2)
    episode, step, agent = torch.meshgrid(torch.arange(20), torch.arange(20), torch.arange(20), indexing="ij")
    action = choose_action(logits.expand(20, 20, 20, 2), 9, episode, step, agent).double()
    for dim in range(3):
        a, b = action.narrow(dim, 0, 19), action.narrow(dim, 1, 19)
        table = torch.stack([((a == i) & (b == j)).sum() for i in (0, 1) for j in (0, 1)]).view(2, 2)
        assert stats.chi2_contingency(table.numpy()).pvalue > 1e-3
    other = choose_action(logits.expand(20, 20, 20, 2), 10, episode, step, agent).double()
    assert 0.45 < float((other == action).double().mean()) < 0.55


def test_no_key_takes_the_best_action() -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, -torch.inf, 1.0]])
    none = torch.zeros(2, dtype=torch.int64)
    assert choose_action(logits, None, none, none, none).tolist() == [1, 0]


@pytest.mark.parametrize("size", [1, 2, 3])
def test_draws_do_not_depend_on_the_batch(size: int) -> None:
    subject = policy(wire=Wire(Ring(), channel=Loss(0.5))).double()
    now, state = moment(), remembering(subject, torch.randn(B, N, H, dtype=torch.float64))
    together = subject.act(now, state, 3)
    for start in range(0, B, size):
        rows = torch.arange(start, start + size)
        part = subject.act(now.select(rows), state.select(rows), 3)
        assert part.action.equal(together.action[rows])
        torch.testing.assert_close(part.log_prob, together.log_prob[rows])


# ---- action masks ----


def test_masked_actions_have_no_probability() -> None:
    subject, mask = policy(), torch.rand(B, N, A) < 0.5
    mask[..., 2] = True
    now, state = moment(action_mask=mask), remembering(subject, torch.randn(B, N, H))
    for key in range(30):
        assert bool(mask.gather(-1, subject.act(now, state, key).action.unsqueeze(-1)).all())
    decision = subject.act(now, state, 0)
    assert bool((decision.logits == -torch.inf).eq(~mask).all())
    torch.testing.assert_close(decision.logits.softmax(-1).sum(-1), torch.ones(B, N))
    plain = subject.act(moment(), state).logits
    allowed = torch.where(mask, plain, -torch.inf)
    want = torch.distributions.Categorical(logits=allowed)
    evaluation = subject.unroll(stack([now]), decision.action.unsqueeze(0), state)
    torch.testing.assert_close(evaluation.log_prob[0], want.log_prob(decision.action))
    torch.testing.assert_close(evaluation.logits[0], allowed)
    probs = allowed.softmax(-1)
    entropy = -torch.where(mask, probs * probs.clamp(min=1e-30).log(), 0.0).sum(-1)
    torch.testing.assert_close(evaluation.entropy[0], entropy)
    gradients = torch.autograd.grad(evaluation.entropy.sum(), list(subject.parameters()), allow_unused=True)
    assert all(bool(g.isfinite().all()) for g in gradients if g is not None)


def test_an_agent_without_allowed_actions_is_named() -> None:
    subject, mask = policy(), torch.ones(B, N, A, dtype=torch.bool)
    mask[2, 1] = False
    now, state = moment(action_mask=mask), subject.initial_state(B, N)
    with pytest.raises(ActionMaskError, match="Agent 1 of environment 2 has no allowed action"):
        subject.act(now, state)
    rollout = stack([replace(now, action_mask=torch.ones_like(mask)), now])
    with pytest.raises(ActionMaskError, match=r"Agent 1 of environment 2 .*at step 1 of the rollout"):
        subject.unroll(rollout, torch.zeros(2, B, N, dtype=torch.int64), state)
    alive = torch.ones(B, N, dtype=torch.bool)
    alive[2, 1] = False
    assert bool(subject.act(replace(now, alive=alive), state).log_prob.isfinite().all())


@pytest.mark.parametrize(
    "mask", [torch.ones(B, N, A), torch.full((B, N, A), 2), torch.ones(B, N, A + 1).bool(), torch.ones(N, A).bool()]
)
def test_something_else_is_no_action_mask(mask: Tensor) -> None:
    subject = policy()
    with pytest.raises(ActionMaskError, match="bool action mask"):
        subject.act(moment(action_mask=mask), subject.initial_state(B, N))


# ---- critics ----


def test_local_critics_see_one_row_and_central_ones_the_team() -> None:
    features, alive = torch.randn(B, N, H), torch.ones(B, N, dtype=torch.bool)
    other = features.clone()
    other[:, 1] += 1
    local, central = LocalCritic(H), CentralCritic(H, N)
    assert local(other, alive)[:, [0, 2]].equal(local(features, alive)[:, [0, 2]])
    assert not bool((central(other, alive)[:, [0, 2]] == central(features, alive)[:, [0, 2]]).any())


def test_the_central_critic_masks_the_dead() -> None:
    central, features = CentralCritic(H, N), torch.randn(B, N, H)
    alive = torch.ones(B, N, dtype=torch.bool)
    alive[:, 1] = False
    spoilt = features.clone()
    spoilt[:, 1] = torch.nan
    spoilt.requires_grad_()
    got = central(spoilt, alive)[:, [0, 2]]
    assert got.equal(central(features, alive)[:, [0, 2]])
    (gradient,) = torch.autograd.grad(got.sum(), spoilt)
    assert bool((gradient[:, 1] == 0).all())
    assert bool(gradient.isfinite().all())


# ---- where communication stands ----


@pytest.mark.parametrize("integration", Integration)
def test_one_step_by_hand(integration: Integration) -> None:
    layer = MeanComm(H, H)
    subject = CommPolicy(D, A, CommStack([layer], residual=False), GRU(H), integration, Wire(Full()))
    now, memory = moment(), torch.randn(B, N, H)
    graph = Full()(now.alive)
    x = subject.encoder(now.obs)
    remember = lambda rows: subject.memory.step(rows.flatten(0, 1), memory.flatten(0, 1))[0].view(B, N, H)  # noqa: E731
    want = {
        Integration.PREVIOUS: lambda: remember(x + layer(memory, graph)),
        Integration.BEFORE: lambda: remember(layer(x, graph)),
        Integration.AFTER: lambda: layer(remember(x), graph),
    }[integration]()
    decision = subject.act(now, remembering(subject, memory))
    torch.testing.assert_close(decision.logits, subject.actor(want))
    torch.testing.assert_close(decision.value, subject.critic(want, now.alive))
    said = {Integration.PREVIOUS: memory, Integration.BEFORE: x, Integration.AFTER: remember(x)}[integration]
    torch.testing.assert_close(decision.talk.rows[0], said)
    kept = remember(x) if integration == "after" else want
    torch.testing.assert_close(decision.state.memory, kept)


def test_observations_wider_than_the_weights_are_refused_and_narrower_ones_are_cast() -> None:
    encoder = Encoder(3, 4)
    obs = torch.rand(2, 3)
    for wide in (obs.double(), SparseObs(torch.zeros(2, 1, dtype=torch.int64), torch.ones(2, 1).double(), 3)):
        with pytest.raises(DtypeError, match=r"torch\.float64"):
            encoder(wide)
    assert torch.equal(encoder(obs.half()), encoder(obs.half().float()))
