"""Shuffled messages by hand: whose they are, who has none, and what teams lose whose messages say nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gnncomm import channel, codec, envs, schedule
from gnncomm.channel import Channel, Delay, Ideal, Loss
from gnncomm.evaluation import Overheard, Partners, Report, Shuffled, evaluate, paired_difference
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy, Memory
from gnncomm.topology import Full, KNearest, Topology
from gnncomm.types import Moment, VectorEnv
from gnncomm.wire import Wire

NOBODY = -1.0


def at(partners: Partners, step: int, *episode: int) -> Partners:
    partners.at(torch.full((len(episode),), step), torch.tensor(episode))
    return partners


def said(*rows: list[float]) -> Tensor:
    """``[B, N, 1]``."""
    return torch.tensor(rows).unsqueeze(-1)


def among(msg: Tensor, loops: bool = False) -> CommGraph:
    """Everybody talks to everybody, but for those who say ``NOBODY``: they are dead, or silent."""
    return Full(self_loops=loops)(msg.squeeze(-1) != NOBODY).expand(len(msg))


def swapped(partners: Partners, *rows: list[float], number: int = 0) -> list[list[float]]:
    msg = said(*rows)
    return partners.swap(msg, among(msg), number).squeeze(-1).tolist()


def test_each_hears_the_nearest_earlier_episode_in_which_the_agent_speaks() -> None:
    partners = at(Partners(), 0, 0, 1, 2, 3)
    found = swapped(partners, [10, 20, 30], [11, NOBODY, 31], [12, 22, NOBODY], [13, NOBODY, 33])
    assert found == [[10, 20, 30], [10, NOBODY, 30], [11, 20, NOBODY], [12, NOBODY, 31]]
    # Of 2 receivers each in episode 0 and of 1 in the others: all three of episode 0 had nobody before them.
    assert partners.without_partner == pytest.approx(6 / (6 + 2 + 2 + 2))


def test_episodes_that_are_not_counted_neither_give_nor_take() -> None:
    partners = at(Partners(), 5, 0, -1, 2, -1)
    assert swapped(partners, [10, 20], [11, 21], [12, 22], [13, 23]) == [[10, 20], [11, 21], [10, 20], [13, 23]]
    assert partners.without_partner == 0.5


def test_earlier_waves_are_remembered_by_step_round_and_agent() -> None:
    partners = at(Partners(), 3, 0, 1)
    swapped(partners, [10, 20, 30], [11, 21, NOBODY])
    swapped(partners, [70, 80, 90], [71, 81, 91], number=1)
    at(partners, 3, 2, 3)
    assert swapped(partners, [12, 22, 32], [13, 23, 33]) == [[11, 21, 30], [12, 22, 32]]
    assert swapped(partners, [72, 82, 92], [73, 83, 93], number=1) == [[71, 81, 91], [72, 82, 92]]
    at(partners, 4, 2, 3)
    assert swapped(partners, [14, 24, 34], [15, 25, 35]) == [[14, 24, 34], [14, 24, 34]]


def test_the_first_hear_the_last_of_the_trained_team_but_nobody_itself() -> None:
    partners = at(Partners(), 0, 0, 1, 2)
    msg = said([10, 20, 30, 40], [11, 21, NOBODY, 41], [12, NOBODY, NOBODY, 42])
    partners.listen(msg, among(msg), 0)
    # Agent 1 spoke last in episode 1, and agent 2 in episode 0: the one that is to hear it.
    found = swapped(partners, [50, 60, 70, 80], [51, 61, 71, 81], [52, 62, 72, 82])
    assert found == [[12, 21, 70, 42], [50, 60, 70, 80], [51, 61, 71, 81]]
    assert partners.without_partner == pytest.approx(1 / 12)


def test_one_environment_is_enough() -> None:
    partners = Partners()
    for episode, (mine, theirs) in enumerate([(5.0, 5.0), (6.0, 5.0), (7.0, 6.0)]):
        assert swapped(at(partners, 0, episode), [mine, 0.0]) == [[theirs, 0.0]]
    assert partners.without_partner == pytest.approx(1 / 3)


def moment(step: int, num_envs: int) -> Moment:
    return Moment(torch.arange(num_envs), torch.full((num_envs,), step))


def test_what_an_agent_says_to_itself_stays() -> None:
    msg = said([10, 20], [11, 21])
    partners = at(Partners(), 0, 0, 1)
    arrivals = Shuffled(partners).carry(msg, among(msg, loops=True), msg[..., :0], moment(0, 2)).arrivals
    edges = {
        (int(sender), int(receiver)): float(arrival.msg.flatten()[sender])
        for arrival in arrivals
        for sender, receiver in arrival.graph.edge_index.T
    }
    assert edges == {(0, 0): 10, (1, 1): 20, (2, 2): 11, (3, 3): 21, (0, 1): 10, (1, 0): 20, (2, 3): 10, (3, 2): 20}
    assert partners.without_partner == 0.5, "messages to itself are not counted"


def test_a_delayed_message_is_what_the_other_said_when_it_was_sent() -> None:
    partners = Partners()
    medium = Shuffled(partners, Delay(1))
    early, late = said([10, 20], [11, 21]), said([12, 22], [13, 23])
    at(partners, 0, 0, 1)
    state = medium.carry(early, among(early), torch.zeros(2, 2, medium.carried_dim(1, 2)), moment(0, 2)).state
    at(partners, 1, 0, 1)
    (arrival,) = medium.carry(late, among(late), state, moment(1, 2)).arrivals
    assert arrival.msg.squeeze(-1).tolist() == [[10, 20], [10, 20]]


def test_the_medium_does_what_it_did() -> None:
    msg, inner = torch.zeros(4, 3, 2), Loss(0.5)
    graph = Full()(torch.ones(4, 3, dtype=torch.bool))
    for wrapped in (Overheard(at(Partners(), 0, 0, 1, 2, 3), inner), Shuffled(at(Partners(), 0, 0, 1, 2, 3), inner)):
        heard = wrapped.carry(msg, graph, msg[..., :0], moment(0, 4)).arrivals[0].graph
        assert torch.equal(heard.edge_index, inner.deliver(graph, moment(0, 4)).edge_index)


WIRES = {
    "gate": Wire(scheduler=schedule.resolve("gate", 16, 5)),
    "event": Wire(scheduler=schedule.resolve("event:delta=0.01", 16, 5)),
    "announced": Wire(scheduler=schedule.resolve("topk:k=3", 16, 5)),
    "delay, loss": Wire(KNearest(2), channel=channel.resolve("delay:steps=1 + loss:p=0.3")),
    "jitter, dithered": Wire(codec=codec.resolve("dithered"), channel=channel.resolve("jitter:max=2")),
    "loops": Wire(Full(self_loops=True)),
}


@pytest.mark.every(2)
@pytest.mark.parametrize("wire", WIRES.values(), ids=WIRES.keys())
def test_partners_do_not_depend_on_the_number_of_environments(wire: Wire) -> None:
    """Two rounds, in an environment in which episodes differ in length, agents die and newcomers take their rows."""
    reports = []
    for num_envs in (1, 5, 12):
        env = envs.make("traffic_junction/easy-v0", num_envs=num_envs, max_steps=8)
        torch.manual_seed(0)
        first, second = AttentionComm(16, 16), MeanComm(16, 16)
        comm = CommStack([first, second], nn.Tanh())
        policy = CommPolicy(env.obs_dim, env.num_actions, comm, Memory(16), wire=wire).double()
        with torch.no_grad():
            second.lin_self.weight.zero_()  # so that actions depend on messages
            policy.actor.weight.mul_(100)
        reports.append(evaluate(policy, env, episodes=12, greedy=False))
    assert reports[0].without_partner < 0.3
    assert reports[0].shuffled != reports[0].trained
    for report in reports[1:]:
        assert report.shuffled == reports[0].shuffled
        assert report.without_partner == pytest.approx(reports[0].without_partner)


def traffic_policy(env: VectorEnv, wire: Wire) -> CommPolicy:
    """Every living car says 0; whoever reads something else brakes."""
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(4, 4), Memory(4), "after", wire)
    layer = policy.comm.rounds[0]
    assert isinstance(layer, MeanComm)
    with torch.no_grad():
        for parameter in policy.parameters():
            parameter.zero_()
        policy.encoder.weight[:, 0] = -100.0
        policy.encoder.bias[0] = 1.0  # relu(1 - 100 sum(o)): 0 for whoever sees anything, 1 in rows of the dead
        layer.lin_inbox.weight[1, 0] = 1.0
        policy.actor.weight[1, 1] = 100.0
        policy.actor.bias[1] = -1.0
    return policy


@pytest.mark.parametrize("medium", [Ideal(), Delay(1), Loss(0.3)])
@pytest.mark.parametrize("loops", [False, True])
def test_a_team_that_always_says_the_same_gains_exactly_nothing(medium: Channel, loops: bool) -> None:
    """In traffic_junction 31 % of living senders are dead in the next episode; there rows say something else."""
    env = envs.make("traffic_junction/easy-v0", num_envs=32, observation="sparse")
    report = evaluate(traffic_policy(env, Wire(Full(self_loops=loops), channel=medium)), env, episodes=64)
    assert report.trained.success.low > 0
    assert report.shuffled == report.trained
    assert report.gain.mean == report.gain.standard_error == 0.0
    assert not report.channel_used


def z(report: Report) -> float:
    return report.gain.mean / report.gain.standard_error


def test_messages_of_pure_noise_gain_nothing() -> None:
    """A dithered constant is noise that nobody's state is in: the cars brake by lot, and shuffling is another lot."""
    env = envs.make("traffic_junction/easy-v0", num_envs=400, observation="sparse")
    wire = Wire(codec=codec.resolve("dithered:delta=1"))
    report = evaluate(traffic_policy(env, wire), env, episodes=400)
    assert report.gain.standard_error > 0.0, "the lots differ"
    assert abs(z(report)) < 3


