"""Methods that are a codec, a channel or a scheduler (NDQ, DIAL, TMC), and the laws for all policies of this kind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gnncomm import envs, methods
from gnncomm.bench.reference.dial_dru import DRUNetwork
from gnncomm.bench.reference.tmc import TMCNetwork
from gnncomm.policy import CommPolicy, Decision
from gnncomm.testing import check_policy


def decisions(policy: CommPolicy, count: int) -> list[Decision]:
    """What the team decides in the first steps of ``predator_prey``."""
    env = envs.make("predator_prey", num_envs=2)
    now, state, decided = env.reset(seed=0), policy.initial_state(2, env.num_agents), []
    with torch.no_grad():
        for _ in range(count):
            decided.append(policy.act(now, state, key=0))
            now, state = env.step(decided[-1].action), decided[-1].state
    return decided


def made(name: str) -> CommPolicy:
    env = envs.make("predator_prey")
    policy = methods.METHODS[name](env.obs_dim, env.num_actions, env.num_agents, hidden=8)
    assert isinstance(policy, CommPolicy)
    return policy


def test_ndq_pays_for_what_messages_tell() -> None:
    policy = made("ndq")
    (first,) = decisions(policy, 1)
    mean = policy.comm.rounds[0].send(first.talk.rows[0])
    torch.testing.assert_close(first.talk.cost, 1e-3 * mean.square().sum(-1) / 2)  # KL(N(mean, 1) || N(0, 1))
    assert (first.talk.bits == 96).all()
    assert (decisions(policy.eval(), 1)[0].talk.cost == 0).all()


def test_dial_says_bits_that_arrive_a_step_later() -> None:
    policy = made("dial").eval()
    first, second = decisions(policy, 2)
    assert second.talk.graphs[0].expand(2).num_edges == 2 * 3 * 2
    assert (second.talk.bits == 8).all()
    before = policy.memory.output(first.state.memory)  # what is said now was known a step ago
    said = (policy.comm.rounds[0].send(before) > 0).float()
    assert second.talk.arrivals[0][-1].msg.equal(said)
    assert said.unique().tolist() == [0.0, 1.0]


def test_tmc_reads_the_last_message_again_while_nothing_is_new() -> None:
    policy = made("tmc")
    nn.init.zeros_(policy.comm.rounds[0].lin_send.weight)
    first, second = decisions(policy, 2)
    assert (first.talk.bits == 32 * 10).all()
    assert (second.talk.bits == 0).all()
    assert second.talk.graphs[0].num_edges == first.talk.graphs[0].num_edges > 0


def test_released_tmc_forgets_what_is_not_fresh() -> None:
    network = TMCNetwork(1, 1, delta=0.5, transmit_limit=9, fresh_limit=1)
    for parameter in network.parameters():
        nn.init.zeros_(parameter)
    q, h, delivered = torch.zeros(1, 2, 1), torch.zeros(1, 2, 1), torch.ones(1, 2, 2, dtype=torch.bool)
    mail, heard = network.start(q), []
    # The cell halves its state; so message 8 -> 4 is far from what was sent, and 4 is sent, ..., 0.5 is not.
    mail = mail.map(torch.clone)
    mail.msg.fill_(8.0)
    for _ in range(8):
        out, mail = network(q, h, delivered, mail)
        heard.append(out[0, 0, 0].item())
    # 4, 2, 1 are sent (1 is apart from 2 by 1, squared > 0.5); 0.5 is not, since 0.25 < 0.5; then 0.25 is.
    assert heard[:4] == pytest.approx([4.0, 2.0, 1.0, 1.0])
    # 0.25 is apart by 0.5625 and sent; nothing after that is; 2 * 1 steps later it is forgotten.
    assert heard[4:] == pytest.approx([0.25, 0.25, 0.25, 0.0])


def test_released_dru_and_its_quirks() -> None:
    m = torch.tensor([[0.25, 0.75, -0.25]])
    assert DRUNetwork(hard=True)(m).tolist() == [[-1.0, 1.0, -1.0]]
    assert DRUNetwork(hard=True, without_quirks=("threshold", "sign"))(m).tolist() == [[1.0, 1.0, 0.0]]
    assert DRUNetwork(narrow=False, hard=True)(m).tolist() == [[0.0, 1.0, 0.0]]
    wide = DRUNetwork(narrow=False, without_quirks=("batch_softmax",))(m, torch.zeros_like(m))
    assert wide.sum(-1).item() == pytest.approx(1.0)


@pytest.mark.parametrize(
    "name", ["commformer", "dgn", "dial", "dicg", "expocomm", "expocomm_one_peer", "maic", "ndq", "tmc"]
)
def test_laws_hold(name: str) -> None:
    assert check_policy(made(name), envs.make("predator_prey", num_envs=2, max_steps=3)) == ()
