"""Views of the gateway's directory: who may connect, what it counts as, what it should run. Pure.

Folded from the events of every service and every gateway into a database of this gateway's own, so that a connection
is decided without asking anybody.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.gateway.attribute_views import DESIRED, REPORTED
from services.gateway.customer_view import CUSTOMERS
from services.gateway.stream_views import CLAIMS, GATEWAYS
from shared import imports
from shared.events import billing as b
from shared.events import devices as d
from shared.events import firmware as f
from shared.events import gateway as g
from shared.events import oauth
from shared.events import orgs as o
from shared.events import rollouts as r
from shared.events.fields import FORGOTTEN
from shared.projections.view import Key, Row, View
from shared.releases import AT_FIRST, COLUMNS, RELEASE_EVENTS, fold_releases
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
                "subject": event.subject,
                "customer_id": event.customer_id,
                "product_id": event.product_id,
                "org_id": event.org_id,
                "generation": event.generation,
                "scope": event.scope,
            }
        case o.TokenRevoked():
            return None
    return row


_ALONE: Row = {"org_id": None, "role": None}
_NEW: Row = {**_ALONE, "generation": 0, "forgotten": False}


def _account(row: Row | None, event: Any, _: Recorded) -> Row | None:
    match event:
        case o.AccountCreated():
            return {**_NEW, "account_id": event.account_id, "email": event.email}
        case o.AccountForgotten():
            return None if row is None else {**row, "email": FORGOTTEN, **_ALONE, "forgotten": True}
        case o.TokensEnded() if row:
            return {**row, "generation": event.generation}
        case o.EmailChanged() if row:
            return {**row, "email": event.email}
        case o.MemberJoined():
            before = row or {**_NEW, "account_id": event.account_id, "email": event.email}
            return {**before, "org_id": event.org_id, "role": event.role}
        case o.MemberRoleChanged() if row and row["org_id"] == event.org_id:
            return {**row, "role": event.role}
        case o.MemberRemoved() if row and row["org_id"] == event.org_id:
            return {**row, **_ALONE}
        case _:
            return row


def _client(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """Whether an OAuth client was deleted; what was not heard of is none that is registered."""
    return {"client_id": event.client_id, "deleted": isinstance(event, oauth.ClientDeleted)}


def _org(row: Row | None, event: Any, _: Recorded) -> Row | None:
    """Paid for, or in its trial, until an event of its subscription says otherwise (BIL-3, BIL-4, BIL-5)."""
    match event:
        case o.OrganizationCreated():
            return {"org_id": event.org_id, "slug": event.slug, "name": event.name, "inactive": False}
        case b.AccountLocked() | b.SubscriptionEnded() if row:
            return {**row, "inactive": True}
        case b.SubscriptionReactivated() if row:
            return {**row, "inactive": False}
        case _:
            return row


_CONFIGURED = (
    "trust_first_key",
    "tls_only",
    "provisioning",
    "claim_without_secret",
    "firmware_name",
    "version_width",
)
_AT_FIRST: Row = {
    "trust_first_key": False,
    "tls_only": False,
    "provisioning": "off",
    "provisioning_key": None,
    "provisioning_secret_digest": None,
    "claim_without_secret": False,
    "version_width": 0,
}
"""How devices get into a product of which nothing was configured."""
_UNCHANGED = object()


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
                **AT_FIRST,
                "intelligent": False,
                **_AT_FIRST,
                "firmware_name": str(event.product_id),
                "programs_at_setup": False,
            }
        case o.DeviceAccessConfigured() if row:
            return {**row, **{name: getattr(event, name) for name in _CONFIGURED}}
        case o.ConfigurationAnswered() if row:
            answer = json.loads(event.answers).get(o.PROGRAMMING, _UNCHANGED)
            return row if answer is _UNCHANGED else {**row, "programs_at_setup": answer == o.AT_SETUP}
        case o.ProvisioningKeyIssued() if row:
            return {**row, "provisioning_key": event.key, "provisioning_secret_digest": event.secret_digest}
        case o.ProductRemoved():
            return None
        case o.ProductChanged() if row:
            return {**row, "name": event.name}
        case f.ReleaseWithdrawn() if row:
            return {**row, **fold_releases(row, event), "intelligent": False}
        case f.FirmwareReleased() | f.FirmwareReleasedToGroups() if row:
            return {**row, **fold_releases(row, event), "intelligent": event.intelligent}
        case _ if row and isinstance(event, RELEASE_EVENTS):
            return {**row, **fold_releases(row, event)}
    return row


def _authority(row: Row | None, event: Any, _: Recorded) -> Row | None:
    if not isinstance(event, o.DeviceAuthorityAdded):
        return None
    return {
        "authority_id": event.authority_id,
        "org_id": event.org_id,
        "certificate": event.certificate,
        "fingerprint": event.fingerprint,
        "names_devices": event.names_devices,
    }


def _image(row: Row | None, event: Any, _: Recorded) -> Row | None:
    if isinstance(event, f.VersionDeleted):
        return None
    if isinstance(event, f.VersionDescribed):
        return None if row is None else {**row, "title": event.title}
    return {
        "product_id": event.product_id,
        "version": event.version,
        "title": event.title,
        "size_bytes": event.size_bytes,
        "sha256": event.sha256,
        "signature": event.signature,
        "signature_key": event.signature_key,
    }


_OUTSIDE: Row = {
    "product_id": None,
    "name": "",
    "forced": False,
    "quarantined": False,
    "denied": False,
    "development": False,
    "groups": [],
    "locked_version": None,
    "flash_pending": False,
    "token_digest": None,
    "owner_id": None,
    "key_algorithm": None,
    "public_key": None,
    "key_digest": None,
    "certificate": None,
    "ever_updated": False,
    "flash": None,
    "turn": None,
    "turns_ended": 0,
}
"""What the team decided about a device that is in no product, and what became of that."""

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
    "attempt_applying": False,
    "attempt_cause": None,
    "tried": [],
    "updates_enabled": True,
    "updates_forced": False,
}
_NEW_DEVICE: Row = {"device_id": "", **_OUTSIDE, **_UNSEEN}
MOST_TRIED = 32
"""Versions of which the number of the last attempt is remembered, the ones that were tried last."""
_TURNS = (r.RolloutTurnsGiven, r.RolloutTurnsEnded)


def _device_keys(event: Any) -> Iterable[Key]:
    match event:
        case r.RolloutTurnsGiven():
            return [(device_id,) for device_id in dict.fromkeys((*event.devices, *event.again))]
        case r.RolloutTurnsEnded():
            ended = (*event.succeeded, *event.failed, *event.dark, *event.left)
            return [(device_id,) for device_id in dict.fromkeys(ended)]
        case _:
            return ((event.device_id,),)


def _turn(row: Row | None, event: r.RolloutTurnsGiven | r.RolloutTurnsEnded) -> Row | None:
    """One of the devices of these turns; of another product by now, it has none any more."""
    if row is None or row["product_id"] != event.product_id:
        return row
    if isinstance(event, r.RolloutTurnsGiven):
        return {**row, "turn": event.rollout_id}
    if row["turn"] != event.rollout_id:
        return row
    return {**row, "turn": None, "turns_ended": row["turns_ended"] + 1}


def _device(row: Row | None, event: Any, _: Recorded) -> Row | None:
    if isinstance(event, _TURNS):
        return _turn(row, event)
    before: Row = row or {**_NEW_DEVICE, "device_id": event.device_id}
    changes = _decided(before, event) if isinstance(event, _DECISIONS) else _seen(before, event)
    if row and all(row[name] == value for name, value in changes.items()):
        return row
    return {**before, **changes}


def _decided(row: Row, event: Any) -> Row:
    if isinstance(event, d.DeviceRemoved):
        return {**_OUTSIDE, "failures": 0} if row["product_id"] == event.product_id else {}
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
        case d.DeviceDescribed():
            return {**joined, "name": event.name}
        case d.DevelopmentMarked():
            return {**joined, "development": event.development}
        case d.DeviceGrouped():
            return {**joined, "groups": event.groups}
        case d.DeviceTokenReplaced():
            return {**joined, "token_digest": event.token_digest}
        case d.DeviceKeySet() | d.DeviceCertificateSet() | d.DeviceClaimed() | d.DeviceUnclaimed():
            return {**joined, **_access(event)}
        case d.DeviceLocked():
            return {**joined, **_locked({**row, **joined}, event)}
        case d.DeviceUnlocked():
            return {**joined, "locked_version": None, "flash_pending": False}
        case d.UpdateRetryAsked():
            return {**joined, "failures": 0}
    return {}


def _access(event: d.DeviceKeySet | d.DeviceCertificateSet | d.DeviceClaimed | d.DeviceUnclaimed) -> Row:
    match event:
        case d.DeviceKeySet(_, _, algorithm, public_key, _):
            key_digest = hashlib.sha256(base64.b64decode(public_key)).hexdigest()
            return {"key_algorithm": algorithm, "public_key": public_key, "key_digest": key_digest}
        case d.DeviceCertificateSet():
            return {"certificate": event.fingerprint}
        case d.DeviceClaimed():
            return {"owner_id": event.owner_id}
        case _:
            return {"owner_id": None}


def _locked(row: Row, event: d.DeviceLocked) -> Row:
    runs = _runs(row, event.version, row["reported_product"], row["reported_version"])
    changes = {"locked_version": event.version, "flash_pending": event.flash and not runs, "flash": None}
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
        case g.UpdateAdvanced():
            known = (row["attempt_version"], row["attempts"]) == (event.version, event.attempt)
            return {"attempt_applying": event.state == "applying"} if known else {}
        case g.UpdateStarted():
            again = row["attempt_version"] == event.version
            return {**_attempt(row, event), "failures": row["failures"] if again else 0, "tried": _tried(row, event)}
        case g.UpdateInterrupted():
            known = (row["attempt_version"], row["attempts"]) == (event.version, event.attempt)
            return {"attempt_applying": False} if known else {}
        case g.UpdateSucceeded():
            return {**_attempt(row, event), "failures": 0, "ever_updated": True, "flash": _left(row, event)}
        case g.UpdateFailed():
            return {**_attempt(row, event), "failures": event.failures, "flash": _left(row, event)}
        case g.UpdatesDeclared():
            return {"updates_enabled": event.enabled, "updates_forced": event.forced}
        case g.FlashAsked() if row["product_id"] == event.product_id:
            return {"flash": {name: getattr(event, name) for name in _FLASH}}
    return {}


def _left(row: Row, event: g.UpdateSucceeded | g.UpdateFailed) -> dict[str, Any] | None:
    """The file that is still to be flashed: not the one of this attempt, for one try is what was asked for. An attempt
    at a version that only has the file's number is none at the file; old events do not say which it was."""
    flash: dict[str, Any] | None = row["flash"]
    if flash is None or event.cause not in (None, "file"):
        return flash
    return None if (flash["product_id"], flash["version"]) == (event.product_id, event.version) else flash


