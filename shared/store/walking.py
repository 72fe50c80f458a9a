"""All events of a store in order, page by page."""

from __future__ import annotations

from collections.abc import Iterator

from shared.store.port import EventStore, Only, Position, Recorded

PAGE = 1_000


def walk(
    store: EventStore,
    only: Only = Only(),  # noqa: B008 - immutable
    *,
    after: Position | None = None,
    until: Position | None = None,
) -> Iterator[Recorded]:
    """The events that pass the filter, behind ``after`` and up to ``until`` (None: from the first, to the last that
    there is when it comes there). Raises ``Unavailable``."""
    while until is None or after is None or after < until:
        page = store.read_all(after, PAGE, only)
        for event in page.events:
            if until is not None and event.position > until:
                return
            yield event
        if page.end:
            return
        after = page.looked
