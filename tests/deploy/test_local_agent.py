"""One agent alone, and teams of such agents, against the joint policy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from gnncomm import envs
from gnncomm.channel import Channel, Loss
from gnncomm.deploy import Inbox, LocalAgent, Mailbox, exchange, run_team, team_of
from gnncomm.errors import ActionMaskError, ConfigError, DtypeError, GraphError, NonFiniteError, ShapeError, StateError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy, Integration
from gnncomm.schedule import Schedule, Scheduler, Situation
from gnncomm.topology import Full, Line
from gnncomm.types import Moment, SparseObs
from gnncomm.wire import Wire

D, A, H = 6, 4, 8


def policy(integration: str = "before", wire: Wire | None = None) -> CommPolicy:
    comm = CommStack([AttentionComm(H, H, heads=2, key_channels=3), MeanComm(H, H, msg_channels=5)])
    return CommPolicy(D, A, comm, GRU(H), integration, wire)


def ready(agent: LocalAgent) -> LocalAgent:
    agent.observe(torch.ones(D))
    for width in (2 * (3 + 4), 5):
        agent.hear(torch.zeros(0, width))
    return agent


@torch.no_grad()
def test_one_step_by_hand() -> None:
    """The verbs are the functions of the policy's modules on one row."""
    joint = policy()
    agent, obs = LocalAgent(joint, 2), torch.randn(D)
    first, second = joint.comm.rounds
    agent.observe(obs)
    x = joint.encoder(obs)
    assert agent.say().equal(first.send(x))
    heard = torch.randn(3, first.msg_channels)
    agent.hear(heard)
    row = x + first.hear(x, heard)
    torch.testing.assert_close(agent.say(), second.send(row))
    agent.hear(torch.zeros(0, 5))
    row = row + second.hear(row, torch.zeros(0, 5))
    memory = torch.gru_cell(row[None], torch.zeros(1, H), *(p for p in joint.memory.parameters()))[0]
    decision = agent.decide()
    torch.testing.assert_close(decision.logits, joint.actor(memory))
    torch.testing.assert_close(agent.memory, memory)
    assert decision.action == int(decision.logits.argmax())
    torch.testing.assert_close(decision.log_prob, decision.logits.log_softmax(-1).max())


@pytest.mark.parametrize("form", ["flat", "sparse"])
@pytest.mark.parametrize("integration", Integration)
def test_a_team_plays_whole_episodes_as_the_joint_policy(integration: Integration, form: str) -> None:
    env = envs.make("predator_prey", num_envs=3, observation=form, max_steps=7)
    comm = CommStack([AttentionComm(H, H), MeanComm(H, H)])
    joint = CommPolicy(env.obs_dim, 5, comm, GRU(H), integration, Wire(Line(), channel=Loss(0.3))).double()
    now, state = env.reset(seed=1), joint.initial_state(3, 3)
    teams, ends = [team_of(joint, 3) for _ in range(3)], 0
    with torch.no_grad():
        for _ in range(16):
            together = joint.act(now, state, key=5)
            for b, team in enumerate(teams):
                alone = run_team(team, now, key=5, env=b)
                assert [decision.action for decision in alone] == together.action[b].tolist()
                logits = torch.stack([decision.logits for decision in alone])
                torch.testing.assert_close(logits, together.logits[b], rtol=0, atol=1e-12)
                memory = torch.stack([agent.memory for agent in team])
                torch.testing.assert_close(memory, together.state.memory[b], rtol=0, atol=1e-12)
            after = env.step(together.action)
            ends += int(after.done.sum())
            now, state = (env.reset(where=after.done) if bool(after.done.any()) else after), together.state
    assert ends >= 3


def test_with_previous_integration_rounds_may_come_before_the_observation() -> None:
    agent = LocalAgent(policy("previous"))
    memory = torch.randn(H)
    agent.reset(memory)
    messages = [agent.say()]
    agent.hear(torch.ones(2, messages[0].shape[0]))
    agent.hear(torch.ones(1, 5))
    agent.observe(torch.ones(D))
    early = agent.decide().logits
    agent.reset(memory)
    agent.observe(torch.ones(D))
    assert agent.say().equal(messages[0])
    agent.hear(torch.ones(2, messages[0].shape[0]))
    agent.hear(torch.ones(1, 5))
    assert agent.decide().logits.equal(early)


def test_memory_is_a_value() -> None:
    agent = ready(LocalAgent(policy()))
    agent.decide()
    kept = agent.memory
    assert bool((kept != 0).any())
    want = ready(agent).decide().logits
    agent.reset()
    assert bool((agent.memory == 0).all())
    agent.reset(kept)
    assert ready(agent).decide().logits.equal(want)


