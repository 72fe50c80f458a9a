"""Views ``rollouts`` (what was decided of each roll-out) and ``rollout_devices`` (which devices asked for a turn, and
what came of the last one). Pure. Both are kept when a roll-out is over, so that what was predicted can be compared.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.firmware.rollouts.rollout_object import plan_of
from shared.events import rollouts as r
from shared.events.gateway import RolloutTurnAsked
from shared.projections.view import Counter, Key, Row, View
from shared.store.port import Recorded
from shared.times import iso


def _rollout_keys(event: Any) -> Iterable[Key]:
    return ((event.rollout_id,),)


def fold_rollout(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """A roll-out after the event."""
    if isinstance(event, r.RolloutPlanned):
        return _planned(event, recorded)
    if row is None:
        return None
    return {**row, **_changed(row, event, recorded), "updated_at": recorded.at}


def _planned(event: r.RolloutPlanned, recorded: Recorded) -> Row:
    return {
        "rollout_id": event.rollout_id,
        "product_id": event.product_id,
        "version": event.version,
        "plan": plan_of(event),
        "state": "planned",
        "goes_on_as": "running",
        "under_way": event.product_id,
        "stage": -1,
        "progress": [],
        "gate": None,
        "reason": "",
        "prediction": None,
        "planned_at": recorded.at,
        "began_at": None,
        "ended_at": None,
        "updated_at": recorded.at,
    }


def _changed(row: Row, event: Any, recorded: Recorded) -> Row:
    match event:
        case r.RolloutStageBegan():
            now = {"allowed": event.allowed, "share": event.share, "began_at": iso(recorded.at)}
            began: Row = {"stage": event.stage, "progress": [*row["progress"], now]}
            first = {"began_at": recorded.at, "prediction": event.prediction}
            return {**began, **(first if row["began_at"] is None else {})}
        case r.RolloutStageSized():
            sized = {**row["progress"][-1], "allowed": event.allowed, "share": event.share}
            return {"progress": [*row["progress"][:-1], sized]}
        case r.RolloutApproved():
            return {"state": "running"}
        case r.RolloutHeld():
            return {"state": "held"}
        case r.RolloutPaused():
            return {"state": "paused", "goes_on_as": row["state"], "gate": event.gate, "reason": event.reason}
        case r.RolloutResumed():
            return {"state": row["goes_on_as"], "gate": None, "reason": ""}
        case r.RolloutRegrouped():
            return {"plan": {**row["plan"], "groups": list(event.groups)}}
        case r.RolloutCancelled():
            return {**_over(recorded), "state": "cancelled", "gate": None, "reason": event.reason}
        case r.RolloutRolledBack():
            return {**_over(recorded), "state": "rolled_back", "gate": event.gate, "reason": event.reason}
        case _:
            return {**_over(recorded), "state": "completed", "gate": None, "reason": ""}


def _over(recorded: Recorded) -> Row:
    return {"under_way": None, "ended_at": recorded.at}


ROLLOUTS_VIEW = View(
    name="rollouts",
    version=1,
    key=("rollout_id",),
    columns={
        "rollout_id": str,
        "product_id": int,
        "version": int,
        "plan": dict,
        "state": str,
        "goes_on_as": str,
        "under_way": int,
        "stage": int,
        "progress": list,
        "gate": str,
        "reason": str,
        "prediction": str,
        "planned_at": datetime,
        "began_at": datetime,
        "ended_at": datetime,
        "updated_at": datetime,
    },
    events=(
        r.RolloutPlanned,
        r.RolloutStageBegan,
        r.RolloutStageSized,
        r.RolloutHeld,
        r.RolloutApproved,
        r.RolloutPaused,
        r.RolloutResumed,
        r.RolloutCancelled,
        r.RolloutRolledBack,
        r.RolloutCompleted,
        r.RolloutRegrouped,
    ),
    keys=_rollout_keys,
    fold=fold_rollout,
    indexes=(("product_id", "planned_at"), ("under_way",)),
)
"""``under_way``: the product while it is unfinished. ``progress``: allowed, share and beginning of each stage that
began."""

IN_TURN = "in_turn"
"""What ``rollout_devices`` says of a device whose turn has not ended; before its first turn it is ``asked``."""
OUTCOMES = ("succeeded", "failed", "dark", "left")


def _device_keys(event: Any) -> Iterable[Key]:
    if isinstance(event, RolloutTurnAsked):
        return ((event.rollout_id, event.device_id),)
    is_given = isinstance(event, r.RolloutTurnsGiven)
    lists = (event.devices, event.again) if is_given else tuple(getattr(event, outcome) for outcome in OUTCOMES)
    return [(event.rollout_id, device_id) for devices in lists for device_id in devices]


def fold_device(row: Row | None, event: Any, recorded: Recorded) -> Row | None:
    """One device in one roll-out after the event. Whoever has a turn has asked for it before."""
    if isinstance(event, RolloutTurnAsked):
        return row or {
            "rollout_id": event.rollout_id,
            "device_id": event.device_id,
            "state": "asked",
            "stage": event.stage,
            "turns": 0,
            "asked_at": recorded.at,
            "given_at": None,
            "ended_at": None,
        }
    if row is None:
        return None
    if isinstance(event, r.RolloutTurnsGiven):
        given: Row = {"state": IN_TURN, "stage": event.stage, "turns": row["turns"] + 1}
        return {**row, **given, "given_at": recorded.at, "ended_at": None}
    outcome = next(outcome for outcome in OUTCOMES if row["device_id"] in getattr(event, outcome))
    return {**row, "state": outcome, "ended_at": recorded.at}


def tally_device(row: Row) -> Iterable[Counter]:
    """How many devices of a roll-out are in each state."""
    yield row["rollout_id"], row["state"]


DEVICES_VIEW = View(
    name="rollout_devices",
    version=1,
    key=("rollout_id", "device_id"),
    columns={
        "rollout_id": str,
        "device_id": str,
        "state": str,
        "stage": int,
        "turns": int,
        "asked_at": datetime,
        "given_at": datetime,
        "ended_at": datetime,
    },
    events=(RolloutTurnAsked, r.RolloutTurnsGiven, r.RolloutTurnsEnded),
    keys=_device_keys,
    fold=fold_device,
    counted=("rollout_id", "state"),
    tally=tally_device,
    indexes=(("rollout_id", "state", "device_id"),),
)
