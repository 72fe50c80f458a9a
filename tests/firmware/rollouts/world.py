"""A product with a fleet, in memory: an event store, the views folded from it, and devices behind a gateway that does
what the rules of ``shared.rollouts`` and ``shared.targets`` say. The coordinator over it is the real one."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any
from uuid import uuid4

from services.firmware.rollouts import control, coordinator
from services.firmware.rollouts.coordinator import Coordinator
from services.firmware.rollouts.rollout_views import DEVICES_VIEW, IN_TURN, ROLLOUTS_VIEW
from services.firmware.rollouts.rounds import Deadline
from services.firmware.rollouts.turns import MOST_DEVICES, Candidate
from services.firmware.rollouts.watch_view import WATCH_VIEW
from services.firmware.rollouts.watching import Watch
from services.firmware.versions import VERSIONS, Command, Versions
from shared.blobs import Blob
from shared.blobs import Blobs as AnyBlobs
from shared.context import Context
from shared.errors import Conflict
from shared.events import devices as d
from shared.events import gateway as g
from shared.events import rollouts as r
from shared.events.contracts import CONTRACTS
from shared.events.firmware import FirmwareReleased, VersionFirstRan, VersionUploaded
from shared.predictions import page_of
from shared.projections.view import Key, Row, View
from shared.rollouts import PLACES, Releases, Rollout, place, released_to, rollout_for
from shared.store.port import NO_STREAM, Appended, EventStore, Expected, New, Position, Recorded, StreamNotFound
from shared.streams import Streams
from shared.targets import MOST_FAILURES, Membership, decide
from tests.keys import contracts_with_keys

WITH_KEYS = contracts_with_keys()
P, R, OLD, NEW = 1000, "a" * 24, 5, 7
START = datetime(2030, 1, 7, 12, tzinfo=UTC)  # a Monday
FACTS = "connection-gw.1-2030010712"


class Errors(logging.Handler):
    """What a coordinator could not do."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.texts.append(self.format(record))

    def __enter__(self) -> None:
        logging.getLogger(coordinator.__name__).addHandler(self)

    def __exit__(self, *problem: object) -> None:
        logging.getLogger(coordinator.__name__).removeHandler(self)


class Store:
    """Streams in memory. ``before_append`` is called once, before the next event: what a rival does then."""

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.events: list[Recorded] = []
        self.streams: dict[str, list[Recorded]] = {}
        self.before_append: Callable[[], None] | None = None
        self._clock = clock

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        rival, self.before_append = self.before_append, None
        if rival is not None:
            rival()
        there = self.streams.get(stream, [])
        if expected is NO_STREAM or isinstance(expected, int):
            behind = 0 if isinstance(expected, Expected) else expected + 1
            stored = there[behind : behind + len(events)]
            if [one.id for one in stored] == [one.id for one in events]:
                return Appended(stored[-1].version, stored[-1].position)
            if len(there) != behind:
                raise Conflict(stream, str(expected), str(len(there) - 1))
        for new in events:
            position = Position(len(self.events) + 1)
            recorded = Recorded(new.id, new.type, stream, len(there), position, self._clock(), new.data, new.meta)
            self.events.append(recorded)
            self.streams.setdefault(stream, []).append(recorded)
            there = self.streams[stream]
        return Appended(there[-1].version, there[-1].position)

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        if stream not in self.streams:
            raise StreamNotFound(stream)
        return self.streams[stream][first:][:limit]


