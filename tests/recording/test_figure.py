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
from PIL import Image

from gnncomm.errors import ConfigError
from gnncomm.recording import Episode, MissingExtraError, trajectory_figure
from gnncomm.recording.drawing import style
from gnncomm.recording.drawing.frames import events_of, key_steps
from gnncomm.recording.drawing.timeline import heard


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
