from __future__ import annotations

from typing import Any

import pytest

from services.orgs.products.access_requests import FLAGS, access_changes, names_devices
from services.orgs.products.device_access import LONGEST_FIRMWARE_NAME, WIDEST_VERSION, ConfigureDeviceAccess
from shared.errors import Refused
from shared.ids import MAX_FIRMWARE_VERSION


def test_nothing_named_is_nothing_changed() -> None:
    assert access_changes({}) == access_changes({"tls_only": None, "version_width": None}) == ConfigureDeviceAccess()


def test_everything_can_be_named() -> None:
    asked = {
        "trust_first_key": True,
        "tls_only": False,
        "provisioning": "imported",
        "claim_without_secret": True,
        "firmware_name": " lamp ",
        "version_width": 5,
    }
    assert access_changes(asked) == ConfigureDeviceAccess(True, False, "imported", True, "lamp", 5)


@pytest.mark.parametrize("value", [None, "", " "])
def test_no_firmware_name_is_the_products_number(value: str | None) -> None:
    assert access_changes({"firmware_name": value}) == ConfigureDeviceAccess(firmware_name="")


def test_a_version_is_never_wider_than_the_highest() -> None:  # MQF-10
    assert len(str(MAX_FIRMWARE_VERSION)) == WIDEST_VERSION
    assert access_changes({"version_width": WIDEST_VERSION}).version_width == WIDEST_VERSION


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((flag, wrong) for flag in FLAGS for wrong in ("true", 1, [])),
        *(("provisioning", wrong) for wrong in ("on", "", True, 0, ["off"])),
        *(("version_width", wrong) for wrong in (-1, 6, True, "5", 2.0)),
        *(("firmware_name", wrong) for wrong in (7, ["x"], "x" * (LONGEST_FIRMWARE_NAME + 1), "a\nb")),
        ("colour", "red"),
    ],
)
def test_what_cannot_be_set_is_refused_with_its_name(name: str, value: Any) -> None:
    with pytest.raises(Refused, match=f"^invalid_request: {name}"):
        access_changes({name: value})


@pytest.mark.parametrize("value", [None, "x", 7, ["tls_only"]])
def test_changes_are_an_object(value: object) -> None:
    with pytest.raises(Refused, match="must be an object"):
        access_changes(value)


def test_common_names_are_no_devices_unless_it_is_said() -> None:
    assert [names_devices(value) for value in (None, False, True)] == [False, False, True]
    with pytest.raises(Refused, match="names_devices"):
        names_devices("yes")
