"""Which blobs are needed, by what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from deploy.blob_references import References
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceLocked, DeviceRemoved, ImportFinished, ImportStarted
from shared.events.fields import Event
from shared.events.firmware import VersionDeleted, VersionUploaded
from shared.events.gateway import FlashAsked, UpdateFailed, UpdateSucceeded
from shared.store.port import Position, Recorded
from tests.keys import contracts_with_keys

NOW = datetime(2030, 1, 1, tzinfo=UTC)
CUTOFF = NOW - timedelta(hours=24)
LONG_AGO, JUST_NOW = CUTOFF - timedelta(hours=1), NOW
A, B = "a" * 64, "b" * 64
DEVICE, IMPORT = "0" * 23 + "1", "f" * 24

VERSION = VersionUploaded(1000, 7, "seven", "", "k.bin", 5, A, "anna@example.com", "a" * 24)
STARTED = ImportStarted(IMPORT, 1000, A, 5, 1, False)
FINISHED = ImportFinished(IMPORT, 1000, 1, 1, 0, 0, 0)
FLASH = FlashAsked(DEVICE, 1000, "1" * 24, 9, A, 5, "k.bin")


def recorded(event: Event, at: datetime) -> Recorded:
    new = contracts_with_keys().encode(event, 0, Context.new("account:a", "test"))
    return Recorded(new.id, new.type, "stream", 0, Position(1), at, new.data, new.meta)


def held(
    *events: Event | Recorded, ended_at: datetime = LONG_AGO, asked: frozenset[str] = frozenset({A, B})
) -> set[str]:
    references = References(asked, CUTOFF, CONTRACTS)
    for event in events:
        references.take(event if isinstance(event, Recorded) else recorded(event, ended_at))
    return set(references.holders())


ENDS: list[tuple[Event, Event]] = [
    (VERSION, VersionDeleted(1000, 7)),
    (STARTED, FINISHED),
    (FLASH, UpdateSucceeded(DEVICE, 1000, 9, 1)),
    (FLASH, UpdateFailed(DEVICE, 1000, 9, 1, "stalled", "", 1)),
    (FLASH, DeviceLocked(DEVICE, 1000, 7, False)),
    (FLASH, DeviceRemoved(DEVICE, 1000)),
]


@pytest.mark.parametrize(("needs", "ends"), ENDS)
def test_a_blob_is_needed_until_what_needs_it_has_ended_long_ago(needs: Event, ends: Event):
    assert held(needs) == {A}
    assert held(needs, ends) == set()
    assert held(needs, ends, ended_at=JUST_NOW) == {A}


@pytest.mark.parametrize(
    "other",
    [
        VersionDeleted(1000, 8),
        VersionDeleted(1001, 7),
        ImportFinished("e" * 24, 1000, 1, 1, 0, 0, 0),
        UpdateSucceeded(DEVICE, 1000, 8, 1),
        UpdateSucceeded("0" * 23 + "2", 1000, 9, 1),
        DeviceRemoved(DEVICE, 1001),
    ],
)
def test_the_end_of_something_else_changes_nothing(other: Event):
    for needs, _ in ENDS[:3]:
        assert held(needs, other) == {A}


def test_a_blob_is_needed_while_anything_needs_it():
    again = VersionUploaded(1000, 8, "eight", "", "k.bin", 5, A, "anna@example.com", "a" * 24)
    assert held(VERSION, again, VersionDeleted(1000, 7)) == {A}
    assert held(VERSION, STARTED, FINISHED) == {A}


def test_another_file_for_a_device_replaces_the_first():
    assert held(FLASH, FlashAsked(DEVICE, 1000, "2" * 24, 10, B, 5, "k.bin")) == {B}


def test_whatever_an_unknown_event_says_in_whichever_field_is_needed():
    data = b'{"prediction":{"at":["%s"]},"longer":"%s0","asked":"%s"}' % (A.encode(), B.encode(), b"c" * 64)
    event = Recorded(uuid4(), "PredictionMade", "rollout-1", 0, Position(1), LONG_AGO, data, b"{}")
    assert held(event) == {A}
