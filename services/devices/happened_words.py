"""What the views ``happened`` and ``update_fates`` keep of a device, as entries of a timeline and as sessions. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from services.devices.fates import Attempt
from services.devices.happened import Entry
from services.devices.why_links import text
from shared.events import gateway as g
from shared.times import iso, moment

Shown = dict[str, Any]


def entry_object(device_id: str, entry: Entry) -> Shown:
    """An entry of the timeline."""
    kind, data, words = _told(device_id, entry)
    return _shown(entry.position, entry.at, kind, f"device:{device_id}", words, data)


def _shown(position: int, at: int, kind: str, actor: str, words: str, data: Mapping[str, Any]) -> Shown:
    return {
        "position": position,
        "at": iso(moment(at)),
        "type": kind,
        "actor": actor,
        "text": words,
        "data": dict(data),
    }


def _told(device_id: str, entry: Entry) -> tuple[str, dict[str, Any], str]:
    """Type, data and words of an entry; the words are those of the event that it was made of."""
    about: Any = entry.about
    event: Any
    match entry.word:
        case "on" | "again":
            gateway, epoch, session, since, protocol, address = about
            data = {"gateway": gateway, "protocol": protocol, "address": address}
            connected = (device_id, entry.product_id, gateway, epoch, session, moment(since), protocol, address)
            if entry.word == "on":
                event = g.DeviceConnected(*connected, False, "")
            else:
                event = g.SessionReplaced(*connected, False, "", "")
        case "off":
            gateway, epoch, session, reason, duration_s = about
            data = {"gateway": gateway, "reason": reason, "duration_s": duration_s}
            ended = (device_id, entry.product_id, gateway, epoch, session, reason, duration_s)
            event = g.DeviceDisconnected(*ended, 0, 0, 0, 0)
        case "runs":
            gateway, epoch, session, product, version, said = about
            data = {"product_id": product, "version": version, "text": said}
            event = g.FirmwareReported(device_id, entry.product_id, product, version, "", said, gateway, epoch, session)
        case "lets":
            enabled, forced = about
            data = {"enabled": enabled, "forced": forced}
            event = g.UpdatesDeclared(device_id, entry.product_id, enabled, forced, "", 0, 0)
        case _:
            kind, said, count, version = about
            data = {"kind": kind, "text": said, "count": count, "version": version}
            event = _error(device_id, entry)
    return type(event).__name__, data, text(event, "device:")


def _error(device_id: str, entry: Entry) -> Any:
    kind, said, count, version = entry.about
    family, _, what = kind.partition("/")
    match family:
        case "protocol":
            return g.DeviceMisbehaved(device_id, entry.product_id, what, said, count, version)
        case "call":
            return g.FunctionCalled(device_id, entry.product_id, said, what, 0, "", version)
    return g.DeviceErred(device_id, entry.product_id or 0, kind, said, count, version, "", 0, 0)


def attempt_entries(device_id: str, attempts: Iterable[Attempt]) -> Iterator[Shown]:
    """The beginnings and fates of attempts as entries of the timeline."""
    for one in attempts:
        which = (device_id, one["product_id"], one["version"], one["attempt"])
        data = {"version": one["version"], "attempt": one["attempt"]}
        if one["started"] is not None:
            start = g.UpdateStarted(*which, one["cause"], 0)
            yield _fact(device_id, one["started"], start, {**data, "cause": one["cause"]})
        if one["ended"] is not None:
            yield _fact(device_id, one["ended"], _fate(which, one), {**data, "reason": one["reason"]})


def _fate(which: tuple[str, int, int, int], one: Attempt) -> Any:
    match one["state"]:
        case "interrupted":
            return g.UpdateInterrupted(*which, one["percent"])
        case "succeeded":
            return g.UpdateSucceeded(*which)
        case _:
            return g.UpdateFailed(*which, one["reason"], one["text"], 0)


def _fact(device_id: str, stood: list[int], event: Any, data: dict[str, Any]) -> Shown:
    position, at = stood
    return _shown(position, at, type(event).__name__, f"device:{device_id}", text(event, "device:"), data)


def attempt_object(one: Attempt) -> Shown:
    """An attempt as the page of updates shows it."""
    return {
        **{name: one[name] for name in ("version", "attempt", "cause", "state", "percent", "reason", "text")},
        "started_at": _at(one["started"]),
        "ended_at": _at(one["ended"]),
    }


def _at(stood: list[int] | None) -> str | None:
    return None if stood is None else iso(moment(stood[1]))


def sessions(entries: Iterable[Entry]) -> list[Shown]:
    """Sessions, the newest first, of entries in that order. One of which only the end is kept has no address; one that
    a newer connection took the place of ends where that began."""
    found: list[Shown] = []
    ends: dict[tuple[Any, ...], Entry] = {}
    later: Shown | None = None
    for entry in entries:
        if entry.word == "off":
            ends[entry.session] = entry
        elif entry.word in ("on", "again"):
            later = _session(entry, ends.pop(entry.session, None), later)
            found.append(later)
    found += [_only_end(entry) for entry in ends.values()]
    return sorted(found, key=lambda one: (one["from"], one["position"]), reverse=True)


def _session(begun: Entry, ended: Entry | None, later: Shown | None) -> Shown:
    gateway, epoch, session, since, protocol, address = begun.about
    until = None if later is None else later["from"]
    shown: Shown = {
        "position": begun.position,
        "from": iso(moment(since)),
        "to": until,
        "gateway": gateway,
        "epoch": epoch,
        "session": session,
        "protocol": protocol,
        "address": address,
        "ended": None if until is None else "replaced",
        "duration_s": None if later is None else max(0, (later["since"] - since) // 1_000_000),
        "since": since,
    }
    if ended is None:
        return shown
    reason, duration_s = ended.about[3:]
    return {**shown, "to": iso(moment(ended.at)), "ended": reason, "duration_s": duration_s}


def _only_end(ended: Entry) -> Shown:
    gateway, epoch, session, reason, duration_s = ended.about
    since = ended.at - duration_s * 1_000_000
    return {
        "position": ended.position,
        "from": iso(moment(since)),
        "to": iso(moment(ended.at)),
        "gateway": gateway,
        "epoch": epoch,
        "session": session,
        "protocol": None,
        "address": None,
        "ended": reason,
        "duration_s": duration_s,
        "since": since,
    }
