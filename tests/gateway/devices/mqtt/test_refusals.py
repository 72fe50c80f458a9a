"""Refused log-ins that name a device (MQC-4)."""

from __future__ import annotations

from typing import Any

from services.gateway.devices.mqtt import refusals
from services.gateway.devices.mqtt.packets import decode_connect
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.devices.mqtt.refusals import Refusals
from shared.events.gateway import DeviceMisbehaved

DEVICE = "0123456789abcdef01234567"


def connect(wire: Any, username: str | None) -> Any:
    reader = FrameReader(1 << 16)
    reader.feed(wire.connect(username))
    frame = reader.take()
    assert frame is not None
    return decode_connect(frame)


def test_the_device_that_is_named_shows_it_once_an_hour_with_the_count(directory: Any, wire: Any) -> None:
    known = Refusals(directory)
    named = connect(wire, DEVICE.upper())
    first = known.refused(named, "192.0.2.7", 0.0)
    assert first == DeviceMisbehaved(DEVICE, 1000, "refused_login", "refused log-in from 192.0.2.7", 1)
    for second in range(1, 100):
        assert known.refused(named, "192.0.2.7", float(second)) is None
    again = known.refused(named, "192.0.2.8", 3_600.0)
    assert again == DeviceMisbehaved(DEVICE, 1000, "refused_login", "refused log-in from 192.0.2.8", 100)


def test_who_names_no_device_of_a_product_is_nobodys(directory: Any, wire: Any) -> None:
    known = Refusals(directory)
    directory.add("e" * 24, "another-token-of-somebody", membership=directory.devices[DEVICE].membership)
    directory.change("e" * 24, member={"product_id": None})
    for username in (None, "provision", "f" * 24, "e" * 24, "x"):
        assert known.refused(connect(wire, username), "192.0.2.7", 0.0) is None


def test_a_bounded_number_of_devices_is_remembered(directory: Any, wire: Any) -> None:
    known = Refusals(directory)
    for number in range(refusals.DEVICES + 1):
        directory.add(f"{number:024x}", f"token-{number:020}")
        assert known.refused(connect(wire, f"{number:024x}"), "192.0.2.7", 0.0) is not None
    assert known.refused(connect(wire, f"{refusals.DEVICES:024x}"), "192.0.2.7", 1.0) is None
    assert known.refused(connect(wire, f"{0:024x}"), "192.0.2.7", 1.0) is not None
