"""Consoles for tables whose texts come from others."""

import os
from typing import Any

from rich.console import Console
from rich.text import Text

from visionsweep.text.escaping import visible


class PlainConsole(Console):
    """A console that writes texts as they are: no markup, no emoji codes, nothing invisible."""

    def __init__(self, **options: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text visible before it is drawn."""
        return super().render_str(visible(text, lines=True), **options)


def wide_console() -> Console:
    """Return a console as wide as the terminal, or wide enough where there is none."""
    console = PlainConsole()
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return PlainConsole(width=200)
