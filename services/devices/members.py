"""Changes to members of a product: what to ask before, and what to answer."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.devices import changes
from services.devices.details import DETAILS
from services.devices.device import (
    DEVICE,
    NOT_A_MEMBER,
    ApproveDevice,
    ChangeMember,
    Device,
    ReplaceToken,
    RetryUpdate,
    Step,
    stream_of,
)
from services.devices.fleet import FLEET
from services.devices.groups import GROUPS, EnsureGroups
from services.devices.groups import stream_of as stream_of_groups
from services.devices.products import PRODUCTS
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.ids import DeviceId, device_id, digest
from shared.projections.view import Row
from shared.streams import Handled, Streams

MAX_TOKENS = 1_000
"""Devices that get a token by one call."""
TOKEN_BYTES = 24


def known_id(text: object) -> DeviceId:
    """The device ID in any case; raises ``NotFound`` for anything else."""
    found = device_id(text) if isinstance(text, str) else None
    if found is None:
        raise NotFound(NOT_A_MEMBER)
    return found


def change(streams: WorkerStreams, product_id: int, text: object, *steps: Step) -> Handled[Device]:
    """Take steps on one member."""
    found = known_id(text)
    return streams.handle(DEVICE, stream_of(found), ChangeMember(found, product_id, steps))


def update(
    streams: WorkerStreams, views: WorkerViews, firmware: Any, product_id: int, text: object, wanted: Mapping[str, Any]
) -> dict[str, Any]:
    """Change the fields of one member; the fields as they are then. What keeps the device from a version that it is
    locked to is said before anything is changed. Raises ``Refused``: ``platform_mismatch``; for *flash now* also
    ``device_offline``, ``device_quarantined``, ``product_mismatch`` (FW-3)."""
    found = known_id(text)
    parsed = changes.parse(wanted)
    if parsed.lock is not None:
        firmware.get_version(product_id=product_id, version=parsed.lock.version)
        _must_be_lockable(views, product_id, found, parsed)
    if parsed.groups:
        must_be_members(streams, product_id, [found])
        ensure_groups(streams, product_id, parsed.groups)
    handled = change(streams, product_id, found, *parsed.steps)
    return {"id": found, **parsed.fields, "position": handled.position}


def _must_be_lockable(views: WorkerViews, product_id: int, found: DeviceId, wanted: changes.Changes) -> None:
    fleet, products, details = views.table(FLEET), views.table(PRODUCTS), views.table(DETAILS)
    of_product = products.c.product_id == fleet.c.product_id
    of_device = details.c.device_id == fleet.c.device_id
    query = (
        sa.select(fleet, products.c.platform_id.label("meant_for"), details.c.platform_id)
        .select_from(fleet.outerjoin(products, of_product).outerjoin(details, of_device))
        .where(fleet.c.device_id == found, fleet.c.product_id == product_id)
    )
    with views.read() as connection:
        row = connection.execute(query).mappings().first()
    is_now = wanted.lock is not None and wanted.lock.flash
    if row is None:
        if is_now:
            raise NotFound(NOT_A_MEMBER)
        return  # perhaps not heard of yet: its stream says
    if None not in (row["meant_for"], row["platform_id"]) and row["meant_for"] != row["platform_id"]:
        of = f"The product's firmware is for platform {row['meant_for']}, the device is of platform"
        raise Refused("platform_mismatch", f"{of} {row['platform_id']}.")
    if is_now:
        _must_be_flashable(dict(row), wanted)


def _must_be_flashable(row: Row, wanted: changes.Changes) -> None:
    if not row["online"]:
        reason = "The device is offline: it can be flashed now only while it is online. No lock was set."
        raise Refused("device_offline", reason)
    approved = next((step for step in wanted.steps if isinstance(step, ApproveDevice)), None)
    if (row["quarantined"] or row["denied"]) and approved is None:
        held = "was denied" if row["denied"] else "is in quarantine"
        raise Refused("device_quarantined", f"The device {held}; approve it before you flash it. No lock was set.")
    is_forced = row["forced"] or (approved is not None and approved.forced)
    if row["reported_product"] not in (None, row["product_id"]) and not is_forced:
        reason = f"The device reports product {row['reported_product']} and was not forced (DEV-3). No lock was set."
        raise Refused("product_mismatch", reason)


def retry_update(streams: WorkerStreams, views: WorkerViews, product_id: int, text: object) -> dict[str, Any]:
    """Have tried again what failed on one member, however often (FW-7); nothing happens to one on which nothing did.
    Raises ``NotFound``."""
    found = known_id(text)
    fleet = views.table(FLEET)
    its_own = (fleet.c.device_id == found, fleet.c.product_id == product_id)
    with views.read() as connection:
        failures = connection.execute(sa.select(fleet.c.update_failures).where(*its_own)).scalar()
    if failures is None:
        raise NotFound(NOT_A_MEMBER)
    return {"position": change(streams, product_id, found, RetryUpdate()).position if failures else None}


def ensure_groups(streams: WorkerStreams, product_id: int, names: frozenset[str]) -> None:
    """Groups that devices are about to be put into exist. Raises ``Refused`` as making one does."""
    if names:
        streams.handle(GROUPS, stream_of_groups(product_id), EnsureGroups(product_id, names))


def must_be_members(streams: WorkerStreams, product_id: int, texts: Sequence[object]) -> list[DeviceId]:
    """These IDs, each once. Raises ``NotFound`` if one of them is no member of the product."""
    ids = list(dict.fromkeys(known_id(text) for text in texts))
    for found in ids:
        if streams.load(DEVICE, stream_of(found)).state.product_id != product_id:
            raise NotFound(NOT_A_MEMBER)
    return ids


def replace_tokens(streams: WorkerStreams, product_id: int, texts: Sequence[object]) -> dict[str, Any]:
    """New tokens for members; they are shown this once. If one of the devices is no member, none gets a token."""
    if len(texts) > MAX_TOKENS:
        raise Refused("invalid_request", f"at most {MAX_TOKENS} devices get a token at a time")
    ids = must_be_members(streams, product_id, texts)
    tokens = {found: secrets.token_urlsafe(TOKEN_BYTES) for found in ids}
    # A repeated command would find the digests of tokens that nobody has any more; so every run is one of its own.
    context = streams.context.step(secrets.token_hex())
    commands = [
        (stream_of(found), ChangeMember(found, product_id, (ReplaceToken(digest(token)),)))
        for found, token in tokens.items()
    ]
    position: int | None = None
    for outcome in Streams(streams.store, CONTRACTS).handle_many(DEVICE, commands, context):
        if isinstance(outcome, Exception):
            raise outcome
        position = max(position or 0, outcome.position or 0)
    return {"tokens": [{"id": found, "token": token} for found, token in tokens.items()], "position": position}
