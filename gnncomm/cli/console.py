"""The one place where a console is made: the text of users is text, never markup, in letters that the stream has."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from gnncomm.cli.output import spelled

FILE_WIDTH = 100
"""Columns of a table where nobody's window limits it."""


class Screen(Console):
    """A console that lays tables out with the letters that will be written."""

    def render_str(self, text: str, **kwargs: Any) -> Text:
        return super().render_str(spelled(text, self.encoding), **kwargs)


def make_console(file_width: int = FILE_WIDTH) -> Screen:
    """On standard output; a terminal's own width there, elsewhere at least ``file_width``."""
    console = Screen(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, file_width)
    return console
