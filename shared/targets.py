"""What a device counts as, what it should run and why: one pure answer for gateway, views and the dashboard.

A file that somebody flashes to a device (contract 9.5) stands before this table until its one attempt is over.

================  ==========================================================  =============================
first that fits   then the device should run                                  rules
================  ==========================================================  =============================
not_imported      nothing: it is in no product                                DEV-1
quarantined       nothing                                                     DEV-4
denied            nothing                                                     DEV-4
other_product     nothing: it reports another product and is not forced       DEV-3
development       nothing, but a version that was flashed *now* is delivered  DEV-5, contract 7.5
locked            the locked version                                          FW-3
released          the version that is released for it: to one of its groups,  FW-4, FW-6, contract 7.4
                  the highest of several, or else the product's default; a
                  roll-out there stands before the release, for a device
                  that had its turn, or runs its version already
nothing_released  nothing                                                     FW-4
================  ==========================================================  =============================

``decide`` reads this table, and everything else asks it: ``target`` for the version, ``explain`` for the reason. Which
release or roll-out is a device's says ``shared.rollouts``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

MOST_FAILURES = 3
"""After so many failures in a row of one version the device is left alone (FW-7)."""

Rule = Literal[
    "not_imported",
    "quarantined",
    "denied",
    "other_product",
    "development",
    "locked",
    "released",
    "nothing_released",
]
Delivery = Literal["runs", "failing", "updating", "offline", "not_now", "offered", "next_connection"]


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
    cause: Literal["lock", "release", "rollout"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The rule that fits, and the target that it gives."""

    rule: Rule
    target: Target | None


@dataclass(frozen=True, slots=True)
class Way:
    """What is known of the device on its way to its target.

    ``applies_now``: its connection is newer than the target, or the target is meant for devices that are online.
    ``takes_updates``: it has not said that it takes none now, or is not asked.
    ``update_*`` and ``failures`` are of the version that was tried last.
    """

    reported_product: int | None = None
    reported_version: int | None = None
    online: bool = False
    applies_now: bool = False
    takes_updates: bool = True
    update_version: int | None = None
    update_state: str | None = None
    failures: int = 0


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a device runs, gets or does not get the released version. ``delivery`` is how far it is on the way to its
    target, None without one; ``runs_released``: what it reported last is the released version."""

    rule: Rule
    target: Target | None
    delivery: Delivery | None
    released_version: int | None
    runs_released: bool

    @property
    def gets_released(self) -> bool:
        """Whether it was told to run the released version and does, or will."""
        wanted = None if self.target is None else self.target.version
        return wanted is not None and wanted == self.released_version and self.delivery != "failing"


def with_groups(group_releases: Mapping[str, int], version: int, groups: Iterable[str]) -> dict[str, int]:
    """The releases of a product by group after this version was released to these groups and to no other; a group has
    one release at a time (contract 9.4)."""
    wanted = dict.fromkeys(sorted(groups), version)
    kept = {group: other for group, other in group_releases.items() if other != version and group not in wanted}
    return dict(sorted({**kept, **wanted}.items()))


def counted_product(membership: Membership, reported_product: int | None) -> int | None:
    """The product that a device counts as: what it reports is the truth unless it was forced; a device that reports
    no product counts as the one it was imported into (DEV-3, MQF-1)."""
    return membership.product_id if _held_by(membership, reported_product) is None else None


def _held_by(membership: Membership, reported_product: int | None) -> Rule | None:
    """The rule by which it counts as no product."""
    if membership.product_id is None:
        return "not_imported"
    if membership.quarantined:
        return "quarantined"
    if membership.denied:
        return "denied"
    if membership.forced or reported_product is None or reported_product == membership.product_id:
        return None
    return "other_product"


def own_version(product_id: int | None, reported_product: int | None, reported_version: int | None) -> int | None:
    """The version that a device reported of its product's own firmware; the same number of another product's is
    another version (contract 7.4)."""
    return reported_version if reported_product in (None, product_id) else None


def decide(
    membership: Membership, reported_product: int | None, released_version: int | None, by_rollout: bool = False
) -> Decision:
    """The table above, from top to bottom. ``by_rollout``: a roll-out is what the version is released by."""
    held = _held_by(membership, reported_product)
    if held is not None:
        return Decision(held, None)
    locked = membership.locked_version
    if membership.development and (locked is None or not membership.flash_pending):
        return Decision("development", None)
    if locked is not None:
        return Decision("locked", Target(locked, "lock"))
    if released_version is None:
        return Decision("nothing_released", None)
    return Decision("released", Target(released_version, "rollout" if by_rollout else "release"))


def target(
    membership: Membership, reported_product: int | None, released_version: int | None, by_rollout: bool = False
) -> Target | None:
    """What the device should run."""
    return decide(membership, reported_product, released_version, by_rollout).target


def runs_target(
    membership: Membership, wanted: Target, reported_product: int | None, reported_version: int | None
) -> bool:
    """Whether what the device reported last is (its product, the target version); a forced device that reports
    another product does not, whatever its version (contract 7.4)."""
    return reported_version == wanted.version and reported_product in (None, membership.product_id)


def explain(membership: Membership, released_version: int | None, way: Way, by_rollout: bool = False) -> Explanation:
    """The decision, and how far the device is on the way to what was decided."""
    decision = decide(membership, way.reported_product, released_version, by_rollout)
    delivery = None if decision.target is None else _delivery(membership, decision.target, way)
    released = None if released_version is None else Target(released_version, "release")
    runs_released = released is not None and membership.product_id is not None and _runs(membership, released, way)
    return Explanation(decision.rule, decision.target, delivery, released_version, runs_released)


def _runs(membership: Membership, wanted: Target, way: Way) -> bool:
    return runs_target(membership, wanted, way.reported_product, way.reported_version)


def _delivery(membership: Membership, wanted: Target, way: Way) -> Delivery:
    is_tried = way.update_version == wanted.version
    if _runs(membership, wanted, way):
        return "runs"
    if is_tried and way.failures >= MOST_FAILURES:  # FW-7
        return "failing"
    if is_tried and way.update_state == "applying":  # it is away to start anew
        return "updating"
    if not way.online:
        return "offline"
    if is_tried and way.update_state in ("started", "downloading", "downloaded", "verified"):
        return "updating"
    if not way.takes_updates:
        return "not_now"
    return "offered" if way.applies_now else "next_connection"
