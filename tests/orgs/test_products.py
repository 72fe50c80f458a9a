from __future__ import annotations

import pytest

from services.orgs.products import (
    PLATFORMS,
    PRODUCTS,
    CreateProduct,
    Product,
    decide,
    device_type_of,
    number_of,
    stream_of,
)
from shared.errors import Conflict, Refused

COMMAND = CreateProduct(1000, "b" * 24, "acme", "Lamp", "lamp", "Shines", "Electron", "Consumer", "v1")


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
