"""``gnncomm eval`` of many seeds: the same episodes for each, kept, and ready to be compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from gnncomm import default_config, train
from gnncomm.cli import main
from gnncomm.compare import read
from gnncomm.compare.outcomes import FILE
from gnncomm.config import to_json
from gnncomm.learn import PPOConfig
from gnncomm.seeds import CONFIG, KIND, PLAN


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As ``gnncomm train relay --seeds 2 --episodes 0`` leaves them."""
    out = tmp_path_factory.mktemp("many")
    config = default_config("relay", num_envs=4, rollout=4, steps=16, hidden=8, learner=PPOConfig(minibatches=2))
    (out / CONFIG).write_text(json.dumps(to_json(config)))
    (out / PLAN).write_text(json.dumps({"kind": KIND, "seeds": [3, 4], "episodes": 0}))
    for seed in (3, 4):
        train(config.replace(seed=seed), out / f"seed_{seed}")
    return out


def test_every_seed_plays_the_same_episodes_and_keeps_them(
    seeds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", str(seeds)]) == 78
    assert f"gnncomm eval {seeds / 'seed_3'}" in capsys.readouterr().err
    assert main(["eval", str(seeds), "--episodes", "40", "--json", str(tmp_path / "all.json")]) == 0
    said = capsys.readouterr().out
    assert "seed 3: success" in said
    assert "communication_gain:" in said
    told = json.loads((tmp_path / "all.json").read_text())
    kept = {seed: read(seeds / f"seed_{seed}" / FILE) for seed in (3, 4)}
    np.testing.assert_array_equal(kept[3].of("return", "floor"), kept[4].of("return", "floor"))
    for seed, found in kept.items():
        assert found.of("success").mean() == pytest.approx(told["seeds"][str(seed)]["success"])
        gain = (found.of("return") - found.of("return", "shuffled")).mean()
        assert gain == pytest.approx(told["reports"][str(seed)]["communication_gain"])
        assert json.loads((seeds / f"seed_{seed}" / "eval.json").read_text()) == told["reports"][str(seed)]
    assert json.loads((seeds / "summary.json").read_text()) == {name: told[name] for name in ("seeds", "over_seeds")}
    assert main(["compare", str(seeds), "--html", str(tmp_path / "page.html")]) == 0
    assert " 2 " in capsys.readouterr().out
    assert "messages muted" in (tmp_path / "page.html").read_text()


def test_an_evaluation_elsewhere_leaves_what_the_run_keeps(seeds: Path, tmp_path: Path) -> None:
    run, file = seeds / "seed_3", tmp_path / "elsewhere.npz"
    assert main(["eval", str(run), "--episodes", "10"]) == 0
    before = {name: (run / name).read_bytes() for name in ("eval.json", FILE)}
    assert main(["eval", str(run), "--episodes", "20", "--topology", "empty"]) == 0
    assert main(["eval", str(run), "--episodes", "20", "--seed", "5", "--outcomes", str(file)]) == 0
    assert {name: (run / name).read_bytes() for name in ("eval.json", FILE)} == before
    assert read(file).report["seed"] == 5
    assert main(["eval", str(seeds), "--outcomes", str(file)]) == 78
