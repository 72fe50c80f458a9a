"""The verdict itself can fail: each kind of loss and of double is seen."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast
from uuid import UUID, uuid4

import msgspec
import pytest
import sqlalchemy as sa

from services.devices.fleet import FLEET
from services.orgs.views import VIEWS
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.devices import DeviceDescribed, DeviceImported
from shared.events.gateway import DevicePublished, FirmwareReported
from shared.events.groups import GroupCreated
from shared.ids import event_id
from shared.projections.database import Database
from shared.projections.projector import Projector
from shared.settings import Settings
from shared.store.port import EventStore, Position, Recorded
from tests.faults.ledger import Ledger, Promise
from tests.faults.past import Kept, Moment, Past, differing, is_miscounted
from tests.faults.verdict import judged, unfinished

DEVICE = "0" * 24
STREAM = f"device-{DEVICE}"
COMMAND = uuid4()
AT = datetime(2026, 1, 1, tzinfo=UTC)
IMPORTED = DeviceImported(DEVICE, 1000, False)
NAMED = DeviceDescribed(DEVICE, 1000, "kettle", "")
REPORTED = FirmwareReported(DEVICE, 1000, 1000, 3, "", "", "a", 1, 1)


def stored(*events: object, stream: str = STREAM, command: UUID | None = None) -> list[Recorded]:
    found = []
    for version, event in enumerate(events):
        new = CONTRACTS.encode(event, version, Context.new("anonymous", "", command), stream=stream)
        found.append(Recorded(new.id, new.type, stream, version, Position(version + 1), AT, new.data, new.meta))
    return found


def published(number: int) -> list[Recorded]:
    data = msgspec.json.encode({"number": number}).decode()
    event = DevicePublished(DEVICE, 1000, "telemetry", data, "text", 60, False, AT, None, None)
    return stored(event, stream="log-1000")


def verdict_of(ledger: Ledger, events: Sequence[Recorded], logged: Sequence[Recorded] = ()) -> tuple[int, str, str]:
    verdict = judged(ledger, events, logged)
    return verdict.found, " ".join(verdict.problems), " ".join(verdict.doubles)


def test_what_is_there_once_is_found() -> None:
    events = stored(IMPORTED, NAMED, command=COMMAND)
    ledger = Ledger(
        promises=[Promise(STREAM, event_id(COMMAND, 0, STREAM)), Promise(STREAM, None)],
        asked={COMMAND},
        telemetry={(DEVICE, 7)},
    )
    assert verdict_of(ledger, events, published(7)) == (3, "", "")
    assert ledger.acknowledged == 3


@pytest.mark.parametrize(
    ("ledger", "words"),
    [
        (Ledger(promises=[Promise(STREAM, uuid4())]), "1 acknowledged and lost"),
        (Ledger(promises=[Promise("product-1", None)]), "1 acknowledged and lost"),
        (Ledger(telemetry={(DEVICE, 8)}), "1 published and lost"),
        (Ledger(reports={(DEVICE, 4)}), "1 reports lost"),
        (Ledger(jobs={"import-1": ["1" * 24]}), "0 of 1 devices are there"),
        (Ledger(surprises=["500"]), "1 answered strangely: 500"),
    ],
)
def test_what_is_lost_is_told(ledger: Ledger, words: str) -> None:
    found, problems, doubles = verdict_of(ledger, stored(IMPORTED, REPORTED), published(7))
    assert (found, doubles) == (0, "")
    assert words in problems


def test_what_happened_twice_is_told() -> None:
    ledger = Ledger(asked={COMMAND})
    once, again = stored(IMPORTED, command=COMMAND), stored(IMPORTED, IMPORTED, stream="device-1")
    assert "there 2 times" in verdict_of(ledger, [*once, *once])[2]
    assert "device-1 has 2 events DeviceImported" in verdict_of(ledger, again)[2]
    assert "made 2 events" in verdict_of(ledger, stored(NAMED, NAMED, command=COMMAND))[2]
    assert "1 published twice" in verdict_of(ledger, once, [*published(7), *published(7)])[2]


def test_one_command_may_make_several_groups_and_each_of_them_once() -> None:
    ledger = Ledger(asked={COMMAND})
    lab, hall = (GroupCreated(1000, name, "", "") for name in ("lab", "hall"))
    assert verdict_of(ledger, stored(lab, hall, stream="groups-1000", command=COMMAND))[2] == ""
    assert "made 2 events" in verdict_of(ledger, stored(lab, lab, stream="groups-1000", command=COMMAND))[2]


def test_a_gap_in_a_stream_is_told() -> None:
    first, _, third = stored(IMPORTED, NAMED, REPORTED)
    assert "numbered wrongly" in verdict_of(Ledger(), [first, third])[1]
    assert "numbered wrongly" in verdict_of(Ledger(), [third, first])[1]


def test_what_still_has_to_happen_is_told() -> None:
    ledger = Ledger(jobs={"import-1": []}, uploaded={2, 3}, reports={(DEVICE, 1), (DEVICE, 3)})
    assert unfinished(ledger, []) == ["import-1 is not finished", "version 3 ran, and firmware does not know"]


def test_a_view_that_is_not_what_a_rebuild_makes_is_told(tmp_path: Path) -> None:
    settings = Settings.load({}, data=tmp_path)
    events = stored(IMPORTED, NAMED)
    with closing(Database(settings.db, "devices")) as database:
        projector = Projector("devices", cast(EventStore, Past(events)), database, [FLEET], CONTRACTS)
        projector.catch_up()
        kept = Kept("devices", database, FLEET)
        moment = Moment("devices", FLEET, *kept.at_a_moment())
        assert differing([moment], events, CONTRACTS) == []
        with database.writing() as connection:
            connection.execute(sa.update(database.table(FLEET)).values(name="pan"))
            connection.execute(sa.delete(database.counts(FLEET)))
        moment = Moment("devices", FLEET, *kept.at_a_moment())
        assert differing([moment], events, CONTRACTS) == ["devices/fleet at 2 is not what a rebuild makes"]
        assert is_miscounted(kept)


def test_the_past_gives_what_was_there_and_no_more() -> None:
    events = stored(IMPORTED, NAMED, REPORTED)
    past = Past(events).up_to(Position(2))
    types = frozenset({"DeviceImported", "FirmwareReported"})
    assert past.head() == 2
    assert Past(events).is_behind(Position(2), types)
    assert not Past(events).is_behind(Position(2), VIEWS[0].event_types)
