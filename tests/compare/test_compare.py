"""``gnncomm compare``: what is grouped, what is refused, and numbers that can be worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gnncomm import default_config
from gnncomm.cli import main
from gnncomm.compare import compare, find, grouped, read
from gnncomm.compare.marl_eval import diagnose, export
from gnncomm.compare.outcomes import FILE
from gnncomm.errors import CheckpointCorruptError, ConfigError
from tests.compare.measured import STEPS, a_run, evaluate

MEAN, ATTENTION = (0.1, 0.3, 0.2, 0.5, 0.4), (0.2, 0.6, 0.5, 0.7, 0.6)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Five seeds of two methods; three seeds of the second use their channel."""
    place = tmp_path_factory.mktemp("runs")
    made = [a_run(place / f"mean-{seed}", seed, share, comm="mean") for seed, share in enumerate(MEAN)]
    made += [
        a_run(place / f"attention-{seed}", seed, share, gain=0.1 * (seed > 1), comm="attention")
        for seed, share in enumerate(ATTENTION)
    ]
    return [str(path) for path in made]


def test_methods_over_seeds_by_hand(runs: list[str]) -> None:
    found = compare(runs, threshold=0.55)
    mean, attention = found.methods
    assert [method.group.label for method in found.methods] == ["comm=mean", "comm=attention"]
    assert (mean.mean, mean.iqm.mean, mean.worst) == pytest.approx((0.3, 0.3, 0.1))
    assert (attention.mean, attention.iqm.mean, attention.worst) == pytest.approx((0.52, 1.7 / 3, 0.2))
    assert (attention.channel.mean, attention.gain) == pytest.approx((0.6, 0.06))
    assert mean.channel.mean == 0.0
    (beside,) = found.against
    assert beside.test is not None
    # each seed of attention is better than the same seed of mean: 2 of 32 ways
    assert (beside.test.of, beside.test.count, beside.test.p, beside.adjusted) == ("seeds", 5, 1 / 16, 1 / 16)
    assert beside.test.interval.mean == pytest.approx(0.22)
    assert beside.improves.mean == pytest.approx((1.5 + 5 + 4.5 + 5 + 5) / 25)
    # running success of seed 3 of mean rises to 1.0: a mean of five of at least 0.55 ends at the 13th of 20 points
    assert mean.teams[3].reached == 13 * STEPS / 20
    assert len(mean.steps_to_threshold) == 2, "0.3 rises to 0.6, of which a mean of five is 0.54 at last"
    pooled = np.sqrt((np.var(MEAN, ddof=1) + np.var(ATTENTION, ddof=1)) / 2)
    assert f"2.0 standard deviations between seeds, here {2.0206 * pooled:.3g} in success" in found.power()
    assert "screening" in found.power()


def test_of_steps_fewer_are_better(runs: list[str]) -> None:
    """An episode takes 3 steps if it is won, else 4."""
    found = compare(runs, "steps")
    assert found.methods[0].mean == pytest.approx(3.7)
    assert found.methods[0].worst == pytest.approx(3.9)
    assert found.against[0].improves.mean > 0.5
    assert found.against[0].test is not None
    assert found.against[0].test.interval.mean == pytest.approx(-0.22)


