"""The trajectory figure: it is there, it shows this episode, and it leaves no trace."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch
from PIL import Image

from gnncomm.errors import ConfigError
from gnncomm.recording import VIEWS, Episode, MissingExtraError, attention_figure, trajectory_figure
from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.frames import events_of, key_steps
from gnncomm.recording.drawing.matrix import mean_weights, over_time
from gnncomm.recording.drawing.network import graph_of
from gnncomm.recording.drawing.timeline import heard
from gnncomm.recording.episode import EpisodeError


def made(agents: int = 3, dim: int = 5, steps: int = 8, field: bool = False, attention: bool = True) -> Episode:
    """Agent n walks along row n and arrives at step n + 1, where it does; everybody tells everybody everything."""
    pairs = [(j, i) for j in range(agents) for i in range(agents) if i != j]
    column = np.minimum(np.arange(steps + 1)[:, None], np.arange(agents) + 1)
    row = np.broadcast_to(np.arange(agents) % dim, column.shape)
    places = np.stack([row, np.minimum(column, dim - 1)], -1).astype(np.float32)
    finished = np.arange(steps + 1)[:, None] > np.arange(agents)
    entity = np.full((steps + 1, 1, 2), dim - 1, np.float32)
    return Episode(
        env="made",
        config="{}",
        seed=0,
        size=(dim, dim),
        success=bool(finished[-1].all()),
        attention=attention,
        agents=places,
        finished=finished,
        alive=np.ones_like(finished),
        actions=np.zeros((steps, agents), np.int64),
        rewards=np.full((steps, agents), -0.05, np.float32),
        messages=np.array([(t, 0, j, i) for t in range(steps) for j, i in pairs], np.int64).reshape(-1, 4),
        weight=np.full(steps * len(pairs), 1 / (agents - 1) if attention and agents > 1 else 1, np.float32),
        entities={"prey": entity},
        active={"prey": np.arange(steps + 1)[:, None] < 2},
        field=np.random.default_rng(0).random((steps + 1, dim, dim)).astype(np.float32) if field else None,
    )


def artists(figure: Figure, prefix: str) -> list[str]:
    return [gid for found in figure.findobj() if (gid := found.get_gid()) is not None and gid.startswith(prefix)]


def pixels(figure: Figure) -> np.ndarray[Any, Any]:
    figure.canvas.draw()
    return np.asarray(figure.canvas.buffer_rgba()).copy()  # type: ignore[attr-defined]  # the canvas is Agg's


@pytest.mark.parametrize(
    ("agents", "dim", "steps", "field"),
    [(1, 5, 1, False), (2, 5, 1, False), (2, 5, 2, True), (3, 5, 8, False), (10, 20, 80, True), (12, 12, 30, False)],
)
def test_a_page_for_every_size(agents: int, dim: int, steps: int, field: bool, tmp_path: Path) -> None:
    path = tmp_path / "figure.png"
    figure = trajectory_figure(made(agents, dim, steps, field), path, dpi=50)
    assert artists(figure, "path-") == [f"path-{n}" for n in range(agents)]
    with Image.open(path) as image:
        image.verify()
        assert image.format == "PNG"
        width, height = figure.get_size_inches()
        assert image.size == pytest.approx((50 * width, 50 * height), abs=1)
        assert 8 < width < 15


def test_pixels_follow_the_path() -> None:
    episode = made()
    bent = episode.agents.copy()
    bent[3:6, 2, 0] = 4
    straight, again, other = (
        pixels(trajectory_figure(item)) for item in (episode, made(), replace(episode, agents=bent))
    )
    assert (straight == again).all()
    assert (straight != other).any()


def test_pixels_follow_the_messages() -> None:
    episode = made()
    listened = np.where(episode.messages[:, 2] == 0, 0.9, 0.1).astype(np.float32)
    assert (pixels(trajectory_figure(episode)) != pixels(trajectory_figure(replace(episode, weight=listened)))).any()


def test_every_message_between_cells_is_an_arrow() -> None:
    figure = trajectory_figure(made(steps=4))
    assert len(artists(figure, "message-")) == 4 * 6  # four frames, every ordered pair of three agents
    silent = replace(made(steps=4), messages=np.zeros((0, 4), np.int64), weight=np.zeros(0, np.float32))
    assert not artists(trajectory_figure(silent), "message-")


def in_rounds(steps: int) -> Episode:
    """``made`` with a second round in which only agent 0 speaks, and agent 1 loses what 2 said in the first."""
    once = made(steps=steps)
    second = np.array([(t, 1, 0, i) for t in range(steps) for i in (1, 2)], np.int64)
    first = ~((once.messages[:, 2] == 2) & (once.messages[:, 3] == 1))
    return replace(
        once,
        messages=np.concatenate([once.messages[first], second]),
        weight=np.concatenate([once.weight[first], np.ones(len(second), np.float32)]),
        lost=once.messages[~first],
    )


def said_by(figure: Figure) -> str:
    return "\n".join(found.get_text() for found in figure.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]


def test_rounds_are_told_apart() -> None:
    """By panels where there is room, else by lines."""
    few, many = trajectory_figure(in_rounds(3)), trajectory_figure(in_rounds(8))
    assert "step 2, round 2" in said_by(few)
    assert "round 2" in said_by(many)
    assert "step 0, round 1" not in said_by(many)
    for figure, of_first in ((few, {"-"}), (many, {"-", "--"})):
        arrows = [found for found in figure.findobj(FancyArrowPatch) if found.get_gid() == "message-0-1"]  # type: ignore[arg-type]
        assert {"-" if arrow.get_linestyle() in ("-", "solid") else "--" for arrow in arrows} == of_first  # type: ignore[attr-defined]
    assert len(artists(few, "message-2-1")) == 0
    assert len(artists(few, "lost-2-1")) == 3


def test_equal_messages_do_not_look_like_attention() -> None:
    plain = trajectory_figure(made(attention=False))
    assert "all equal: this layer has no attention" in said_by(plain)
    arrows = [found for found in plain.findobj(FancyArrowPatch) if str(found.get_gid()).startswith("message-")]  # type: ignore[arg-type]
    assert {arrow.get_linewidth() for arrow in arrows} == {0.9}  # type: ignore[attr-defined]
    weights = replace(made(attention=False), weight=made().messages[:, 2].astype(np.float32))
    assert "width: weight of the edge: this layer has no attention" in said_by(trajectory_figure(weights))


def test_attention_is_averaged_over_the_steps_that_a_receiver_lives() -> None:
    """Agent 2 is gone after half of the steps, in which 0 and 1 share its attention as before."""
    episode = in_rounds(4)
    alive = episode.alive.copy()
    alive[2:, 2] = False
    gone = (episode.messages[:, 3] == 2) & (episode.messages[:, 0] >= 2)
    half = replace(episode, alive=alive, messages=episode.messages[~gone], weight=episode.weight[~gone])
    first, second = mean_weights(half)
    np.testing.assert_allclose(first, [[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0, 0]])
    np.testing.assert_allclose(second, [[0, 1, 1], [0, 0, 0], [0, 0, 0]])
    lines, pairs = over_time(half)
    assert pairs == [(1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2)]
    np.testing.assert_allclose(lines[4], [0.75, 0.75, 0, 0])  # the mean over rounds
    texts = said_by(attention_figure(half)).split("\n")
    assert texts.count(".50") == 5
    assert "0 → 2" in texts
    assert "share of the receiver's steps" in said_by(attention_figure(made(attention=False)))


def test_the_graph_has_an_edge_for_each_pair_that_talks() -> None:
    episode = in_rounds(4)
    kept = (episode.messages[:, 0] > 0) | (episode.messages[:, 2] != 1)  # agent 1 is silent at step 0
    graph = graph_of(replace(episode, messages=episode.messages[kept], weight=episode.weight[kept]), 0)
    assert set(graph.edges) == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0)}
    assert graph.edges[1, 0] == {"weight": pytest.approx(0.375), "share": 0.75}
    assert graph.edges[0, 1] == {"weight": pytest.approx(0.5), "share": 1.0}


@pytest.mark.parametrize("view", ["attention", "graph"])
@pytest.mark.parametrize("agents", [1, 12])
def test_views_of_every_size(view: str, agents: int, tmp_path: Path) -> None:
    VIEWS[view](made(agents, dim=12, steps=2), tmp_path / "view.svg", 40)
    assert (tmp_path / "view.svg").read_text().startswith("<?xml")


def test_marks_stand_at_their_agents() -> None:
    marks = np.full((9, 3), -1)
    marks[:, 0], marks[8, 2] = 5, 6
    figure = trajectory_figure(replace(made(), marks={"symbol": marks}))
    assert artists(figure, "mark-").count("mark-0") == 7  # six moments, and the end
    assert artists(figure, "mark-").count("mark-2") == 1
    assert "symbol" in said_by(figure)


def test_an_environment_that_drew_itself_is_shown_so() -> None:
    picture = np.zeros((9, 30, 40, 3), np.uint8)
    figure = trajectory_figure(replace(made(), pictures=picture))
    assert "as the environment draws itself" in said_by(figure)
    shown = [ax.images[0].get_array() for ax in figure.axes if ax.images]
    assert len(shown) == 7
    assert {np.shape(each) for each in shown} == {(30, 40, 3)}
    assert not artists(figure, "path-")


def test_the_page_says_what_happened() -> None:
    texts = [found.get_text() for found in trajectory_figure(made()).findobj(matplotlib.text.Text)]  # type: ignore[attr-defined]
    joined = "\n".join(texts)
    for words in ("made", "solved in 8 steps", "return −0.40", "3 agents", "prey ✓", "Attention received"):
        assert words in joined
    lost = trajectory_figure(replace(made(agents=5, steps=3), attention=False))
    joined = "\n".join(found.get_text() for found in lost.findobj(matplotlib.text.Text))  # type: ignore[attr-defined]
    assert "not solved within 3 steps" in joined
    assert "Messages received" in joined


def test_events_in_order() -> None:
    assert events_of(made()) == [
        (1, "agent 0 arrives"),
        (2, "agent 1 arrives"),
        (2, "prey ✓"),
        (3, "agent 2 arrives"),
    ]


@pytest.mark.parametrize("count", [4, 6])
@pytest.mark.parametrize("steps", [1, 2, 3, 5, 8, 80])
def test_key_steps(steps: int, count: int) -> None:
    chosen = key_steps(made(steps=steps), count)
    assert len(chosen) == min(steps, count)
    assert chosen == sorted(set(chosen))
    assert chosen[0] == 0
    assert chosen[-1] == steps - 1


def test_equal_shares_are_heard_equally() -> None:
    """N agents that divide their attention evenly give each sender 1 / (N - 1) on average."""
    np.testing.assert_allclose(heard(made(agents=5, steps=6)), 1 / 4, atol=1e-6)


@pytest.mark.parametrize("count", range(1, 13))
def test_lanes_are_apart(count: int) -> None:
    lanes = style.lanes(count)
    for axis in (0, 1):
        assert len(np.unique(lanes[:, axis].round(9))) == count
    assert np.abs(lanes).max(initial=0) <= 0.22 + 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 10])
@pytest.mark.parametrize("busy", [False, True])
def test_agents_in_one_cell_do_not_hide_each_other(count: int, busy: bool) -> None:
    cells, diameter = np.zeros((count, 2)), 0.4
    taken = np.zeros((1, 2)) if busy else np.zeros((0, 2))
    approach = np.tile([1.0, 0.0], (count, 1))
    place = style.seats(cells, approach, taken, np.zeros_like(cells), diameter, 0.35)
    gaps = np.linalg.norm(place[:, None] - place[None], axis=-1) + 9 * np.eye(count)
    assert gaps.min() > diameter
    assert not busy or np.linalg.norm(place, axis=1).min() > 0.349


def test_nothing_of_pyplot_is_touched(tmp_path: Path, python: Any) -> None:
    """A fresh process: matplotlib comes with the first figure, without pyplot, and the user's settings stay."""
    code = (
        "import sys, gnncomm.recording as r; assert 'matplotlib' not in sys.modules, 1;"
        "from matplotlib import rcParams as rc; settings = lambda: {k: rc[k] for k in rc if k != 'backend'};"
        "before = settings(); r.trajectory_figure(r.Episode.load(sys.argv[1]));"
        "assert 'matplotlib.pyplot' not in sys.modules, 2; assert settings() == before, 3"
    )
    path = made().save(tmp_path / "episode.npz")
    done = python.run("-c", code, path, folder=tmp_path, warn=None)
    assert done.returncode == 0, done.stderr


