"""Roll-outs as the RPC methods answer them: the plan as it was sent, and how far it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from shared.events.rollouts import RolloutPlanned
from shared.projections.view import Row
from shared.times import iso

COUNTS = ("asked", "in_flight", "taken", "succeeded", "failed", "dark", "left")


def plan_of(event: RolloutPlanned) -> dict[str, Any]:
    """The plan as JSON, as ``shared.rollout_plans.PLAN`` takes it."""
    return {
        "version": event.version,
        "groups": list(event.groups),
        "stages": [msgspec.structs.asdict(stage) for stage in event.stages],
        "windows": [
            {"days": list(window.days), "from": _clock(window.from_minute), "until": _clock(window.until_minute)}
            for window in event.windows
        ],
        "at_once": event.at_once,
        "per_hour": event.per_hour,
        "gates": msgspec.structs.asdict(event.gates),
        "intelligent": event.intelligent,
    }


def _clock(minute: int) -> str:
    return f"{minute // 60:02d}:{minute % 60:02d}"


def rollout_object(row: Row, states: Mapping[str, int]) -> dict[str, Any]:
    """A row of view ``rollouts``, with how many devices are in each state of view ``rollout_devices``. ``stage`` is
    null before the first one; ``allowed`` and ``share`` of a stage before it began, and ``allowed`` of the last."""
    not_begun = {"allowed": None, "share": None, "began_at": None}
    progress = [*row["progress"], *[not_begun] * (len(row["plan"]["stages"]) - len(row["progress"]))]
    stages = [{**stage, **how_far} for stage, how_far in zip(row["plan"]["stages"], progress, strict=True)]
    return {
        "id": row["rollout_id"],
        "product_id": row["product_id"],
        **row["plan"],
        "stages": stages,
        "state": row["state"],
        "stage": row["stage"] if row["stage"] >= 0 else None,
        "counts": counts_object(states),
        "gate": row["gate"],
        "reason": row["reason"],
        "prediction": row["prediction"],
        **{name: _time(row[name]) for name in ("planned_at", "began_at", "ended_at", "updated_at")},
    }


def counts_object(states: Mapping[str, int]) -> dict[str, int]:
    """``asked``: wait for their first turn; ``taken``: had one; then what came of the last one."""
    of_turns = {state: count for state, count in states.items() if state != "asked"}
    named = {"in_flight": states.get("in_turn", 0), "taken": sum(of_turns.values())}
    return {name: named.get(name, states.get(name, 0)) for name in COUNTS}


def device_object(row: Row) -> dict[str, Any]:
    """A row of view ``rollout_devices``."""
    return {
        "id": row["device_id"],
        "state": row["state"],
        "stage": row["stage"],
        "turns": row["turns"],
        **{name: _time(row[name]) for name in ("asked_at", "given_at", "ended_at")},
    }


def _time(moment: datetime | None) -> str | None:
    return None if moment is None else iso(moment)
