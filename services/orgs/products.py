"""One product. Stream ``product-<number>``. Rule PRD-1.

==============  ===========  ================================================
``device_type``  platform     from ``platform_id`` alone
==============  ===========  ================================================
Core            0            Core
Photon, P0      6            Photon
P1              8            P1
Electron        10           Electron
mqtt            65535        mqtt; no Particle module carries this number
==============  ===========  ================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.aggregates import Aggregate
from shared.errors import Conflict, Refused
from shared.events.orgs import DeviceType, ProductCreated

ProductType = Literal["Consumer", "Hobbyist", "Industrial"]

PLATFORMS: dict[DeviceType, int] = {"Core": 0, "Photon": 6, "P0": 6, "P1": 8, "Electron": 10, "mqtt": 65_535}


@dataclass(frozen=True, slots=True)
class CreateProduct:
    """Make the product of this number; name and slug are reserved before."""

    product_id: int
    org_id: str
    org_slug: str
    name: str
    slug: str
    description: str
    device_type: DeviceType
    type: ProductType
    hardware_version: str


@dataclass(frozen=True, slots=True)
class Product:
    """``created`` is None for a number that no product has."""

    created: ProductCreated | None = None


def decide(state: Product, command: CreateProduct) -> list[ProductCreated]:
    """The product; ``Conflict`` if another one has the number, for then it gets the next."""
    if state.created is not None:
        raise Conflict(stream_of(command.product_id), "none")
    return [
        ProductCreated(
            product_id=command.product_id,
            org_id=command.org_id,
            org_slug=command.org_slug,
            name=command.name,
            slug=command.slug,
            description=command.description,
            device_type=command.device_type,
            platform_id=PLATFORMS[command.device_type],
            type=command.type,
            hardware_version=command.hardware_version,
        )
    ]


def evolve(state: Product, event: ProductCreated) -> Product:
    """The product after this event."""
    return Product(event)


PRODUCTS: Aggregate[Product, CreateProduct] = Aggregate(Product(), decide, evolve)


def stream_of(product_id: int) -> str:
    """The stream of the product with this number."""
    return f"product-{product_id}"


def number_of(stream: str) -> int:
    """The number of the product with this stream."""
    return int(stream.removeprefix("product-"))


def device_type_of(platform_id: int | None, device_type: str | None) -> DeviceType:
    """The device type that these two name together, either of which may be left out. Raises ``Refused``."""
    if platform_id is None and device_type is None:
        raise Refused("invalid_request", "A product needs a platform_id or a device_type.")
    fitting = [
        known
        for known, platform in PLATFORMS.items()
        if platform_id in (None, platform) and device_type in (None, known)
    ]
    if fitting:
        return fitting[0]
    if platform_id in (None, *PLATFORMS.values()) and device_type in (None, *PLATFORMS):
        raise Refused("invalid_request", f"A {device_type} has not the platform_id {platform_id}.")
    known_types = ", ".join(f"{known} ({platform})" for known, platform in PLATFORMS.items())
    raise Refused("unsupported_platform", f"Platforms are {known_types}.")
