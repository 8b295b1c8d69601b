"""The benchmark checks what it compares, counts right, and writes what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gnncomm.bench import (
    KINDS,
    SETTINGS,
    Setting,
    bench_layers,
    bench_scaling,
    compare,
    count_flops,
    interleaved,
    matmul_rate,
    peak_memory,
)
from gnncomm.cli import bench as command
from gnncomm.errors import ConfigError, GnnCommError
from gnncomm.graph import CommGraph
from gnncomm.layers import AttentionComm, MeanComm
from gnncomm.topology import ErdosRenyi, Full, KNearest, Ring

SMALL = (
    Setting("full", 3, 5, Full()),
    Setting("ring", 3, 9, Ring(1)),
    Setting("nearest", 3, 70, KNearest(3)),
    Setting("irregular", 3, 70, ErdosRenyi(0.1)),
)


def test_rows_of_every_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gnncomm.bench.layers.matmul_rate", lambda: matmul_rate(64, 1))  # a second for each row
    rows = list(bench_layers(SMALL, 1))
    assert [(row.setting, row.kind) for row in rows] == [(s.name, k) for s in SMALL for k in ("attention", "mean")]
    assert [row.layout for row in rows[::2]] == ["dense", "dense", "regular", "sparse"]
    for row in rows:
        assert 0 <= row.difference < 1e-12
        assert row.ratio == pytest.approx(min(row.stock_ms.values()) / row.ours_ms)
        assert row.share_of_bound > 0
        assert row.memory_ratio > 0


@pytest.mark.parametrize("kind", KINDS)
def test_less_memory_than_stock(kind: str) -> None:
    setting = Setting("full", 8, 20, Full())
    assert compare(setting.name, kind, setting.graph(), setting.num_envs, 1, 1e9).memory_ratio < 1


def test_a_wrong_form_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = CommGraph.shares
    monkeypatch.setattr(CommGraph, "shares", lambda self, dtype: 1.001 * shares(self, dtype))
    with pytest.raises(GnnCommError, match="our layer over a graph and its edge form to agree"):
        compare("full", "mean", SMALL[0].graph(), 3, 1, 1e9)


def test_flops_by_hand() -> None:
    a, b, c = torch.ones(3, 4), torch.ones(4, 5), torch.ones(3, 5)
    assert count_flops(lambda: a @ b) == 2 * 3 * 4 * 5
    assert count_flops(lambda: c.addmm_(a, b)) == 2 * 3 * 4 * 5
    assert count_flops(lambda: torch.mm(a, b, out=c)) == 2 * 3 * 4 * 5
    assert count_flops(lambda: a + 1) == 0


@pytest.mark.parametrize("layer", [MeanComm(8, 8), AttentionComm(8, 8, heads=2, key_channels=2)], ids=repr)
def test_flops_of_a_layer(layer: MeanComm | AttentionComm) -> None:
    """At least those of its linear maps, forward and twice backward."""
    h, graph = torch.randn(4, 9, 8, requires_grad=True), Ring(1)(torch.ones(4, 9, dtype=torch.bool))
    width = sum(p.numel() for p in layer.parameters() if p.dim() == 2)
    counted = count_flops(lambda: torch.autograd.grad(layer(h, graph).sum(), [h, *layer.parameters()]))
    assert counted >= 3 * 2 * 36 * width


def test_memory_by_hand() -> None:
    def two_then_one() -> None:
        a = torch.empty(250_000)
        b = torch.empty(250_000)
        del a, b
        torch.empty(250_000)

    assert peak_memory(two_then_one) == pytest.approx(2e6, rel=0.01)


def test_calls_take_turns() -> None:
    order: list[str] = []
    times = interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 4)
    assert order == ["a", "b"] * (len(order) // 2)
    assert len(order) == 2 * (4 + 3)
    assert set(times) == {"a", "b"}


def test_scaling_counts_messages() -> None:
    rows = list(bench_scaling(1, rows=200, teams=(100, 200)))
    assert {(row.topology, row.num_agents): row.messages_per_agent for row in rows if row.kind == "mean"} == {
        ("Exponential()", 100): 7,
        ("Exponential()", 200): 8,
        ("KNearest(8)", 100): 8,
        ("KNearest(8)", 200): 8,
    }


def test_the_command_writes_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for place in ("gnncomm.bench.SETTINGS", "gnncomm.cli.benching.SETTINGS"):
        monkeypatch.setattr(place, SMALL)
    file = tmp_path / "new" / "layers.json"
    assert command.run(["layers", "--settings", "full", "ring", "--repeats", "1", "--json", str(file)]) == 0
    written = json.loads(file.read_text())
    assert [row["setting"] for row in written["layers"]] == ["full", "full", "ring", "ring"]
    assert written["threads"] == torch.get_num_threads()
    text = capsys.readouterr().out
    assert "dense" in text
    assert "TransformerConv" in text


def test_an_unknown_graph_is_named() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'full-10'"):
        command.BenchArgs("layers", settings=("ful-10",))


def test_the_settings_of_the_table() -> None:
    sizes = {setting.name: (setting.num_envs, setting.num_agents) for setting in SETTINGS}
    assert len(sizes) == len(SETTINGS), "names are unique"
    assert sizes["full-10"] == (1024, 10)
    assert sizes["nearest-1000"] == (16, 1000)
