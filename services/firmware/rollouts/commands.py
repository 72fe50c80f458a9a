"""What people decide of roll-outs: plan, approve, pause, resume, cancel, roll back. The coordinator does the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from services.firmware.queries import version_row
from services.firmware.releases import must_be_groups, prove_from_view
from services.firmware.rollouts import control
from services.firmware.rollouts.queries import is_of_another, states_of
from services.firmware.rollouts.rollout_object import rollout_object
from services.firmware.rollouts.rollout_views import ROLLOUTS_VIEW, fold_rollout
from services.firmware.versions import VERSIONS, stream_of
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.ids import record_id
from shared.projections.view import Row
from shared.rollout_plans import planned

LONGEST_REASON = 512

_ROLLOUT_ID = re.compile(r"[0-9a-f]{24}")


def plan_rollout(
    streams: WorkerStreams,
    views: WorkerViews,
    devices: Any,
    product_id: int,
    plan: Mapping[str, Any],
    rollout_id: str | None,
) -> dict[str, Any]:
    """Plan a roll-out, by the id of a dry run if there was one. Raises ``NotFound`` for an unknown version, and
    ``Refused``: ``invalid_request``, ``firmware_not_running`` and the codes of ``control``. ``devices`` is the client
    of that service."""
    if rollout_id is None:
        rollout_id = record_id(streams.context.command_id, "rollout")
    elif not isinstance(rollout_id, str) or not _ROLLOUT_ID.fullmatch(rollout_id):
        raise Refused("invalid_request", "rollout_id: Must be 24 hex digits in lower case.")
    wanted = planned(product_id, rollout_id, plan)
    row, _ = version_row(views, product_id, wanted.version)
    must_be_groups(devices, product_id, frozenset(wanted.groups))
    if not row["proven"]:
        prove_from_view(streams, views, product_id, wanted.version)
    if is_of_another(views, product_id, rollout_id):
        raise Refused("rollout_exists", control.EXISTS)
    return _run(streams, views, product_id, rollout_id, control.PlanRollout(wanted))


def approve(streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str) -> dict[str, Any]:
    """Let it begin, or its next stage. Raises ``NotFound`` and ``Refused``, as the others do."""
    return _run(streams, views, product_id, rollout_id, control.ApproveRollout(rollout_id))


def pause(streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str, reason: str) -> dict[str, Any]:
    """Stop it for now."""
    return _run(streams, views, product_id, rollout_id, control.PauseRollout(rollout_id, _stated(reason)))


def resume(streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str) -> dict[str, Any]:
    """Let it go on."""
    return _run(streams, views, product_id, rollout_id, control.ResumeRollout(rollout_id))


def cancel(streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str, reason: str) -> dict[str, Any]:
    """End it, and touch nobody any more."""
    return _run(streams, views, product_id, rollout_id, control.CancelRollout(rollout_id, _stated(reason)))


def roll_back(
    streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str, reason: str
) -> dict[str, Any]:
    """End it, and give back what is released."""
    return _run(streams, views, product_id, rollout_id, control.RollBackRollout(rollout_id, _stated(reason)))


def _stated(reason: object) -> str:
    if reason is not None and not isinstance(reason, str):
        raise Refused("invalid_request", "reason: Must be text.")
    trimmed = (reason or "").strip()
    if len(trimmed) > LONGEST_REASON or "\x00" in trimmed:
        raise Refused("invalid_request", f"reason: Must be text of at most {LONGEST_REASON} characters, without NUL.")
    return trimmed


def _run(
    streams: WorkerStreams, views: WorkerViews, product_id: int, rollout_id: str, command: control.Command
) -> dict[str, Any]:
    """The roll-out after the command, from its stream: whoever stops one does not wait for views that are behind. How
    many devices are in which state is as they have it."""
    handled = streams.handle(VERSIONS, stream_of(product_id), command)
    row = _row(streams, product_id, rollout_id)
    if row is None:
        raise NotFound(control.NO_SUCH_ROLLOUT)
    return {"rollout": rollout_object(row, states_of(views.as_they_are(), rollout_id)), "position": handled.position}


def _row(streams: WorkerStreams, product_id: int, rollout_id: str) -> Row | None:
    """What view ``rollouts`` has of it, or will have in a moment."""
    row: Row | None = None
    for recorded in streams.load(VERSIONS, stream_of(product_id)).recorded:
        if recorded.type in ROLLOUTS_VIEW.event_types:
            event = streams.contracts.decode(recorded)
            row = fold_rollout(row, event, recorded) if event.rollout_id == rollout_id else row
    return row
