"""What one device subscribed to (protocol section 5.8). Pure.

What is the platform's own (``spark…``, ``particle…``) is accepted and never fed from other devices.
"""

from __future__ import annotations

from services.gateway.devices.particle.events import Subscription
from services.gateway.devices.subscriptions import Wanted, owner_key, reserved
from services.gateway.entries import DeviceEntry


class Subscriptions:
    """Of one session; ends with it, for there is no message that ends one."""

    __slots__ = ("_all",)

    def __init__(self, kept: tuple[Subscription, ...] = ()) -> None:
        self._all = kept

    @property
    def all(self) -> tuple[Subscription, ...]:
        """In the order in which they came, none twice."""
        return self._all

    def add(self, subscription: Subscription, most: int) -> bool:
        """Whether there was room for it, or it is there already."""
        if subscription not in self._all:
            if len(self._all) >= most:
                return False
            self._all = (*self._all, subscription)
        return True

    def wanted(self, entry: DeviceEntry, org_id: str | None) -> frozenset[Wanted]:
        """The events that this device may get by them, as a member of this organization; never another's."""
        product_id = entry.membership.product_id
        if org_id is None or product_id is None or entry.membership.quarantined or entry.membership.denied:
            return frozenset()
        found: set[Wanted] = set()
        for prefix, mine, only in ((one.prefix, one.mine, one.device_id) for one in self._all):
            if reserved(prefix):
                continue
            if not mine:
                found.add(Wanted("org", org_id, prefix, only))
                found.add(Wanted("device", entry.device_id, prefix, only))
            elif entry.owner_id is not None:
                found |= {Wanted("owner", owner_key(entry.owner_id, of), prefix, only) for of in (None, org_id)}
            else:
                found.add(Wanted("product", str(product_id), prefix, only))
        return frozenset(found)
