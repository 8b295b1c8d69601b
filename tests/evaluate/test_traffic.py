"""What an evaluation says about the wire, where it can be counted by hand."""

from __future__ import annotations

import pytest
import torch

from gnncomm import channel, codec, envs
from gnncomm.evaluation import WireUse, evaluate
from gnncomm.layers import CommStack, MeanComm
from gnncomm.policy import CommPolicy, Memory
from gnncomm.topology import Empty, KNearest, Line, Star, Topology
from gnncomm.wire import Wire

H = 8


@pytest.mark.parametrize(
    ("topology", "code", "medium", "rounds", "bits", "edges"),
    [
        (Line(), "float32", "ideal", 1, 32 * H, 6),
        (Line(), "int4", "ideal", 3, 3 * 4 * H, 18),
        (Star(), "dru", "loss:p=1", 1, H, 0),
        (Line(), "topk:k=2", "delay:steps=1", 2, 2 * 2 * (32 + 3), 12 * 2 / 3),
        (Line(), "float16", "jitter:max=1 + silent:agents=4", 1, 16 * H, 0),
        (Empty(), "float32", "ideal", 2, 0, 0),
    ],
)
def test_traffic_by_hand(topology: Topology, code: str, medium: str, rounds: int, bits: float, edges: float) -> None:
    """Four agents, three steps: 6 edges on a line; a delay of 1 leaves the first of three steps without messages."""
    env = envs.make("relay", num_envs=16, num_agents=4, steps=3)
    wire = Wire(topology, codec=codec.resolve(code), channel=channel.resolve(medium))
    comm = CommStack([MeanComm(H, H)] * rounds)
    report = evaluate(CommPolicy(env.obs_dim, env.num_actions, comm, Memory(H), wire=wire), env, episodes=40)
    assert report.wire.bits_per_agent_step == pytest.approx(bits)
    assert report.wire.edges_per_step == pytest.approx(edges)
    assert report.wire.rounds == rounds
    assert report.wire.beta == pytest.approx(edges / 12), "four agents have twelve others, rows go as they are"
    assert report.to_dict()["wire"] == report.wire.to_dict()
    assert f"{bits:,.0f} bits per agent and step" in str(report.wire)


def test_only_counted_episodes_count() -> None:
    """The same episodes in waves of 7 and of 30: episodes end at different times, and others fill the gaps."""
    uses = []
    for num_envs in (7, 30):
        env = envs.make("predator_prey", num_envs=num_envs, max_steps=12)
        torch.manual_seed(0)
        wire = Wire(KNearest(1), codec=codec.resolve("dithered"), channel=channel.resolve("loss:p=0.3"))
        policy = CommPolicy(env.obs_dim, env.num_actions, MeanComm(H, H), Memory(H), wire=wire)
        uses.append(evaluate(policy, env, episodes=30, greedy=False).wire)
    assert uses[0].bits_per_agent_step == pytest.approx(uses[1].bits_per_agent_step, rel=1e-6)
    assert uses[0].edges_per_step == pytest.approx(uses[1].edges_per_step)


def test_no_decimals_where_they_are_zero() -> None:
    assert str(WireUse(12288.0, 5.75, 2)) == (
        "On the wire: 12,288 bits per agent and step, 5.75 messages read per step, 2 rounds, beta 0."
    )
    assert "0.5 bits" in str(WireUse(0.5, 100.0, 1))
    assert " 100 messages" in str(WireUse(0.0, 100.0, 1))
    assert " 0 bits" in str(WireUse(0.0, 100.0, 1))
