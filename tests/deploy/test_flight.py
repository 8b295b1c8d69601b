"""Deployed teams over media with memory, and codecs that draw noise."""

from __future__ import annotations

import pytest
import torch

from gnncomm import channel, codec, envs
from gnncomm.channel import Delay, Jitter
from gnncomm.deploy import Flight, LocalAgent, Mailbox, Team, run_team, team_of
from gnncomm.errors import NonFiniteError, StateError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.topology import Line
from gnncomm.types import Moment
from gnncomm.wire import Wire

H = 8


def pair() -> CommGraph:
    return CommGraph.from_edge_list([(0, 1), (1, 0)], 2)


def test_a_delayed_message_is_collected_later() -> None:
    flight: Flight = {}
    arrived = []
    for step in range(4):
        box = Mailbox(pair(), Delay(2), episode=3, step=step, flight=flight)
        for sender in (0, 1):
            box.post(sender, torch.tensor([10.0 * step + sender]))
        arrived.append(box.collect(1).msg.flatten().tolist())
    assert arrived == [[], [], [0.0], [10.0]]


def test_what_nobody_collects_is_in_flight_all_the_same() -> None:
    flight: Flight = {}
    first = Mailbox(pair(), Delay(1), flight=flight)
    first.post(0, torch.tensor([7.0]))
    first.close_round()
    then = Mailbox(pair(), Delay(1), step=1, flight=flight)
    then.post(1, torch.tensor([8.0]))
    assert then.collect(1).msg.tolist() == [[7.0]]
    assert then.collect(0).msg.shape == (0, 1), "agent 1 was silent in the step before"


def test_two_messages_of_one_sender_come_together() -> None:
    flight: Flight = {}
    most = 0
    for step in range(30):
        box = Mailbox(pair(), Jitter(2), episode=1, step=step, flight=flight)
        box.post(0, torch.tensor([float(step)]))
        inbox = box.collect(1)
        assert inbox.senders.tolist() == [0] * len(inbox.msg)
        most = max(most, len(inbox.msg))
    assert most > 1


def joint(medium: str, code: str = "float32") -> CommPolicy:
    env = envs.make("predator_prey", num_envs=3)
    comm = CommStack([AttentionComm(H, H), MeanComm(H, H, 3)])
    wire = Wire(Line(), codec=codec.resolve(code), channel=channel.resolve(medium))
    return CommPolicy(env.obs_dim, 5, comm, GRU(H), "before", wire).double()


@torch.no_grad()
@pytest.mark.parametrize("medium", ["jitter:max=2 + loss:p=0.2", "byzantine:kind=replay,at=2 + delay:steps=1"])
@pytest.mark.parametrize("code", ["dithered", "gumbel_symbols:symbols=3"])
def test_a_team_plays_whole_episodes_as_the_joint_policy(medium: str, code: str) -> None:
    env = envs.make("predator_prey", num_envs=3, max_steps=7)
    policy = joint(medium, code)
    now, state = env.reset(seed=1), policy.initial_state(3, 3)
    teams, ends = [team_of(policy, 3) for _ in range(3)], 0
    for _ in range(16):
        together = policy.act(now, state, key=5)
        for b, team in enumerate(teams):
            alone = run_team(team, now, key=5, env=b)
            assert [decision.action for decision in alone] == together.action[b].tolist()
            logits = torch.stack([decision.logits for decision in alone])
            torch.testing.assert_close(logits, together.logits[b], rtol=0, atol=1e-12)
        after = env.step(together.action)
        ends += int(after.done.sum())
        now, state = (env.reset(where=after.done) if bool(after.done.any()) else after), together.state
    assert ends >= 3


def test_agents_without_a_team_cannot_keep_what_is_in_flight() -> None:
    env = envs.make("predator_prey", num_envs=3)
    policy = joint("loss:p=0.1 + delay:steps=1")
    loose = [LocalAgent(policy, index) for index in range(3)]
    with pytest.raises(StateError, match=r"Series has messages in flight.*team_of"):
        run_team(loose, env.reset(seed=0))
    team = Team(policy, 3)
    run_team(team, env.reset(seed=0))
    assert len(team) == 3
    assert team[1].index == 1
    assert set(team.flight) == {0, 1}
    memoryless = joint("loss:p=0.1")
    assert len(run_team([LocalAgent(memoryless, index) for index in range(3)], env.reset(seed=0))) == 3


def test_a_codec_that_reads_other_rows_gets_nan() -> None:
    class Centred(codec.Float32):
        def forward(self, msg: torch.Tensor, moment: Moment) -> codec.Coded:
            return codec.Coded(msg - msg.mean(1, keepdim=True), msg.new_zeros(msg.shape[:2]))

    policy = joint("ideal")
    policy = policy.with_wire(Wire(Line(), codec=Centred()))
    agent = LocalAgent(policy, 2)
    agent.observe(torch.ones(policy.obs_dim, dtype=torch.float64))
    with pytest.raises(NonFiniteError, match="Agent 2 expected a finite message to say"):
        agent.say()
