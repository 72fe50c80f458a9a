"""Attempts to bring a device to a version: what opens, advances and ends them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.updates import BACK_S, MOST_INTERRUPTIONS, RETRY_S, Updates, Wanted
from services.gateway.entries import DeviceEntry
from shared.events.contracts import CONTRACTS
from shared.events.gateway import UpdateAdvanced, UpdateFailed, UpdateInterrupted, UpdateStarted, UpdateSucceeded
from shared.targets import Membership

DEVICE = "0123456789abcdef01234567"
SEVEN = Wanted(1000, 7, "release", 1_000)
EIGHT = Wanted(1000, 8, "lock", 1_000)


def known(**changes: Any) -> DeviceEntry:
    entry = DeviceEntry(DEVICE, Membership(1000), None, None, "", "", False, 7, None, 0, 0)
    return replace(entry, **changes)


@pytest.fixture
def updates() -> Updates:
    made = Updates(DEVICE)
    made.connected()
    return made


def test_the_first_chunk_opens_an_attempt(updates: Updates) -> None:
    assert updates.chunk(SEVEN, 10, 0.0) == [UpdateStarted(DEVICE, 1000, 7, 1, "release", 1_000)]
    assert updates.running
    assert updates.chunk(SEVEN, 20, 1.0) == []


def test_downloading_opens_an_attempt_too(updates: Updates) -> None:
    assert updates.says("DOWNLOADING", "", SEVEN, 0.0) == [UpdateStarted(DEVICE, 1000, 7, 1, "release", 1_000)]
    assert updates.chunk(SEVEN, 10, 0.0) == []


@pytest.mark.parametrize("word", ["IDLE", "QUEUED", "INITIATED", "UPDATED", "DOWNLOADED", "UPDATING", "nonsense", ""])
def test_other_states_open_none(word: str, updates: Updates) -> None:
    assert updates.says(word, "", SEVEN, 0.0) == []
    assert not updates.running


def test_failures_without_an_attempt_are_ignored(updates: Updates) -> None:
    assert updates.says("FAILED", "Missing shared attribute firmware keys", SEVEN, 0.0) == []


def test_progress_is_told_every_five_percent_and_two_seconds(updates: Updates) -> None:
    updates.chunk(SEVEN, 0, 0.0)
    told = [event.percent for second in range(100) for event in updates.chunk(SEVEN, (second + 1) * 10, second * 0.5)]
    assert told == [5, 10, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95, 100]
    updates.retarget(None, 100.0)
    updates.chunk(SEVEN, 0, 100.0)
    quick = [event for step in range(100) for event in updates.chunk(SEVEN, step * 10, 100.0 + step * 0.1)]
    assert len(quick) == 4


def test_the_words_of_the_device_are_the_states_of_the_attempt(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    said = [updates.says(word, "", SEVEN, 1.0) for word in ("DOWNLOADED", "DOWNLOADED", "VERIFIED", "UPDATING")]
    states = [[(event.state, event.percent) for event in events] for events in said]
    assert states == [[("downloaded", 100)], [], [("verified", 100)], [("applying", 100)]]


def test_the_chunk_past_the_end_does_not_begin_the_download_anew(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    updates.says("DOWNLOADED", "", SEVEN, 1.0)
    assert updates.chunk(SEVEN, 1_000, 1.1) == []
    assert updates.chunk(SEVEN, 100, 1.2) == [UpdateAdvanced(DEVICE, 1000, 7, 1, "downloading", 10)]


def test_only_a_version_report_is_success(updates: Updates) -> None:  # FW-7
    updates.chunk(SEVEN, 1_000, 0.0)
    for word in ("DOWNLOADED", "VERIFIED", "UPDATING"):
        assert not any(isinstance(event, UpdateSucceeded) for event in updates.says(word, "", SEVEN, 1.0))
    updates.connected()
    assert updates.reported(True, 9.0) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]
    assert updates.reported(True, 9.1) == []
    assert updates.reported_late(1000, 7) == []


def test_a_version_that_comes_after_an_interruption_is_success_all_the_same(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    updates.says("DOWNLOADED", "", SEVEN, 1.0)
    assert updates.lost(2.0) == [UpdateInterrupted(DEVICE, 1000, 7, 1, 100, "release")]
    updates.connected()
    assert updates.reported(True, 3.0) == []
    assert updates.reported_late(1000, 7) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]


def test_a_version_that_was_never_tried_is_no_success(updates: Updates) -> None:
    assert updates.reported_late(1000, 7) == []


def test_an_attempt_of_another_gateway_succeeds_here(updates: Updates) -> None:
    updates.know(known(attempt_version=7, attempts=3, failures=1), 0.0)
    assert updates.reported_late(1000, 7) == [UpdateSucceeded(DEVICE, 1000, 7, 3)]


@pytest.mark.parametrize("runs", [True, False])
def test_what_was_being_applied_at_another_gateway_has_its_fate_told_here(updates: Updates, runs: bool) -> None:
    updates.know(known(attempt_version=7, attempts=2, failures=1, attempt_applying=True), 0.0)
    updates.connected()
    [fate] = updates.reported(runs, 1.0)
    assert fate == (
        UpdateSucceeded(DEVICE, 1000, 7, 2, "release")
        if runs
        else UpdateFailed(DEVICE, 1000, 7, 2, "came_back_unchanged", "came back with another version", 2, "release")
    )
    assert not updates.running


def test_a_fate_that_another_gateway_told_before_is_not_told_twice(updates: Updates) -> None:
    before = known(attempt_version=7, attempts=2, failures=0, attempt_applying=True)
    updates.know(before, 0.0)
    updates.connected()
    updates.told_elsewhere(before)
    assert updates.running
    updates.told_elsewhere(known(attempt_version=7, attempts=2, failures=0))
    assert (updates.running, updates.reported(True, 1.0)) == (False, [])


def test_an_attempt_of_ones_own_is_not_begun_anew_because_the_directory_is_late(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    updates.says("UPDATING", "", SEVEN, 1.0)
    updates.connected()
    assert isinstance(updates.reported(False, 2.0)[0], UpdateFailed)
    updates.know(known(attempt_version=7, attempts=1, failures=0, attempt_applying=True), 20.0)
    assert not updates.running


def test_a_device_that_went_to_another_gateway_fails_nothing_here(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    updates.says("UPDATING", "", SEVEN, 1.0)
    assert updates.lost(2.0) == []
    updates.left()
    assert updates.due(10 * 86_400.0) == []


def test_a_device_that_reports_failure_has_failed_with_its_text(updates: Updates) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    [failed] = updates.says("FAILED", "no\nroom\0" + "é" * 400, SEVEN, 1.0)
    assert isinstance(failed, UpdateFailed)
    assert (failed.reason, failed.failures, failed.attempt) == ("device_failed", 1, 1)
    assert failed.text.startswith("no room é")
    assert len(failed.text.encode()) <= 512
    updates.chunk(SEVEN, 10, 2.0)
    [again] = updates.says("DOWNLOADING", "checksum", SEVEN, 3.0)
    assert isinstance(again, UpdateFailed)
    assert (again.attempt, again.failures) == (2, 2)


def test_a_device_that_says_updated_must_report_the_version_within_a_minute(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    assert updates.says("UPDATED", "", SEVEN, 1.0) == []
    assert updates.due_at() == 61.0
    assert updates.due(60.9) == []
    [failed] = updates.due(61.0)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "device_says_current"


def test_a_device_that_comes_back_with_another_version_has_failed(updates: Updates) -> None:
    updates.chunk(SEVEN, 1_000, 0.0)
    updates.says("UPDATING", "", SEVEN, 1.0)
    assert updates.reported(False, 1.5) == []  # it has not restarted yet
    assert updates.lost(2.0) == []
    updates.connected()
    [failed] = updates.reported(False, 30.0)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "came_back_unchanged"


def test_a_lost_connection_interrupts_and_is_no_failure(updates: Updates) -> None:
    updates.chunk(SEVEN, 420, 0.0)
    assert updates.lost(1.0) == [UpdateInterrupted(DEVICE, 1000, 7, 1, 42, "release")]
    assert updates.offer_from(7, connected_at=2.0) == 2.0
    assert updates.chunk(SEVEN, 10, 3.0)[0].attempt == 2


def test_twenty_interruptions_in_a_row_are_a_failure(updates: Updates) -> None:
    kinds = []
    for turn in range(MOST_INTERRUPTIONS):
        updates.chunk(SEVEN, 10, float(turn))
        kinds += [type(event) for event in updates.lost(turn + 0.5)]
    assert kinds == [UpdateInterrupted] * 19 + [UpdateFailed]


def test_ten_minutes_without_a_chunk_are_a_stall(updates: Updates) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    updates.chunk(SEVEN, 20, 100.0)
    assert updates.due(699.0) == []
    [failed] = updates.due(700.0)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "stalled"
    assert updates.due_at() is None


def test_a_device_that_applies_for_a_day_has_not_come_back(updates: Updates) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    updates.says("UPDATING", "", SEVEN, 10.0)
    updates.lost(11.0)
    assert not updates.forgettable(80_000.0)
    assert updates.due(86_409.0) == []
    [failed] = updates.due(86_410.0)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "did_not_come_back"
    assert updates.forgettable(86_421.0)


@pytest.mark.parametrize("target", [None, EIGHT])
def test_an_attempt_at_what_is_no_longer_the_target_is_cancelled_and_counts_no_failure(
    target: Wanted | None, updates: Updates
) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    assert updates.retarget(SEVEN, 1.0) == []
    [failed] = updates.retarget(target, 1.0)
    assert isinstance(failed, UpdateFailed)
    assert (failed.reason, failed.failures) == ("cancelled", 0)


def test_a_chunk_of_the_new_target_cancels_and_begins(updates: Updates) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    kinds = [type(event) for event in updates.chunk(EIGHT, 10, 1.0)]
    assert kinds == [UpdateFailed, UpdateStarted]


def test_after_a_failure_it_is_offered_at_the_next_connection_or_after_ten_and_twenty_minutes(
    updates: Updates,
) -> None:
    def fail(at: float) -> None:
        updates.chunk(SEVEN, 10, at)
        updates.says("FAILED", "", SEVEN, at)

    fail(100.0)
    assert updates.offer_from(7, connected_at=0.0) == 700.0
    assert updates.offer_from(7, connected_at=150.0) == 150.0
    assert updates.offer_from(8, connected_at=0.0) == 0.0
    fail(200.0)
    assert updates.offer_from(7, connected_at=0.0) == 1_400.0
    fail(300.0)
    assert updates.offer_from(7, connected_at=999.0) is None
    updates.ask_again()
    assert updates.offer_from(7, connected_at=0.0) == 0.0


def test_nothing_is_offered_while_an_attempt_runs(updates: Updates) -> None:
    updates.chunk(SEVEN, 10, 0.0)
    assert updates.offer_from(7, connected_at=0.0) is None


def test_what_the_directory_knows_counts(updates: Updates) -> None:
    updates.know(known(attempt_version=7, attempts=4, failures=3), 0.0)
    assert updates.offer_from(7, connected_at=0.0) is None
    assert updates.chunk(SEVEN, 10, 0.0)[0].attempt == 5


def test_the_directory_is_not_believed_about_a_failure_of_a_moment_ago(updates: Updates) -> None:
    for at in (0.0, 1.0, 2.0):
        updates.chunk(SEVEN, 10, at)
        updates.says("FAILED", "", SEVEN, at)
    updates.know(known(attempt_version=7, attempts=3, failures=2), 3.0)
    assert updates.offer_from(7, connected_at=3.0) is None
    updates.know(known(attempt_version=7, attempts=3, failures=0), 60.0)  # somebody asked again
    assert updates.offer_from(7, connected_at=60.0) == 60.0


def test_what_the_gateway_sends_opens_with_the_offer_and_is_applying_when_it_is_delivered(updates: Updates) -> None:
    assert updates.begin(SEVEN, 0.0) == [UpdateStarted(DEVICE, 1000, 7, 1, "release", 1_000)]
    assert [event.percent for event in updates.chunk(SEVEN, 500, 3.0) if isinstance(event, UpdateAdvanced)] == [50]
    assert updates.delivered(4.0) == [UpdateAdvanced(DEVICE, 1000, 7, 1, "applying", 100)]
    assert updates.lost(5.0) == []
    updates.connected()
    assert updates.reported(True, 30.0) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]


def test_a_device_that_got_everything_is_to_be_back_within_five_minutes(updates: Updates) -> None:
    assert updates.delivered(0.0) == []
    updates.begin(SEVEN, 0.0)
    updates.delivered(10.0)
    updates.lost(11.0)
    assert updates.due_at() == 10.0 + BACK_S == 310.0
    assert updates.due(309.9) == []
    [failed] = updates.due(310.0)
    assert isinstance(failed, UpdateFailed)
    assert (failed.reason, failed.failures) == ("did_not_come_back", 1)
    updates.connected()
    assert updates.reported_late(1000, 7) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]  # it was only slow


def test_a_device_that_comes_back_as_it_was_has_failed(updates: Updates) -> None:
    updates.begin(SEVEN, 0.0)
    updates.delivered(10.0)
    updates.lost(11.0)
    updates.connected()
    [failed] = updates.reported(False, 20.0)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "came_back_unchanged"


@pytest.mark.parametrize("reason", ["device_refused", "device_failed", "stalled", "image_unreadable"])
def test_a_transfer_of_the_gateway_fails_for_a_reason_and_is_counted(updates: Updates, reason: Any) -> None:
    assert updates.failed(reason, "", 0.0) == []
    updates.begin(SEVEN, 0.0)
    [failed] = updates.failed(reason, "error\n5", 10.0)
    assert failed == UpdateFailed(DEVICE, 1000, 7, 1, reason, "error 5", 1, "release")
    assert updates.offer_from(7, 0.0) == 10.0 + RETRY_S


STEPS = st.one_of(
    st.tuples(st.just("chunk"), st.sampled_from((SEVEN, EIGHT)), st.integers(0, 1_000)),
    st.tuples(
        st.just("says"),
        st.sampled_from(("DOWNLOADING", "DOWNLOADED", "VERIFIED", "UPDATING", "UPDATED", "FAILED", "IDLE")),
        st.sampled_from(("", "broken")),
    ),
    st.tuples(st.just("reported"), st.booleans(), st.none()),
    st.tuples(st.just("retarget"), st.sampled_from((None, SEVEN, EIGHT)), st.none()),
    st.tuples(st.just("reconnect"), st.none(), st.none()),
    st.tuples(st.just("begin"), st.sampled_from((SEVEN, EIGHT)), st.none()),
    st.tuples(st.just("delivered"), st.none(), st.none()),
    st.tuples(st.just("failed"), st.sampled_from(("device_refused", "stalled")), st.none()),
    st.tuples(st.just("wait"), st.sampled_from((1.0, 90.0, 700.0, 90_000.0)), st.none()),
)


@given(st.lists(STEPS, max_size=60))
def test_whatever_happens_attempts_are_numbered_and_end_once(steps: list[Any]) -> None:
    updates, now = Updates(DEVICE), 1_000.0
    updates.connected()
    events: list[Any] = []
    for step, first, second in steps:
        now += 0.1
        if step == "chunk":
            events += updates.chunk(first, second, now)
        elif step == "says":
            events += updates.says(first, second, SEVEN, now)
        elif step == "reported":
            events += updates.reported(first, now)
        elif step == "retarget":
            events += updates.retarget(first, now)
        elif step == "begin":
            events += updates.begin(first, now)
        elif step == "delivered":
            events += updates.delivered(now)
        elif step == "failed":
            events += updates.failed(first, "because", now)
        elif step == "reconnect":
            events += updates.lost(now)
            updates.connected()
        else:
            now += first
            events += updates.due(now)
    open_attempt: tuple[int, int] | None = None
    numbers: dict[int, int] = {}
    for event in events:
        assert not CONTRACTS.schema(type(event).__name__).validate(
            {name: getattr(event, name) for name in event.__slots__}
        )
        this = (event.version, event.attempt)
        if isinstance(event, UpdateStarted):
            assert open_attempt is None
            assert event.attempt == numbers.get(event.version, 0) + 1
            open_attempt, numbers[event.version] = this, event.attempt
        else:
            assert this == open_attempt
            if not isinstance(event, UpdateAdvanced):
                open_attempt = None
    assert updates.running == (open_attempt is not None)
