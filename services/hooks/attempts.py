"""Where a webhook is in a gateway's log, how it fares, and one attempt to deliver. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from services.hooks.heard import Heard

MAX_SHOWN = 256
"""Bytes of an answer that are kept."""
Outcome = Literal["delivered", "failed", "refused", "given_up", "gone", "gap", "tested"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a webhook is in the log of one gateway."""

    position: int | None
    since: datetime
    rewinds: int


@dataclass(frozen=True, slots=True)
class State:
    """How a webhook fares, as it is since ``changed_at``: rounds without success in a row, since when, and when the
    next one is. Whoever changes or enables it has it begin anew."""

    changed_at: datetime
    failures: int = 0
    failing_since: datetime | None = None
    next_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt: ``delivered``; ``failed``, to be tried again; ``refused`` with a 3xx or 4xx, or not even possible;
    ``given_up`` after many attempts; ``gone`` (410); ``gap``: events were forgotten before they could be tried;
    ``tested``: sent because somebody asked for it."""

    hook_id: str
    gateway: str
    position: int | None
    event_id: str
    name: str
    coreid: str
    recorded_at: str
    at: datetime
    outcome: Outcome
    tries: int = 1
    status: int | None = None
    duration_ms: int = 0
    error: str = ""
    answer: str = ""
    id: int = 0


def of_event(hook_id: str, gateway: str, heard: Heard, at: datetime, outcome: Outcome) -> Delivery:
    """An attempt at this event."""
    what = (heard.position, heard.id, heard.name.replace("\0", "\ufffd"), heard.coreid, heard.recorded_at)
    return Delivery(hook_id, gateway, *what, at, outcome)


def shown_answer(body: bytes) -> str:
    """The beginning of an answer as it is kept."""
    return body[:MAX_SHOWN].decode(errors="replace").replace("\0", "\ufffd")


def rewound(places: dict[str, Place], gateways: Iterable[str], since: datetime, rewinds: int) -> dict[str, Place]:
    """The same for these gateways, begun anew where a rewinding has not been heard of."""
    first = Place(None, since, rewinds)
    known = {name: places.get(name, first) for name in gateways}
    return {name: place if place.rewinds == rewinds else first for name, place in known.items()}
