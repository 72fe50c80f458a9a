"""One page of a product's log from the logs of all gateways, the newest first (contract 12.4). Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.store.port import Recorded

DONE = 0
"""The version before which there is nothing."""


@dataclass(frozen=True, slots=True)
class Newest:
    """What one gateway's log has, newest first. ``top``: the version that the looking began before; ``looked``: down to
    this one everything was looked at, which was recorded at ``looked_at``; ``end``: nothing is left before it."""

    events: Sequence[Recorded]
    top: int
    looked: int
    looked_at: datetime | None
    end: bool


def merged(pages: Mapping[str, Newest], limit: int) -> tuple[list[Recorded], dict[str, int]]:
    """The newest ``limit`` events, and the version of each gateway's log before which to go on, ``DONE`` for those that
    are at their end. Nothing is in it that is older than what some gateway has still to look at."""
    reached = [page.looked_at for page in pages.values() if not page.end and page.looked_at is not None]
    until = max(reached, default=None)
    each = [[(event.at, lane, event) for event in page.events] for lane, page in pages.items()]
    newest_first = heapq.merge(*each, key=lambda one: one[0], reverse=True)
    taken: dict[str, int] = dict.fromkeys(pages, 0)
    events: list[Recorded] = []
    for at, lane, event in newest_first:
        if len(events) == limit or (until is not None and at < until):
            break
        events.append(event)
        taken[lane] += 1
    return events, {lane: _before(page, taken[lane]) for lane, page in pages.items()}


def _before(page: Newest, taken: int) -> int:
    if taken == len(page.events):
        return DONE if page.end else page.looked
    return page.events[taken - 1].version if taken else page.top