def test_unknown_kinds_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="png"):
        trajectory_figure(made(), tmp_path / "figure.docx")
    assert not list(tmp_path.iterdir())
    trajectory_figure(made(steps=2), tmp_path / "figure.svg")
    assert (tmp_path / "figure.svg").read_text().startswith("<?xml")


def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "matplotlib" else real(name))
    with pytest.raises(MissingExtraError, match=r"gnncomm\[viz\]"):
        trajectory_figure(made())


@pytest.mark.parametrize("text", ["\ud800\x00\n\x1b[31m", "$\\x$", "A" * 1_000_000], ids=["letters", "maths", "long"])
def test_any_text_of_a_file_is_drawn_in_a_moment(text: str, recwarn: pytest.WarningsRecorder) -> None:
    for draw in VIEWS.values():
        draw(replace(made(steps=2), env=text, title=text)).canvas.draw()
    assert not recwarn.list


def test_what_cannot_be_drawn_is_refused() -> None:
    """matplotlib overflows far outside of the grid, and takes minutes for arrows of such a width."""
    episode = made(steps=2)
    for hostile in ({"agents": episode.agents + np.float32(1e9)}, {"weight": episode.weight + np.float32(1e38)}):
        with pytest.raises(EpisodeError, match="to draw, got 1e"):
            trajectory_figure(replace(episode, **hostile))
    with pytest.raises(EpisodeError, match="at least one point"):
        replace(episode, pictures=np.zeros((len(episode.agents), 0, 5, 3), np.uint8))
