from __future__ import annotations

import msgspec
import pytest

from services.orgs.products.device_access import (
    LONGEST_FIRMWARE_NAME,
    ConfigureDeviceAccess,
    at_first,
    changed,
    firmware_name,
)
from shared.errors import Refused
from shared.events.orgs import DeviceAccessConfigured

ALL = ConfigureDeviceAccess(True, True, "create", True, "Lamp 1.0", 5)


def test_at_first_nothing_is_open_and_the_number_is_the_firmware_name() -> None:
    assert at_first(1000) == DeviceAccessConfigured(1000, False, False, "off", False, "1000", 0)


def test_what_is_not_named_stays_as_it_is() -> None:
    everything = changed(at_first(1000), ALL)
    assert everything == DeviceAccessConfigured(1000, True, True, "create", True, "Lamp 1.0", 5)
    assert changed(everything, ConfigureDeviceAccess()) == everything
    assert changed(everything, ConfigureDeviceAccess(tls_only=False)) == msgspec.structs.replace(
        everything, tls_only=False
    )


def test_everything_can_be_set_back() -> None:
    back = ConfigureDeviceAccess(False, False, "off", False, "", 0)
    assert changed(changed(at_first(1000), ALL), back) == at_first(1000)


@pytest.mark.parametrize("wish", ["1000", ""])
def test_the_products_own_number_is_always_a_firmware_name(wish: str) -> None:  # MQF-1
    assert firmware_name(1000, wish) == "1000"


@pytest.mark.parametrize("wish", ["1001", "01000", "0", "１０００", "١٠٠٠", "1²", "9" * 64])
def test_other_digits_would_name_another_product(wish: str) -> None:  # MQF-1
    with pytest.raises(Refused, match="only be the product's own, 1000"):
        firmware_name(1000, wish)


@pytest.mark.parametrize("wish", ["Initial", "initial", "INITIAL"])
def test_what_says_nothing_is_no_firmware_name(wish: str) -> None:  # MQF-1
    with pytest.raises(Refused, match="reported by devices without any"):
        firmware_name(1000, wish)


@pytest.mark.parametrize("wish", ["lamp\n", "la\tmp", "la\x00mp", "la\u200bmp", " lamp", "lamp ", "\ud800", "x" * 65])
def test_a_firmware_name_is_of_1_to_64_printable_characters(wish: str) -> None:
    with pytest.raises(Refused, match="64 printable characters"):
        firmware_name(1000, wish)


@pytest.mark.parametrize("wish", ["lamp", "Lamp 1.0", "1000-lamp", "v1000", "Lämpchen", "x" * LONGEST_FIRMWARE_NAME])
def test_any_other_text_is_taken_letter_for_letter(wish: str) -> None:
    assert firmware_name(1000, wish) == wish
