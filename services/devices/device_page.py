"""The page of one device: what happened to it, its updates and their fates, its sessions. Bounded reads by key: of
views, and of the newest events of the device's own stream, which has what the team decided.

A team sees what happened while the device was in its product, also after it left (DEV-8), and nothing of another's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import sqlalchemy as sa

from services.devices.device import NOT_A_MEMBER, stream_of
from services.devices.fates import FATES, Attempt
from services.devices.fleet import FLEET
from services.devices.happened import HAPPENED, Entry
from services.devices.happened_words import Shown, attempt_entries, attempt_object, entry_object, sessions
from services.devices.members import known_id
from services.devices.why import MAX_ACCOUNTS, PEOPLE, Emails
from services.devices.why_links import text
from shared.bus.providers import WorkerViews
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS, UnknownEvent
from shared.events.metadata import metadata
from shared.store.port import EventStore, Recorded, StreamNotFound, StreamTombstoned
from shared.times import iso

MAX_PER_PAGE = 100
MAX_CURSOR = 64
MAX_EVENTS = 1_000
"""Newest events of a device's stream that are looked through for those of a product that it has left."""
NOT_SHOWN = frozenset({"device_id", "product_id", "token_digest", "public_key", "values"})
"""Fields of decisions that the timeline leaves out."""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What views keep of a device in the product; ``is_member``: now."""

    is_member: bool
    entries: list[Entry]
    attempts: list[Attempt]
    left_out: int


@dataclass(frozen=True, slots=True)
class _Cursor:
    """Told is what stands at this position and behind it, and in the device's stream from this version on."""

    position: int
    version: int


@dataclass(frozen=True, slots=True)
class _Decision:
    """An event of the device's stream; ``shown``: None for one that is not for this team."""

    position: int
    version: int
    shown: Shown | None


def timeline(
    store: EventStore,
    views: WorkerViews,
    emails: Emails,
    product_id: int,
    text_id: object,
    after: str | None = None,
    per_page: int = 25,
) -> dict[str, Any]:
    """What happened, the newest first; a page may be short and still have a ``next``. Raises ``NotFound`` for a device
    that was never in the product, and ``Refused``."""
    device_id, cursor = known_id(text_id), None if after is None else _parse(after)
    _check(per_page)
    kept = _kept(views, device_id, product_id)
    most = per_page + 1 if kept.is_member else MAX_EVENTS
    decisions = _decisions(store, device_id, product_id, cursor, most)
    seen = [entry_object(device_id, entry) for entry in kept.entries]
    seen += attempt_entries(device_id, kept.attempts)
    told = [one.shown for one in decisions if one.shown is not None]
    if not (kept.is_member or seen or told):
        raise NotFound(NOT_A_MEMBER)
    # what is older than the oldest decision that was read may have a decision before it that was not
    floor = decisions[-1].position if decisions and decisions[-1].version > 0 else 0
    until = None if cursor is None else cursor.position
    candidates = [*told, *(one for one in seen if until is None or one["position"] < until)]
    candidates = sorted((one for one in candidates if one["position"] >= floor), key=_position, reverse=True)
    page, is_full = candidates[:per_page], len(candidates) > per_page
    following = None
    if is_full or floor:
        reached = page[-1]["position"] if is_full else floor
        versions = [one.version for one in decisions if one.position >= reached]
        version = (
            min(versions) if versions else cursor.version if cursor else decisions[0].version + 1 if decisions else 0
        )
        following = f"{reached}-{version}"
    left_out = kept.left_out if kept.is_member else 0
    return {
        "id": device_id,
        "events": _with_names(emails, page),
        "meta": {"per_page": per_page, "next": following, "left_out": left_out},
    }


def _position(one: Shown) -> int:
    position: int = one["position"]
    return position


def updates(views: WorkerViews, product_id: int, text_id: object) -> dict[str, Any]:
    """The newest attempts at updates and their fates (FW-7). Raises ``NotFound``."""
    device_id = known_id(text_id)
    kept = _kept(views, device_id, product_id)
    if not (kept.is_member or kept.attempts):
        raise NotFound(NOT_A_MEMBER)
    return {"id": device_id, "updates": [attempt_object(one) for one in kept.attempts]}


