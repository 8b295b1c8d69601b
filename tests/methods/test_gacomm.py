"""GA-Comm and G2ANet: the clean layer beside the released networks, and what their recurrence over agents breaks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm.bench.reference.g2anet import G2ANetNetwork
from gnncomm.bench.reference.gacomm import GACommNetwork, others, paired
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm

N, H = 4, 6


def graph_of(hard: Tensor) -> CommGraph:
    """The graph of ``hard [B, N, N-1]``, receivers by their others."""
    dense = torch.zeros(len(hard), N, N, dtype=torch.bool)
    index = others(N, hard.device).expand(len(hard), -1, -1)
    return CommGraph.from_dense(dense.scatter_(2, index, hard > 0).transpose(1, 2))


def copied(layer: AttentionComm, query: Tensor, key: Tensor, value: Tensor) -> AttentionComm:
    """The layer that only sums its inbox."""
    layer = layer.double()
    with torch.no_grad():
        layer.lin_query.weight.copy_(query)
        layer.lin_send.weight.copy_(torch.cat([key, value]))
        layer.lin_self.weight.zero_()
        layer.lin_self.bias.zero_()
        layer.lin_inbox.weight.copy_(torch.eye(len(value)))
    return layer


def test_others_and_pairs_by_hand() -> None:
    assert others(3, torch.device("cpu")).tolist() == [[1, 2], [0, 2], [0, 1]]
    pairs = paired(torch.tensor([[[0.0], [1.0], [2.0]]]))
    assert pairs.tolist() == [[[0, 1], [1, 0], [2, 0]], [[0, 2], [1, 2], [2, 1]]]


def test_the_layer_is_ga_comm_over_the_edges_that_are_left() -> None:
    network = GACommNetwork(3, H, (2,), key_channels=5, without_quirks=("denominator",)).double()
    with torch.no_grad():
        network.wq.bias.zero_()
        network.wk.bias.zero_()
        for head in network.heads:  # the log-odds of the two actions are the difference of two messages' entries
            head.weight.zero_()
            head.bias.zero_()
            head.weight[0, H] = head.weight[1, H + 1] = 1.0
    gumbel = torch.randn(N - 1, 2 * N, 2, dtype=torch.float64)
    done = network(torch.randn(2, N, 3, dtype=torch.float64), gumbel=gumbel)
    layer = copied(AttentionComm(H, H, 1, 5), network.wq.weight, network.wk.weight, torch.eye(H))
    message = layer(done["out/h"], graph_of(done["mid/hard"]))
    assert 0 < done["mid/hard"].sum() < done["mid/hard"].numel()
    torch.testing.assert_close(done["out/logp_0"], message[..., :2].log_softmax(-1))


def test_the_layer_is_g2anet_with_weights_that_sum_to_one() -> None:
    network = G2ANetNetwork(3, 2, H, channels=5, without_quirks=("normalised_before", "relaxed")).double()
    with torch.no_grad():
        network.v.bias.zero_()
    gumbel = torch.randn(2 * N * (N - 1), 2, dtype=torch.float64)
    done = network(torch.randn(2, N, 3, dtype=torch.float64), gumbel=gumbel)
    layer = copied(AttentionComm(H, 5, 1, 5, rectified=True), network.q.weight, network.k.weight, network.v.weight)
    torch.testing.assert_close(layer(done["out/h"], graph_of(done["mid/hard"])), done["mid/x"])


@pytest.mark.parametrize(
    "build", [lambda m: GACommNetwork(3, H, (2,), without_quirks=m), lambda m: G2ANetNetwork(3, 2, H, without_quirks=m)]
)
def test_the_order_of_agents_matters_unless_that_quirk_is_left_out(build: object) -> None:
    obs, order = torch.randn(2, N, 3, dtype=torch.float64), torch.tensor([2, 0, 3, 1])
    torch.manual_seed(0)
    for without_quirks, holds in (((), False), (("order",), True)):
        network = build(without_quirks).double()  # type: ignore[operator]
        straight, permuted = network(obs), network(obs[:, order])
        slots_first = isinstance(network, GACommNetwork)
        rows = [_by_pair(done["mid/hard_logits"], slots_first) for done in (straight, permuted)]
        moved = rows[0][:, order][:, :, order]
        off = ~torch.eye(N, dtype=torch.bool)
        assert torch.allclose(rows[1][:, off], moved[:, off]) is holds


def _by_pair(logits: Tensor, slots_first: bool) -> Tensor:
    """``[B, N, N, 2]`` (receiver, sender) from the order in which each code has its pairs."""
    pairs = logits.transpose(0, 1) if slots_first else logits
    rows = pairs.reshape(2, N, N - 1, 2)
    full = torch.zeros(2, N, N, 2, dtype=logits.dtype)
    return full.scatter_(2, others(N, logits.device).view(1, N, N - 1, 1).expand(2, -1, -1, 2), rows)


def test_environments_stay_apart() -> None:
    network, obs = GACommNetwork(3, H, (2,)).double(), torch.randn(2, N, 3, dtype=torch.float64)
    together, alone = network(obs), network(obs[1:])
    torch.testing.assert_close(together["out/logp_0"][1:], alone["out/logp_0"])
