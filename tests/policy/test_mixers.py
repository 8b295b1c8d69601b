"""Mixers: increasing, made of everyone's best, blind to the dead, and equal to numbers that come another way."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gnncomm import channel, make
from gnncomm.errors import ShapeError
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import QMIX, QPLEX, VDN, CommPolicy, EpsilonGreedy, GraphMixer, Mixer, NoMixer
from gnncomm.topology import Full, Ring
from gnncomm.types import SparseObs, TimeStep, stack
from gnncomm.wire import Wire

N, A, D, S = 3, 3, 4, 5
MIXERS: dict[str, Callable[[], Mixer]] = {
    "none": NoMixer,
    "vdn": VDN,
    "qmix": lambda: QMIX(N, D),
    "qmix of a state": lambda: QMIX(N, D, S),
    "qplex": lambda: QPLEX(N, D, A, heads=3, embed=8),
    "graph": lambda: GraphMixer(D, embed=4),
    "graph of a state": lambda: GraphMixer(D, S, rounds=3, embed=4),
}
MONOTONIC = [name for name in MIXERS if name not in ("none", "qplex")]


def made(name: str) -> Mixer:
    torch.manual_seed(3)
    return MIXERS[name]().double()


def moment(*lead: int, seed: int = 0) -> TimeStep:
    gen = torch.Generator().manual_seed(seed)
    no, alive = torch.zeros(lead, dtype=torch.bool), torch.ones(*lead, N, dtype=torch.bool)
    obs, state = (torch.randn(*lead, *shape, generator=gen, dtype=torch.float64) for shape in ((N, D), (S,)))
    rows = torch.zeros(*lead, N, dtype=torch.float64)
    step = torch.zeros(lead, dtype=torch.int64)
    return TimeStep(obs, rows, rows + 1, alive, no, no, no, no, step, step, state=state)


def links(*lead: int, seed: int = 1) -> Tensor:
    return torch.rand(*lead, N, N, generator=torch.Generator().manual_seed(seed)) < 0.4


def team_value(mixer: Mixer, q: Tensor, now: TimeStep, heard: Tensor, best: Tensor | None = None) -> Tensor:
    """One number for each lead, of actions that are all 0 unless they are told."""
    return mixer(q, q if best is None else best, torch.zeros_like(q, dtype=torch.int64), now, heard)[..., 0]


@pytest.mark.parametrize("name", MONOTONIC)
def test_the_value_of_the_team_rises_with_that_of_each_agent(name: str) -> None:
    mixer, lead = made(name), 200
    q = 3 * torch.randn(lead, N, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    q.requires_grad_()
    total = team_value(mixer, q, moment(lead), links(lead)).sum()
    (gradient,) = torch.autograd.grad(total, q)
    assert bool((gradient >= 0).all())
    assert bool((gradient > 0).any(0).all())


@pytest.mark.parametrize("name", [*MONOTONIC, "qplex"])
def test_the_best_joint_action_is_made_of_the_best_of_each(name: str) -> None:
    """All 27 joint actions of three agents with three actions, in 40 states."""
    mixer, lead = made(name), 40
    values = torch.randn(lead, N, A, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    now, heard, best = moment(lead), links(lead), values.amax(-1)
    joint = list(itertools.product(range(A), repeat=N))
    totals = []
    for actions in joint:
        action = torch.tensor(actions).expand(lead, N)
        q = values.gather(-1, action.unsqueeze(-1)).squeeze(-1)
        totals.append(mixer(q, best, action, now, heard)[:, 0])
    found = torch.tensor(joint)[torch.stack(totals).argmax(0)]
    assert found.equal(values.argmax(-1))


def test_qplex_can_say_what_no_monotonic_mixer_can() -> None:
    """Both wrong beats one wrong: lambda depends on the joint action."""
    mixer = QPLEX(N, D, A, heads=1, embed=4).double()
    now, heard = moment(1), links(1)
    total = lambda action: mixer(  # noqa: E731
        (-torch.tensor(action).double()).unsqueeze(0), torch.zeros(1, N).double(), torch.tensor([action]), now, heard
    )[0, 0]
    nn.init.zeros_(mixer.acts.net[0].weight)  # type: ignore[arg-type]
    assert total([1, 1, 0]) < total([1, 0, 0]) < total([0, 0, 0])
    for layer, value in ((mixer.acts.net[0], 5.0), (mixer.acts.net[3], 0.0), (mixer.acts.net[5], -5.0)):
        nn.init.constant_(layer.weight, value)  # type: ignore[arg-type]
    columns = torch.zeros(mixer.width + N * A, dtype=torch.float64)
    columns[mixer.width + 1], columns[mixer.width + A + 1] = 1.0, 1.0  # actions 1 of agents 0 and 1
    with torch.no_grad():
        mixer.acts.net[0].weight.copy_(columns.expand_as(mixer.acts.net[0].weight))  # type: ignore[operator, union-attr]
        mixer.acts.net[0].bias.fill_(-1.0)  # type: ignore[operator, union-attr]  # only both together pass the ReLU
        mixer.acts.net[3].weight.fill_(1.0)  # type: ignore[operator, union-attr]
        mixer.key.net[5].bias.fill_(40.0)  # type: ignore[operator, union-attr]
    assert total([1, 0, 0]) < total([1, 1, 0])


@pytest.mark.parametrize("name", MIXERS)
def test_the_dead_count_nothing_and_leave_their_columns_in_place(name: str) -> None:
    mixer, lead = made(name), 30
    now = moment(lead)
    alive = torch.ones(lead, N, dtype=torch.bool)
    alive[:, 1] = False
    obs = now.obs.clone()  # type: ignore[union-attr]
    obs[:, 1] = torch.nan
    dead = replace(now, alive=alive, obs=obs)
    q = torch.randn(lead, N, dtype=torch.float64).requires_grad_()
    action = torch.zeros(lead, N, dtype=torch.int64)
    junk = q.detach().clone()
    junk[:, 1] = torch.nan
    other = action.clone()
    other[:, 1] = 7
    mixed = mixer(q, q, action, dead, links(lead))
    again = mixer(junk, junk, other, dead, links(lead))
    assert mixed.equal(again)
    assert bool(mixed.isfinite().all())
    (gradient,) = torch.autograd.grad(mixed[:, [0, 2]].sum(), q)
    assert bool((gradient[:, 1] == 0).all())
    assert bool((gradient[:, [0, 2]] != 0).any(0).all())
    swapped = team_value(mixer, q[:, [2, 1, 0]], dead, links(lead))
    if name.startswith(("qmix", "qplex")):  # the two living have columns of their own
        assert not torch.allclose(swapped, mixed[:, 0])


@pytest.mark.parametrize("name", ["vdn", "graph", "graph of a state"])
def test_these_know_no_numbers_of_agents(name: str) -> None:
    mixer, lead, order = made(name), 20, torch.tensor([2, 0, 1])
    now, heard = moment(lead), links(lead)
    q = torch.randn(lead, N, dtype=torch.float64)
    renamed = replace(now, obs=now.obs[:, order])  # type: ignore[index]
    got = team_value(mixer, q[:, order], renamed, heard[:, order][:, :, order])
    torch.testing.assert_close(got, team_value(mixer, q, now, heard))


def test_the_graph_decides_who_is_mixed_with_whom() -> None:
    mixer = made("graph")
    q, nobody = torch.randn(1, N, dtype=torch.float64), torch.zeros(1, N, N, dtype=torch.bool)
    one = nobody.clone()
    one[0, 0, 2] = True  # agent 2 heard agent 0
    assert not team_value(mixer, q, moment(1), nobody).equal(team_value(mixer, q, moment(1), one))
    assert team_value(made("vdn"), q, moment(1), nobody).equal(team_value(made("vdn"), q, moment(1), one))


def test_a_graph_mixer_by_hand() -> None:
    """Weights 1, biases 0: agent 1 heard 0, so h^1 = (2, 2 + 3, 5) and h^2 = (2, 2 + 5, 5); all positive, V = 0."""
    mixer = GraphMixer(D, rounds=2, embed=1).double()
    for name, parameter in mixer.named_parameters():
        nn.init.constant_(parameter, 1.0 if name in ("weights.0.bias", "weights.1.bias", "last.bias") else 0.0)
    heard = torch.zeros(1, N, N, dtype=torch.bool)
    heard[0, 0, 1] = True
    total = team_value(mixer, torch.tensor([[2.0, 3.0, 5.0]]).double(), moment(1), heard)
    torch.testing.assert_close(total, torch.tensor([2.0 + 7.0 + 5.0]).double())


def test_qmix_is_that_of_torchrl() -> None:
    """TorchRL 0.14.1 (torch 2.13.0): ``QMixer((3,), 4, 2, "cpu").double()``, every parameter number i set to
    ``sin(1.7 k + i)`` in its order, of the values and states below; ``mixer(q, s)``, and the gradient of its sum.

    There W and w are made by one linear layer; here ``relu(s) - relu(-s)`` in the layer before is the identity.
    """
    mixer = QMIX(2, 1, state_dim=3, embed=4, hyper=6).double()
    sine = lambda part, i: torch.sin(torch.arange(part.numel()) * 1.7 + i).view(part.shape)  # noqa: E731
    both = torch.cat([torch.eye(3), -torch.eye(3)]).double()
    hypers = {0: mixer.hyper_w1, 2: mixer.hyper_w2}
    with torch.no_grad():
        for i, net in hypers.items():
            net[0].weight.copy_(both)  # type: ignore[operator, union-attr]
            net[0].bias.zero_()  # type: ignore[operator, union-attr]
            weight = sine(torch.empty(len(net[2].bias), 3), i).double()  # type: ignore[arg-type]
            net[2].weight.copy_(weight @ both.T)  # type: ignore[operator, union-attr]
            net[2].bias.copy_(sine(net[2].bias, i + 1))  # type: ignore[operator, union-attr, arg-type]
        for i, parameter in enumerate([*mixer.hyper_b1.parameters(), *mixer.value.parameters()], 4):
            parameter.copy_(sine(parameter, i))
    q = torch.tensor([[0.5, -1.0], [2.0, 1.5], [-3.0, 0.25]], dtype=torch.float64).requires_grad_()
    s = torch.tensor([[1.0, -2.0, 0.5], [0.0, 0.3, -0.7], [-1.5, 2.5, 0.1]], dtype=torch.float64)
    now = moment(3).select(torch.arange(3))
    now = replace(now, state=s, alive=now.alive[:, :2])
    total = team_value(mixer, q, now, links(3))
    want = [0.47496930947811494, 6.008140112956449, -6.196942437591067]
    torch.testing.assert_close(total, torch.tensor(want, dtype=torch.float64), rtol=1e-5, atol=1e-5)
    (gradient,) = torch.autograd.grad(total.sum(), q)
    rows = [
        [2.73427591994287, 6.060981282473915],
        [1.3965630615140496, 1.5120817897602117],
        [0.037584572993755484, 0.055567664109425687],
    ]
    torch.testing.assert_close(gradient, torch.tensor(rows, dtype=torch.float64), rtol=1e-5, atol=1e-5)


def test_qplex_is_that_of_the_released_code() -> None:
    """``DMAQer`` of the authors' repository (``dmaq_general.py``, commit 75b7f67; 3 layers, 2 heads of width 4), every
    parameter number i, in the order of its modules, set to ``sin(1.7 k + i)``; the value, its gradient, and lambda."""
    mixer = QPLEX(2, 1, 3, state_dim=2, heads=2, embed=4).double()
    sine = lambda part, i: torch.sin(torch.arange(part.numel()).double() * 1.7 + i).view(part.shape)  # noqa: E731
    plain = [*mixer.weight.parameters(), *mixer.bias.parameters()]
    with torch.no_grad():
        for i, parameter in enumerate(plain):
            parameter.copy_(sine(parameter, i))
        for group, heads in enumerate((mixer.key, mixer.agents, mixer.acts)):  # there a network for each head
            for place, parameter in enumerate(heads.net.parameters()):
                for head, mine in enumerate(parameter.view(2, -1)):
                    mine.copy_(sine(mine, len(plain) + 12 * group + 6 * head + place))
    q = torch.tensor([[0.5, -1.0], [2.0, 1.5]], dtype=torch.float64).requires_grad_()
    best = torch.tensor([[1.0, 2.0], [2.0, 2.5]], dtype=torch.float64)
    now = moment(2)
    s = torch.tensor([[1.0, -2.0], [0.3, -0.7]], dtype=torch.float64)
    now = replace(now, state=s, alive=now.alive[:, :2])
    total = mixer(q, best, torch.tensor([[0, 2], [1, 0]]), now, links(2))[:, 0]
    torch.testing.assert_close(total, torch.tensor([-1.0654757356291502, 6.016209349052928]).double())
    (gradient,) = torch.autograd.grad(total.sum(), q)
    rows = [[0.6727587144680519, 2.4356385504106703], [0.22455420856938194, 1.7529557036807601]]
    torch.testing.assert_close(gradient, torch.tensor(rows, dtype=torch.float64))


def test_the_mixer_of_a_policy_sees_who_was_heard_over_the_wire() -> None:
    """With half of the messages lost, over two rounds: the links of ``act`` are those of ``unroll``, and the values."""
    lead, graph = 25, GraphMixer(D, embed=4)
    wire = Wire(Full(), channel=channel.resolve("loss:p=0.5.per_round()"))
    stacked = CommStack([MeanComm(8, 8), MeanComm(8, 8)])
    policy = CommPolicy(D, A, stacked, wire=wire, critic=graph, actions=EpsilonGreedy(A)).double()
    now = replace(moment(lead), key=torch.arange(lead))
    state = policy.initial_state(lead, N)
    decision = policy.act(now, state, 0)
    evaluation = policy.unroll(stack([now]), decision.action.unsqueeze(0), state)
    arrived = torch.stack([item.dense.expand(lead, N, N) for item in decision.talk.graphs]).any(0)
    assert evaluation.heard[0].equal(arrived)
    assert 0.6 < float(arrived.double().mean()) * N / (N - 1) < 0.9
    torch.testing.assert_close(evaluation.value[0], decision.value)
    torch.testing.assert_close(policy.value(now, state, 0), decision.value)
    silent = policy.with_wire(Wire(Ring(), channel=channel.resolve("loss:p=1")))
    assert not bool(silent.unroll(stack([now]), decision.action.unsqueeze(0), state).heard.any())


def test_sparse_and_flat_observations_are_one_state() -> None:
    now = moment(6)
    index = torch.tensor([0, 2, 2]).expand(6, N, 3)
    value = torch.randn(6, N, 3, dtype=torch.float64)
    sparse = SparseObs(index, value, D)
    q = torch.randn(6, N, dtype=torch.float64)
    mixer = made("qmix")
    got = team_value(mixer, q, replace(now, obs=sparse), links(6))
    torch.testing.assert_close(got, team_value(mixer, q, replace(now, obs=sparse.to_flat()), links(6)))


def test_a_team_of_another_size_and_a_state_that_is_not_shown_are_refused() -> None:
    now = moment(2)
    small = replace(now, alive=now.alive[:, :2], obs=now.obs[:, :2])  # type: ignore[index]
    with pytest.raises(ShapeError, match="QMIX was built for 3 agents, got 2"):
        team_value(made("qmix"), torch.zeros(2, 2).double(), small, links(2)[:, :2, :2])
    with pytest.raises(ShapeError, match=r"timestep.state \[..., S=5\], got none"):
        team_value(made("qmix of a state"), torch.zeros(2, N).double(), replace(now, state=None), links(2))


def test_a_team_that_is_measured_may_be_of_another_size() -> None:
    """Its mixer has three columns; nobody asks it, and its state need not be shown."""
    policy = CommPolicy(D, A, MeanComm(8, 8), critic=QMIX(N, D, S), actions=EpsilonGreedy(A)).double().eval()
    now = moment(4)
    small = replace(now, alive=now.alive[:, :2], obs=now.obs[:, :2], state=None)  # type: ignore[index]
    decision = policy.act(small, policy.initial_state(4, 2), 1)
    assert decision.value.equal(decision.logits.amax(-1))


def test_mixers_have_names() -> None:
    sizes = {"num_agents": N, "obs_dim": D, "num_actions": A, "state_dim": S}
    mixer = make("mixer", "qmix:embed=8", **sizes)
    assert isinstance(mixer, QMIX)
    assert (mixer.embed, mixer.width) == (8, S)
    assert isinstance(make("mixer", "vdn", **sizes), VDN)