def test_seeds_that_are_not_the_same_are_not_paired(runs: list[str]) -> None:
    found = compare([*runs[:3], *runs[7:]])
    assert found.against[0].test is not None
    assert found.against[0].test.of == "unpaired seeds"
    teams = compare([runs[0], runs[5]])
    assert teams.against[0].test is not None
    assert (teams.against[0].test.of, teams.against[0].test.count) == ("episodes", 100)
    assert [method.group.label for method in teams.methods] == ["mean-0", "attention-0"]
    assert compare([*runs[:3], runs[8]]).against[0].test is None, "one seed against others"


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (
            {"env_settings": {"num_agents": 3}},
            r"env.settings.num_agents: as by default \(.*/mean-0\) and 3 \(.*/other\)",
        ),
        ({"steps": 900}, r"run.steps: 1000 \(.*/mean-0\) and 900 \(.*/other\)"),
        ({"episodes": 50}, r"episodes: 100 \(.*/mean-0\) and 50 \(.*/other\)"),
        ({"comm": "mean"}, r"got the same one in .*/mean-0, .*/other: it would count twice"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_does_not_belong_together_is_refused_by_name(
    other: dict[str, Any], said: str, runs: list[str], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=said):
        compare([runs[0], str(a_run(tmp_path / "other", 0, 0.5, **other))])


def test_what_is_not_finished_or_not_evaluated_is_left_out_and_said(runs: list[str], tmp_path: Path) -> None:
    half = a_run(tmp_path / "half", 7, 0.5, done=500, comm="mean")
    bare = a_run(tmp_path / "bare", 8, 0.5, comm="mean")
    (bare / FILE).unlink()
    found = compare([*runs, str(half), str(bare)])
    assert len(found.methods[0].teams) == 5
    assert found.left_out == (
        f"half is unfinished, 500 of 1,000 steps: gnncomm resume {half}",
        f"bare was not evaluated: gnncomm eval {bare}",
    )
    evaluate(bare, default_config("relay", steps=STEPS), 0.5, gain=0.0, episodes=100, done=500)
    assert compare([runs[0], str(bare)]).left_out == (f"bare was evaluated at 500 of 1,000 steps: gnncomm eval {bare}",)
    with pytest.raises(ConfigError, match=r"got none: half is unfinished, 500 of 1,000 steps: gnncomm resume"):
        compare([str(half)])
    evaluate(bare, default_config("relay", steps=STEPS), 0.5, gain=0.0, episodes=100, done=STEPS)
    (bare / FILE).write_bytes((bare / FILE).read_bytes()[:-40])
    with pytest.raises(CheckpointCorruptError, match="Make them again with gnncomm eval"):
        compare([str(bare)])


def test_settings_that_are_no_method_do_not_part_a_group(tmp_path: Path) -> None:
    names = [str(a_run(tmp_path / f"x_{seed}", seed, 0.5, save_every=seed + 1, rollout=4)) for seed in range(2)]
    names.append(str(a_run(tmp_path / "y_2", 2, 0.5, rollout=8, hidden=8, rounds=2)))
    groups = grouped(find(names))
    assert [(group.label, len(group.runs)) for group in groups] == [("x", 2), ("y", 1)]
    assert groups[1].settings == {"policy.rounds": 2, "policy.hidden": 8, "run.rollout": 8}


def test_episodes_are_kept_as_they_were(runs: list[str]) -> None:
    kept = read(Path(runs[5]) / FILE)
    np.testing.assert_array_equal(kept.of("success"), np.arange(100) < 20)
    np.testing.assert_array_equal(kept.of("steps"), np.where(np.arange(100) < 20, 3, 4))
    assert kept.env_steps == STEPS


def test_marl_eval_data_is_as_its_package_wants_it(runs: list[str]) -> None:
    data = export(compare([*runs[2:4], *runs[7:9]]))
    assert diagnose(data) == []
    algorithms = data["relay"]["relay"]
    assert sorted(algorithms) == ["COMM=ATTENTION", "COMM=MEAN"]
    run = algorithms["COMM=MEAN"]["seed_3"]
    assert run["step_2"]["step_count"] == 2 * STEPS / 20
    assert run["step_2"]["success"] == pytest.approx([0.1])
    assert np.mean(run["absolute_metrics"]["success"]) == 0.5
    assert len(run["absolute_metrics"]["episode_length"]) == 100
    with pytest.raises(ConfigError, match="same numbers of runs"):
        export(compare([*runs[2:4], runs[7]]))


def test_the_checker_of_marl_eval_data_finds_what_its_package_would() -> None:
    last = {"absolute_metrics": {"success": [0.5]}}
    run = {"step_1": {"step_count": 10, "success": [0.5]}, **last}
    assert diagnose({"env": {"task": {"A": {"seed_0": run}}}}) == []
    faults = {
        "the same algorithms": {"one": {"A": {"s": run}}, "two": {"B": {"s": run}}},
        "numbers of runs": {"one": {"A": {"s": run}, "B": {"s": run, "t": run}}},
        "numbers of steps": {"one": {"A": {"s": run, "t": last}}},
        "same metrics": {"one": {"A": {"s": {**run, "absolute_metrics": {"return": [1.0]}}}}},
        "not in lower case": {"One": {"A": {"s": run}}},
        "not in upper case": {"one": {"a": {"s": run}}},
        "has a comma": {"one": {"A,B": {"s": run}}},
        "absolute_metrics in every run": {"one": {"A": {"s": {"step_1": run["step_1"]}}}},
        "finite numbers": {"one": {"A": {"s": {**run, "absolute_metrics": {"success": [float("nan")]}}}}},
    }
    for said, tasks in faults.items():
        assert any(said in line for line in diagnose({"env": tasks})), said


def test_the_command_shows_and_writes_it(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = {name: str(tmp_path / name) for name in ("c.json", "m.json", "c.svg")}
    words = [
        "--threshold",
        "0.55",
        "--json",
        files["c.json"],
        "--marl-eval",
        files["m.json"],
        "--figure",
        files["c.svg"],
    ]
    assert main(["compare", *runs, *words]) == 0
    said = capsys.readouterr().out
    assert "comm=attention" in said
    assert "3 of 5" in said
    assert "5 seed pairs cannot give a p below 0.0625" in said
    assert "5 and 5 seeds find a difference of 2.0 standard deviations" in said
    told = json.loads((tmp_path / "c.json").read_text())
    assert told["methods"][1]["iqm"]["mean"] == pytest.approx(1.7 / 3)
    assert told["methods"][1]["settings"] == {"policy.comm": "attention"}
    assert told["against_first"][0]["test"]["p_holm"] == 1 / 16
    assert told["methods"][0]["seeds"][3]["steps_to_threshold"] == 13 * STEPS / 20
    assert "<svg" in (tmp_path / "c.svg").read_text()
    assert main(["compare", *runs, "--latex"]) == 0
    assert r"comm=mean & 5 & 30.0\% & 30.0\%" in capsys.readouterr().out


def test_what_a_file_says_reaches_no_terminal_and_no_latex_as_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "\x1b[31m\\input{x}"
    names = [str(a_run(tmp_path / f"a{seed}", seed, 0.5, losses=evil if seed == 2 else "")) for seed in range(3)]
    assert main(["compare", *names, "--latex"]) == 0
    assert r"losses=?[31m\textbackslash{}input\{x\}" in capsys.readouterr().out
    assert main(["compare", *names]) == 0
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["nowhere"], 66, "There is no run"),
        ([], 78, "Expected runs to compare"),
        (["RUN", "--metric", "succes"], 2, "--metric"),
        (["RUN", "--figure", "x.exe"], 78, "ends in"),
    ],
)
def test_what_cannot_be_compared_is_told_in_a_line(
    words: list[str], code: int, said: str, runs: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["compare", *(runs[0] if word == "RUN" else word for word in words)]) == code
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1


def test_success_that_nobody_judged_is_not_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.compare.measured.JUDGED", False)
    name = str(a_run(tmp_path / "x", 0, 0.5))
    with pytest.raises(ConfigError, match=r"relay knows no success\. Compare --metric return"):
        compare([name])
    assert compare([name], "return").methods[0].mean == 0.5