class Views:
    """What ``Watch`` asks, from the same views folded in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looked = 0
        self._views = (ROLLOUTS_VIEW, DEVICES_VIEW, WATCH_VIEW)
        self._rows: dict[str, dict[Key, Row]] = {view.name: {} for view in self._views}

    def reach(self, position: Position | None) -> None:
        for recorded in self._store.events[self._looked :]:
            event = CONTRACTS.decode(recorded)
            for view in self._views:
                rows = self._rows[view.name]
                for key in view.keys(event) if isinstance(event, view.events) else ():
                    row = view.fold(rows.get(key), event, recorded)
                    rows.pop(key, None)
                    if row is not None:
                        assert set(row) == set(view.columns)
                        rows[key] = row
        self._looked = len(self._store.events)

    def rows(self, view: View) -> list[Row]:
        self.reach(None)
        return list(self._rows[view.name].values())

    def forget(self, device_id: str) -> None:
        """Lose a row, as a view does that misses an event."""
        self.reach(None)
        del self._rows[WATCH_VIEW.name][device_id,]

    def active(self) -> Iterable[tuple[str, int]]:
        in_turn = {row["rollout_id"] for row in self.rows(DEVICES_VIEW) if row["state"] == IN_TURN}
        for row in self.rows(ROLLOUTS_VIEW):
            if row["under_way"] or row["rollout_id"] in in_turn:
                yield row["rollout_id"], row["product_id"]

    def fated(self, rollout_id: str) -> dict[str, str]:
        return {row["device_id"]: row["fate"] for row in self.rows(WATCH_VIEW) if row["fated"] == rollout_id}

    def silent(self, rollout_id: str, deadline: Deadline, before: datetime) -> Sequence[str]:
        return [
            row["device_id"]
            for row in self.rows(WATCH_VIEW)
            if row["turning"] == rollout_id and row["state"] == deadline.state and row["since"] <= before
            if not (deadline.offline and row["online"])
        ]

    def unwatched(self, rollout_id: str, devices: Collection[str]) -> set[str]:
        mine = [row for row in self.rows(WATCH_VIEW) if rollout_id in (row["turning"], row["fated"])]
        return set(devices) - {row["device_id"] for row in mine}

    def waiting(self, rollout_id: str, share: int, most: int, *, only_again: bool) -> list[Candidate]:
        found = [row for row in self.rows(WATCH_VIEW) if row["waiting"] == rollout_id and row["place"] < share]
        found = [row for row in found if row["turns"] or not only_again]
        found.sort(key=lambda row: int(row["place"]))
        return [Candidate(row["device_id"], row["turns"] > 0) for row in found[: min(most, MOST_DEVICES)]]

    def away(self, rollout_id: str, before: datetime, behind: Position | None, most: int) -> int:
        found = [row for row in self.rows(WATCH_VIEW) if row["away"] == rollout_id and row["since"] <= before]
        return min(most, len([row for row in found if behind is None or row["ended"] > behind]))


class Blobs:
    """One writer is enough here."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}

    def writer(self, limit_bytes: int = 0) -> Blobs.Writer:
        return Blobs.Writer(self)

    class Writer:
        def __init__(self, blobs: Blobs) -> None:
            self._blobs, self._data = blobs, b""

        def write(self, data: bytes) -> None:
            self._data += data

        def finish(self) -> Blob:
            digest = sha256(self._data).hexdigest()
            self._blobs.stored[digest] = self._data
            return Blob(digest, len(self._data))

        def abort(self) -> None:
            self._data = b""


@dataclass
class Device:
    """``fails``: its next attempts fail; ``dies``: it never comes back from its next one."""

    id: str
    reported: int = OLD
    online: bool = False
    member: bool = True
    development: bool = False
    locked: int | None = None
    updating: bool = False
    applying: bool = False
    failures: int = 0
    attempt: int = 0
    session: int = 0
    fails: bool = False
    dies: bool = False
    asked: tuple[int, int, int] | None = None

    @property
    def membership(self) -> Membership:
        return Membership(P if self.member else None, development=self.development, locked_version=self.locked)


