"""Views ``versions`` (a product's firmware), ``uploaders`` (who uploaded), ``runs`` (which device runs what, FW-2),
``signing_keys`` and ``signing`` (who signs a product's firmware, and whether it must be signed). Pure.

What is personal stands in ``uploaders`` alone, one row a person. Once that says forgotten nothing overwrites it, so
the view is the same whether or not its events could still be opened when they were folded (EVT-5).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import msgspec

from shared.events import devices as d
from shared.events import firmware as f
from shared.events.fields import FORGOTTEN
from shared.events.gateway import FirmwareReported
from shared.events.orgs import AccountForgotten
from shared.projections.view import Counter, Key, Row, View
from shared.store.port import Recorded
from shared.targets import Membership, counted_product


def _version_keys(event: Any) -> Iterable[Key]:
    yield event.product_id, event.version
    if isinstance(event, f.FirmwareReleased) and event.supersedes not in (None, event.version):
        yield event.product_id, event.supersedes
    if isinstance(event, f.FirmwareReleasedToGroups):
        for version in sorted({*event.taken} - {event.version}):
            yield event.product_id, version


def fold_version(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """One version after the event; a release also ends that of the version which it supersedes."""
    if isinstance(event, f.VersionUploaded):
        return {
            "product_id": event.product_id,
            "version": event.version,
            "title": event.title,
            "description": event.description,
            "file_name": event.file_name,
            "size_bytes": event.size_bytes,
            "sha256": event.sha256,
            "uploaded_by": event.uploaded_by if event.uploader_id is None else "",
            "uploader_id": event.uploader_id,
            "uploaded_at": recorded.at,
            "updated_at": recorded.at,
            "proven": False,
            "released": False,
            "groups": [],
            "module": None if event.module is None else msgspec.to_builtins(event.module),
            "signature": event.signature,
            "signature_key": event.signature_key,
        }
    if row is None:
        return None
    match event:
        case f.VersionDescribed():
            described: Row = {"title": event.title, "description": event.description}
            return {**row, **described, "updated_at": recorded.at}
        case f.VersionDeleted():
            return None
        case f.VersionFirstRan():
            return {**row, "proven": True}
        case f.FirmwareReleased():
            return {**row, "released": event.version == row["version"], "updated_at": recorded.at}
        case f.FirmwareReleasedToGroups():
            kept = [group for group in row["groups"] if group not in event.groups]
            groups = event.groups if event.version == row["version"] else kept
            return {**row, "groups": groups, "updated_at": recorded.at}
        case _:
            return {**row, "released": False, "updated_at": recorded.at}


VERSIONS_VIEW = View(
    name="versions",
    version=5,
    key=("product_id", "version"),
    columns={
        "product_id": int,
        "version": int,
        "title": str,
        "description": str,
        "file_name": str,
        "size_bytes": int,
        "sha256": str,
        "uploaded_by": str,
        "uploader_id": str,
        "uploaded_at": datetime,
        "updated_at": datetime,
        "proven": bool,
        "released": bool,
        "groups": list,
        "module": dict,
        "signature": str,
        "signature_key": str,
    },
    events=(
        f.VersionUploaded,
        f.VersionDescribed,
        f.VersionDeleted,
        f.VersionFirstRan,
        f.FirmwareReleased,
        f.FirmwareReleasedToGroups,
        f.ReleaseWithdrawn,
    ),
    keys=_version_keys,
    fold=fold_version,
)

"""``uploaded_by`` is for versions that do not say the account; the others' is in ``uploaders``."""


def _uploader_keys(event: Any) -> Iterable[Key]:
    account_id = event.account_id if isinstance(event, AccountForgotten) else event.uploader_id
    return () if account_id is None else ((account_id,),)


