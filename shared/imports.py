"""How far an import of devices is, as the service keeps it and as gateways show it live (DEV-1). Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from shared.events.devices import ImportAdvanced, ImportCancelled, ImportFinished, ImportStarted
from shared.projections.view import Key, Row
from shared.store.port import Recorded
from shared.times import iso

EVENTS = (ImportStarted, ImportAdvanced, ImportCancelled, ImportFinished)
UNFINISHED = ("running", "cancelling")
"""States behind which something is still to come."""
COUNTS = ("lines_done", "updated", "existing", "refused", "keys_set")
COLUMNS: Mapping[str, type] = {
    "import_id": str,
    "product_id": int,
    "state": str,
    "lines_total": int,
    **dict.fromkeys(COUNTS, int),
    "forced": bool,
    "started_at": datetime,
    "updated_at": datetime,
}


def keys(event: Any) -> Iterable[Key]:
    """The import that the event is about."""
    return ((event.import_id,),)


def fold(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """The import after the event."""
    if isinstance(event, ImportStarted):
        return {
            "import_id": event.import_id,
            "product_id": event.product_id,
            "state": "running",
            "lines_total": event.lines_total,
            **dict.fromkeys(COUNTS, 0),
            "forced": event.forced,
            "started_at": recorded.at,
            "updated_at": recorded.at,
        }
    if row is None:
        return None
    if isinstance(event, ImportCancelled):
        return {**row, "state": "cancelling", "updated_at": recorded.at}
    state = row["state"]
    if isinstance(event, ImportFinished):
        state = "cancelled" if state == "cancelling" else "done"
    counts = {name: getattr(event, name) for name in COUNTS}
    return {**row, **counts, "state": state, "updated_at": recorded.at}


def import_object(row: Mapping[str, Any]) -> dict[str, Any]:
    """As the API shows it (contract 7.3)."""
    names = ("state", "lines_total", *COUNTS)
    shown = {"id": row["import_id"], **{name: row[name] for name in names}, "force": bool(row["forced"])}
    return {**shown, "started_at": iso(row["started_at"]), "updated_at": iso(row["updated_at"])}
