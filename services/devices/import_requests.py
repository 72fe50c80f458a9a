"""Imports as they are asked for: a few lines at once, or a file as a job (contract 7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any

import sqlalchemy as sa

from services.devices.device import DEVICE, ImportDevice
from services.devices.id_file import BYTE_ORDER_MARK, MAX_LINE_BYTES, Line, content_of
from services.devices.import_chunk import Outcomes, Report, import_chunk
from services.devices.import_views import IMPORT_PROBLEMS, IMPORTS
from services.devices.imports import (
    CHUNK_LINES,
    IMPORT,
    MAX_BYTES,
    NO_SUCH_IMPORT,
    CancelImport,
    StartImport,
    stream_of,
)
from services.devices.platforms import Platforms
from shared.blobs import Blobs
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.ids import record_id
from shared.imports import COUNTS, import_object

MAX_LINES_AT_ONCE = 10_000
MAX_PAGE = 1_000_000
MAX_PER_PAGE = 1_000
READ_BYTES = 1_048_576
NO_IDS = "There is no device ID in it: one ID of 24 hex digits a line."


def import_lines(
    streams: WorkerStreams, platforms: Platforms, product_id: int, lines: Sequence[str], force: bool
) -> dict[str, Any]:
    """Import some lines now. Raises ``Refused`` with ``too_large`` and ``invalid_request``."""
    if len(lines) > MAX_LINES_AT_ONCE:
        reason = f"More than {MAX_LINES_AT_ONCE} lines: import them as a job, POST /v1/products/{product_id}/imports."
        raise Refused("too_large", reason)
    parsed = [Line(number, _content(text, number), 0) for number, text in enumerate(lines, 1)]
    if all(line.content is None for line in parsed):
        raise Refused("invalid_request", NO_IDS)

    def handle_many(commands: Sequence[tuple[str, ImportDevice]]) -> Outcomes:
        outcomes: Outcomes = []
        for first in range(0, len(commands), CHUNK_LINES):
            outcomes += streams.handle_many(DEVICE, commands[first : first + CHUNK_LINES])
        return outcomes

    return _report(import_chunk(parsed, product_id, force, handle_many, partial(platforms.of_another, product_id)))


def _content(text: str, number: int) -> Any:
    raw = text[: MAX_LINE_BYTES + 1].encode(errors="replace")
    return content_of(raw.removeprefix(BYTE_ORDER_MARK) if number == 1 else raw)


def _report(report: Report) -> dict[str, Any]:
    return {
        "updated": len(report.updated),
        "updatedDeviceIds": report.updated,
        "existingDeviceIds": report.existing,
        "nonmemberDeviceIds": [],
        "invalidDeviceIds": [problem.text for problem in report.problems],
        "keys_set": report.keys_set,
        "problems": [
            {"line": problem.line, "text": problem.text, "code": problem.code, "reason": problem.reason}
            for problem in report.problems
        ],
        "position": report.position,
    }


def start_import(
    streams: WorkerStreams, blobs: Blobs, product_id: int, blob: str, size_bytes: int, force: bool, now: datetime
) -> dict[str, Any]:
    """Start the import of a stored file. Raises ``Refused`` with ``too_large`` and ``invalid_request``."""
    if not blobs.exists(blob) or blobs.size(blob) != size_bytes:
        raise Refused("invalid_request", "The file was not stored in full.")
    if size_bytes > MAX_BYTES:
        raise Refused("too_large", f"The file is larger than {MAX_BYTES} bytes.")
    import_id = record_id(streams.context.command_id, "import")
    lines_total = _count_lines(blobs, blob)
    command = StartImport(import_id, product_id, blob, size_bytes, lines_total, force)
    handled = streams.handle(IMPORT, stream_of(import_id), command)
    row = {"import_id": import_id, "state": "running", "lines_total": lines_total, **dict.fromkeys(COUNTS, 0)}
    shown = import_object({**row, "forced": force, "started_at": now, "updated_at": now})
    return {"import": shown, "position": handled.position}


def cancel_import(streams: WorkerStreams, product_id: int, import_id: str) -> dict[str, Any]:
    """Begin no more lines of it; devices that it has imported stay members. Raises ``NotFound``, and ``Refused`` with
    ``import_done`` behind its end."""
    return {"position": streams.handle(IMPORT, stream_of(import_id), CancelImport(product_id)).position}


def _count_lines(blobs: Blobs, blob: str) -> int:
    lines, ends_in_break, has_text = 0, True, False
    with blobs.open(blob) as file:
        while data := file.read(READ_BYTES):
            lines += data.count(b"\n")
            ends_in_break = data.endswith(b"\n")
            has_text = has_text or bool(data.removeprefix(BYTE_ORDER_MARK).strip())
    if not has_text:
        raise Refused("invalid_request", NO_IDS)
    return lines + (not ends_in_break)


def get_import(views: WorkerViews, product_id: int, import_id: str) -> dict[str, Any]:
    """How far an import is."""
    imports = views.table(IMPORTS)
    query = sa.select(imports).where(imports.c.import_id == import_id, imports.c.product_id == product_id)
    with views.read() as connection:
        row = connection.execute(query).mappings().one_or_none()
    if row is None:
        raise NotFound(NO_SUCH_IMPORT)
    return {"import": import_object(dict(row))}


def list_imports(views: WorkerViews, product_id: int, page: int, per_page: int) -> dict[str, Any]:
    """A page of a product's imports, the newest first."""
    _must_be_page(page, per_page)
    imports = views.table(IMPORTS)
    of_product = imports.c.product_id == product_id
    newest = sa.select(imports).where(of_product).order_by(imports.c.started_at.desc(), imports.c.import_id.desc())
    with views.read() as connection:
        total = connection.execute(sa.select(sa.func.count()).select_from(imports).where(of_product)).scalar_one()
        rows = connection.execute(newest.limit(per_page).offset((page - 1) * per_page)).mappings().all()
    return {"imports": [import_object(dict(row)) for row in rows], "meta": _meta(page, per_page, total)}


def import_problems(views: WorkerViews, product_id: int, import_id: str, page: int, per_page: int) -> dict[str, Any]:
    """A page of the lines that were refused, in their order."""
    _must_be_page(page, per_page)
    first = (page - 1) * per_page
    stretches = views.table(IMPORT_PROBLEMS)
    behind = first - CHUNK_LINES  # a stretch has at most so many problems
    query = (
        sa.select(stretches.c.first, stretches.c.problems)
        .where(stretches.c.import_id == import_id)
        .where(stretches.c.first > behind, stretches.c.first < first + per_page)
        .order_by(stretches.c.first)
    )
    total = get_import(views, product_id, import_id)["import"]["refused"]
    with views.read() as connection:
        rows = connection.execute(query).all()
    numbered = ((row.first + index, problem) for row in rows for index, problem in enumerate(row.problems))
    found = [problem for number, problem in numbered if first <= number < first + per_page]
    return {"problems": found, "meta": _meta(page, per_page, total)}


def _must_be_page(page: int, per_page: int) -> None:
    if not 1 <= page <= MAX_PAGE or not 1 <= per_page <= MAX_PER_PAGE:
        raise Refused("invalid_request", f"page must be 1 to {MAX_PAGE} and per_page 1 to {MAX_PER_PAGE}")


def _meta(page: int, per_page: int, total: int) -> dict[str, int]:
    return {"page": page, "per_page": per_page, "total": total, "total_pages": max(1, -(-total // per_page))}
