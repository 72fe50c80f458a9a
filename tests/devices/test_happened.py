from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from services.devices.fates import FATES, MOST_ATTEMPTS
from services.devices.happened import HAPPENED, MOST_ENTRIES, WEEK, Entry
from services.devices.happened_words import attempt_entries, attempt_object, entry_object, sessions
from shared.events import gateway as g
from shared.projections.view import Key, Row, View
from shared.store.port import Position, Recorded
from shared.times import iso

A, P = "a" * 24, 1000
NOON = datetime(2030, 1, 3, 12, tzinfo=UTC)
S1, S2 = ("a", 1, 1), ("a", 1, 2)


def online(session: tuple[str, int, int] = S1, at: datetime = NOON) -> g.DeviceConnected:
    return g.DeviceConnected(A, P, *session, at, "mqtt/5.0", "192.0.2.1", True, "")


def offline(session: tuple[str, int, int] = S1, duration_s: int = 60) -> g.DeviceDisconnected:
    return g.DeviceDisconnected(A, P, *session, "keepalive", duration_s, 0, 0, 0, 0)


def rows(view: View, events: Iterable[Any], at: datetime = NOON, step_s: float = 60) -> list[Row]:
    found: dict[Key, Row] = {}
    for number, event in enumerate(events, 1):
        when = at + timedelta(seconds=number * step_s)
        recorded = Recorded(UUID(int=1), type(event).__name__, "s", 0, Position(number), when, b"", b"")
        for key in view.keys(event, recorded) if view.by_envelope else view.keys(event):
            row = view.fold(found.get(key), event, recorded)
            assert row is not None
            assert list(row) == list(view.columns)
            found[key] = row
    return list(found.values())


def entries(*events: Any) -> list[Entry]:
    [row] = rows(HAPPENED, events)
    return [Entry.of(stored) for stored in row["entries"]]


def test_what_gateways_saw_is_kept_the_newest_first() -> None:
    found = entries(
        online(),
        g.FirmwareReported(A, None, P, 7, "lamp", "7", *S1),
        g.DeviceErred(A, P, "reset/panic", "panic", 2, 7, *S1),
        g.DeviceMisbehaved(A, P, "bad_payload", "{", 1, 7),
        g.FunctionCalled(A, P, "unlock", "timeout", 9, "", 7),
        g.UpdatesDeclared(A, P, False, False, *S1),
        offline(),
    )
    assert [entry.word for entry in found] == ["off", "lets", "error", "error", "error", "runs", "on"]
    assert {entry.product_id for entry in found} == {P}  # what it reports in quarantine is its product's, too
    assert [entry_object(A, entry)["text"] for entry in found] == [
        "went offline after 60 s: it was silent for longer than it had promised (DEV-7)",
        "its application wants no update now",
        "its function unlock was called: timeout (DEV-9)",
        "broke the protocol, bad_payload: {",
        "reported an error, reset/panic, 2 times since it was told last: panic",
        "reported version 7 of product 1000",
        "came online on gateway a over mqtt/5.0 from 192.0.2.1 (DEV-7)",
    ]
    assert entry_object(A, found[-1])["data"] == {"gateway": "a", "protocol": "mqtt/5.0", "address": "192.0.2.1"}


def test_a_call_that_was_answered_and_a_refused_log_in_are_nothing_that_happened_to_the_device() -> None:
    assert rows(HAPPENED, [g.FunctionCalled(A, P, "unlock", "answered", 9, "")]) == []
    assert rows(HAPPENED, [g.DeviceMisbehaved(A, P, "refused_login", "", 1)]) == []


def test_of_a_week_with_too_much_the_oldest_sessions_are_left_out_first() -> None:
    events: list[Any] = [g.FirmwareReported(A, P, P, 7, "", "7", *S1)]
    for number in range(100):
        events += [online(("a", 1, number)), offline(("a", 1, number))]
    [row] = rows(HAPPENED, events)
    assert len(row["entries"]) == MOST_ENTRIES
    assert row["left_out"] == 201 - MOST_ENTRIES
    assert row["entries"][-1][2] == "runs"


