"""``probe_figure``: messages as points, what can be read out of them, and who listens to whom."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gnncomm.probe.report import ProbeReport
from gnncomm.recording.figure import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def probe_figure(report: ProbeReport, path: str | Path | None = None, dpi: int = 160) -> Figure:
    """Draw a probe.

    Above, for up to three targets the messages that tell most of each, on their two principal axes (where the points
    lie says nothing by itself), in the colours of what their sender saw or did. Below, how much can be read of each
    target, beside a guess, and whose decisions change when a message is exchanged.

    Args:
        path: where to save it, in the format of its suffix (png, pdf, svg, ...); None draws only.
        dpi: dots per inch of the saved file.

    Raises:
        MissingExtraError: matplotlib is not installed (``gnncomm[viz]``).
        ConfigError: matplotlib cannot write files of this suffix.
    """

    def draw() -> Figure:
        from gnncomm.probe.drawing import draw_probe

        return draw_probe(report)

    return drawn(draw, path, dpi)
