"""What all channels promise: severity 0 changes nothing, draws are named, nested and equal in every batch."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from gnncomm import channel, envs
from gnncomm.channel import Arrival, Budget, Channel, Crashed, Deaf, Delivery, Ideal, Loss, Noise, Series, Silent
from gnncomm.errors import ConfigError, GraphError, ShapeError
from gnncomm.graph import CommGraph, Layout
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.learn import begin, collect
from gnncomm.policy import GRU, CommPolicy
from gnncomm.random import uniform
from gnncomm.topology import Empty, Full
from gnncomm.types import Moment, VectorEnv
from gnncomm.wire import Wire

NOTHING = [
    "ideal",
    "loss:p=0",
    "burst:p=0",
    "delay:steps=0",
    "jitter:max=0",
    "noise:sigma=0",
    "budget:beta=1",
    "path_loss:snr_db=300",
    "silent:agents=0",
    "deaf:agents=0",
    "crashed:agents=0",
    "byzantine:agents=0",
    "silent:agents=0.0",
    "loss:p=0 + delay:steps=0 + noise:sigma=0",
]
SOMETHING = [
    "loss:p=0.4",
    "burst:p=0.4,length=3",
    "delay:steps=2",
    "jitter:max=2",
    "noise:sigma=0.5",
    "budget:beta=0.5",
    "silent",
    "deaf",
    "crashed:at=2",
    "byzantine:kind=flip,agents=2",
    "byzantine:kind=scale,agents=2",
    "byzantine:kind=constant,agents=2",
    "byzantine:kind=replay,agents=2",
    "path_loss:snr_db=6,exponent=3,shadowing_db=4",
    "path_loss:snr_db=6,exponent=3 + delay:steps=1",
    "loss:p=0.3 + jitter:max=1",
    "jitter:max=1 + delay:steps=1 + byzantine:kind=replay",
    "loss:p=0.4.per_round()",
    "burst:p=0.4,length=3.apart(2) + jitter:max=2.per_round()",
    "(noise:sigma=0.5 + jitter:max=1 + byzantine:kind=replay).apart(1).per_round()",
]
B, N, M = 6, 5, 4


def full(num_envs: int = B, num_agents: int = N, self_loops: bool = False) -> CommGraph:
    return Full(self_loops)(torch.ones(num_envs, num_agents, dtype=torch.bool))


def said(key: Tensor, step: int) -> Tensor:
    """Messages that say who, when and where: ``[B, N, M]``."""
    number = 1000 * key.view(-1, 1, 1) + 100 * step + 10 * torch.arange(N).view(1, -1, 1) + torch.arange(M)
    return number.double()


def moment(key: Tensor, step: int) -> Moment:
    """Somewhere on a map of 4 x 4."""
    pos = 4 * uniform(key.view(-1, 1, 1), torch.arange(N).view(1, -1, 1), torch.arange(2))
    return Moment(key, torch.full((len(key),), step), pos=pos, alive=torch.ones(len(key), N, dtype=torch.bool))


def heard(delivery: Delivery) -> Tensor:
    """``[B, N, N, M]``: the sum of what each receiver reads from each sender (sender, receiver)."""
    total = torch.zeros(())
    for arrival in delivery.arrivals:
        edges = arrival.graph.expand(len(arrival.msg)).dense
        total = total + torch.where(edges.unsqueeze(-1), arrival.msg.unsqueeze(2), 0.0)
    return total


def episode(subject: Channel, key: Tensor, steps: int, layout: str = "dense", self_loops: bool = False) -> list[Tensor]:
    """What is read at each step of an episode in which everyone talks all the time."""
    graph = full(len(key), self_loops=self_loops).to_layout(layout)
    state = torch.zeros(len(key), N, subject.carried_dim(M, N), dtype=torch.float64)
    outcome = []
    for step in range(steps):
        delivery = subject.carry(said(key, step), graph, state, moment(key, step))
        assert delivery.state.shape == state.shape
        outcome.append(heard(delivery))
        state = delivery.state
    return outcome


def test_everything_that_is_listed_is_tried() -> None:
    for texts in (NOTHING, SOMETHING):
        tried = {part.split(":")[0] for text in texts for part in text.split(" + ")}
        assert set(channel.names()) - {"ideal"} <= tried


def env() -> VectorEnv:
    return envs.make("predator_prey", num_envs=3, max_steps=5, num_agents=4)


def policy(wire: Wire) -> CommPolicy:
    torch.manual_seed(0)
    comm = CommStack([AttentionComm(8, 8, heads=2), MeanComm(8, 8)])
    return CommPolicy(env().obs_dim, 5, comm, GRU(8), "after", wire)


def logits(wire: Wire) -> Tensor:
    world, team = env(), policy(wire)
    carry, tally = begin(world, team, seed=3)
    rollout, _ = collect(world, team, carry, 8, 0, tally)
    return torch.cat([rollout.log_prob, rollout.value])


@pytest.mark.parametrize("text", NOTHING)
def test_severity_zero_is_the_ideal_channel_bit_for_bit(text: str) -> None:
    subject = channel.resolve(text)
    assert subject.carried_dim(M, N) == 0
    assert torch.equal(logits(Wire(channel=subject)), logits(Wire()))


@pytest.mark.parametrize(
    "text",
    ["loss:p=1", "burst:p=1", "path_loss:snr_db=-300", "silent:agents=4", "deaf:agents=1.0", "crashed:agents=99"],
)
def test_total_failure_is_the_empty_graph_bit_for_bit(text: str) -> None:
    alone = logits(Wire(Empty()))
    assert torch.equal(logits(Wire(channel=channel.resolve(text))), alone)
    assert not torch.equal(alone, logits(Wire()))


@pytest.mark.parametrize("text", SOMETHING)
def test_every_channel_matters(text: str) -> None:
    key = torch.arange(B) + 7
    got, ideal = episode(channel.resolve(text), key, 4), episode(Ideal(), key, 4)
    assert not all(torch.equal(one, other) for one, other in zip(got, ideal, strict=True))


@pytest.mark.parametrize("text", SOMETHING)
def test_environments_do_not_see_each_other_in_any_layout(text: str) -> None:
    """64 environments at once, one by one, in another order: the same faults."""
    subject, key = channel.resolve(text), torch.arange(64) + 7
    together = episode(subject, key, 4)
    for layout in Layout:
        for b in (0, 17, 63):
            alone = episode(subject, key[b : b + 1], 4, layout)
            for t in range(4):
                torch.testing.assert_close(alone[t][0], together[t][b], rtol=0, atol=1e-9)
    order = torch.randperm(64)
    for one, other in zip(episode(subject, key[order], 4), together, strict=True):
        torch.testing.assert_close(one, other[order], rtol=0, atol=1e-9)


@pytest.mark.parametrize("text", SOMETHING)
def test_an_agent_hears_itself_whatever_fails(text: str) -> None:
    key = torch.arange(B)
    for layout in Layout:
        got = episode(channel.resolve(text), key, 3, layout, self_loops=True)
        without = episode(channel.resolve(text), key, 3, layout)
        for step in range(3):
            own = torch.eye(N, dtype=torch.bool).view(1, N, N, 1)
            expected = torch.where(own, said(key, step).unsqueeze(2), without[step])
            torch.testing.assert_close(got[step], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("text", [*SOMETHING, *NOTHING])
def test_names_go_both_ways(text: str) -> None:
    subject = channel.resolve(text)
    assert channel.resolve(channel.spec_of(subject)) == subject


def test_plus_is_first_one_then_the_other() -> None:
    both = Loss(0.1) + Noise(0.5) + Silent()
    assert both == Series(Series(Loss(0.1), Noise(0.5)), Silent())
    assert channel.resolve("loss:p=.1 + noise:sigma=.5 + silent") == both
    assert channel.spec_of(both) == "loss:p=0.1 + noise:sigma=0.5 + silent"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("burst:p=0.5,length=1.9", r"at least 1 / \(1 - p\) = 2"),
        ("burst:p=2", "0 <= p <= 1, got 2"),
        ("delay:steps=-1", r"Delay\.steps: expected a whole number from 0 to 1024, got -1"),
        ("delay:steps=1000000", "from 0 to 1024, got 1000000"),
        ("jitter:max=-1", r"Jitter\.max: expected a whole number from 0 to 1024"),
        ("jitter:max=1025", "got 1025"),
        ("noise:sigma=-1", "sigma is a standard deviation"),
        ("noise:sigma=1,std=1x-2", "std is a standard deviation"),
        ("noise:sigma=nan", "sigma is a standard deviation"),
        ("budget:beta=0", "0 < beta <= 1, got 0"),
        ("silent:agents=1.5", "from 0.0 to 1.0, got 1.5"),
        ("silent:agents=-1", "at least 0, got -1"),
        ("silent:at=-1", "at >= 0, got -1"),
        ("byzantine:kind=shout", "kind=flip or scale or constant or replay"),
        ("byzantine:factor=inf", "factor: expected a finite number"),
        ("loss:p=0.1 +", "Cannot read"),
        ("path_loss:exponent=-1", "exponent: expected a finite number >= 0, got -1"),
        ("path_loss:shadowing_db=nan", "shadowing_db: expected a finite number"),
        ("path_loss:snr_db=inf", "snr_db: expected a finite number"),
        ("path_loss:reference=0", "reference is a distance"),
        ("los:p=0.1", "Did you mean 'loss'"),
    ],
)
def test_bad_settings_are_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        channel.resolve(text)


def test_bad_messages_are_refused() -> None:
    graph, moment = full(1), Moment(torch.tensor([1]), torch.tensor([0]))
    with pytest.raises(ShapeError, match="Give std"):
        Noise(1.0).transmit(torch.zeros(1, N, 1), moment)
    with pytest.raises(ShapeError, match="1 or 4"):
        Noise(1.0, (1.0, 2.0)).transmit(torch.zeros(1, N, M), moment)
    far = graph.to_layout("dense").with_features(attr=torch.ones(1, N, N, 1))
    subject = channel.resolve("delay:steps=1")
    with pytest.raises(GraphError, match="no edge attr"):
        subject.carry(torch.zeros(1, N, M), far, torch.zeros(1, N, subject.carried_dim(M, N)), moment)


# ---- nesting ----


@pytest.mark.parametrize(
    "family",
    [
        [f"burst:p={p},length=10" for p in (0, 0.05, 0.2, 0.5, 0.9, 1)],
        [f"burst:p={p},length=10.apart(3).per_round()" for p in (0, 0.05, 0.2, 0.5, 0.9, 1)],
        [f"loss:p=0.2 + loss:p={p}.apart(1)" for p in (0, 0.05, 0.2, 0.5, 0.9, 1)],
        [f"path_loss:snr_db=6,shadowing_db=3,threshold_db={db}" for db in (-40, -5, 0, 3, 6, 40)],
        [f"path_loss:shadowing_db=3,rayleigh=false,snr_db={db}" for db in (40, 9, 6, 3, 0, -40)],
        [f"silent:agents={n}" for n in range(N + 1)],
        [f"silent:agents={share}" for share in (0.0, 0.2, 0.4, 0.7, 1.0)],
        [f"deaf:agents={n}" for n in range(N + 1)],
        [f"crashed:agents={n}" for n in range(N)],
        [f"silent:agents=2,at={step}" for step in (9, 3, 1, 0)],
    ],
    ids=lambda family: family[1],
)
def test_what_a_mild_fault_loses_a_severe_one_loses(family: list[str]) -> None:
    key = torch.arange(40)
    seen = [torch.stack(episode(channel.resolve(text), key, 5)).ne(0) for text in family]
    for milder, harder in pairwise(seen):
        assert not bool((harder & ~milder).any())
        assert harder.sum() < milder.sum()


def test_budget_is_nested_and_keeps_the_largest() -> None:
    msg = torch.tensor([[[0.5, -3.0, 2.0, 1.0, -1.0]]], dtype=torch.float64)
    moment = Moment(torch.tensor([1]), torch.tensor([0]))
    kept = {beta: Budget(beta).transmit(msg, moment)[0, 0].tolist() for beta in (0.1, 0.2, 0.21, 0.6, 0.8, 1.0)}
    assert kept[0.1] == kept[0.2] == [0, -3, 0, 0, 0]
    assert kept[0.21] == [0, -3, 2, 0, 0]
    assert kept[0.6] in ([0, -3, 2, 1, 0], [0, -3, 2, 0, -1]), "one of two equal ones"
    assert kept[0.8] == [0, -3, 2, 1, -1]
    assert kept[1.0] == msg[0, 0].tolist()
    equal = torch.ones(1, 1, 40)
    passed = [Budget(beta).transmit(equal, moment) != 0 for beta in (0.2, 0.5)]
    assert [int(mask.sum()) for mask in passed] == [8, 20]
    assert not bool((passed[0] & ~passed[1]).any())
    assert 5 <= int(passed[1][..., :20].sum()) <= 15, "not all from the same end"
    ten = torch.arange(1.0, 11.0).view(1, 1, 10)
    assert int((Budget(0.3).transmit(ten, moment) != 0).sum()) == 3


def test_a_larger_jitter_makes_no_message_faster() -> None:
    key = torch.arange(30)
    arrival_of = []
    for most in range(4):
        when = torch.full((4, 30, N, N), 99)
        for now, read in enumerate(ages(channel.resolve(f"jitter:max={most}"), key, 8)):
            for sent in range(4):
                when[sent] = torch.where(read[sent], now, when[sent])
        arrival_of.append(when)
    for faster, slower in pairwise(arrival_of):
        assert bool((slower >= faster).all())


# ---- delays, by messages that say when they were sent ----


def ages(subject: Channel, key: Tensor, steps: int) -> list[Tensor]:
    """For each step, ``[sent, B, N, N]`` bool: which messages arrive (sender, receiver)."""
    graph = full(len(key))
    state = torch.zeros(len(key), N, subject.carried_dim(1, N), dtype=torch.float64)
    found = []
    for step in range(steps):
        stamp = (step + 1 + 100 * torch.arange(N)).double().view(1, N, 1).expand(len(key), N, 1)
        delivery = subject.carry(stamp, graph, state, Moment(key, torch.full((len(key),), step)))
        state = delivery.state
        arrived = torch.zeros(steps, len(key), N, N, dtype=torch.bool)
        for arrival in delivery.arrivals:
            edges = arrival.graph.expand(len(key)).dense
            for b, sender, receiver in edges.nonzero().tolist():
                number = int(arrival.msg[b, sender, 0])
                assert number // 100 == sender, "a message arrives over its own sender's edge"
                sent = number % 100 - 1
                assert not bool(arrived[sent, b, sender, receiver]), "twice"
                arrived[sent, b, sender, receiver] = True
        found.append(arrived)
    return found


@pytest.mark.parametrize("steps", [1, 2, 4])
def test_delay_delivers_exactly_the_message_of_d_steps_ago(steps: int) -> None:
    others = ~torch.eye(N, dtype=torch.bool)
    for now, arrived in enumerate(ages(channel.resolve(f"delay:steps={steps}"), torch.arange(2), 7)):
        for sent in range(7):
            assert torch.equal(arrived[sent], (others & (sent == now - steps)).expand(2, N, N))


def test_delays_in_series_add_up() -> None:
    one, other = channel.resolve("delay:steps=1 + delay:steps=2"), channel.resolve("delay:steps=3")
    for got, want in zip(ages(one, torch.arange(2), 6), ages(other, torch.arange(2), 6), strict=True):
        assert torch.equal(got, want)


def test_every_message_in_jitter_arrives_once_within_its_time() -> None:
    most, key = 3, torch.arange(40)
    arrived = torch.stack(ages(channel.resolve(f"jitter:max={most}"), key, 10))  # now, sent, ...
    others = ~torch.eye(N, dtype=torch.bool)
    for sent in range(10 - most):
        assert torch.equal(arrived[:, sent].sum(0), others.long().expand(len(key), N, N))
        window = arrived[sent : sent + most + 1, sent]
        assert torch.equal(window.sum(0), others.long().expand(len(key), N, N))
    taken = torch.stack([torch.diagonal(arrived, -age, 0, 1).sum() for age in range(most + 1)])
    complete = [arrived[sent + age, sent].sum() for age in range(most + 1) for sent in range(6)]
    share = torch.tensor(complete).view(most + 1, 6).sum(1) / (6 * len(key) * N * (N - 1))
    assert bool(((share - 0.25).abs() < 4 * (0.25 * 0.75 / (6 * len(key) * N * (N - 1))) ** 0.5).all()), share
    assert bool((taken > 0).all())
    assert bool((arrived.sum(1) > 1).any()), "some arrive together"


def test_what_is_in_flight_goes_to_those_it_was_sent_to_with_its_weights() -> None:
    subject = channel.resolve("delay:steps=1")
    key = torch.tensor([1])
    edges = torch.zeros(1, N, N, dtype=torch.bool)
    edges[0, 0, 1] = edges[0, 2, 3] = True
    weight = torch.where(edges, 0.25, 0.0)
    first = CommGraph.from_dense(edges, weight=weight)
    then = CommGraph.from_dense(edges.transpose(1, 2).contiguous(), weight=weight.transpose(1, 2).contiguous())
    state = torch.zeros(1, N, subject.carried_dim(M, N), dtype=torch.float64)
    before = subject.carry(said(key, 0), first, state, Moment(key, torch.tensor([0])))
    assert before.arrivals[0].graph.num_edges == 0
    (arrival,) = subject.carry(said(key, 1), then, before.state, Moment(key, torch.tensor([1]))).arrivals
    assert torch.equal(arrival.graph.dense, edges)
    assert arrival.graph.weight is not None
    assert torch.equal(arrival.graph.weight, weight.double())
    assert torch.equal(arrival.msg, said(key, 0))
    assert not arrival.fresh


def test_an_episode_that_begins_hears_nothing_of_the_one_before() -> None:
    """Through the policy: after a reset in the middle of a rollout no message is in flight."""
    world, team = envs.make("relay", num_envs=4, num_agents=3, steps=2), None
    team = CommPolicy(world.obs_dim, world.num_actions, MeanComm(8, 8), GRU(8), "after", Wire(channel=Delays()))
    now, state = world.reset(seed=0), team.initial_state(4, 3)
    counts = []
    for _ in range(6):
        decision = team.act(now, state, 0)
        counts.append(decision.talk.graphs[0].num_edges)
        after = world.step(decision.action)
        now, state = (world.reset(where=after.done) if bool(after.done.any()) else after), decision.state
    assert counts == [0, 4 * 6, 0, 4 * 6, 0, 4 * 6]


def Delays() -> Channel:
    return channel.resolve("delay:steps=1")


# ---- agents that fail ----


def test_the_same_agents_fail_in_every_way_and_as_many_as_asked() -> None:
    key = torch.arange(200)
    sent = [torch.stack(episode(subject, key, 2)).ne(0).any(-1) for subject in (Silent(2), Deaf(2), Crashed(2))]
    silent, deaf, crashed = sent
    mute = ~silent.any(3)  # [steps, B, sender]
    assert bool((mute.sum(-1) == 2).all())
    assert torch.equal(~deaf.any(2), mute)
    assert torch.equal(crashed, silent & deaf)
    assert torch.equal(torch.stack(episode(Silent(2) + Deaf(2), key, 2)).ne(0).any(-1), crashed)
    lies = [torch.stack(episode(channel.resolve(f"byzantine:agents=2,kind={kind}"), key, 2)) for kind in ("flip",)]
    assert torch.equal((lies[0] < 0).any(-1).any(3), mute)
    assert torch.equal(mute[0], mute[1]), "chosen for the episode"
    share = mute[0].double().mean(0)
    assert bool(((share - 2 / N).abs() < 4 * (0.4 * 0.6 / 200) ** 0.5).all()), "everyone's turn comes"


@pytest.mark.parametrize(("agents", "count"), [(1, 1), (3, 3), (9, N), (0.25, 1), (0.5, 2), (0.6, 3), (1.0, N)])
def test_counts_and_shares(agents: float, count: int) -> None:
    moment = Moment(torch.arange(50), torch.zeros(50, dtype=torch.int64))
    assert bool((Silent(agents).failing(N, moment).sum(-1) == count).all())


def test_failures_begin_when_they_should() -> None:
    key = torch.arange(10)
    heard_at = [bool(read.ne(0).any(-1).any(2).all()) for read in episode(Silent(2, at=3), key, 5)]
    assert heard_at == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "lie"),
    [
        ("flip", lambda now, first: -now),
        ("scale", lambda now, first: 10 * now),
        ("constant", lambda now, first: torch.ones_like(now)),
        ("replay", lambda now, first: first),
    ],
)
def test_lies_by_hand(kind: str, lie) -> None:  # type: ignore[no-untyped-def]  # a lambda of two tensors
    key = torch.arange(B)
    subject = channel.resolve(f"byzantine:agents=2,kind={kind},at=1")
    got = episode(subject, key, 3)
    liar = Silent(2).failing(N, Moment(key, torch.zeros(B, dtype=torch.int64)))
    others = ~torch.eye(N, dtype=torch.bool).view(1, N, N, 1)
    for step in range(3):
        now = said(key, step)
        spoken = torch.where(liar.unsqueeze(-1), lie(now, said(key, 0)), now) if step >= 1 else now
        assert torch.equal(got[step], torch.where(others, spoken.unsqueeze(2), 0.0))


# ---- noise ----


def test_noise_is_measured_in_standard_deviations_of_the_message() -> None:
    n, sigma = 20_000, 0.7
    msg = torch.tensor([3.0, -1.0, 5.0, 4.0, 0.0], dtype=torch.float64)
    moment = Moment(torch.arange(n), torch.zeros(n, dtype=torch.int64))
    noise = Noise(sigma).transmit(msg.expand(n, 1, 5), moment) - msg
    unit = sigma * float(msg.std(correction=0))
    assert bool((noise.mean(0).abs() < 4 * unit / n**0.5).all())
    assert bool(((noise.std(0) / unit - 1).abs() < 4 / (2 * n) ** 0.5).all())
    correlation = torch.corrcoef(noise[:, 0].T) - torch.eye(5)
    assert float(correlation.abs().max()) < 5 / n**0.5
    given = Noise(sigma, (1.0, 0.0, 2.0, 0.5, 0.0)).transmit(msg.expand(n, 1, 5), moment) - msg
    expected = noise / float(msg.std(correction=0)) * torch.tensor([1.0, 0.0, 2.0, 0.5, 0.0])
    torch.testing.assert_close(given, expected)


def test_noise_scales_and_its_unit_carries_no_gradient() -> None:
    key = torch.arange(B)
    msg, moment = said(key, 0).requires_grad_(), Moment(key, torch.zeros(B, dtype=torch.int64))
    one, two = (Noise(sigma).transmit(msg, moment) - msg for sigma in (0.5, 1.0))
    torch.testing.assert_close(2 * one, two)
    (gradient,) = torch.autograd.grad(Noise(0.5).transmit(msg, moment).sum(), msg)
    assert torch.equal(gradient, torch.ones_like(msg))


def test_rounds_share_losses_but_not_noise() -> None:
    key, step = torch.arange(B), torch.zeros(B, dtype=torch.int64)
    first, second = Moment(key, step, 0), Moment(key, step, 1)
    assert torch.equal(Loss(0.5).deliver(full(), first).dense, Loss(0.5).deliver(full(), second).dense)
    msg = said(key, 0)
    assert not torch.equal(Noise(1.0).transmit(msg, first), Noise(1.0).transmit(msg, second))


def test_arrivals_of_a_plain_channel_are_fresh() -> None:
    moment = Moment(torch.arange(B), torch.zeros(B, dtype=torch.int64))
    (arrival,) = Loss(0.5).carry(said(moment.key, 0), full(), torch.zeros(B, N, 0), moment).arrivals
    assert isinstance(arrival, Arrival)
    assert arrival.fresh


@pytest.mark.parametrize(
    ("text", "fresh"),
    [
        ("byzantine:kind=replay + loss:p=0.1", [True, False]),
        ("loss:p=0.1 + byzantine:kind=constant", [True, False]),
        ("byzantine:kind=flip", [True, True]),
        ("jitter:max=1 + delay:steps=1", [False, False]),
        ("delay:steps=1 + jitter:max=1", [False, False]),
    ],
)
def test_what_was_not_said_in_this_round_is_not_fresh(text: str, fresh: list[bool]) -> None:
    subject, moment = channel.resolve(text), Moment(torch.arange(B), torch.zeros(B, dtype=torch.int64))
    state = torch.zeros(B, N, subject.carried_dim(M, N), dtype=torch.float64)
    delivery = subject.carry(said(moment.key, 0), full(), state, moment)
    assert [arrival.fresh for arrival in delivery.arrivals] == fresh
    assert subject.copies == len(fresh)
