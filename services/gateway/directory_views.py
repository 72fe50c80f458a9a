"""Views of the gateway's directory: who may connect, what it counts as, what it should run. Pure.

Folded from the events of every service and every gateway into a database of this gateway's own, so that a connection
is decided without asking anybody.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import orgs as o
from shared.events.fields import FORGOTTEN
from shared.projections.view import Key, Row, View
from shared.store.port import Recorded
from shared.targets import Membership, Target, runs_target


def _by(*names: str) -> Any:
    def keys(event: Any) -> Iterable[Key]:
        return (tuple(getattr(event, name) for name in names),)

    return keys


def _token(row: Row | None, event: Any, _: Recorded) -> Row | None:
    match event:
        case o.TokenIssued():
            return {
                "token_id": event.token_id,
                "account_id": event.account_id,
                "client": event.client,
                "token_digest": event.token_digest,
                "expires_at": event.expires_at,
            }
        case o.TokenRevoked():
            return None
    return row


def _account_keys(event: Any) -> Iterable[Key]:
    return ((event.owner_id if isinstance(event, o.OrganizationCreated) else event.account_id,),)


def _account(row: Row | None, event: Any, _: Recorded) -> Row | None:
    match event:
        case o.AccountCreated():
            return {"account_id": event.account_id, "email": event.email, "org_id": None, "forgotten": False}
        case o.AccountForgotten():
            return None if row is None else {**row, "email": FORGOTTEN, "forgotten": True}
        case o.OrganizationFounded() | o.MemberJoined():
            account_id, email = event.account_id, event.email
        case o.OrganizationCreated():
            account_id, email = event.owner_id, event.owner_email
        case _:
            return row
    before = row or {"account_id": account_id, "email": email, "org_id": None, "forgotten": False}
    return row if before["org_id"] == event.org_id else {**before, "org_id": event.org_id}


def _org(row: Row | None, event: Any, _: Recorded) -> Row | None:
    if isinstance(event, o.OrganizationCreated):
        return {"org_id": event.org_id, "slug": event.slug, "name": event.name}
    return row


def _product(row: Row | None, event: Any, _: Recorded) -> Row | None:
    match event:
        case o.ProductCreated():
            return {
                "product_id": event.product_id,
                "org_id": event.org_id,
                "slug": event.slug,
                "name": event.name,
                "device_type": event.device_type,
                "platform_id": event.platform_id,
                "released_version": None,
                "intelligent": False,
            }
        case f.FirmwareReleased() if row:
            return {**row, "released_version": event.version, "intelligent": event.intelligent}
        case f.ReleaseWithdrawn() if row:
            return {**row, "released_version": None, "intelligent": False}
    return row


def _image(row: Row | None, event: Any, _: Recorded) -> Row | None:
    if not isinstance(event, f.VersionUploaded):
        return row
    return {
        "product_id": event.product_id,
        "version": event.version,
        "title": event.title,
        "size_bytes": event.size_bytes,
        "sha256": event.sha256,
    }


_OUTSIDE: Row = {
    "product_id": None,
    "forced": False,
    "quarantined": False,
    "denied": False,
    "development": False,
    "locked_version": None,
    "flash_pending": False,
    "token_digest": None,
}
"""What the team decided about a device that is in no product."""

_UNSEEN: Row = {
    "reported_product": None,
    "reported_version": None,
    "reported_title": "",
    "reported_text": "",
    "ever_reported": False,
    "recorded_product": None,
    "attempt_version": None,
    "attempts": 0,
    "failures": 0,
}


def _device(row: Row | None, event: Any, _: Recorded) -> Row | None:
    before: Row = row or {"device_id": event.device_id, **_OUTSIDE, **_UNSEEN}
    changes = _decided(before, event) if isinstance(event, _DECISIONS) else _seen(before, event)
    if row and all(row[name] == value for name, value in changes.items()):
        return row
    return {**before, **changes}


def _decided(row: Row, event: Any) -> Row:
    if isinstance(event, d.DeviceRemoved):
        return _OUTSIDE if row["product_id"] == event.product_id else {}
    joined: Row = {} if row["product_id"] == event.product_id else {**_OUTSIDE, "product_id": event.product_id}
    match event:
        case d.DeviceImported() | d.DeviceApproved():
            return {**joined, "forced": event.forced, "quarantined": False, "denied": False}
        case d.DeviceForced():
            return {**joined, "forced": True}
        case d.DeviceQuarantined():
            return {**joined, "quarantined": True, "denied": False}
        case d.DeviceDenied():
            return {**joined, "quarantined": False, "denied": True}
        case d.DevelopmentMarked():
            return {**joined, "development": event.development}
        case d.DeviceTokenReplaced():
            return {**joined, "token_digest": event.token_digest}
        case d.DeviceLocked():
            return {**joined, **_locked({**row, **joined}, event)}
        case d.DeviceUnlocked():
            return {**joined, "locked_version": None, "flash_pending": False}
    return {}


def _locked(row: Row, event: d.DeviceLocked) -> Row:
    runs = _runs(row, event.version, row["reported_product"], row["reported_version"])
    changes = {"locked_version": event.version, "flash_pending": event.flash and not runs}
    if row["attempt_version"] == event.version:  # FW-7: somebody asks for it again
        return {**changes, "failures": 0}
    return changes


def _seen(row: Row, event: Any) -> Row:
    match event:
        case g.FirmwareReported():
            locked = row["locked_version"]
            pending = row["flash_pending"] and not _runs(row, locked, event.reported_product, event.version)
            return {
                "reported_product": event.reported_product,
                "reported_version": event.version,
                "reported_title": event.title,
                "reported_text": event.text,
                "ever_reported": True,
                "recorded_product": event.product_id,
                "flash_pending": pending,
            }
        case g.UpdateStarted():
            again = row["attempt_version"] == event.version
            failures = row["failures"] if again else 0
            return {"attempt_version": event.version, "attempts": event.attempt, "failures": failures}
        case g.UpdateSucceeded():
            return {"attempt_version": event.version, "attempts": event.attempt, "failures": 0}
        case g.UpdateFailed():
            return {"attempt_version": event.version, "attempts": event.attempt, "failures": event.failures}
    return {}


def _runs(row: Row, version: int, reported_product: int | None, reported_version: int | None) -> bool:
    member = Membership(product_id=row["product_id"], forced=row["forced"])
    return runs_target(member, Target(version, "lock"), reported_product, reported_version)


_DECISIONS = (
    d.DeviceImported,
    d.DeviceForced,
    d.DeviceQuarantined,
    d.DeviceApproved,
    d.DeviceDenied,
    d.DeviceRemoved,
    d.DevelopmentMarked,
    d.DeviceLocked,
    d.DeviceUnlocked,
    d.DeviceTokenReplaced,
)

TOKENS = View(
    name="tokens",
    version=1,
    key=("token_id",),
    columns={"token_id": str, "account_id": str, "client": str, "token_digest": str, "expires_at": datetime},
    events=(o.TokenIssued, o.TokenRevoked),
    keys=_by("token_id"),
    fold=_token,
    indexes=(("token_digest",),),
)
"""Access tokens that were not revoked; expired ones stay, with their moment."""

ACCOUNTS = View(
    name="accounts",
    version=2,
    key=("account_id",),
    columns={"account_id": str, "email": str, "org_id": str, "forgotten": bool},
    events=(o.AccountCreated, o.AccountForgotten, o.OrganizationFounded, o.OrganizationCreated, o.MemberJoined),
    keys=_account_keys,
    fold=_account,
)

ORGS = View(
    name="orgs",
    version=1,
    key=("org_id",),
    columns={"org_id": str, "slug": str, "name": str},
    events=(o.OrganizationCreated,),
    keys=_by("org_id"),
    fold=_org,
    indexes=(("slug",),),
)

PRODUCTS = View(
    name="products",
    version=1,
    key=("product_id",),
    columns={
        "product_id": int,
        "org_id": str,
        "slug": str,
        "name": str,
        "device_type": str,
        "platform_id": int,
        "released_version": int,
        "intelligent": bool,
    },
    events=(o.ProductCreated, f.FirmwareReleased, f.ReleaseWithdrawn),
    keys=_by("product_id"),
    fold=_product,
    indexes=(("slug",),),
)

IMAGES = View(
    name="images",
    version=1,
    key=("product_id", "version"),
    columns={"product_id": int, "version": int, "title": str, "size_bytes": int, "sha256": str},
    events=(f.VersionUploaded,),
    keys=_by("product_id", "version"),
    fold=_image,
)

DEVICES = View(
    name="devices",
    version=2,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "forced": bool,
        "quarantined": bool,
        "denied": bool,
        "development": bool,
        "locked_version": int,
        "flash_pending": bool,
        "token_digest": str,
        "reported_product": int,
        "reported_version": int,
        "reported_title": str,
        "reported_text": str,
        "ever_reported": bool,
        "recorded_product": int,
        "attempt_version": int,
        "attempts": int,
        "failures": int,
    },
    events=(*_DECISIONS, g.FirmwareReported, g.UpdateStarted, g.UpdateSucceeded, g.UpdateFailed),
    keys=_by("device_id"),
    fold=_device,
    indexes=(("token_digest",),),
)

VIEWS = (TOKENS, ACCOUNTS, ORGS, PRODUCTS, IMAGES, DEVICES)
