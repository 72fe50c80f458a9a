"""What is released and rolled out in a product, as a row of a view keeps it: one fold for every view of it (FW-4,
FW-6). Pure.

``rollouts`` holds objects with the fields of ``shared.rollouts.Rollout``, the newest first. One that is over stays
until a release at its level supersedes it, for whoever runs its version keeps it, or has to go back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shared.events.firmware import FirmwareReleased, FirmwareReleasedToGroups, ReleaseWithdrawn
from shared.events.rollouts import (
    RolloutCancelled,
    RolloutCompleted,
    RolloutPaused,
    RolloutPlanned,
    RolloutRegrouped,
    RolloutResumed,
    RolloutRolledBack,
    RolloutStageBegan,
    RolloutStageSized,
)
from shared.projections.view import Row
from shared.rollouts import Releases, Rollout
from shared.targets import with_groups

RELEASE_EVENTS = (
    FirmwareReleased,
    FirmwareReleasedToGroups,
    ReleaseWithdrawn,
    RolloutPlanned,
    RolloutStageBegan,
    RolloutStageSized,
    RolloutPaused,
    RolloutResumed,
    RolloutCancelled,
    RolloutRolledBack,
    RolloutCompleted,
    RolloutRegrouped,
)
COLUMNS: dict[str, type] = {"released_version": int, "group_releases": dict, "rollouts": list}
AT_FIRST: Row = {"released_version": None, "group_releases": {}, "rollouts": []}

MOST_OVER = 50
"""Roll-outs of a product that are over and still kept, the newest; whoever runs the version of an older one gets what
is released."""

_OVER = ("completed", "cancelled", "rolled_back")


def fold_releases(row: Row, event: Any) -> Row:
    """These columns after the event; ``row`` has them, and may have others."""
    match event:
        case FirmwareReleased(_, version):
            kept = [one for one in row["rollouts"] if one["groups"] or one["state"] not in _OVER]
            return {**_columns(row), "released_version": version, "rollouts": kept}
        case ReleaseWithdrawn():
            return {**_columns(row), "released_version": None}
        case FirmwareReleasedToGroups(_, version, groups):
            before: Mapping[str, int] = row["group_releases"]
            after = with_groups(before, version, groups)
            changed = {group for group in (*groups, *before) if before.get(group) != after.get(group)}
            named = {*groups, *changed}
            kept = [
                left
                for one in row["rollouts"]
                if (left := _without(one, named if one["state"] == "completed" else changed)) is not None
            ]
            return {**_columns(row), "group_releases": after, "rollouts": kept}
        case _:
            return {**_columns(row), "rollouts": _rollouts(row["rollouts"], event)}


def releases_of(row: Mapping[str, Any]) -> Releases:
    """The same for ``shared.rollouts``."""
    rollouts = (Rollout(**{**one, "groups": tuple(one["groups"])}) for one in row["rollouts"])
    return Releases(row["released_version"], row["group_releases"], tuple(rollouts))


def _columns(row: Row) -> Row:
    return {name: row[name] for name in COLUMNS}


def _without(rollout: Row, groups: set[str]) -> Row | None:
    """A roll-out that is over, in the groups that have no release since; None if that is nowhere."""
    if rollout["state"] not in _OVER or not rollout["groups"]:
        return rollout
    left = [group for group in rollout["groups"] if group not in groups]
    return {**rollout, "groups": left} if left else None


def _rollouts(rows: list[Row], event: Any) -> list[Row]:
    if isinstance(event, RolloutPlanned):
        planned: Row = {
            "rollout_id": event.rollout_id,
            "version": event.version,
            "groups": event.groups,
            "state": "planned",
            "stage": 0,
            "share": 0,
            "intelligent": event.intelligent,
            "gate": None,
            "resumed": 0,
        }
        return [planned, *(row for row in rows if row["rollout_id"] != event.rollout_id)]
    changed = (_changed(row, event) if row["rollout_id"] == event.rollout_id else row for row in rows)
    kept = [row for row in changed if row is not None]
    over = [row for row in kept if row["state"] in _OVER]
    dropped = {row["rollout_id"] for row in over[MOST_OVER:]}
    return [row for row in kept if row["rollout_id"] not in dropped]


def _changed(row: Row, event: Any) -> Row | None:
    match event:
        case RolloutStageBegan():
            return {**row, "state": "running", "stage": event.stage, "share": event.share, "gate": None}
        case RolloutStageSized():
            return {**row, "share": event.share}
        case RolloutPaused():
            return {**row, "state": "paused", "gate": event.gate}
        case RolloutResumed():
            return {**row, "state": "running", "gate": None, "resumed": row["resumed"] + 1}
        case RolloutCancelled() if row["state"] == "planned":
            return None
        case RolloutCancelled():
            return {**row, "state": "cancelled"}
        case RolloutRolledBack():
            return {**row, "state": "rolled_back", "gate": event.gate}
        case RolloutRegrouped():
            return {**row, "groups": event.groups}
        case _:
            return {**row, "state": "completed"}
