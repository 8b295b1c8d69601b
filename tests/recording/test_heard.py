"""What is recorded is what the layers read: edges, numbers and weights of each round, after codec and channel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch_geometric.typing import OptTensor

from gnncomm import envs
from gnncomm.channel import Byzantine, Delay, Jitter, Loss, Noise
from gnncomm.codec import Quantise
from gnncomm.graph import CommGraph
from gnncomm.layers import Attention, AttentionComm, CommLayer, CommStack, MeanComm
from gnncomm.policy import GRU, CommPolicy
from gnncomm.recording import record
from gnncomm.schedule import EventTriggered, Gate, GumbelEdges, Scheduler
from gnncomm.topology import Full, Topology
from gnncomm.wire import Wire

H, N = 16, 4
ENV = envs.make("predator_prey", num_envs=2, num_agents=N, max_steps=12)


@dataclass(frozen=True)
class Round:
    """What one call of ``receive`` got in environment 0."""

    h: Tensor  # [N, F]
    msg: Tensor  # [N, M]
    graph: CommGraph


def spied(layer: CommLayer, calls: list[Round]) -> CommLayer:
    """``layer``, writing down what reaches it."""
    receive = layer.receive

    def listening(h: Tensor, msg: Tensor, graph: CommGraph) -> Tensor:
        calls.append(Round(h[0], msg[0], graph.select(torch.tensor([0]))))
        return receive(h, msg, graph)

    layer.receive = listening  # type: ignore[method-assign]
    return layer


def policy_with(wire: Wire, layers: list[CommLayer]) -> CommPolicy:
    policy = CommPolicy(
        ENV.obs_dim, ENV.num_actions, CommStack(layers, nn.Tanh(), residual=False), GRU(H), "after", wire
    )
    for parameter in (*policy.scheduler.parameters(), *policy.comm.parameters()):
        nn.init.normal_(parameter)  # so that decisions differ from round to round
    return policy


def wires() -> dict[str, Callable[[], Wire]]:
    return {
        "gate, quantised, noise": lambda: Wire(Full(), Gate(H), Quantise(3), Noise(0.5)),
        "drawn edges, loss": lambda: Wire(Full(), GumbelEdges(H, heads=0), channel=Loss(0.3)),
        "liars": lambda: Wire(Full(), Gate(H), channel=Byzantine(N, kind="flip")),
        "delay": lambda: Wire(Full(), Gate(H), channel=Delay(2)),
    }


def by_hand(layer: AttentionComm, heard: Round) -> Tensor:
    """``[N, N]`` (sender, receiver): the attention of TarMAC, by loops."""
    query = layer.lin_query(heard.h).view(N, layer.heads, -1)
    key = heard.msg[:, : layer.heads * layer.key_channels].view(N, layer.heads, -1)
    alpha = torch.zeros(N, N)
    for i in range(N):
        senders = heard.graph.dense[0, :, i].nonzero().flatten()
        score = (key[senders] * query[i]).sum(-1) / layer.key_channels**0.5
        alpha[senders, i] = score.softmax(0).mean(-1)
    return alpha


@pytest.mark.parametrize("name", wires())
def test_each_round_is_recorded_as_it_was_read(name: str) -> None:
    torch.manual_seed(3)
    calls: list[Round] = []
    layers = [AttentionComm(H, H, heads=2) for _ in range(2)]
    policy = policy_with(wires()[name](), [spied(layer, calls) for layer in layers])
    episode = record(policy, ENV, seed=1, greedy=False)
    assert episode.contents is not None
    assert len(calls) == 2 * episode.length
    other_edges = 0
    for number, heard in enumerate(calls):
        step, this_round = divmod(number, 2)
        now = (episode.messages[:, :2] == (step, this_round)).all(1)
        sender, receiver = episode.messages[now, 2:].T
        got = np.zeros((N, N), bool)
        got[sender, receiver] = True
        np.testing.assert_array_equal(got, heard.graph.dense[0])
        np.testing.assert_array_equal(episode.contents[now], heard.msg[torch.as_tensor(sender)].detach())
        want = by_hand(layers[this_round], heard).detach()
        np.testing.assert_allclose(episode.weight[now], want[sender, receiver], rtol=1e-4, atol=1e-6)
        other_edges += this_round and got.tolist() != calls[number - 1].graph.dense[0].tolist()
    assert other_edges > 0, "both rounds always used the same edges: the test has no teeth"


@pytest.mark.parametrize("channel", [Delay(2), Jitter(2), Delay(1) + Jitter(1)])
def test_old_messages_say_what_was_said_when_they_were_sent(channel: Delay | Jitter) -> None:
    torch.manual_seed(3)
    said: list[Tensor] = []

    class Telling(MeanComm):
        def send(self, h: Tensor) -> Tensor:
            out = super().send(h) + h
            if out.dim() == 3:
                said.append(out[0].detach())
            return out

    policy = policy_with(Wire(Full(), Gate(H), channel=channel), [Telling(H, H), Telling(H, H)])
    episode = record(policy, ENV, seed=1, greedy=False)
    assert episode.sent is not None
    assert episode.contents is not None
    for (step, number, sender, _), when, content in zip(episode.messages, episode.sent, episode.contents, strict=True):
        assert 0 <= step - when <= 2
        np.testing.assert_array_equal(content, said[2 * when + number][sender])
    ages = set((episode.messages[:, 0] - episode.sent).tolist())
    assert ages == ({2} if channel == Delay(2) else {0, 1, 2} if channel == Jitter(2) else {1, 2})


def test_what_nobody_said_then_has_no_time() -> None:
    """A false constant was never sent; a message that is read again was sent at some earlier step."""
    torch.manual_seed(3)
    lies = record(policy_with(Wire(channel=Byzantine(N, kind="constant")), [MeanComm(H, H)]), ENV)
    assert lies.sent is not None
    assert (lies.sent == -1).all()
    assert lies.contents is not None
    assert (lies.contents == 1).all()
    quiet: Scheduler = EventTriggered(1e9, timeout=100, fresh_limit=100)
    repeated = record(policy_with(Wire(scheduler=quiet), [MeanComm(H, H)]), ENV)
    assert repeated.sent is not None
    at_first = repeated.messages[:, 0] == 0
    assert (repeated.sent[at_first] == 0).all()
    assert (repeated.sent[~at_first] == -1).all()


class Weighted(Topology):
    """Everyone hears everyone; agent j counts j + 1."""

    def __call__(
        self, alive: Tensor, pos: Tensor | None = None, step: int | Tensor = 0, key: Tensor | None = None
    ) -> CommGraph:
        dense = Full()(alive).to_layout("dense").expand(len(alive))
        return dense.with_features(weight=torch.arange(1.0, N + 1).view(1, N, 1).expand(len(alive), N, N))


class Own(CommLayer):
    """A layer from outside, that says how its inboxes divide their attention."""

    def __init__(self) -> None:
        super().__init__(H, H, H)

    def send(self, h: Tensor) -> Tensor:
        return h

    def combine(self, h: Tensor, inbox: Tensor) -> Tensor:
        return h + inbox

    def attention(
        self,
        h: Tensor,
        graph: CommGraph | Tensor,
        edge_attr: OptTensor = None,
        edge_weight: OptTensor = None,
        msg: OptTensor = None,
    ) -> Attention:
        assert isinstance(graph, Tensor)
        assert msg is not None
        return graph, msg[graph[0]][:, :1]


def test_weights_are_those_that_the_layer_used() -> None:
    """Without attention: those of the edges. With the hook ``attention``: what it says of the messages read."""
    torch.manual_seed(3)
    plain = record(policy_with(Wire(Weighted()), [MeanComm(H, H)]), ENV)
    assert not plain.attention
    np.testing.assert_array_equal(plain.weight, plain.messages[:, 2] + 1)
    own = record(policy_with(Wire(codec=Quantise(2)), [Own(), Own()]), ENV)
    assert own.attention
    assert own.contents is not None
    np.testing.assert_array_equal(own.weight, own.contents[:, 0])


def test_rounds_of_unequal_width_are_filled_up() -> None:
    torch.manual_seed(3)
    episode = record(policy_with(Wire(), [MeanComm(H, H, msg_channels=3), MeanComm(H, H, msg_channels=5)]), ENV)
    assert episode.contents is not None
    assert episode.contents.shape[1] == 5
    first = episode.messages[:, 1] == 0
    assert (episode.contents[first, 3:] == 0).all()
    assert (episode.contents[first, :3] != 0).any()
    assert (episode.contents[~first, 3:] != 0).any()
