"""Learning curves are drawn as they are, and refused where there is nothing to draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gnncomm.errors import ConfigError, ShapeError
from gnncomm.recording import learning_curves


def test_a_short_curve_is_drawn_point_by_point_in_percent(tmp_path: Path) -> None:
    figure = learning_curves({"team": ([0, 10, 20], [0.0, 0.5, 1.0])}, tmp_path / "curve.png")
    (line,) = figure.axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [0, 10, 20])
    np.testing.assert_allclose(line.get_ydata(), [0, 50, 100])
    assert (tmp_path / "curve.png").read_bytes()[:4] == b"\x89PNG"


def test_a_long_curve_is_a_line_of_means_before_its_values() -> None:
    x = np.arange(600.0)
    figure = learning_curves({"a": (x, x)}, percent=False)
    values, means = figure.axes[0].lines
    assert len(values.get_xdata()) == 600
    np.testing.assert_allclose(means.get_ydata(), x.reshape(60, 10).mean(1))


def test_names_at_the_ends_do_not_hide_each_other() -> None:
    figure = learning_curves({name: ([0, 1], [0.0, 0.9]) for name in "abc"})
    heights = sorted(note.xy[1] for note in figure.axes[0].texts)
    assert np.diff(heights).min() > 3


def test_a_band_and_single_seeds_are_drawn_behind_a_curve() -> None:
    how = {"bands": {"a": ([0.1, 0.2], [0.3, 0.6])}, "behind": {"a": [([0, 1], [0.0, 0.7])]}}
    (ax,) = learning_curves({"a": ([0, 1], [0.2, 0.4])}, **how).axes
    (area,) = ax.collections
    assert area.get_paths()[0].get_extents().ymax == pytest.approx(60)
    seed, curve = ax.lines
    np.testing.assert_allclose(seed.get_ydata(), [0, 70])
    assert seed.get_linewidth() < curve.get_linewidth()


def test_names_of_curves_close_to_each_other_stay_at_their_ends() -> None:
    """Of returns around 0.1, too: the room between two names is one of the axis, not of the numbers."""
    figure = learning_curves({name: ([0, 1], [0.1, end]) for name, end in (("a", 0.11), ("b", 0.15))}, percent=False)
    assert sorted(note.xy[1] for note in figure.axes[0].texts) == pytest.approx([0.11, 0.15])


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one curve"):
        learning_curves({})
    with pytest.raises(ShapeError, match=r"'a'.* got 2 and 1"):
        learning_curves({"a": ([0, 1], [0.0])})
    with pytest.raises(ShapeError, match="got 0 and 0"):
        learning_curves({"a": ([], [])})
