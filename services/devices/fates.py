"""View ``update_fates``: the newest attempts to update a device, and their fates (FW-7). Pure.

They stay when the device leaves its product (DEV-8). How far one is while it runs, the view ``fleet`` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.events.gateway import UpdateFailed, UpdateInterrupted, UpdateStarted, UpdateSucceeded
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.times import micros

MOST_ATTEMPTS = 30
TEXT_CHARACTERS = 256

Attempt = dict[str, Any]
"""``product_id, version, attempt``; ``cause`` (None: nobody said it); ``started`` and ``ended``, each position and
time in microseconds, or None; ``state`` ``started``, ``interrupted``, ``succeeded`` or ``failed``; ``percent`` at which
it was interrupted; ``reason`` and ``text`` of a failure."""


def _keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device's attempts after the event, the newest first."""
    attempts: list[Attempt] = [] if row is None else row["attempts"]
    now = [recorded.position, micros(recorded.at)]
    which = (event.product_id, event.version, event.attempt)
    found = next((index for index, one in enumerate(attempts) if _which(one) == which), None)
    if isinstance(event, UpdateStarted) or found is None:
        attempts = [_begun(event, now), *attempts][:MOST_ATTEMPTS]
        found = 0
    ended = {**attempts[found], **_fate(event, now)}
    return {"device_id": event.device_id, "attempts": [*attempts[:found], ended, *attempts[found + 1 :]]}


def _which(attempt: Attempt) -> tuple[int, int, int]:
    return attempt["product_id"], attempt["version"], attempt["attempt"]


def _begun(event: Any, now: list[int]) -> Attempt:
    return {
        "product_id": event.product_id,
        "version": event.version,
        "attempt": event.attempt,
        "cause": event.cause,
        "started": now if isinstance(event, UpdateStarted) else None,
        "ended": None,
        "state": "started",
        "percent": None,
        "reason": None,
        "text": "",
    }


def _fate(event: Any, now: list[int]) -> Attempt:
    match event:
        case UpdateInterrupted():
            return {"state": "interrupted", "ended": now, "percent": event.percent}
        case UpdateSucceeded():
            return {"state": "succeeded", "ended": now}
        case UpdateFailed():
            return {"state": "failed", "ended": now, "reason": event.reason, "text": event.text[:TEXT_CHARACTERS]}
    return {}


FATES = View(
    name="update_fates",
    version=1,
    key=("device_id",),
    columns={"device_id": str, "attempts": list},
    events=(UpdateStarted, UpdateInterrupted, UpdateSucceeded, UpdateFailed),
    keys=_keys,
    fold=fold,
)
