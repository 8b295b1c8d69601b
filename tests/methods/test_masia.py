"""MASIA: self-attention inside every inbox, by hand and by loops."""

from __future__ import annotations

import math

import pytest
import torch

from gnncomm import methods
from gnncomm.bench.reference import released
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import MASIAComm
from gnncomm.layers.masia import places_in_inboxes
from gnncomm.testing import check_layer


def test_places_in_inboxes() -> None:
    place, largest = places_in_inboxes(torch.tensor([2, 0, 2, 2, 0]), 4)
    assert (place.tolist(), largest) == ([0, 0, 1, 2, 1], 3)
    place, largest = places_in_inboxes(torch.zeros(0, dtype=torch.int64), 4)
    assert (place.tolist(), largest) == ([], 0)


def test_two_messages_by_hand() -> None:
    """Messages 0 and 1 with keys and queries of their own: softmax(0, 0) and softmax(0, ln 3), averaged."""
    layer = MASIAComm(1, 1, msg_channels=1, key_channels=1)
    layer.lin_send.weight.data.fill_(1.0)
    layer.lin_send.bias.data.fill_(0.0)
    layer.lin_query.weight.data.fill_(math.log(3.0))
    layer.lin_key.weight.data.fill_(1.0)
    h = torch.tensor([[[0.0], [1.0], [5.0]]])
    hears = torch.tensor([[[False, False, True], [False, False, True], [False, False, False]]])
    _, (edge_index, alpha) = layer(h, CommGraph.from_dense(hears), return_attention_weights=True)
    assert edge_index.tolist() == [[0, 1], [2, 2]]
    assert alpha.flatten().tolist() == pytest.approx([(1 / 2 + 1 / 4) / 2, (1 / 2 + 3 / 4) / 2])


def test_the_aggregation_by_loops() -> None:
    torch.manual_seed(0)
    layer = MASIAComm(4, 3, msg_channels=5, key_channels=2, code_channels=6).double()
    hears = torch.rand(2, 6, 6, generator=torch.Generator().manual_seed(1)) < 0.5
    h, graph = torch.randn(2, 6, 4, dtype=torch.float64), CommGraph.from_dense(hears)
    out = layer(h, graph)
    msg = layer.send(h)
    for b in range(2):
        for i in range(6):
            senders = hears[b, :, i].nonzero().flatten().tolist()
            inbox = torch.zeros(5, dtype=torch.float64)
            for asks in senders:
                scores = [layer.lin_query(msg[b, asks]) @ layer.lin_key(msg[b, j]) / math.sqrt(2) for j in senders]
                for j, weight in zip(senders, torch.stack(scores).softmax(0), strict=True):
                    inbox = inbox + weight * layer.lin_value(msg[b, j]) / len(senders)
            focused = layer.lin_gate(h[b, i]).sigmoid() * layer.encode(inbox)
            want = layer.lin_self(h[b, i]) + layer.lin_inbox(focused)
            assert torch.allclose(out[b, i], want, rtol=0, atol=1e-12)


def test_laws() -> None:
    check_layer(MASIAComm(5, 4, 3, 2), weighted=True)
    with pytest.raises(ConfigError, match="key_channels >= 1"):
        MASIAComm(5, 4, key_channels=0)


def test_method() -> None:
    policy = methods.masia(obs_dim=7, num_actions=3, num_agents=4, hidden=8)
    assert isinstance(policy.comm.rounds[0], MASIAComm)
    assert policy.comm.rounds[0].message_bits() == 32 * 32
    with pytest.raises(ConfigError, match="no released network"):
        released("masia", 7, 3, 4)
