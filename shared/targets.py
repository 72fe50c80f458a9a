"""What a device counts as, and what it should run: one pure answer for gateway, views and the dashboard.

================  ==========================================================  =============================
first that fits   then the device should run                                  rules
================  ==========================================================  =============================
not counted       nothing (foreign, quarantined, denied, in no product)       DEV-3, DEV-4
development       nothing, but a version that was flashed *now* is delivered  DEV-5, contract 7.5
locked            the locked version                                          FW-3
released          the product's released version                              FW-4
otherwise         nothing
================  ==========================================================  =============================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Membership:
    """What the team decided about a device; ``flash_pending``: its lock asked for *now* and it has not run it yet."""

    product_id: int | None
    forced: bool = False
    quarantined: bool = False
    denied: bool = False
    development: bool = False
    locked_version: int | None = None
    flash_pending: bool = False


@dataclass(frozen=True, slots=True)
class Target:
    """The version a device should run, and because of what."""

    version: int
    cause: Literal["lock", "release"]


def counted_product(membership: Membership, reported_product: int | None) -> int | None:
    """The product that a device counts as: what it reports is the truth unless it was forced; a device that reports
    no product counts as the one it was imported into (DEV-3, MQF-1)."""
    if membership.product_id is None or membership.quarantined or membership.denied:
        return None
    if membership.forced or reported_product is None or reported_product == membership.product_id:
        return membership.product_id
    return None


def target(membership: Membership, reported_product: int | None, released_version: int | None) -> Target | None:
    """What the device should run; the table above, from top to bottom."""
    if counted_product(membership, reported_product) is None:
        return None
    locked = membership.locked_version
    if membership.development:
        return Target(locked, "lock") if locked is not None and membership.flash_pending else None
    if locked is not None:
        return Target(locked, "lock")
    return None if released_version is None else Target(released_version, "release")


def runs_target(
    membership: Membership, wanted: Target, reported_product: int | None, reported_version: int | None
) -> bool:
    """Whether what the device reported last is (its product, the target version); a forced device that reports
    another product does not, whatever its version (contract 7.4)."""
    return reported_version == wanted.version and reported_product in (None, membership.product_id)
