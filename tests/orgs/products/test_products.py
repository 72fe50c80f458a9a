from __future__ import annotations

import pytest

from services.orgs.products.device_access import ConfigureDeviceAccess, at_first
from services.orgs.products.products import (
    PLATFORMS,
    PRODUCTS,
    Command,
    CreateProduct,
    Event,
    IssueProvisioningKey,
    Product,
    decide,
    device_type_of,
    number_of,
    stream_of,
)
from shared.errors import Conflict, NotFound, Refused
from shared.events.orgs import DeviceAccessConfigured, ProvisioningKeyIssued

COMMAND = CreateProduct(1000, "b" * 24, "acme", "Lamp", "lamp", "Shines", "Electron", "Consumer", "v1")


DIGEST = "1" * 64


def after(*events: Event) -> Product:
    state = PRODUCTS.evolve(Product(), decide(Product(), COMMAND)[0])
    for event in events:
        state = PRODUCTS.evolve(state, event)
    return state


def test_a_product_carries_the_platform_of_its_device_type() -> None:  # PRD-1
    (created,) = decide(Product(), COMMAND)
    assert (created.product_id, created.device_type, created.platform_id) == (1000, "Electron", 10)


def test_a_number_is_given_once() -> None:  # PRD-1
    (created,) = decide(Product(), COMMAND)
    with pytest.raises(Conflict):
        decide(PRODUCTS.evolve(Product(), created), COMMAND)


@pytest.mark.parametrize(("device_type", "platform_id"), PLATFORMS.items())
def test_a_device_type_stands_for_its_platform(device_type: str, platform_id: int) -> None:
    assert device_type_of(None, device_type) == device_type
    assert device_type_of(platform_id, device_type) == device_type


@pytest.mark.parametrize(
    ("platform_id", "device_type"), [(0, "Core"), (6, "Photon"), (8, "P1"), (10, "Electron"), (65_535, "mqtt")]
)
def test_a_platform_alone_stands_for_a_device_type(platform_id: int, device_type: str) -> None:
    assert device_type_of(platform_id, None) == device_type


@pytest.mark.parametrize(
    ("platform_id", "device_type", "code"),
    [
        (None, None, "invalid_request"),
        (6, "P1", "invalid_request"),
        (7, None, "unsupported_platform"),
        (None, "Argon", "unsupported_platform"),
        (6, "Argon", "unsupported_platform"),
        (7, "Photon", "unsupported_platform"),
    ],
)
def test_other_platforms_are_refused(platform_id: int | None, device_type: str | None, code: str) -> None:
    with pytest.raises(Refused) as refusal:
        device_type_of(platform_id, device_type)
    assert refusal.value.code == code


def test_a_stream_tells_the_number() -> None:
    assert number_of(stream_of(1234)) == 1234


@pytest.mark.parametrize("command", [ConfigureDeviceAccess(), IssueProvisioningKey("key", DIGEST)])
def test_a_product_that_does_not_exist_lets_nobody_in(command: Command) -> None:
    with pytest.raises(NotFound):
        decide(Product(), command)


def test_how_devices_get_in_is_said_as_a_whole_whatever_was_changed() -> None:
    event = DeviceAccessConfigured(1000, False, True, "off", False, "1000", 0)
    assert decide(after(), ConfigureDeviceAccess(tls_only=True)) == [event]
    both = DeviceAccessConfigured(1000, True, True, "off", False, "1000", 0)
    assert decide(after(event), ConfigureDeviceAccess(trust_first_key=True)) == [both]


@pytest.mark.parametrize(
    "command", [ConfigureDeviceAccess(), ConfigureDeviceAccess(False, False, "off", False, "1000", 0)]
)
def test_what_holds_already_makes_no_event(command: ConfigureDeviceAccess) -> None:
    assert decide(after(), command) == []
    assert decide(after(at_first(1000)), command) == []


def test_a_product_keeps_every_firmware_name_that_it_had_in_any_spelling() -> None:
    names = [DeviceAccessConfigured(1000, False, False, "off", False, name, 0) for name in ("Lamp", "LÄMP", "1000")]
    assert after(*names).firmware_names == {"1000", "lamp", "lämp"}


def test_a_provisioning_key_replaces_the_one_before_and_stays_when_access_changes() -> None:
    first, second = ProvisioningKeyIssued(1000, "key", DIGEST), ProvisioningKeyIssued(1000, "new", "2" * 64)
    assert decide(after(), IssueProvisioningKey("key", DIGEST)) == [first]
    assert decide(after(first), IssueProvisioningKey("key", DIGEST)) == []
    assert decide(after(first), IssueProvisioningKey("new", "2" * 64)) == [second]
    assert after(first, second, at_first(1000)).issued == second
    assert after(at_first(1000), first).access == at_first(1000)
