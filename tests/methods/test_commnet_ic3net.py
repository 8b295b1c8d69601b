"""CommNet and IC3Net: by hand, and the clean layer beside the released network."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gnncomm.bench.reference import released
from gnncomm.bench.reference.commnet_ic3net import IC3NetNetwork
from gnncomm.bench.reference.gacomm import GACommNetwork
from gnncomm.bench.reference.tarmac_ic3net import TarMACNetwork
from gnncomm.errors import ConfigError
from gnncomm.graph import CommGraph
from gnncomm.layers import MeanComm

ROWS = torch.tensor([[[1.0], [2.0], [6.0]]])
GATE = torch.tensor([[1.0, 1.0, 0.0]])
ALIVE = torch.ones(1, 3)


def heard(*without_quirks: str, alive: Tensor = ALIVE, average: bool = True) -> list[float]:
    network = IC3NetNetwork(1, 1, (2,), average=average, without_quirks=without_quirks)
    return network.hear(ROWS, alive, GATE)[0].flatten().tolist()


def test_by_hand() -> None:
    assert heard() == [1.0, 0.5, 0.0]  # 2 / 2, 1 / 2, and the silent one is deaf
    assert heard("deaf") == [1.0, 0.5, 1.5]
    assert heard("divisor") == [2.0, 1.0, 0.0]
    assert heard(average=False) == [2.0, 1.0, 0.0]
    assert heard(alive=torch.tensor([[1.0, 0.0, 1.0]])) == [0.0, 0.0, 0.0]


def test_the_layer_is_the_network_without_its_quirks() -> None:
    network = IC3NetNetwork(4, 3, (2,), without_quirks=("deaf", "divisor")).double()
    layer = MeanComm(3, 3).double()
    with torch.no_grad():
        layer.lin_self.weight.zero_()
        layer.lin_self.bias.copy_(network.C_modules[0].bias)
        layer.lin_inbox.weight.copy_(network.C_modules[0].weight)
    h, cell = torch.randn(2, 2, 5, 3, dtype=torch.float64)
    gate = torch.tensor([[1, 0, 1, 1, 0], [0, 0, 0, 0, 1]])
    done = network(torch.randn(2, 5, 4, dtype=torch.float64), h, cell, gate=gate)
    others = ~torch.eye(5, dtype=torch.bool)
    graph = CommGraph.from_dense((gate > 0).unsqueeze(2) & others)
    torch.testing.assert_close(layer(h, graph), done["mid/c_0"])


def test_the_dead_keep_their_memory_without_that_quirk() -> None:
    obs, h, cell = torch.randn(1, 3, 4), torch.randn(1, 3, 8), torch.randn(1, 3, 8)
    alive = torch.tensor([1, 1, 0])
    network = IC3NetNetwork(4, 8, (2,), without_quirks=("dead",))
    done = network(obs, h, cell, alive)
    assert done["out/h"][:, 2].equal(h[:, 2])
    assert not done["out/h"][:, 1].equal(h[:, 1])


def test_a_method_has_both_forms() -> None:
    network = released("ic3net", 6, 5, 4, hidden=8, without_quirks=("deaf",))
    assert isinstance(network, IC3NetNetwork)
    assert not network.has("deaf")
    assert network.has("divisor")
    with pytest.raises(ConfigError, match=r"no quirk 'def' to leave out\. Did you mean 'deaf'"):
        released("ic3net", 6, 5, 4, without_quirks=("def",))


@pytest.mark.parametrize("kind", [IC3NetNetwork, TarMACNetwork])
@pytest.mark.parametrize("recurrent", [True, False])
def test_weights_shared_by_the_passes_load_under_their_released_names(
    kind: type[IC3NetNetwork], recurrent: bool
) -> None:
    """``share_weights`` of the released code: one C, and without memory one f, named once more for each pass."""
    network = kind(4, 3, (5, 2), passes=3, recurrent=recurrent, shared=True).double()
    state = network.state_dict()
    aliases = {"C_module", "C_modules.0", "C_modules.1", "C_modules.2"}
    if not recurrent:
        aliases |= {"f_module", "f_modules.0", "f_modules.1", "f_modules.2"}
    assert aliases <= {name.rpartition(".")[0] for name in state}
    assert len(list(network.C_modules.parameters())) == 2, "one weight and one bias"
    again = kind(4, 3, (5, 2), passes=3, recurrent=recurrent).double()
    again.load_state_dict({name: value for name, value in state.items() if name in again.state_dict()})
    obs = torch.randn(2, 5, 4, dtype=torch.float64)
    shared, apart = network(obs), again(obs)
    for name in ("out/value", "mid/c_2"):
        torch.testing.assert_close(shared[name], apart[name], rtol=0.0, atol=1e-14)


def test_without_memory_by_hand() -> None:
    """Two passes, all numbers one: x = tanh(o), h <- tanh(x + h + mean of the others)."""
    network = IC3NetNetwork(1, 1, (2,), passes=2, recurrent=False, shared=True).double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    obs = torch.tensor([[[0.2], [-0.4], [0.9]]], dtype=torch.float64)
    x = h = obs.tanh()
    for _ in range(2):
        h = (x + h + (h.sum(1, keepdim=True) - h) / 2).tanh()
    torch.testing.assert_close(network(obs)["out/value"], h)


def test_ga_comm_shares_what_it_never_uses() -> None:
    network = GACommNetwork(4, 3, (5,), passes=2, shared=True)
    assert {"C_module.weight", "C_modules.0.weight", "C_modules.1.weight"} <= set(network.state_dict())
