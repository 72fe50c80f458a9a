"""What comes in and goes out about roll-outs (FW-6). The plan is that of ``shared.rollout_plans``."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.http.fields import (
    NULL,
    Document,
    Flag,
    Line,
    Request,
    Whole,
    any_object,
    flag,
    list_of,
    of,
    string,
    time,
    whole,
)
from services.gateway.http.insight_schemas import Next
from shared.rollout_plans import Plan

STATES = ("planned", "running", "held", "paused", "cancelled", "rolled_back", "completed")
DEVICE_STATES = ("asked", "in_turn", "succeeded", "failed", "dark", "left")
MAX_PER_PAGE = 1_000
_ID = ma.validate.Regexp(r"[0-9a-f]{24}\Z", error="Must be 24 hex digits in lower case.")


class DryRun(Plan):
    """``rollout_id`` of an earlier dry run: the same devices are chosen."""

    rollout_id = ma.fields.String(allow_none=True, load_default=None, validate=_ID)


class NewRollout(DryRun):
    """``rollout_id`` of a dry run: the same devices are chosen."""

    start = Flag(load_default=False, metadata={"description": "it is approved, too, and begins"})


class Reason(Request):
    reason = Line(512, load_default="", metadata={"description": "why, for whoever looks at it later"})


class RolloutDevicesQuery(Request):
    state = Line(16, allow_none=True, load_default=None, metadata={"description": ", ".join(DEVICE_STATES)})
    after = Line(64, allow_none=True, load_default=None, metadata={"description": "meta.next of the page before"})
    per_page = Whole(1, MAX_PER_PAGE, load_default=100)


class PlannedStage(Document):
    """``reaches``: devices that it and the ones before it come to."""

    percent = whole(**NULL)
    devices = whole(**NULL)
    hold = flag()
    soak_s = whole()
    allowed = whole(**NULL)
    share = whole()
    reaches = whole()


class DryRunSummary(Document):
    """``releasable``: a device ran the version, else it is not begun (FW-5). ``reasons``: devices by what would become
    of them."""

    rollout_id = string()
    version = whole()
    groups = list_of(ma.fields.String())
    releasable = flag()
    devices = whole()
    eligible = whole()
    stages = list_of(of(PlannedStage))
    reasons = any_object(values=ma.fields.Integer())


class RolloutStageState(Document):
    percent = whole(**NULL)
    devices = whole(**NULL)
    hold = flag()
    soak_s = whole()
    allowed = whole(**NULL)
    share = whole(**NULL)
    began_at = time(**NULL)


RolloutWindowShown: Any = Document.from_dict(
    {"days": list_of(ma.fields.Integer()), "from": string(), "until": string()}, name="RolloutWindow"
)


class RolloutGates(Document):
    failed_percent = whole(**NULL)
    dark_percent = whole(**NULL)
    dark_after_s = whole()
    error_ratio_percent = whole(**NULL)
    at_least = whole()
    then = string()


class RolloutCounts(Document):
    asked = whole()
    in_flight = whole()
    taken = whole()
    succeeded = whole()
    failed = whole()
    dark = whole()
    left = whole()


class Rollout(Document):
    id = string()
    product_id = whole()
    version = whole()
    groups = list_of(ma.fields.String())
    stages = list_of(of(RolloutStageState))
    windows = list_of(of(RolloutWindowShown))
    at_once = whole()
    per_hour = whole(**NULL)
    gates = of(RolloutGates)
    intelligent = flag()
    state = string(validate=ma.validate.OneOf(STATES))
    stage = whole(**NULL)
    counts = of(RolloutCounts)
    gate = string(**NULL)
    reason = string()
    prediction = string(**NULL)
    planned_at = time()
    began_at = time(**NULL)
    ended_at = time(**NULL)
    updated_at = time()


class RolloutAnswer(Document):
    ok = flag()
    rollout = of(Rollout)


class Rollouts(Document):
    rollouts = list_of(of(Rollout))


class RolloutDevice(Document):
    id = string()
    state = string(validate=ma.validate.OneOf(DEVICE_STATES))
    stage = whole()
    turns = whole()
    asked_at = time(**NULL)
    given_at = time(**NULL)
    ended_at = time(**NULL)


class RolloutDevices(Document):
    devices = list_of(of(RolloutDevice))
    meta = of(Next)


class RolloutReport(Document):
    """``outcomes``: devices by how the prediction and what became of them agree."""

    rollout_id = string()
    state = string()
    devices = whole()
    outcomes = any_object(values=ma.fields.Integer())
