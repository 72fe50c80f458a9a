"""Firmware of a session whose device is sent its target by the gateway: when it may be, and when no more."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.devices.effects import SessionName
from services.gateway.devices.firmware import Firmware
from services.gateway.devices.identity import Identity
from services.gateway.devices.updates import BACK_S, MOST_INTERRUPTIONS, RETRY_S, Updates
from shared.events.gateway import FirmwareReported, UpdateFailed, UpdateInterrupted, UpdateStarted, UpdateSucceeded
from shared.targets import MOST_FAILURES

DEVICE = "0123456789abcdef01234567"
OLD = Identity(1000, 6, "", "", True)
NEW = Identity(1000, 7, "", "", True)


class Connected:
    """One connection after the other of a device that has version 7 released for it and runs version 6."""

    def __init__(self, directory: Any, updates: Updates | None = None) -> None:
        self.directory = directory
        self.updates = updates or Updates(DEVICE)
        self.firmware: Firmware

    def hello(self, now: float, told: Identity = OLD) -> list[Any]:
        entry = self.directory.devices[DEVICE]
        self.updates.know(entry, now)
        self.updates.connected()
        self.firmware = Firmware(entry, self.updates, self.directory, SessionName("a", 1, 1), now)
        return [fact for fact in self.firmware.told(told, now) if type(fact).__name__.startswith("Update")]

    def begin(self, now: float) -> list[Any]:
        wanted = self.firmware.wanted()
        assert wanted is not None
        return [*self.updates.begin(wanted, now)]

    def failed(self, fact: UpdateFailed) -> None:
        """The directory hears of it."""
        self.directory.change(attempt_version=fact.version, attempts=fact.attempt, failures=fact.failures)


@pytest.fixture
def device(directory: Any) -> Connected:
    directory.put_image(7, b"image")
    directory.change(released_version=7)
    connected = Connected(directory)
    connected.hello(0.0)
    return connected


def test_a_device_gets_its_target_from_the_moment_it_says_what_it_runs(device: Connected) -> None:  # FW-4
    assert device.firmware.may_bring_from() == 0.0
    assert device.begin(1.0) == [UpdateStarted(DEVICE, 1000, 7, 1, "release", 5)]
    assert device.firmware.may_bring_from() is None


def test_success_is_the_version_in_the_next_hello(device: Connected) -> None:  # FW-7
    device.begin(1.0)
    device.updates.delivered(5.0)
    device.updates.lost(6.0)
    assert device.hello(20.0, NEW) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]
    assert device.firmware.may_bring_from() is None


def test_after_a_failure_it_is_tried_again_in_the_same_connection_with_growing_pauses(device: Connected) -> None:
    now = 0.0
    for number in range(1, MOST_FAILURES):
        device.begin(now)
        [fact] = device.updates.failed("stalled", "", now + 1)
        assert (fact.failures, fact.attempt) == (number, number)
        now += 1 + RETRY_S * number
        assert device.firmware.may_bring_from() == now


def test_after_three_failures_it_says_so_and_the_device_is_left_alone(device: Connected) -> None:  # FW-7
    for number in range(MOST_FAILURES):
        device.begin(10_000.0 * number)
        [fact] = device.updates.failed("device_refused", "the device answered 5.03", 10_000.0 * number + 1)
        device.failed(fact)
    assert fact.failures == MOST_FAILURES == 3
    assert device.firmware.may_bring_from() is None
    device.hello(50_000.0)
    assert device.firmware.may_bring_from() is None
    elsewhere = Connected(device.directory)  # another gateway, which knows it from the directory
    elsewhere.hello(60_000.0)
    assert elsewhere.firmware.may_bring_from() is None


def test_somebody_who_asks_again_gets_three_more_tries(device: Connected) -> None:
    for number in range(MOST_FAILURES):
        device.begin(10_000.0 * number)
        [fact] = device.updates.failed("stalled", "", 10_000.0 * number + 1)
        device.failed(fact)
    device.directory.change(member={"locked_version": 7, "flash_pending": True}, failures=0)
    device.firmware.directory_changed(50_000.0)
    assert device.firmware.may_bring_from() == 0.0
    assert device.begin(50_001.0) == [UpdateStarted(DEVICE, 1000, 7, 4, "lock", 5)]
    [fact] = device.updates.failed("stalled", "", 50_002.0)
    assert fact.failures == 1


def test_another_version_is_another_story(device: Connected) -> None:
    for number in range(MOST_FAILURES):
        device.begin(10_000.0 * number)
        [fact] = device.updates.failed("stalled", "", 10_000.0 * number + 1)
        device.failed(fact)
    device.directory.put_image(8, b"other")
    device.directory.change(released_version=8)
    device.hello(50_000.0)
    assert device.firmware.may_bring_from() == 50_000.0
    assert device.begin(50_001.0) == [UpdateStarted(DEVICE, 1000, 8, 1, "release", 5)]


def test_a_transfer_cut_in_the_middle_is_no_failure_and_goes_on_at_the_next_connection(device: Connected) -> None:
    device.begin(1.0)
    assert device.updates.lost(2.0) == [UpdateInterrupted(DEVICE, 1000, 7, 1, 0, "release")]
    device.hello(3.0)
    assert device.firmware.may_bring_from() == 3.0
    assert [fact.attempt for fact in device.begin(3.0)] == [2]


def test_a_device_that_does_not_come_back_is_offered_the_version_when_it_does(device: Connected) -> None:
    device.begin(1.0)
    device.updates.delivered(5.0)
    device.updates.lost(6.0)
    [fact] = device.updates.due(5.0 + BACK_S)
    assert isinstance(fact, UpdateFailed)
    device.failed(fact)
    device.hello(2_000.0)
    assert device.firmware.may_bring_from() == 2_000.0
    assert device.hello(2_001.0, NEW) == [UpdateSucceeded(DEVICE, 1000, 7, 1, "release")]


def test_a_target_that_is_withdrawn_during_the_transfer_cancels_it_and_counts_as_no_failure(device: Connected) -> None:
    device.begin(1.0)
    device.directory.change(released_version=None)
    [fact] = device.firmware.directory_changed(2.0)
    assert isinstance(fact, UpdateFailed)
    assert (fact.reason, fact.failures) == ("cancelled", 0)
    assert not device.updates.running


def test_a_device_that_reports_another_product_in_the_middle_has_not_succeeded_and_proves_nothing(
    device: Connected,
) -> None:  # FW-5, DEV-3
    device.begin(1.0)
    facts = device.firmware.told(Identity(2000, 7, "", "", True), 2.0)
    (report,) = [fact for fact in facts if isinstance(fact, FirmwareReported)]
    assert report.product_id is None  # so that it is no proof that version 7 of product 1000 runs
    assert not [fact for fact in facts if isinstance(fact, UpdateSucceeded)]
    assert device.firmware.may_bring_from() is None
    (report,) = [fact for fact in device.firmware.told(OLD, 3.0) if isinstance(fact, FirmwareReported)]
    assert report.product_id == 1000


def test_a_device_that_says_each_second_that_it_runs_another_version_is_recorded_as_it_says(device: Connected) -> None:
    """What it reports is the truth (DEV-3): an attempt succeeds once, and what is recorded are its changes."""
    device.begin(1.0)
    said = [device.firmware.told(told, float(second)) for second, told in enumerate((NEW, NEW, OLD, NEW, OLD))]
    kinds = [type(fact).__name__ for facts in said for fact in facts]
    assert kinds == ["FirmwareReported", "UpdateSucceeded", *["FirmwareReported"] * 3]


def test_a_device_that_flaps_has_one_attempt_at_a_time_and_is_given_up_in_the_end(device: Connected) -> None:  # FW-7
    kinds: list[str] = []
    for number in range(MOST_INTERRUPTIONS):
        device.begin(10.0 * number)
        kinds += [type(fact).__name__ for fact in device.updates.lost(10.0 * number + 1)]
        device.hello(10.0 * number + 5)
    assert kinds == ["UpdateInterrupted"] * (MOST_INTERRUPTIONS - 1) + ["UpdateFailed"]
