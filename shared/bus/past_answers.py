"""Answers from the views as they were at a past moment: ready with the moment that they are of, or how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from shared.bus.providers import WorkerViews
from shared.projections.past import Building, Past
from shared.projections.past_moments import Copy, parse
from shared.times import iso

Ask = Callable[[WorkerViews], dict[str, Any]]


def answer(past: Past, views: WorkerViews, as_of: str | None, ask: Ask) -> dict[str, Any]:
    """What ``ask`` finds in the views, of the present when ``as_of`` is None; otherwise with a member ``as_of``, or
    ``{"building": …}`` while the copy is not ready. Raises ``Refused`` and ``Unavailable``."""
    if as_of is None:
        return ask(views)
    found = past.find(parse(as_of))
    if isinstance(found, Building):
        return building(found)
    return {**ask(views.at(past.open(found))), "as_of": stamp(found)}


def building(*parts: Building) -> dict[str, Any]:
    """The answer while copies are built."""
    done, total = sum(part.events_done for part in parts), sum(part.events_total for part in parts)
    return {"building": {"events_done": done, "events_total": total}}


def stamp(copy: Copy) -> dict[str, Any]:
    """The last event in a copy; null before the first one."""
    last = copy.last
    return {"position": last.position if last else None, "at": iso(last.at) if last else None}
