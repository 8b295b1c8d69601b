"""Agents whose messages cross as bytes choose what the joint policy chooses; what is broken in one is not shared."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from gnncomm import channel, codec, envs, schedule
from gnncomm.deploy import Inbox, LocalAgent
from gnncomm.errors import NonFiniteError, ShapeError, StateError
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.testing import policy as laws
from gnncomm.topology import Full
from gnncomm.types import VectorEnv
from gnncomm.wire import Wire

H, N = 8, 4
CODECS = ["int4", "topk:k=2", "dithered", "dru", "gumbel_symbols:symbols=3", "bottleneck:threshold=0.1", "bfloat16"]


def env() -> VectorEnv:
    return envs.make("predator_prey", num_envs=2, num_agents=N, max_steps=6)


def policy(wire: Wire) -> CommPolicy:
    torch.manual_seed(0)
    comm = CommStack([MeanComm(H, H), MeanComm(H, H, 3)])
    return CommPolicy(env().obs_dim, env().num_actions, comm, GRU(H), wire=wire).double().eval()


@pytest.mark.parametrize("text", ["float32", *CODECS])
def test_a_team_that_hears_bytes_only_chooses_what_the_joint_policy_chose(text: str) -> None:
    """By hand: each agent is told numbers of senders and their bytes, and nothing else."""
    joint, world = policy(Wire(Full(), codec=codec.resolve(text))), env()
    now, state = world.reset(seed=0), joint.initial_state(2, N)
    agents = [LocalAgent(joint, index) for index in range(N)]
    with torch.no_grad():
        for _ in range(3):
            together = joint.act(now, state)
            episode, step = int(now.key[1]), int(now.step[1])
            paid = [0] * N
            for agent in agents:
                agent.observe(now.obs[1, agent.index])
            for _ in range(joint_rounds(joint)):
                said = {agent.index: agent.say_bytes(episode, step) for agent in agents}
                for agent in agents:
                    heard = {j: data for j, data in said.items() if j != agent.index and data is not None}
                    msg = torch.stack([agent.read(data, j, episode, step) for j, data in heard.items()])
                    paid[agent.index] += len(said[agent.index] or b"")
                    agent.hear(Inbox(torch.tensor(list(heard)), msg))
            for agent in agents:
                decision = agent.decide(None, episode, step)
                torch.testing.assert_close(decision.logits, together.logits[1, agent.index], rtol=0, atol=1e-9)
            bits = together.talk.bits[1]
            assert bool((torch.tensor(paid) * 8 >= bits).all())
            assert bool((torch.tensor(paid) * 8 < bits + 8 * joint_rounds(joint)).all())
            now, state = world.step(together.action), together.state


def joint_rounds(joint: CommPolicy) -> int:
    return len(joint.comm.rounds)


@pytest.mark.parametrize("text", CODECS)
def test_the_law_of_split_brain_goes_over_bytes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    original = LocalAgent.read
    monkeypatch.setattr(LocalAgent, "read", lambda *args: read.append(type(args[1])) or original(*args))
    wire = Wire(Full(), schedule.Gate(H), codec.resolve(text), channel.resolve("loss:p=0.2 + jitter:max=1"))
    laws.check_split_brain(policy(wire), env())
    assert set(read) == {bytes}


def test_an_old_message_is_not_sent_again() -> None:
    joint = policy(Wire(Full(), schedule.EventTriggered(1e9, timeout=50, fresh_limit=50)))
    laws.check_split_brain(joint, env())
    agent = LocalAgent(joint, 1)
    graph = Full()(torch.ones(1, N, dtype=torch.bool))
    sent = []
    for step in range(3):
        agent.observe(torch.full((joint.obs_dim,), float(step), dtype=torch.float64))
        for _ in range(agent.num_rounds):
            agent.gate(graph, 0, step)
            sent.append(agent.say_bytes(0, step) is not None)
            agent.hear(torch.zeros(0, joint.comm.rounds[agent.round].msg_channels, dtype=torch.float64))
        agent.decide()
    assert sent == [True, True, False, False, False, False], "once in each round, then the receivers keep it"


def test_bytes_are_for_trained_policies_and_of_one_codec() -> None:
    joint = policy(Wire(codec=codec.resolve("int4")))
    agent = LocalAgent(joint, 0)
    agent.observe(torch.zeros(joint.obs_dim, dtype=torch.float64))
    data = agent.say_bytes()
    assert data is not None
    assert len(data) == H // 2, "two numbers a byte"
    with pytest.raises(ShapeError, match="there is more"):
        agent.read(data + b"\0", 1)
    joint.train()
    with pytest.raises(StateError, match=r"expected policy\.eval\(\)"):
        agent.say_bytes()


@pytest.mark.parametrize("text", ["float32", *CODECS])
def test_an_agent_that_is_broken_says_nothing(text: str) -> None:
    """Symbols know no NaN: written blindly, what is broken would arrive as a plausible number."""
    joint = policy(Wire(codec=codec.resolve(text)))
    agent = LocalAgent(says_what_it_remembers(joint), 2)
    agent.reset(torch.full((H,), torch.nan, dtype=torch.float64))
    agent.observe(torch.zeros(joint.obs_dim, dtype=torch.float64))
    for say in (agent.say, agent.say_bytes):
        with pytest.raises(NonFiniteError, match=r"Agent 2 expected a finite message to say.* it remembers some"):
            say()


def says_what_it_remembers(joint: CommPolicy) -> CommPolicy:
    torch.manual_seed(0)
    return CommPolicy(joint.obs_dim, joint.num_actions, joint.comm, GRU(H), "previous", joint.wire).double().eval()


CHANNELS = ["delay:steps=1", "jitter:max=1", "byzantine:kind=replay", "path_loss"]
PARTS = [
    *(Wire(codec=codec.resolve(text)) for text in CODECS),
    *(Wire(channel=channel.resolve(text)) for text in CHANNELS),
    *(Wire(scheduler=schedule.resolve(text, in_channels=H, num_agents=N).double()) for text in schedule.names()),
]


@pytest.mark.parametrize("number", range(len(PARTS)))
def test_nan_in_a_dead_agent_reaches_nobody(number: int) -> None:
    """Its memory, what it carries and what of it is in flight; the living choose the same, now and later."""
    joint = says_what_it_remembers(policy(PARTS[number])).train(number % 2 == 0)
    now, state = env().reset(seed=0), joint.initial_state(2, N)
    alive = torch.ones_like(now.alive)
    alive[:, 1] = False
    now = replace(now, alive=alive, first=torch.zeros_like(now.first))
    state = joint.act(replace(now, alive=torch.ones_like(alive)), state).state
    dead = torch.zeros(2, N, 1, dtype=torch.bool)
    dead[:, 1] = True
    broken = replace(state, memory=torch.where(dead, torch.nan, state.memory))
    for step in range(1, 4):
        now = replace(now, step=torch.full_like(now.step, step))
        clean, got = joint.act(now, state), joint.act(now, broken)
        assert torch.equal(got.logits[alive], clean.logits[alive])
        assert bool(got.talk.bits[alive].isfinite().all())
        state, broken = clean.state, got.state


def test_parts_that_two_policies_share_remember_nothing() -> None:
    """What a codec, scheduler or channel carries from step to step is in the state of each policy, not in the part."""
    texts = ["dithered", "jitter:max=2 + byzantine:kind=replay + burst:p=0.3"]
    wire = Wire(Full(), schedule.EventTriggered(1e-3), codec.resolve(texts[0]), channel.resolve(texts[1]))
    one, other, alone = policy(wire), policy(wire), policy(replace(wire, scheduler=schedule.EventTriggered(1e-3)))
    world = env()
    now = world.reset(seed=0)
    states = [each.initial_state(2, N) for each in (one, other, alone)]
    for _ in range(5):
        first = one.act(now, states[0])
        other.act(replace(now, obs=-now.obs), states[1])  # another game on the same parts, in between
        third = alone.act(now, states[2])
        assert torch.equal(first.logits, third.logits)
        states = [first.state, states[1], third.state]
        now = world.step(first.action)
    assert wire.channel == channel.resolve(texts[1])
