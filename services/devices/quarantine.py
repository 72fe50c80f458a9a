"""Whether what a device reported puts it into quarantine (DEV-4)."""

from __future__ import annotations

from typing import Any

from services.devices.device import QuarantineDevice
from shared.errors import NotFound
from shared.events.gateway import FirmwareReported
from shared.ids import FIRST_PRODUCT_ID, LAST_PRODUCT_ID


class KnownProducts:
    """Products that exist, each asked for once: they are never deleted, and there are at most 64 535."""

    def __init__(self) -> None:
        self._ids: set[int] = set()

    def exists(self, product_id: int, orgs: Any) -> bool:
        """Whether the product exists; ``orgs`` is the client of that service."""
        if product_id not in self._ids:
            try:
                orgs.get_product(product_id=product_id)
            except NotFound:
                return False
            self._ids.add(product_id)
        return True


def suspicion(event: FirmwareReported) -> QuarantineDevice | None:
    """The command that a report asks for if the product exists; None for a device that counts as one, and for numbers
    that no product has (a plain Photon reports 6)."""
    reported = event.reported_product
    if event.product_id is not None or reported is None or not FIRST_PRODUCT_ID <= reported <= LAST_PRODUCT_ID:
        return None
    return QuarantineDevice(event.device_id, reported)