def test_sparse_and_flat_observations_agree() -> None:
    joint = policy()
    sparse = SparseObs(torch.tensor([1, 4, 1]), torch.tensor([0.5, 2.0, 1.0]), D)
    logits = []
    for obs in (sparse, sparse.to_flat()):
        agent = LocalAgent(joint)
        agent.observe(obs)
        agent.hear(torch.zeros(0, 14))
        agent.hear(torch.zeros(0, 5))
        logits.append(agent.decide().logits)
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize(
    ("verbs", "words"),
    [
        (lambda agent: agent.say(), "cannot say yet"),
        (lambda agent: agent.hear(torch.zeros(0, 14)), "cannot hear yet"),
        (lambda agent: agent.decide(), "got none and 0"),
        (lambda agent: [agent.observe(torch.ones(D)), agent.observe(torch.ones(D))], "has observed already"),
        (lambda agent: [agent.observe(torch.ones(D)), agent.decide()], "got one and 0"),
        (lambda agent: ready(agent).say(), "all 2 rounds of this step are over"),
        (lambda agent: ready(agent).hear(torch.zeros(0, 5)), "all 2 rounds of this step are over"),
    ],
)
def test_verbs_out_of_order_are_refused(verbs: Callable[[LocalAgent], object], words: str) -> None:
    with pytest.raises(StateError, match=words):
        verbs(LocalAgent(policy(), 3))


def test_bad_input_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 <= index"):
        LocalAgent(policy(), -1)
    agent = LocalAgent(policy(), 3)
    with pytest.raises(ShapeError, match="width 6, got 7"):
        agent.observe(torch.ones(7))
    with pytest.raises(ShapeError, match=r"\[D\] or \[K\]"):
        agent.observe(torch.ones(1, D))
    with pytest.raises(NonFiniteError, match="Agent 3"):
        agent.observe(torch.full((D,), torch.nan))
    with pytest.raises(ShapeError, match=r"\[S=8\]"):
        agent.reset(torch.zeros(3))
    agent.observe(torch.ones(D))
    with pytest.raises(ShapeError, match=r"messages \[S, M\] = \[any, 14\].*got \[1, 5\]"):
        agent.hear(torch.ones(1, 5))
    nothing: Any = None
    with pytest.raises(DtypeError, match="what arrived as a Inbox, got NoneType"):
        agent.hear(nothing)
    with pytest.raises(DtypeError, match=r"torch.float32, got .*float64"):
        agent.hear(torch.ones(1, 14).double())
    with pytest.raises(DtypeError, match="expected bytes to read, got NoneType"):
        agent.read(nothing, 1)
    for sender in (-1, 10**9, nothing):  # which would take 60 GB to be named by its row
        with pytest.raises(ConfigError, match="sender numbers the agents"):
            agent.read(bytes(56), sender)
    with pytest.raises(DtypeError, match="an observation as a Tensor"):
        LocalAgent(policy(), 1).observe(nothing)
    agent.hear(torch.ones(1, 14))
    agent.hear(torch.ones(1, 5))
    with pytest.raises(ActionMaskError, match="Agent 3 has no allowed action"):
        agent.decide(action_mask=torch.zeros(A, dtype=torch.bool))
    with pytest.raises(ActionMaskError, match="bool action mask"):
        agent.decide(action_mask=torch.ones(A))


def test_masked_actions_are_not_chosen() -> None:
    agent = LocalAgent(policy())
    mask = torch.tensor([False, True, False, False])
    assert {ready(agent).decide(key=0, step=step, action_mask=mask).action for step in range(20)} == {1}


# ---- the mailbox ----


def graph_of(edges: list[tuple[int, int]], num_agents: int = 3, **features: Tensor) -> CommGraph:
    return CommGraph.from_edge_index(torch.tensor(edges).reshape(-1, 2).t(), num_agents, **features)


def test_mail_arrives_in_the_order_of_senders_with_edge_features() -> None:
    attr, weight = torch.tensor([[20.0], [0.0], [1.0]]), torch.tensor([0.2, 0.5, 0.7])
    box = Mailbox(graph_of([(2, 1), (0, 1), (1, 2)], attr=attr, weight=weight))
    for sender in (2, 0, 1):
        box.post(sender, torch.tensor([float(sender), -1.0]))
    inbox = box.collect(1)
    assert inbox.senders.tolist() == [0, 2]
    assert inbox.msg.tolist() == [[0.0, -1.0], [2.0, -1.0]]
    assert inbox.edge_attr is not None
    assert inbox.edge_attr.tolist() == [[0.0], [20.0]]
    torch.testing.assert_close(inbox.edge_weight, torch.tensor([0.5, 0.2]))
    assert box.collect(0).msg.shape == (0, 2)