def test_the_newest_weeks_with_anything_in_them_are_kept() -> None:
    found = rows(HAPPENED, [online()] * 20, step_s=WEEK.length.total_seconds())
    assert len(found) == WEEK.kept
    late = rows(HAPPENED, [online(), offline()], step_s=-WEEK.length.total_seconds() * WEEK.kept)
    assert [len(row["entries"]) for row in late] == [1]


def test_sessions_have_a_beginning_an_end_and_how_that_came() -> None:
    found = sessions(
        entries(
            offline(("a", 1, 0), 30),
            online(S1, NOON + timedelta(seconds=100)),
            g.SessionReplaced(A, P, *S2, NOON + timedelta(seconds=150), "mqtt/5.0", "192.0.2.2", True, "", "192.0.2.1"),
            offline(S2, 10),
            online(("b", 4, 1), NOON + timedelta(seconds=290)),
        )
    )
    told = [(one["gateway"], one["session"], one["ended"], one["duration_s"], one["address"]) for one in found]
    assert told == [
        ("b", 1, None, None, "192.0.2.1"),
        ("a", 2, "keepalive", 10, "192.0.2.2"),
        ("a", 1, "replaced", 50, "192.0.2.1"),
        ("a", 0, "keepalive", 30, None),
    ]
    assert found[0]["to"] is None
    assert (found[2]["from"], found[2]["to"]) == (
        iso(NOON + timedelta(seconds=100)),
        iso(NOON + timedelta(seconds=150)),
    )


def test_attempts_have_their_fates() -> None:
    [row] = rows(
        FATES,
        [
            g.UpdateStarted(A, P, 7, 1, "release", 10),
            g.UpdateInterrupted(A, P, 7, 1, 40),
            g.UpdateStarted(A, P, 7, 2, "release", 10),
            g.UpdateFailed(A, P, 7, 2, "stalled", "nothing since", 1),
            g.UpdateSucceeded(A, P, 8, 1),
            g.UpdateStarted(A, P, 7, 1, "lock", 10),
        ],
    )
    shown = [attempt_object(one) for one in row["attempts"]]
    assert [(one["version"], one["attempt"], one["cause"], one["state"], one["reason"]) for one in shown] == [
        (7, 1, "lock", "started", None),
        (8, 1, None, "succeeded", None),
        (7, 2, "release", "failed", "stalled"),
        (7, 1, "release", "interrupted", None),
    ]
    assert (shown[1]["started_at"], shown[3]["percent"]) == (None, 40)
    told = sorted(attempt_entries(A, row["attempts"]), key=lambda one: one["position"])
    assert [(one["position"], one["type"]) for one in told] == [
        (1, "UpdateStarted"),
        (2, "UpdateInterrupted"),
        (3, "UpdateStarted"),
        (4, "UpdateFailed"),
        (5, "UpdateSucceeded"),
        (6, "UpdateStarted"),
    ]
    assert told[3]["text"] == "attempt 2 at version 7 failed (stalled): nothing since (FW-7)"


def test_an_interrupted_attempt_that_succeeded_after_all_has_succeeded() -> None:
    began = g.UpdateStarted(A, P, 7, 1, "release", 10)
    [row] = rows(FATES, [began, g.UpdateInterrupted(A, P, 7, 1, 99), g.UpdateSucceeded(A, P, 7, 1)])
    [one] = row["attempts"]
    assert (one["state"], one["ended"][0]) == ("succeeded", 3)


def test_attempts_of_a_device_are_bounded() -> None:
    [row] = rows(FATES, [g.UpdateStarted(A, P, 7, number, "lock", 10) for number in range(1, 200)])
    assert [one["attempt"] for one in row["attempts"]] == list(range(199, 199 - MOST_ATTEMPTS, -1))