def rumours(heard: bool, partners: Partners, episodes: int, seed: int) -> Tensor:
    """Returns of two agents with a tune of their own in each episode, who mostly sing what they hear."""
    generator = torch.Generator().manual_seed(seed)
    msg = tune = torch.randn(episodes, 2, 1, generator=generator)
    graph, returns = Full()(torch.ones(episodes, 2, dtype=torch.bool)), torch.zeros(episodes)
    for step in range(12):
        at(partners, step, *range(episodes))
        if heard:
            partners.listen(msg, graph, 0)
        said = msg if heard else partners.swap(msg, graph, 0)
        msg = torch.where(torch.rand(episodes, 2, 1, generator=generator) < 0.9, said.flip(1), tune)
        returns += msg.square().sum((1, 2))
    return returns


def test_a_rumour_is_no_communication() -> None:
    """What goes round among shuffled episodes makes their returns alike (correlation of neighbours 0.87); yet the gain
    varies by 0.8 of its standard errors only, since each message is heard once by the one team and once by the other.
    """
    z = []
    for seed in range(40):
        partners = Partners()
        gain = paired_difference(*(rumours(heard, partners, 64, seed) for heard in (True, False)))
        z.append(gain.mean / gain.standard_error)
    assert 0.4 < float(torch.tensor(z).square().mean().sqrt()) < 1


@pytest.mark.parametrize("topology", [Full(), Full(self_loops=True)])
def test_an_agent_alone_has_nobody_to_talk_to(topology: Topology) -> None:
    env = envs.make("predator_prey", num_envs=8, num_agents=1)
    torch.manual_seed(0)
    wire = Wire(topology)
    policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(16, 16), GRU(16), wire=wire)
    report = evaluate(policy, env, episodes=8, greedy=False)
    assert report.shuffled == report.trained
    assert report.without_partner == 0.0