def test_the_silent_are_not_heard() -> None:
    box = Mailbox(graph_of([(0, 2), (1, 2)]))
    box.post(1, torch.ones(2))
    assert box.collect(2).senders.tolist() == [1]


def test_rounds_are_kept_apart_and_the_medium_knows_them() -> None:
    class Numbered(Channel):
        def transmit(self, msg: Tensor, moment: Moment) -> Tensor:
            return msg + 100 * moment.key.view(-1, 1, 1) + 10 * moment.step.view(-1, 1, 1) + moment.round

    box = Mailbox(graph_of([(0, 1)]), Numbered(), episode=3, step=2)
    for number in range(2):
        box.post(0, torch.zeros(1))
        assert box.collect(1).msg.tolist() == [[320.0 + number]]
        box.close_round()


def test_misuse_of_the_mailbox_is_refused() -> None:
    box = Mailbox(graph_of([(0, 1)]))
    with pytest.raises(StateError, match="Nobody posted"):
        box.collect(1)
    box.post(0, torch.ones(2))
    with pytest.raises(StateError, match="too late"):
        box.post(0, torch.ones(2))
    with pytest.raises(ShapeError, match="M=2"):
        box.post(1, torch.ones(3))
    with pytest.raises(GraphError, match="No agent 3"):
        box.post(3, torch.ones(2))
    with pytest.raises(GraphError, match="No agent -1"):
        box.collect(-1)
    box.collect(1)
    with pytest.raises(StateError, match="too late"):
        box.post(1, torch.ones(2))
    two = CommGraph.from_dense(torch.ones(2, 3, 3, dtype=torch.bool))
    with pytest.raises(GraphError, match="expected one graph, got 2"):
        Mailbox(two)


class Gate(Scheduler):
    """Agent j talks where a wild function of its own row is positive; the weight is its value."""

    def forward(self, now: Situation) -> Schedule:
        strength = (1e3 * now.h[..., 0]).sin()
        dense = now.graph.to_layout("dense").expand(len(now.h))
        weight = strength.clamp(min=0).nan_to_num().unsqueeze(-1).expand(dense.dense.shape)
        used = dense.keep_where(sender=strength > 0).with_features(weight=weight)
        return Schedule(used, now.msg, now.state)


def test_learned_gates_are_decided_by_each_agent_alone() -> None:
    env = envs.make("predator_prey", num_envs=2)
    joint = CommPolicy(env.obs_dim, 5, MeanComm(H, H), GRU(H), "after", Wire(Full(), Gate())).double()
    now, state = env.reset(seed=0), joint.initial_state(2, 3)
    teams = [team_of(joint, 3) for _ in range(2)]
    used = set()
    with torch.no_grad():
        for _ in range(6):
            together = joint.act(now, state, 0)
            used.add(together.talk.graphs[0].num_edges)
            for b, team in enumerate(teams):
                alone = torch.stack([decision.logits for decision in run_team(team, now, 0, b)])
                torch.testing.assert_close(alone, together.logits[b], rtol=0, atol=1e-12)
            now, state = env.step(together.action), together.state
    assert any(0 < count < 12 for count in used), "the gates should have been open for some"


def test_exchange_is_the_loop_written_out() -> None:
    joint, graph = policy("previous"), graph_of([(0, 1), (1, 2), (2, 0)])
    memories = torch.randn(3, H)
    by_call, by_hand = team_of(joint, 3), team_of(joint, 3)
    for team in (by_call, by_hand):
        for agent, memory in zip(team, memories, strict=True):
            agent.reset(memory)
    exchange(by_call, Mailbox(graph))
    for _ in range(2):
        said = [agent.say() for agent in by_hand]
        for i, agent in enumerate(by_hand):
            agent.hear(Inbox.of(said[(i - 1) % 3].unsqueeze(0)))
    for one, other in zip(by_call, by_hand, strict=True):
        one.observe(torch.ones(D))
        other.observe(torch.ones(D))
        assert one.decide().logits.equal(other.decide().logits)


def test_a_team_must_fit_its_environment() -> None:
    env = envs.make("predator_prey", num_envs=2)
    joint = CommPolicy(env.obs_dim, 5, MeanComm(H, H))
    with pytest.raises(ShapeError, match=r"agents 0 \.\. 2 in order, got \[0, 1\]"):
        run_team(team_of(joint, 2), env.reset())
