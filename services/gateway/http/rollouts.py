"""Roll-outs of a product: dry run, plan, decide, watch, and hold against what was predicted (FW-6)."""

from __future__ import annotations

import asyncio
import re
import zlib
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from starlette.responses import Response

from services.gateway.http import events, lists, sse
from services.gateway.http.calls import ROLLOUT_HEADER, Call
from services.gateway.http.rollout_report import OUTCOMES, Predicted, joined
from services.gateway.rollout_progress import OVER, Shown, Watch
from shared.auth.permissions import Thing
from shared.blobs import Blobs
from shared.errors import NotFound, Refused, Unavailable
from shared.ids import record_id
from shared.predictions import lines_of

NO_ROLLOUT = "Roll-out not found."
SIZES_S = 120.0
"""How long all devices of a product may take to be looked at: a million takes some seconds."""
PAGE_S = 30.0
TURN_S = 10.0
PER_PAGE = 5_000
FACTS_PER_PAGE = 1_000
PIECE_BYTES = 65_536

PREDICTED = ("id", "would", "stage", "reason", "version", "target")
REPORTED = ("id", "outcome", "predicted", "reason", "predicted_stage", "fact", "stage", "turns")

_ROLLOUT_ID = re.compile(r"[0-9a-f]{24}")
_predicted = msgspec.json.Decoder(Predicted).decode_lines


async def dry_run(call: Call) -> Any:
    """What a plan would do: as JSON its stages and reasons, as lines or CSV every device."""
    plan, product_id = dict(call.body), call.product.product_id
    rollout_id = plan.pop("rollout_id") or record_id(call.context.command_id, "rollout")
    found = await call.ask("firmware", "get_version", product_id=product_id, version=plan["version"])
    await _must_be_groups(call, plan["groups"])
    named = {name: plan[name] for name in ("version", "groups", "intelligent")}
    whom = {"product_id": product_id, "rollout_id": rollout_id, **named}
    stages = [{"percent": stage["percent"], "devices": stage["devices"]} for stage in plan["stages"]]
    async with _counting(call):
        sizes = await call.ask("devices", "rollout_sizes", timeout_s=SIZES_S, **whom, stages=stages)
    kind = lists.wanted(call)
    if kind == lists.JSON:
        return {**_summary(plan, sizes), "rollout_id": rollout_id, "releasable": found["releasable"]}
    asked = {**whom, "shares": [stage["share"] for stage in sizes["stages"]]}
    return await lists.listed(kind, _predictions(call, asked), PREDICTED, {ROLLOUT_HEADER: rollout_id})


def _summary(plan: dict[str, Any], sizes: dict[str, Any]) -> dict[str, Any]:
    stages = [
        {**stage, **sized, "reaches": sizes["eligible"] if sized["allowed"] is None else sized["allowed"]}
        for stage, sized in zip(plan["stages"], sizes["stages"], strict=True)
    ]
    counted = {"devices": sum(sizes["reasons"].values()), "eligible": sizes["eligible"], "reasons": sizes["reasons"]}
    return {"version": plan["version"], "groups": plan["groups"], "stages": stages, **counted}


def _predictions(call: Call, asked: dict[str, Any]) -> AsyncGenerator[bytes]:
    async def page(after: str | None) -> lists.Page:
        options = {**asked, "after": after, "limit": PER_PAGE}
        told = await call.ask("devices", "predict_rollout", timeout_s=PAGE_S, **options)
        return lines_of(told), told["next"]

    return lists.paged(page)


async def _must_be_groups(call: Call, names: Sequence[str]) -> None:
    if not names:
        return
    listed = await call.ask("devices", "list_groups", product_id=call.product.product_id)
    unknown = sorted(set(names) - {group["name"] for group in listed["groups"]})
    if unknown:
        raise Refused("invalid_request", f"groups: The product has no group called {unknown[0]}.")


@asynccontextmanager
async def _counting(call: Call) -> AsyncIterator[None]:
    """Looking at every device of a product keeps a worker busy for seconds: few do so at once."""
    try:
        await asyncio.wait_for(call.edge.dry_runs.acquire(), TURN_S)
    except TimeoutError:
        raise Refused("busy", "Other dry runs are under way; try again in a moment.") from None
    try:
        yield
    finally:
        call.edge.dry_runs.release()


async def plan_rollout(call: Call) -> Any:
    """Planned; with ``start`` approved, too, as a second command of the same call."""
    plan, product_id = dict(call.body), call.product.product_id
    start, rollout_id = plan.pop("start"), plan.pop("rollout_id")
    planned = await call.ask("firmware", "plan_rollout", product_id=product_id, plan=plan, rollout_id=rollout_id)
    if not start:
        return {"ok": True, **planned}
    approve = (await call.circumstances()).step("approve")
    asked = {"product_id": product_id, "rollout_id": planned["rollout"]["id"]}
    return {"ok": True, **await call.ask("firmware", "approve_rollout", context=approve, **asked)}


async def list_rollouts(call: Call) -> Any:
    return await call.ask("firmware", "list_rollouts", product_id=call.product.product_id)


async def read_rollout(call: Call) -> Any:
    return {"ok": True, "rollout": await _rollout(call)}


