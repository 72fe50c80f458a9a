"""Firmware of a session whose device is to be flashed a file (contract 9.5): before its target, once, anywhere."""

from __future__ import annotations

from typing import Any

import pytest

from services.gateway.devices.flashing import LAG_S
from services.gateway.devices.identity import Identity
from services.gateway.devices.updates import Updates
from services.gateway.entries import FlashEntry
from shared.events.gateway import UpdateFailed, UpdateStarted, UpdateSucceeded
from tests.gateway.devices.test_firmware import DEVICE, NEW, OLD, Connected

FILE = FlashEntry("f" * 24, 1000, 9, 4, "0" * 64)
FLASHED = Identity(1000, 9, "", "", True)


@pytest.fixture
def device(directory: Any) -> Connected:
    """Version 7 is released for it, and it runs that; somebody wants the file on it."""
    directory.put_image(7, b"image")
    directory.change(released_version=7)
    connected = Connected(directory)
    connected.hello(0.0, NEW)
    connected.updates.flashing.ask(FILE, 0.0)
    return connected


def test_a_file_is_sent_at_once_whatever_the_target_is(device: Connected) -> None:
    assert device.firmware.runs_target
    assert device.firmware.may_bring_from() == 0.0
    assert device.begin(1.0) == [UpdateStarted(DEVICE, 1000, 9, 1, "file", 4)]
    assert device.firmware.image() == FILE.image


def test_a_device_that_comes_back_as_it_was_has_failed_and_is_not_sent_it_again(device: Connected) -> None:
    device.begin(1.0)
    device.updates.delivered(2.0)
    (failed,) = device.hello(9.0, NEW)
    assert isinstance(failed, UpdateFailed)
    assert failed.reason == "came_back_unchanged"
    assert device.firmware.wanted() is None


def test_a_file_that_was_being_applied_has_its_fate_told_at_another_gateway(directory: Any) -> None:
    directory.change(flash=FILE, attempt_version=9, attempts=1, attempt_applying=True)
    elsewhere = Connected(directory)
    assert elsewhere.hello(5.0, FLASHED) == [UpdateSucceeded(DEVICE, 1000, 9, 1, "file")]
    elsewhere.updates.flashing.know(FILE, 6.0)
    assert elsewhere.updates.flashing.wanted is None


def test_a_device_that_is_forgotten_when_it_leaves_keeps_a_file_that_was_asked_for_a_moment_ago() -> None:
    updates = Updates(DEVICE)
    assert updates.forgettable(0.0)
    updates.flashing.ask(FILE, 0.0)
    assert not updates.forgettable(1.0)
    assert updates.forgettable(LAG_S)


def test_three_failures_of_a_version_keep_no_file_away_that_carries_it(directory: Any) -> None:
    directory.change(attempt_version=9, attempts=3, failures=3)
    connected = Connected(directory)
    connected.hello(0.0, OLD)
    connected.updates.flashing.ask(FILE, 1.0)
    assert connected.firmware.may_bring_from() == 0.0
