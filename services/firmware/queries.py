"""What is asked of a product's firmware. Reads views only."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from services.firmware.firmware_object import firmware_object
from services.firmware.signing_keys import signing_key_object
from services.firmware.versions import NO_SUCH_VERSION
from services.firmware.views import (
    RUNS_VIEW,
    SIGNING_KEYS_VIEW,
    SIGNING_VIEW,
    UPLOADERS_VIEW,
    VERSIONS_VIEW,
    runs_scope,
)
from shared.bus.providers import WorkerViews
from shared.errors import NotFound
from shared.ids import MAX_FIRMWARE_VERSION
from shared.projections.view import Row


def list_versions(views: WorkerViews, product_id: int) -> list[dict[str, Any]]:
    """All versions of a product, the highest first (FW-2)."""
    versions = views.table(VERSIONS_VIEW)
    query = _with_uploaders(views).where(versions.c.product_id == product_id).order_by(versions.c.version.desc())
    counts = views.counts(RUNS_VIEW)
    counted = sa.select(counts.c.item, counts.c.n).where(counts.c.scope == runs_scope(product_id))
    with views.read() as connection:
        rows: list[Row] = [dict(row) for row in connection.execute(query).mappings()]
        running = {int(item): n for item, n in connection.execute(counted)}
    return [firmware_object(row, running.get(row["version"], 0)) for row in rows]


def versions_in_use(views: WorkerViews, product_id: int) -> list[int]:
    """The versions that devices of the product run."""
    counts = views.counts(RUNS_VIEW)
    counted = sa.select(counts.c.item).where(counts.c.scope == runs_scope(product_id))
    with views.read() as connection:
        return [int(item) for item in connection.execute(counted).scalars()]


def get_version(views: WorkerViews, product_id: int, version: int) -> dict[str, Any]:
    """One version. Raises ``NotFound``."""
    return firmware_object(*version_row(views, product_id, version))


def get_signing(views: WorkerViews, product_id: int) -> dict[str, Any]:
    """``{signature_required, keys}``, the oldest key first."""
    keys, signing = views.table(SIGNING_KEYS_VIEW), views.table(SIGNING_VIEW)
    query = sa.select(keys).where(keys.c.product_id == product_id).order_by(keys.c.added_at, keys.c.key_id)
    with views.read() as connection:
        found = [dict(row) for row in connection.execute(query).mappings()]
        required = connection.execute(sa.select(signing.c.required).where(signing.c.product_id == product_id)).scalar()
    shown = [signing_key_object(row["key_id"], row["name"], row["public_key"], row["added_at"]) for row in found]
    return {"signature_required": bool(required), "keys": shown}


def version_row(views: WorkerViews, product_id: int, version: int) -> tuple[Row, int]:
    """The row of a version, and on how many devices it runs. Raises ``NotFound``."""
    if not 0 <= version <= MAX_FIRMWARE_VERSION:
        raise NotFound(NO_SUCH_VERSION)
    versions, counts = views.table(VERSIONS_VIEW), views.counts(RUNS_VIEW)
    query = _with_uploaders(views).where(versions.c.product_id == product_id, versions.c.version == version)
    counted = sa.select(counts.c.n).where(counts.c.scope == runs_scope(product_id), counts.c.item == str(version))
    with views.read() as connection:
        row = connection.execute(query).mappings().one_or_none()
        device_count = connection.execute(counted).scalar() or 0
    if row is None:
        raise NotFound(NO_SUCH_VERSION)
    return dict(row), device_count


def _with_uploaders(views: WorkerViews) -> sa.Select[Any]:
    """Versions, with ``uploaded_by`` as the uploader's row says it."""
    versions, uploaders = views.table(VERSIONS_VIEW), views.table(UPLOADERS_VIEW)
    others = [column for column in versions.c if column.name != "uploaded_by"]
    by = sa.func.coalesce(uploaders.c.username, versions.c.uploaded_by).label("uploaded_by")
    return sa.select(*others, by).join_from(
        versions, uploaders, versions.c.uploader_id == uploaders.c.account_id, isouter=True
    )


def device_running(views: WorkerViews, product_id: int, version: int) -> str | None:
    """A device that counts as the product's and reported that it runs this version, if there is one."""
    runs = views.table(RUNS_VIEW)
    its_own = sa.or_(runs.c.reported_product.is_(None), runs.c.reported_product == product_id)
    query = sa.select(runs.c.device_id).where(
        runs.c.product_id == product_id, runs.c.version == version, runs.c.held.is_(False), its_own
    )
    with views.read() as connection:
        found: str | None = connection.execute(query.limit(1)).scalar()
    return found
