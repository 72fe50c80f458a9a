"""Answers that come in pages, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any


def pages(ask: Callable[[str | None], dict[str, Any]], member: str) -> Iterator[Any]:
    """What is in this member of the first page, whose cursor is None, and of all behind it."""
    after: str | None = None
    while True:
        page = ask(after)
        yield from page[member]
        after = page["meta"]["next"]
        if after is None:
            return