async def approve_rollout(call: Call) -> Any:
    return await _decided(call, "approve_rollout")


async def pause_rollout(call: Call) -> Any:
    return await _decided(call, "pause_rollout", **call.body)


async def resume_rollout(call: Call) -> Any:
    return await _decided(call, "resume_rollout")


async def cancel_rollout(call: Call) -> Any:
    return await _decided(call, "cancel_rollout", **call.body)


async def roll_back_rollout(call: Call) -> Any:
    return await _decided(call, "roll_back_rollout", **call.body)


async def _decided(call: Call, method: str, **options: Any) -> dict[str, Any]:
    return {"ok": True, **await call.ask("firmware", method, **_whose(call), **options)}


async def list_devices(call: Call) -> Any:
    """A page of the devices that asked for a turn."""
    query = call.query
    found = await _page_of_facts(call, query["state"], query["after"], query["per_page"])
    return {"devices": found["devices"], "meta": {"per_page": query["per_page"], "next": found["next"]}}


async def _page_of_facts(call: Call, state: str | None, after: str | None, limit: int) -> dict[str, Any]:
    return await call.ask("firmware", "list_rollout_devices", **_whose(call), state=state, after=after, limit=limit)


def _facts(call: Call) -> AsyncGenerator[bytes]:
    async def page(after: str | None) -> lists.Page:
        found = await _page_of_facts(call, None, after, FACTS_PER_PAGE)
        return lists.encode_lines(found["devices"]), found["next"]

    return lists.paged(page)


async def read_report(call: Call) -> Any:
    """Prediction against fact: as JSON how often each outcome, as lines or CSV every device."""
    rollout = await _rollout(call)
    if rollout["prediction"] is None:
        reason = "The roll-out has not begun; what is predicted is kept with its first stage. Ask for a dry run."
        raise Refused("rollout_not_begun", reason)
    kind, report = lists.wanted(call), _report(call, rollout)
    if kind != lists.JSON:
        return await lists.listed(kind, (lists.encode_lines(lines) async for lines in report), REPORTED)
    outcomes: Counter[str] = Counter()
    async for lines in report:
        outcomes.update(line["outcome"] for line in lines)
    counted = {name: outcomes[name] for name in OUTCOMES}
    whose = {"rollout_id": rollout["id"], "state": rollout["state"]}
    return {**whose, "devices": outcomes.total(), "outcomes": counted}


async def _report(call: Call, rollout: Shown) -> AsyncGenerator[list[dict[str, Any]]]:
    """Both are in order of the devices' IDs, so that neither need be had as a whole."""
    begun = None if rollout["state"] in OVER else rollout["stage"]
    facts: dict[str, Any] = {}
    more = aiter(_facts(call))
    has_more = True
    async for predicted in _prediction(call, rollout["prediction"]):
        last = predicted[-1].id
        while has_more and (not facts or next(reversed(facts)) <= last):
            page = await anext(more, None)
            has_more = page is not None
            facts.update((one["id"], one) for one in lists.decode_lines(page or b""))
        here = {device_id: facts.pop(device_id) for device_id in [one for one in facts if one <= last]}
        yield list(joined(predicted, here, begun))
    yield list(joined((), facts, begun))
    async for page in more:
        yield list(joined((), {one["id"]: one for one in lists.decode_lines(page)}, begun))


async def _prediction(call: Call, sha256: str) -> AsyncIterator[list[Predicted]]:
    """The lines of the blob, gzip of a JSON object a line, as many at a time as a piece has."""
    rest = b""
    async for piece in _unpacked(call.services.blobs, sha256):
        lines, _, rest = (rest + piece).rpartition(b"\n")
        if lines:
            yield _predicted(lines)


async def _unpacked(blobs: Blobs, sha256: str) -> AsyncIterator[bytes]:
    offset, unpacking = 0, zlib.decompressobj(zlib.MAX_WBITS | 16)
    while True:
        try:
            packed = await asyncio.to_thread(blobs.read, sha256, offset, PIECE_BYTES)
        except NotFound:
            raise Unavailable(f"the blob {sha256} is not stored here") from None
        if not packed:
            return
        offset += len(packed)
        while packed:
            yield unpacking.decompress(packed, PIECE_BYTES)
            packed = unpacking.unconsumed_tail


async def rollout_events(call: Call) -> Response:
    """How it stands, from now on until it is over."""
    product = call.product

    async def watch() -> Watch:
        now = await _rollout(call)
        return call.services.rollouts.watch(product.product_id, now["id"], now)

    return await events.stream(call, Thing(product.org_id, product.product_id), watch, _framed)


def _framed(rollout: Shown) -> bytes:
    return sse.frame_of(rollout["state"], dict(rollout))


async def _rollout(call: Call) -> Shown:
    found: Shown = (await call.ask("firmware", "get_rollout", **_whose(call)))["rollout"]
    return found


def _whose(call: Call) -> dict[str, Any]:
    """The roll-out in the path."""
    rollout_id = call.params["rollout"]
    if not _ROLLOUT_ID.fullmatch(rollout_id):
        raise NotFound(NO_ROLLOUT)
    return {"product_id": call.product.product_id, "rollout_id": rollout_id}
