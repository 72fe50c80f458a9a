"""Roll-outs (FW-6): an addition to the contract."""

from __future__ import annotations

from services.gateway.http import rollout_schemas as schemas
from services.gateway.http import rollouts
from services.gateway.http.calls import STREAM
from services.gateway.http.lists import STREAMED
from services.gateway.http.routes.rows import PRODUCT, ROLLOUT, get, post

ROUTES = [
    post(
        PRODUCT + "/rollouts/dry-run",
        "firmware.read",
        "What a roll-out would do: how far each stage goes, or every device and why (not)",
        rollouts.dry_run,
        schemas.DryRunSummary(),
        request=schemas.DryRun(),
        streamed=STREAMED,
    ),
    post(
        PRODUCT + "/rollouts",
        "firmware.release",
        "Plan a roll-out, and start it",
        rollouts.plan_rollout,
        schemas.RolloutAnswer(),
        request=schemas.NewRollout(),
        status=201,
    ),
    get(
        PRODUCT + "/rollouts",
        "firmware.read",
        "The newest 100 roll-outs of a product, the newest first",
        rollouts.list_rollouts,
        schemas.Rollouts(),
    ),
    get(ROLLOUT, "firmware.read", "A roll-out", rollouts.read_rollout, schemas.RolloutAnswer()),
    post(
        ROLLOUT + "/approve",
        "firmware.release",
        "Let a roll-out begin, or its next stage",
        rollouts.approve_rollout,
        schemas.RolloutAnswer(),
    ),
    post(
        ROLLOUT + "/pause",
        "firmware.release",
        "Stop a roll-out for now",
        rollouts.pause_rollout,
        schemas.RolloutAnswer(),
        request=schemas.Reason(),
    ),
    post(
        ROLLOUT + "/resume",
        "firmware.release",
        "Let a roll-out go on",
        rollouts.resume_rollout,
        schemas.RolloutAnswer(),
    ),
    post(
        ROLLOUT + "/cancel",
        "firmware.release",
        "End a roll-out and touch nobody any more; who runs the version keeps it",
        rollouts.cancel_rollout,
        schemas.RolloutAnswer(),
        request=schemas.Reason(),
    ),
    post(
        ROLLOUT + "/rollback",
        "firmware.release",
        "End a roll-out and give back what is released",
        rollouts.roll_back_rollout,
        schemas.RolloutAnswer(),
        request=schemas.Reason(),
    ),
    get(
        ROLLOUT + "/devices",
        "firmware.read",
        "Devices that asked for a turn, and what came of the last one",
        rollouts.list_devices,
        schemas.RolloutDevices(),
        query=schemas.RolloutDevicesQuery(),
    ),
    get(
        ROLLOUT + "/report",
        "firmware.read",
        "What was predicted, against what became of it",
        rollouts.read_report,
        schemas.RolloutReport(),
        streamed=STREAMED,
    ),
    get(
        ROLLOUT + "/events",
        "firmware.read",
        "How a roll-out stands, live until it is over",
        rollouts.rollout_events,
        None,
        media_type=STREAM,
    ),
]
