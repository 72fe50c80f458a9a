"""View ``happened``: what gateways saw of a device lately: its sessions, what it reported to run, and its errors. Pure.

For the page of a device; nothing else reads it. What the team decided is in the device's own stream, and is read from
there. A row holds one week, the newest entry first; the five newest weeks in which anything happened are kept, in
places of a ring, and ``MOST_ENTRIES`` of a week: of a device whose connection comes and goes the oldest sessions of
the week are left out, and counted, before anything else is.

An entry is a list, as short as can be, for there are many: position, time in microseconds, word, product, and what the
word is about (``Entry``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from services.devices.errors import Stretch, erred
from shared.events import gateway as g
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.times import micros

WEEK = Stretch(timedelta(weeks=1), 5)
MOST_ENTRIES = 50
TEXT_CHARACTERS = 128
SESSION_WORDS = ("on", "again", "off")


class Entry(NamedTuple):
    """``word``: ``on`` and ``again`` (a newer connection in place of an older one) with gateway, epoch, session, since
    when in microseconds, protocol and address; ``off`` with gateway, epoch, session, reason and seconds; ``runs`` with
    gateway, epoch, session, product, version and text; ``lets`` with whether its application lets it be updated, and
    whether that is overruled; ``error`` with kind, text, count and version."""

    position: int
    at: int
    word: str
    product_id: int | None
    about: tuple[Any, ...]

    @classmethod
    def of(cls, stored: list[Any]) -> Entry:
        """As a row keeps it."""
        position, at, word, product_id, *about = stored
        return cls(position, at, word, product_id, tuple(about))

    @property
    def session(self) -> tuple[Any, ...]:
        """The name of the session that it is about, if it is about one."""
        return self.about[:3]


def _session(event: Any) -> tuple[Any, ...]:
    return event.gateway, event.epoch, event.session


def _connected(event: g.DeviceConnected | g.SessionReplaced) -> tuple[Any, ...]:
    word = "on" if isinstance(event, g.DeviceConnected) else "again"
    return word, *_session(event), micros(event.connected_at), event.protocol, event.address


def _disconnected(event: g.DeviceDisconnected) -> tuple[Any, ...]:
    return "off", *_session(event), event.reason, event.duration_s


def _reported(event: g.FirmwareReported) -> tuple[Any, ...]:
    return "runs", *_session(event), event.reported_product, event.version, event.text


def _declared(event: g.UpdatesDeclared) -> tuple[Any, ...]:
    return "lets", event.enabled, event.forced


def _erred(event: Any) -> tuple[Any, ...]:
    error = erred(event)
    assert error is not None
    return "error", error.kind, error.text[:TEXT_CHARACTERS], error.count, error.version


_ABOUT: Mapping[type, Callable[[Any], tuple[Any, ...]]] = {
    g.DeviceConnected: _connected,
    g.SessionReplaced: _connected,
    g.DeviceDisconnected: _disconnected,
    g.FirmwareReported: _reported,
    g.UpdatesDeclared: _declared,
    g.DeviceErred: _erred,
    g.DeviceMisbehaved: _erred,
    g.FunctionCalled: _erred,
}
_ERRORS = (g.DeviceErred, g.DeviceMisbehaved, g.FunctionCalled)


def _keys(event: Any, recorded: Recorded) -> Iterable[Key]:
    if isinstance(event, _ERRORS) and erred(event) is None:
        return ()
    return ((event.device_id, WEEK.place(recorded.at)),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The device's week after the event."""
    week = WEEK.begin(recorded.at)
    if row is not None and row["week"] > week:
        return row
    is_same = row is not None and row["week"] == week
    entries, left_out = (row["entries"], row["left_out"]) if row is not None and is_same else ([], 0)
    word, *about = _ABOUT[type(event)](event)
    product_id = event.product_id
    if word == "runs" and product_id is None:  # it counts as none, and yet is a member, in quarantine for example
        product_id = next((one[3] for one in entries if one[2] in SESSION_WORDS and one[4:7] == about[:3]), None)
    entries = [[recorded.position, micros(recorded.at), word, product_id, *about], *entries]
    if len(entries) > MOST_ENTRIES:
        del entries[_dispensable(entries)]
        left_out += 1
    return {
        "device_id": event.device_id,
        "place": WEEK.place(recorded.at),
        "week": week,
        "entries": entries,
        "left_out": left_out,
    }


def _dispensable(entries: list[list[Any]]) -> int:
    """The oldest entry about a session, else the oldest."""
    last = len(entries) - 1
    return next((index for index in range(last, -1, -1) if entries[index][2] in SESSION_WORDS), last)


HAPPENED = View(
    name="happened",
    version=1,
    key=("device_id", "place"),
    columns={"device_id": str, "place": int, "week": datetime, "entries": list, "left_out": int},
    events=tuple(_ABOUT),
    keys=_keys,
    fold=fold,
    by_envelope=True,
)
