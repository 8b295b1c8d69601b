"""The benchmark of a GPU, as far as it goes without one: every row, and files written by the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gnncomm.bench import Setting, gpu
from gnncomm.cli import bench as command
from gnncomm.topology import Full


def test_the_command_writes_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        gpu,
        "EQUAL",
        (("relay", {"hidden": 8, "rollout": 2, "num_envs": 4, "learner": {"epochs": 1, "minibatches": 2}}),),
    )
    monkeypatch.setattr(gpu, "TRAININGS", ())
    monkeypatch.setattr(gpu, "ALONE", (("predator_prey/5x5-3-v0", 256, {}),))
    monkeypatch.setattr(gpu, "SETTINGS", (Setting("full", 3, 5, Full()),))
    monkeypatch.setattr(gpu, "CHUNK", 2)
    file = tmp_path / "gpu.json"
    assert command.run(["gpu", "--device", "cpu", "--small", "64", "--seconds", "0.01", "--json", str(file)]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    rows = found["rows"]
    assert [row["value"] for row in rows if row["what"] == "equal"] == [1.0]
    assert "'rollout': 'recorded', 'update': 'recorded'" in rows[0]["note"]
    assert [(row["form"], row["note"]) for row in rows if row["what"] == "environment"] == [
        ("without", ""),
        ("graphs", "recorded"),
    ]
    assert {row["form"] for row in rows if row["what"] == "layer"} >= {"ours", "GATv2Conv", "SAGEConv"}
    assert all(row["value"] > 0 for row in rows)