def list_sessions(
    views: WorkerViews, product_id: int, text_id: object, after: str | None = None, per_page: int = 25
) -> dict[str, Any]:
    """From when to when the device was connected, from where, to which gateway, and how that ended; the newest first.
    Raises ``NotFound`` and ``Refused``."""
    device_id, cursor = known_id(text_id), None if after is None else _parse(after)
    _check(per_page)
    kept = _kept(views, device_id, product_id)
    if not (kept.is_member or kept.entries):
        raise NotFound(NOT_A_MEMBER)
    found = sessions(kept.entries)
    if cursor is not None:
        found = [one for one in found if (one["since"], one["position"]) < (cursor.position, cursor.version)]
    page = found[:per_page]
    following = f"{page[-1]['since']}-{page[-1]['position']}" if len(found) > per_page else None
    shown = [{name: value for name, value in one.items() if name not in ("since", "position")} for one in page]
    return {"id": device_id, "sessions": shown, "meta": {"per_page": per_page, "next": following}}


def _kept(views: WorkerViews, device_id: str, product_id: int) -> _Kept:
    """What is of the product: a device may have been in another one before."""
    fleet, happened, attempts = views.table(FLEET), views.table(HAPPENED), views.table(FATES)
    member = sa.select(fleet.c.product_id).where(fleet.c.device_id == device_id)
    with views.read() as connection:
        is_member = connection.execute(member).scalar() == product_id
        weeks = connection.execute(sa.select(happened).where(happened.c.device_id == device_id)).mappings().all()
        tried = connection.execute(sa.select(attempts.c.attempts).where(attempts.c.device_id == device_id)).scalar()
    rows = sorted(weeks, key=lambda row: row["week"], reverse=True)
    entries = [Entry.of(stored) for row in rows for stored in row["entries"]]
    return _Kept(
        is_member,
        [entry for entry in entries if entry.product_id == product_id],
        [one for one in tried or () if one["product_id"] == product_id],
        sum(row["left_out"] for row in rows),
    )


def _decisions(
    store: EventStore, device_id: str, product_id: int, cursor: _Cursor | None, most: int
) -> list[_Decision]:
    """The newest events of the device's stream before the cursor, the newest first."""
    if cursor is not None and cursor.version == 0:
        return []
    first = -1 if cursor is None else cursor.version - 1
    try:
        recorded = store.read(stream_of(device_id), first, most, backwards=True)
    except (StreamNotFound, StreamTombstoned):
        return []
    return [_Decision(one.position, one.version, _decision(one, product_id)) for one in recorded]


def _decision(recorded: Recorded, product_id: int) -> Shown | None:
    """None for another product's, and for what this release does not know."""
    try:
        event = CONTRACTS.decode(recorded)
    except (UnknownEvent, msgspec.MsgspecError):
        return None
    if event.product_id != product_id:
        return None
    actor = metadata(recorded).actor
    fields: dict[str, Any] = msgspec.to_builtins(event)
    return {
        "position": recorded.position,
        "at": iso(recorded.at),
        "type": recorded.type,
        "actor": actor,
        "text": "",
        "data": {name: value for name, value in fields.items() if name not in NOT_SHOWN},
        "event": event,
    }


def _with_names(emails: Emails, page: Iterable[Shown]) -> list[Shown]:
    """With the addresses of people whom the team may know, in the words of decisions too."""
    shown = list(page)
    people = sorted({one["actor"].partition(":")[2] for one in shown if one["actor"].startswith(PEOPLE)})
    known = emails(people[:MAX_ACCOUNTS]) if people else {}
    return [_named(one, known) for one in shown]


def _named(one: Shown, known: Mapping[str, str]) -> Shown:
    actor: str = one["actor"]
    who = known.get(actor.partition(":")[2], actor) if actor.startswith(PEOPLE) else actor
    rest = {name: value for name, value in one.items() if name != "event"}
    return {**rest, "actor": who, "text": text(one["event"], who) if "event" in one else one["text"]}


def _check(per_page: int) -> None:
    if not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"per_page: must be 1 to {MAX_PER_PAGE}.")


def _parse(after: str) -> _Cursor:
    first, _, second = after[:MAX_CURSOR].partition("-")
    if not all(part.isascii() and part.isdigit() and len(part) <= 18 for part in (first, second)):
        raise Refused("invalid_request", "after: is no cursor; take meta.next of the answer before.")
    return _Cursor(int(first), int(second))
