"""What a layer refuses: the rows about tensors of the list of bad inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.nn import GATv2Conv

from gnncomm.errors import ConfigError, DeviceError, DtypeError, GnnCommError, GraphError, ShapeError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, CommLayer, CommStack, ConvComm, MeanComm, names
from gnncomm.registry import parameters_of
from gnncomm.topology import Full, Ring

F = 4
LAYERS = [MeanComm(F, F), AttentionComm(F, F), ConvComm(GATv2Conv(F, F, add_self_loops=False))]

WHOLE = [
    (name, parameter)
    for name, maker in names.listing().items()
    for parameter, hint, _ in parameters_of(maker)
    if hint in (int, int | None) and parameter not in names.REGISTRY.sizes
]


def full(num_agents: int = 3, num_envs: int = 1) -> CommGraph:
    return Full()(torch.ones(num_envs, num_agents, dtype=torch.bool)).expand(num_envs)


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
@pytest.mark.parametrize(
    ("h", "kind", "words"),
    [
        (torch.ones(2, 3, F + 1), ShapeError, r"expected h \[\.\.\., F=4\], got \(2, 3, 5\)"),
        (torch.ones(3, 2, F), ShapeError, r"N=3, F=4\] for this graph, got \(3, 2, 4\)"),
        (torch.ones(F), ShapeError, r"N=3, F=4\]"),
        (torch.ones(()), ShapeError, "F=4"),
        (torch.ones(2, 3, F, dtype=torch.int64), DtypeError, r"use h\.float\(\)"),
        (torch.ones(2, 3, F, dtype=torch.bool), DtypeError, r"use h\.float\(\)"),
        (torch.ones(2, 3, F, device="meta"), DeviceError, "h is on meta but the graph on cpu"),
    ],
)
def test_rows_that_do_not_fit_are_refused(layer: CommLayer, h: Tensor, kind: type[GnnCommError], words: str) -> None:
    with pytest.raises(kind, match=words):
        layer(h, full())
    with pytest.raises(kind, match=words):
        CommStack([layer])(h, full())


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_graphs_that_do_not_fit_are_refused(layer: CommLayer) -> None:
    with pytest.raises(ShapeError, match=r"each of the 2 leading entries of h \(2, 3, 4\), or one for all; got 5"):
        layer(torch.ones(2, 3, F), full(num_envs=5))
    with pytest.raises(GraphError, match=r"edge_index .*\[2, E\], got \[3, 2\]"):
        layer(torch.ones(3, F), torch.zeros(3, 2, dtype=torch.int64))


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_an_empty_batch_and_one_agent_are_fine(layer: CommLayer) -> None:
    assert layer(torch.ones(0, 3, F), full()).shape == (0, 3, F)
    assert layer(torch.ones(0, F), torch.zeros(2, 0, dtype=torch.int64)).shape == (0, F)
    assert bool(layer(torch.ones(2, 1, F), full(1)).isfinite().all())


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_one_broken_row_reaches_its_hearers_only(layer: CommLayer) -> None:
    h = torch.randn(1, 5, F)
    h[0, 2] = torch.nan
    out = layer(h, Ring()(torch.ones(1, 5, dtype=torch.bool)))
    assert out.isfinite().all(-1).tolist() == [[True, False, False, False, True]]


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: MeanComm(0, 4), "in_channels >= 1, got 0"),
        (lambda: MeanComm(4, -1), "out_channels >= 1"),
        (lambda: MeanComm(4, 4, msg_channels=0), "msg_channels >= 1"),
        (lambda: AttentionComm(4, 4, heads=0), "heads >= 1"),
        (lambda: AttentionComm(4, 4, key_channels=0), "key_channels >= 1"),
        (lambda: AttentionComm(4, 6, heads=4), "does not divide it"),
        (lambda: CommStack([]), "at least one layer"),
        (lambda: CommStack([MeanComm(4, 3), MeanComm(4, 4)]), "the widths differ"),
    ],
)
def test_settings_out_of_range_are_refused(build: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "parameter", "value"), [(*one, value) for one in WHOLE for value in ("0", "9" * 400, "-1")]
)
def test_a_setting_of_a_named_layer_is_in_its_range(name: str, parameter: str, value: str) -> None:
    """``gat:heads=0`` divided by zero; 0 means something only where it is the default."""
    spec = f"{name}:{parameter}={value}"
    defaults = {item: default for item, _, default in parameters_of(names.listing()[name])}
    if value == "0" and defaults[parameter] == 0:
        names.make_layer(spec, 8)
        return
    with pytest.raises(ConfigError, match=f"{name}:{parameter} must be a whole number from [01] to 1,048,576, got"):
        names.make_layer(spec, 8)


@pytest.mark.parametrize("name", names.REGISTRY.names())
def test_all_weights_are_drawn_anew(name: str) -> None:
    layer = names.REGISTRY.resolve(name, **names.sizes_of(8))
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, 7.0)
    layer.reset_parameters()
    assert [key for key, parameter in layer.named_parameters() if bool((parameter == 7.0).any())] == []
