"""``trajectory_figure``: one page that shows what happened in an episode and what was said."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gnncomm.errors import ConfigError, require_extra
from gnncomm.recording.episode import Episode

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trajectory_figure(episode: Episode, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """Draw an episode: paths on the grid, messages at key moments, and who was listened to when.

    Left, the grid with the path of each agent from its start (hollow) to its end (filled), paler when earlier, with
    step numbers, over the field at step 0 where the environment has one. Right, up to six moments with the messages
    that flow then, in the colour of the sender and as wide as the receiver's attention to them. Below, for each agent
    and step the attention that its messages got, averaged over all receivers that could listen, and what happened.

    The figure is drawn off-screen; pyplot's state is not touched.

    Args:
        path: where to save it, in the format of its suffix (png, pdf, svg, ...).
        dpi: dots per inch of the saved file.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: matplotlib cannot write files of this suffix.
    """
    checked = figure_path(path)
    from gnncomm.recording.drawing.page import draw_page

    return draw_page(episode, checked, dpi)


def figure_suffixes() -> tuple[str, ...]:
    """The ends of names that figures can be written under: ``.png``, ``.pdf``, ``.svg``, ...

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
    """
    require_extra("matplotlib")
    from gnncomm.recording.drawing.surroundings import import_matplotlib

    import_matplotlib()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    return tuple(sorted(f".{suffix}" for suffix in FigureCanvasAgg.filetypes))


def figure_path(path: str | Path | None) -> Path | None:
    """``path``, checked: matplotlib would write ``DIR.png`` for ``DIR``, without a word.

    Raises:
        MissingExtraError: matplotlib is not installed. ConfigError: a directory, or a suffix of no known format.
    """
    known = figure_suffixes()
    if path is None:
        return None
    if Path(path).suffix.lower() not in known or Path(path).is_dir():
        what = "the directory " if Path(path).is_dir() else ""
        raise ConfigError(f"Expected a figure path that ends in one of {', '.join(known)}, got {what}{str(path)!r}.")
    return Path(path)
