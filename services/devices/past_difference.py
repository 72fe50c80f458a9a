"""What is different about one device between two moments. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from services.devices.fleet import NOTHING
from shared.projections.view import Row


def _same(column: str) -> Callable[[Row], Any]:
    return lambda row: row[column]


def _text(column: str) -> Callable[[Row], Any]:
    return lambda row: row[column] or None


def _version(row: Row) -> Any:
    return None if row["shown_version"] == NOTHING else row["shown_version"]


def _update(row: Row) -> Any:
    if row["update_version"] is None:
        return None
    return {"version": row["update_version"], "state": row["update_state"]}


COMPARED: Mapping[str, Callable[[Row], Any]] = {
    "name": _text("name"),
    "groups": _same("groups"),
    "development": _same("development"),
    "quarantined": _same("quarantined"),
    "denied": _same("denied"),
    "owner": _same("owner_id"),
    "desired_firmware_version": _same("locked_version"),
    "firmware_version": _version,
    "firmware_update": _update,
    "online": _same("online"),
}
"""The contract's words (7.1) for what is compared, and how they are made of a row of view ``fleet``."""
COLUMNS = (
    "device_id",
    "name",
    "groups",
    "development",
    "quarantined",
    "denied",
    "owner_id",
    "locked_version",
    "shown_version",
    "update_version",
    "update_state",
    "online",
)
"""What of a row that takes."""


def difference(device_id: str, before: Row | None, after: Row | None) -> dict[str, Any] | None:
    """What is different, with the values of both moments; None when nothing is. A row is None when the device is no
    member then; of one that came or went, the one side is shown whole and the other null."""
    if before is None or after is None:
        came_or_went = "imported" if before is None else "removed"
        return {"id": device_id, "what": [came_or_went], "before": _shown(before), "after": _shown(after)}
    one, other = _shown(before) or {}, _shown(after) or {}
    what = [name for name in COMPARED if one[name] != other[name]]
    if not what:
        return None
    return {
        "id": device_id,
        "what": what,
        "before": {name: one[name] for name in what},
        "after": {name: other[name] for name in what},
    }


def _shown(row: Row | None) -> dict[str, Any] | None:
    return None if row is None else {name: make(row) for name, make in COMPARED.items()}
