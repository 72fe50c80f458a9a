"""What came of it: the ledger against the streams. Nothing acknowledged is lost, nothing happened twice."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec

from shared.events.metadata import metadata
from shared.store.port import EventStore, Position, Recorded
from tests.faults.ledger import Ledger

SHOWN = 5
"""Problems of one kind that are told one by one."""


@dataclass
class Verdict:
    """``doubles`` and ``problems`` are sentences; both must be empty."""

    found: int = 0
    doubles: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def everything(store: EventStore) -> list[Recorded]:
    """All events of a store, in order."""
    events: list[Recorded] = []
    position: Position | None = None
    while True:
        page = store.read_all(position)
        events += page.events
        position = page.looked
        if page.end:
            return events


def judged(ledger: Ledger, events: Sequence[Recorded], published: Sequence[Recorded]) -> Verdict:
    """``events`` are all of the store, ``published`` those of the gateways' logs."""
    verdict = Verdict()
    streams = _by_stream(events)
    ids = {event.stream: {found.id for found in streams[event.stream]} for event in events}
    lost = [promise for promise in ledger.promises if not _is_kept(ids, promise.stream, promise.event_id)]
    verdict.found = len(ledger.promises) - len(lost)
    _tell(verdict.problems, "acknowledged and lost", [f"{one.stream} {one.event_id}" for one in lost])
    _judge_jobs(verdict, ledger, streams)
    _judge_devices(verdict, ledger, events, published)
    _tell(verdict.doubles, "twice", list(_doubles(ledger, events, streams)))
    _tell(verdict.problems, "numbered wrongly", list(_misnumbered(streams)))
    _tell(verdict.problems, "answered strangely", ledger.surprises)
    return verdict


def unfinished(ledger: Ledger, events: Sequence[Recorded]) -> list[str]:
    """What was begun and must end by itself: imports, and first runs that came over the bus."""
    finished = {event.stream for event in events if event.type == "ImportFinished"}
    ran = {_data(event)["version"] for event in events if event.type == "VersionFirstRan"}
    reported = {version for _, version in ledger.reports if version in ledger.uploaded}
    return [
        *(f"{stream} is not finished" for stream in ledger.jobs if stream not in finished),
        *(f"version {version} ran, and firmware does not know" for version in sorted(reported - ran)),
    ]


def _by_stream(events: Iterable[Recorded]) -> dict[str, list[Recorded]]:
    streams: dict[str, list[Recorded]] = defaultdict(list)
    for event in events:
        streams[event.stream].append(event)
    return streams


def _is_kept(ids: dict[str, set[UUID]], stream: str, event_id: UUID | None) -> bool:
    return stream in ids and (event_id is None or event_id in ids[stream])


def _judge_jobs(verdict: Verdict, ledger: Ledger, streams: dict[str, list[Recorded]]) -> None:
    for stream, ids in ledger.jobs.items():
        imported = sum(f"device-{one}" in streams for one in ids)
        verdict.found += imported
        end = _data(streams[stream][-1]) if streams.get(stream) else {}
        if imported != len(ids) or end.get("updated") != len(ids):
            verdict.problems.append(f"{stream}: {imported} of {len(ids)} devices are there; it ends with {end}")


def _judge_devices(verdict: Verdict, ledger: Ledger, events: Iterable[Recorded], published: Iterable[Recorded]) -> None:
    told = (_data(event) for event in events if event.type == "FirmwareReported")
    reported = {(each["device_id"], each["version"]) for each in told}
    logged = Counter(number for event in published if (number := _number(_data(event))) is not None)
    verdict.found += len(ledger.reports & reported) + len(ledger.telemetry & logged.keys())
    _tell(verdict.problems, "reports lost", [str(one) for one in ledger.reports - reported])
    _tell(verdict.problems, "published and lost", [str(one) for one in ledger.telemetry - logged.keys()])
    _tell(verdict.doubles, "published twice", [str(one) for one, count in logged.items() if count > 1])


def _number(published: dict[str, Any]) -> tuple[str, int] | None:
    number = msgspec.json.decode(published["data"]).get("number")
    return None if number is None else (published["device_id"], number)


def _group(event: Recorded) -> str | None:
    """The name of a group that is made: one command puts a device into several, each of which may be new."""
    return str(msgspec.json.decode(event.data)["name"]) if event.type == "GroupCreated" else None


def _doubles(ledger: Ledger, events: Sequence[Recorded], streams: dict[str, list[Recorded]]) -> Iterator[str]:
    for event_id, count in Counter(event.id for event in events).items():
        if count > 1:
            yield f"event {event_id} is there {count} times"
    asked = {str(command) for command in ledger.asked}
    commands = ((metadata(event).command, event.type, event.stream, _group(event)) for event in events)
    for one, count in Counter(one for one in commands if one[0] in asked).items():
        if count > 1:
            yield f"command {one[0]} made {count} events {one[1]} in {one[2]}"
    made = Counter(metadata(event).command for event in events if event.type == "ProductCreated")
    yield from (f"command {command} made {count} products" for command, count in made.items() if count > 1)
    for stream, found in streams.items():
        types = Counter(event.type for event in found)
        for once in ("DeviceImported", "ImportStarted", "ImportFinished", "ProductCreated"):
            if types[once] > 1:
                yield f"{stream} has {types[once]} events {once}"
    runs = Counter((event.stream, _data(event)["version"]) for event in events if event.type == "VersionFirstRan")
    yield from (f"{stream}: {version} first ran {n} times" for (stream, version), n in runs.items() if n > 1)


def _misnumbered(streams: dict[str, list[Recorded]]) -> Iterator[str]:
    for stream, events in streams.items():
        versions = [event.version for event in events]
        whole = range(versions[0], versions[-1] + 1)  # the oldest may be forgotten
        if versions != list(whole) and not stream.startswith("$"):
            yield f"{stream}: {versions[:20]}"


def _tell(into: list[str], what: str, which: Sequence[str]) -> None:
    if which:
        into.append(f"{len(which)} {what}: {'; '.join(sorted(which)[:SHOWN])}")


def _data(event: Recorded) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(event.data)
    return data