class World:
    """Devices, their gateway, and whoever coordinates."""

    def __init__(self, devices: int, store: EventStore, watch: Watch, blobs: AnyBlobs) -> None:
        self.now = START
        self.port, self.watch, self.blobs = store, watch, blobs
        self.streams = Streams(store, CONTRACTS)
        self.fleet = {f"{number:024x}": Device(f"{number:024x}") for number in range(1, devices + 1)}
        self.errors = Errors()
        self.rates: dict[str, Any] = {}
        self.coordinator = self.another()
        by = ("anna@example.com", "a" * 24)
        for version in (OLD, NEW):
            text = (f"v{version}", "", "f.bin", 1, "0" * 64)
            self.record(f"firmware-{P}", VersionUploaded(P, version, *text, *by))
            self.record(f"firmware-{P}", VersionFirstRan(P, version, "f" * 24))
        self.record(f"firmware-{P}", FirmwareReleased(P, OLD, None, False))

    def another(self) -> Coordinator:
        """A process that knows nothing but what is stored."""
        clock, seconds = (lambda: self.now), (lambda: self.now.timestamp())
        return Coordinator(self.port, CONTRACTS, self.watch, self.blobs, clock, now_s=seconds)

    # events

    def record(self, stream: str, *events: object) -> None:
        context = Context.new("system:tests", "tests", uuid4())
        there = len(self.stream(stream))
        new = [WITH_KEYS.encode(event, index, context, stream=stream) for index, event in enumerate(events)]
        self.port.append(stream, there - 1 if there else NO_STREAM, new)

    def stream(self, name: str) -> list[Recorded]:
        try:
            return self.port.read(name)
        except StreamNotFound:
            return []

    def decisions(self, kind: type) -> int:
        """How often this was decided, or a turn ended."""
        events = [*self.stream(f"firmware-{P}"), *self.stream(f"rollout-{R}")]
        return sum(event.type == kind.__name__ for event in events)

    def command(self, command: Command) -> None:
        self.streams.handle(VERSIONS, f"firmware-{P}", command, Context.new("account:x", "tests", uuid4()))

    @property
    def product(self) -> Versions:
        return self.streams.load(VERSIONS, f"firmware-{P}").state

    @property
    def course(self) -> control.Course:
        return self.product.rollouts[R]

    def in_turn(self) -> set[str]:
        found: set[str] = set()
        for recorded in self.stream(f"rollout-{R}"):
            event = CONTRACTS.decode(recorded)
            if isinstance(event, r.RolloutTurnsGiven):
                found |= {*event.devices, *event.again}
            else:
                found -= {*event.succeeded, *event.failed, *event.dark, *event.left}
        return found

    # the devices service

    def rollout_sizes(self, *, stages: Sequence[Mapping[str, Any]], **_: Any) -> dict[str, Any]:
        eligible = sorted(
            place(R, one.id)
            for one in self.fleet.values()
            if one.member and not one.development and one.locked is None and one.reported != NEW
            if one.failures < MOST_FAILURES
        )

        def size(stage: Mapping[str, Any]) -> dict[str, Any]:
            if stage["percent"] == 100:
                return {"allowed": None, "share": PLACES}
            wanted = len(eligible) * stage["percent"] // 100 if stage["percent"] else stage["devices"]
            count = min(max(1, wanted), len(eligible))
            return {"allowed": count, "share": eligible[count - 1] + 1 if count else 0}

        return {"eligible": len(eligible), "stages": [size(stage) for stage in stages], "reasons": {}}

    def predict_rollout(self, *, after: str | None, limit: int, **_: Any) -> dict[str, Any]:
        page = [one for one in sorted(self.fleet) if one > (after or "")][:3]
        ending = json.dumps({"would": "update", "stage": 0, "reason": "offline", "version": OLD})
        return {**page_of(page, [ending], [0] * len(page)), "next": page[-1] if len(page) == 3 else None}

    def error_rates(self, **_: Any) -> dict[str, Any]:
        return self.rates

    # the gateway

    def _releases(self) -> Releases:
        product = self.product
        states = {"running": "running", "held": "running", "paused": "paused", "cancelled": "cancelled"}
        rollouts = tuple(
            Rollout(one.plan.rollout_id, NEW, (), states[one.state], one.stage, one.share)  # type: ignore[arg-type]
            for one in product.rollouts.values()
            if one.state in states and one.stage >= 0 and not one.superseded
        )
        return Releases(product.released, product.group_releases, rollouts)

    def target(self, device: Device) -> int | None:
        """What it should run."""
        turn = R if device.id in self.in_turn() else None
        released = released_to((), self._releases(), device.reported, turn)
        found = decide(device.membership, P, released).target
        return None if found is None else found.version

    def connect(self, device: Device) -> None:
        if device.online:
            return
        device.session += 1
        device.online, device.asked = True, None
        came = ("mqtt/3.1.1", "127.0.0.1", False, "x")
        self.record(FACTS, g.DeviceConnected(device.id, P, "gw", 1, device.session, self.now, *came))
        if device.applying:
            device.applying = False
            if not device.fails:
                self._succeed(device)
            else:
                self._fail(device, "came_back_unchanged")

    def disconnect(self, device: Device) -> None:
        if not device.online:
            return
        if device.updating and not device.applying:
            device.updating = False
            self.record(FACTS, g.UpdateInterrupted(device.id, P, NEW, device.attempt, 50))
        device.online = False
        counts = (1, 0, 0, 0, 0)
        self.record(FACTS, g.DeviceDisconnected(device.id, P, "gw", 1, device.session, "disconnected", *counts))

    def _succeed(self, device: Device) -> None:
        device.reported, device.updating, device.failures = NEW, False, 0
        product = P if device.member else None
        self.record(FACTS, g.FirmwareReported(device.id, product, P, NEW, "", "", "gw", 1, device.session))
        self.record(FACTS, g.UpdateSucceeded(device.id, P, NEW, device.attempt))

    def _fail(self, device: Device, reason: Any) -> None:
        device.updating = device.applying = False
        device.failures += reason != "cancelled"
        device.asked = None
        self.record(FACTS, g.UpdateFailed(device.id, P, NEW, device.attempt, reason, "", device.failures))

    def serve(self) -> None:
        """What the gateway does by itself: break off what is not wanted any more, begin what is, and ask."""
        for device in self.fleet.values():
            wanted = self.target(device) == NEW != device.reported
            if device.updating and not device.applying and not wanted:
                self._fail(device, "cancelled")
            if not device.online or not device.member or device.updating:
                continue
            if wanted and device.failures < MOST_FAILURES:
                device.attempt += 1
                device.updating = True
                self.record(FACTS, g.UpdateStarted(device.id, P, NEW, device.attempt, "release", 1))
            elif not wanted:
                self._ask(device)

    def _ask(self, device: Device) -> None:
        found = rollout_for((), self._releases())
        held = device.development or device.locked is not None or device.failures >= MOST_FAILURES
        if found is None or found.state != "running" or held or device.reported == NEW:
            return
        why = (found.stage, self.decisions(r.RolloutResumed), self.decisions(r.RolloutTurnsEnded))
        if place(R, device.id) < found.share and device.id not in self.in_turn() and device.asked != why:
            device.asked = why
            self.record(FACTS, g.RolloutTurnAsked(device.id, P, R, found.stage))

    def go_on(self, device: Device) -> None:
        """Its update goes one step on: it gets all of it and goes to start anew, or fails."""
        if not device.updating or not device.online:
            return
        if device.fails and device.attempt % 2:
            self._fail(device, "device_failed")
            return
        self.record(FACTS, g.UpdateAdvanced(device.id, P, NEW, device.attempt, "applying", 100))
        device.applying = True
        self.disconnect(device)

    # decisions

    def join(self) -> Device:
        """A device that nobody knew before."""
        device = Device(f"{len(self.fleet) + 1:024x}")
        self.fleet[device.id] = device
        return device

    def lock(self, device: Device) -> None:
        if device.member and device.locked is None:
            device.locked = OLD
            self.record(f"device-{device.id}", d.DeviceLocked(device.id, P, OLD, False))

    def unlock(self, device: Device) -> None:
        if device.locked is not None:
            device.locked, device.asked = None, None
            self.record(f"device-{device.id}", d.DeviceUnlocked(device.id, P))

    def mark(self, device: Device, development: bool) -> None:
        if device.member and device.development != development:
            device.development, device.asked = development, None
            self.record(f"device-{device.id}", d.DevelopmentMarked(device.id, P, development))

    def remove(self, device: Device) -> None:
        if device.member:
            device.member, device.locked, device.development = False, None, False
            self.record(f"device-{device.id}", d.DeviceRemoved(device.id, P))

    def all_goes_its_way(self, minutes: int = 1) -> None:
        """Updates begin, and whoever applied one comes back, unless it dies of it."""
        for _ in range(minutes):
            self.serve()
            self.round()
            self.serve()
            for device in self.fleet.values():
                self.go_on(device)
                if device.applying and not device.dies:
                    self.connect(device)
            self.later(60)
            self.round()

    def later(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def round(self) -> None:
        with self.errors:
            self.coordinator.round(self)


class MemoryWorld(World):
    """Without a database: some hundred times faster, and a rival can step in between."""

    def __init__(self, devices: int) -> None:
        self.now = START
        self.store = Store(lambda: self.now)
        self.views = Views(self.store)
        port: Any = self.store  # what is asked of these here is there
        watch: Any = self.views
        blobs: Any = Blobs()
        super().__init__(devices, port, watch, blobs)