def _attempt(row: Row, event: g.UpdateStarted | g.UpdateSucceeded | g.UpdateFailed) -> Row:
    known = (row["attempt_version"], row["attempts"]) == (event.version, event.attempt)
    cause = event.cause or (row["attempt_cause"] if known else None)
    told: Row = {"attempt_version": event.version, "attempts": event.attempt, "attempt_applying": False}
    return {**told, "attempt_cause": cause}


def _tried(row: Row, event: g.UpdateStarted) -> list[list[int]]:
    others = [[version, number] for version, number in row["tried"] if version != event.version]
    return [*others[1 - MOST_TRIED :], [event.version, event.attempt]]


def _runs(row: Row, version: int, reported_product: int | None, reported_version: int | None) -> bool:
    member = Membership(product_id=row["product_id"], forced=row["forced"])
    return runs_target(member, Target(version, "lock"), reported_product, reported_version)


_FLASH = ("flash_id", "product_id", "version", "size_bytes", "sha256")
_DECISIONS = (
    d.DeviceGrouped,
    d.DeviceImported,
    d.DeviceForced,
    d.DeviceQuarantined,
    d.DeviceApproved,
    d.DeviceDenied,
    d.DeviceRemoved,
    d.DeviceDescribed,
    d.DevelopmentMarked,
    d.DeviceLocked,
    d.DeviceUnlocked,
    d.UpdateRetryAsked,
    d.DeviceTokenReplaced,
    d.DeviceKeySet,
    d.DeviceCertificateSet,
    d.DeviceClaimed,
    d.DeviceUnclaimed,
)

