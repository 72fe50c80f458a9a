"""How devices of a product get in: what can be set, and what holds while nothing is. Part of ``products``.

========================  ======================================================================  ==============
setting                   says                                                                    at first
========================  ======================================================================  ==============
``trust_first_key``       a device without a key on record keeps the first one that it shows      no
``tls_only``              MQTT without TLS is refused (MQC-4)                                     no
``provisioning``          who may get a token with the product's key and secret: nobody           ``off``
                          (``off``), imported devices (``imported``), or new ones too
                          (``create``)
``claim_without_secret``  the device ID is enough to claim a device that opened itself (MQU-7)    no
``firmware_name``         the title that MQTT firmware reports, one in the installation (MQF-1)   the number
``version_width``         digits that versions are filled up to (MQF-10); 0: as they are          0
========================  ======================================================================  ==============
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import msgspec

from services.orgs.names import comparable
from shared.errors import Refused
from shared.events.orgs import DeviceAccessConfigured, Provisioning

LONGEST_FIRMWARE_NAME = 64
WIDEST_VERSION = 5
"""Digits of 65534, the highest version there is."""
SAYS_NOTHING = "initial"
"""What the Python SDK reports before it runs any firmware (MQF-1)."""


@dataclass(frozen=True, slots=True)
class ConfigureDeviceAccess:
    """Change what is not None; an empty ``firmware_name`` is the product's number. Another name is reserved before."""

    trust_first_key: bool | None = None
    tls_only: bool | None = None
    provisioning: Provisioning | None = None
    claim_without_secret: bool | None = None
    firmware_name: str | None = None
    version_width: int | None = None


def at_first(product_id: int) -> DeviceAccessConfigured:
    """What holds for a product of which nothing was configured."""
    return DeviceAccessConfigured(
        product_id=product_id,
        trust_first_key=False,
        tls_only=False,
        provisioning="off",
        claim_without_secret=False,
        firmware_name=str(product_id),
        version_width=0,
    )


def changed(present: DeviceAccessConfigured, command: ConfigureDeviceAccess) -> DeviceAccessConfigured:
    """The present configuration with the changes in it. Raises ``Refused``."""
    given = {field.name: getattr(command, field.name) for field in fields(command)}
    changes = {name: value for name, value in given.items() if value is not None}
    if command.firmware_name is not None:
        changes["firmware_name"] = firmware_name(present.product_id, command.firmware_name)
    return msgspec.structs.replace(present, **changes)


def firmware_name(product_id: int, wish: str) -> str:
    """The firmware name that a product gets which wishes for this one. Raises ``Refused`` for one that would name
    another product, or that devices cannot report."""
    if wish in ("", str(product_id)):
        return str(product_id)
    if len(wish) > LONGEST_FIRMWARE_NAME or not wish.isprintable() or wish != wish.strip():
        raise Refused("invalid_request", f"firmware_name must be 1 to {LONGEST_FIRMWARE_NAME} printable characters.")
    if comparable(wish).isdigit():
        raise Refused("invalid_request", f"firmware_name of digits can only be the product's own, {product_id}.")
    if comparable(wish) == SAYS_NOTHING:
        raise Refused("invalid_request", f"firmware_name cannot be {wish}: that is reported by devices without any.")
    return wish
