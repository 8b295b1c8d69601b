"""An episode as one HTML file: Python packs the numbers, the browser draws them."""

from gnncomm.recording.page.sheet import compare_page, page_html, replay_page

__all__ = ["compare_page", "page_html", "replay_page"]