TOKENS = View(
    name="tokens",
    version=2,
    key=("token_id",),
    columns={
        "token_id": str,
        "account_id": str,
        "client": str,
        "token_digest": str,
        "expires_at": datetime,
        "subject": str,
        "customer_id": str,
        "product_id": int,
        "org_id": str,
        "generation": int,
        "scope": str,
    },
    events=(o.TokenIssued, o.TokenRevoked),
    keys=_by("token_id"),
    fold=_token,
    indexes=(("token_digest",),),
)
"""Access tokens that were not revoked; expired ones stay, with their moment."""

ACCOUNTS = View(
    name="accounts",
    version=3,
    key=("account_id",),
    columns={"account_id": str, "email": str, "org_id": str, "role": str, "generation": int, "forgotten": bool},
    events=(
        o.AccountCreated,
        o.AccountForgotten,
        o.EmailChanged,
        o.TokensEnded,
        o.MemberJoined,
        o.MemberRoleChanged,
        o.MemberRemoved,
    ),
    keys=_by("account_id"),
    fold=_account,
)

CLIENTS = View(
    name="clients",
    version=1,
    key=("client_id",),
    columns={"client_id": str, "deleted": bool},
    events=(oauth.ClientCreated, oauth.ClientDeleted),
    keys=_by("client_id"),
    fold=_client,
)

