"""How wide what people read is printed: as their terminal, and for pipes and files as wide as it is, so that no text is
cut and no ID broken."""

from __future__ import annotations

from rich.console import Console

UNBOUNDED = 100_000
"""Characters in a line that nobody sees the end of."""


def people_console(*, markup: bool = True) -> Console:
    """On stdout."""
    console = Console(markup=markup)
    if not console.is_terminal:
        console.width = UNBOUNDED
    return console