def fold_uploader(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """Under which name an account uploaded last."""
    if isinstance(event, AccountForgotten):
        return {"account_id": event.account_id, "username": FORGOTTEN, "forgotten": True}
    if row is not None and row["forgotten"]:
        return row
    return {"account_id": event.uploader_id, "username": event.uploaded_by, "forgotten": False}


UPLOADERS_VIEW = View(
    name="uploaders",
    version=1,
    key=("account_id",),
    columns={"account_id": str, "username": str, "forgotten": bool},
    events=(f.VersionUploaded, AccountForgotten),
    keys=_uploader_keys,
    fold=fold_uploader,
)

_OUTSIDE: Row = {"product_id": None, "forced": False, "held": False}


def _run_keys(event: Any) -> Iterable[Key]:
    return ((event.device_id,),)


def fold_run(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """What one device is a member of, and what it reported, after the event. There is no row before the first report:
    that one says itself what the device counts as."""
    if isinstance(event, FirmwareReported):
        after = {"device_id": event.device_id, **(row or _OUTSIDE), **_reported(event)}
    elif row is None:
        return None
    else:
        after = {**row, **_decided(event)}
    return row if after == row else after


def _reported(event: FirmwareReported) -> Row:
    said: Row = {"reported_product": event.reported_product, "version": event.version}
    if event.product_id is None:
        return said
    is_forced = event.reported_product not in (None, event.product_id)
    return {**said, "product_id": event.product_id, "held": False, **({"forced": True} if is_forced else {})}


def _decided(event: Any) -> Row:
    match event:
        case d.DeviceImported() | d.DeviceApproved():
            return {"product_id": event.product_id, "forced": event.forced, "held": False}
        case d.DeviceForced():
            return {"product_id": event.product_id, "forced": True}
        case d.DeviceQuarantined():
            return {"product_id": event.product_id, "held": True}
        case d.DeviceDenied():
            return {"held": True}
        case _:
            return _OUTSIDE


def runs_scope(product_id: int) -> str:
    """The scope of the devices of a product by the version that they run."""
    return f"product-{product_id}"


def tally_run(row: Row) -> Iterable[Counter]:
    """A device that counts as its product's, and reported (this product, this version) (contract 9.1)."""
    product_id, version = row["product_id"], row["version"]
    member = Membership(product_id=product_id, forced=row["forced"], quarantined=row["held"])
    is_its_own = row["reported_product"] in (None, product_id)
    if version is not None and is_its_own and counted_product(member, row["reported_product"]) is not None:
        yield runs_scope(product_id), str(version)


RUNS_VIEW = View(
    name="runs",
    version=2,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "forced": bool,
        "held": bool,
        "reported_product": int,
        "version": int,
    },
    events=(
        d.DeviceImported,
        d.DeviceForced,
        d.DeviceQuarantined,
        d.DeviceApproved,
        d.DeviceDenied,
        d.DeviceRemoved,
        FirmwareReported,
    ),
    keys=_run_keys,
    fold=fold_run,
    counted=("product_id", "forced", "held", "reported_product", "version"),
    tally=tally_run,
    indexes=(("product_id", "version"),),
)
"""``held``: quarantined or denied."""


def _signing_key_keys(event: Any) -> Iterable[Key]:
    return ((event.product_id, event.key_id),)


def fold_signing_key(_: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """A key after the event."""
    if isinstance(event, f.SigningKeyRemoved):
        return None
    return {**msgspec.structs.asdict(event), "added_at": recorded.at}


SIGNING_KEYS_VIEW = View(
    name="signing_keys",
    version=1,
    key=("product_id", "key_id"),
    columns={"product_id": int, "key_id": str, "name": str, "public_key": str, "added_at": datetime},
    events=(f.SigningKeyAdded, f.SigningKeyRemoved),
    keys=_signing_key_keys,
    fold=fold_signing_key,
)


def _signing_keys(event: Any) -> Iterable[Key]:
    return ((event.product_id,),)


def fold_signing(_: Row | None, event: f.SignaturesRequired, __: Recorded) -> Row | None:
    """What a product demands after the event."""
    return {"product_id": event.product_id, "required": event.required}


SIGNING_VIEW = View(
    name="signing",
    version=1,
    key=("product_id",),
    columns={"product_id": int, "required": bool},
    events=(f.SignaturesRequired,),
    keys=_signing_keys,
    fold=fold_signing,
)