ORGS = View(
    name="orgs",
    version=2,
    key=("org_id",),
    columns={"org_id": str, "slug": str, "name": str, "inactive": bool},
    events=(o.OrganizationCreated, b.AccountLocked, b.SubscriptionEnded, b.SubscriptionReactivated),
    keys=_by("org_id"),
    fold=_org,
    indexes=(("slug",),),
)

PRODUCTS = View(
    name="products",
    version=5,
    key=("product_id",),
    columns={
        "product_id": int,
        "org_id": str,
        "slug": str,
        "name": str,
        "device_type": str,
        "platform_id": int,
        **COLUMNS,
        "intelligent": bool,
        "trust_first_key": bool,
        "tls_only": bool,
        "provisioning": str,
        "provisioning_key": str,
        "provisioning_secret_digest": str,
        "claim_without_secret": bool,
        "firmware_name": str,
        "version_width": int,
        "programs_at_setup": bool,
    },
    events=(
        o.ProductCreated,
        o.ProductChanged,
        o.ProductRemoved,
        o.ConfigurationAnswered,
        o.DeviceAccessConfigured,
        o.ProvisioningKeyIssued,
        *RELEASE_EVENTS,
    ),
    keys=_by("product_id"),
    fold=_product,
    indexes=(("slug",), ("firmware_name",), ("provisioning_key",)),
)

AUTHORITIES = View(
    name="authorities",
    version=1,
    key=("authority_id",),
    columns={"authority_id": str, "org_id": str, "certificate": str, "fingerprint": str, "names_devices": bool},
    events=(o.DeviceAuthorityAdded, o.DeviceAuthorityRemoved),
    keys=_by("authority_id"),
    fold=_authority,
)

IMAGES = View(
    name="images",
    version=3,
    key=("product_id", "version"),
    columns={
        "product_id": int,
        "version": int,
        "title": str,
        "size_bytes": int,
        "sha256": str,
        "signature": str,
        "signature_key": str,
    },
    events=(f.VersionUploaded, f.VersionDescribed, f.VersionDeleted),
    keys=_by("product_id", "version"),
    fold=_image,
)

DEVICES = View(
    name="devices",
    version=9,
    key=("device_id",),
    columns={
        "device_id": str,
        "product_id": int,
        "name": str,
        "forced": bool,
        "quarantined": bool,
        "denied": bool,
        "development": bool,
        "groups": list,
        "locked_version": int,
        "flash_pending": bool,
        "token_digest": str,
        "owner_id": str,
        "key_algorithm": str,
        "public_key": str,
        "key_digest": str,
        "certificate": str,
        "reported_product": int,
        "reported_version": int,
        "reported_title": str,
        "reported_text": str,
        "ever_reported": bool,
        "recorded_product": int,
        "attempt_version": int,
        "attempts": int,
        "failures": int,
        "attempt_applying": bool,
        "attempt_cause": str,
        "tried": list,
        "ever_updated": bool,
        "flash": dict,
        "turn": str,
        "turns_ended": int,
        "updates_enabled": bool,
        "updates_forced": bool,
    },
    events=(
        *_DECISIONS,
        g.FirmwareReported,
        g.FlashAsked,
        g.UpdateStarted,
        g.UpdateAdvanced,
        g.UpdateInterrupted,
        g.UpdateSucceeded,
        g.UpdateFailed,
        g.UpdatesDeclared,
        *_TURNS,
    ),
    keys=_device_keys,
    fold=_device,
    indexes=(("token_digest",), ("key_digest",), ("certificate",)),
)

IMPORTS = View(
    name="imports",
    version=1,
    key=("import_id",),
    columns=imports.COLUMNS,
    events=imports.EVENTS,
    keys=imports.keys,
    fold=imports.fold,
)

VIEWS = (
    TOKENS,
    ACCOUNTS,
    CUSTOMERS,
    CLIENTS,
    ORGS,
    PRODUCTS,
    AUTHORITIES,
    IMAGES,
    DEVICES,
    REPORTED,
    DESIRED,
    CLAIMS,
    GATEWAYS,
    IMPORTS,
)
