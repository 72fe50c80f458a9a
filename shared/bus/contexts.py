"""From a nameko worker to the ``Context`` of what it does; the same under our host and under nameko's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from nameko.containers import WorkerContext
from nameko.events import EventHandler
from nameko.exceptions import MalformedRequest
from nameko.rpc import Rpc

from shared.bus import wire
from shared.context import MAX_PLACE, Context
from shared.ids import derived_uuid


class HostedWorker(WorkerContext):  # type: ignore[misc]
    """Nameko's worker context, with what the message says of itself: ``request_id`` is the same when it is
    delivered again, None where there is no message."""

    request_id: str | None = None


def context_of(worker_ctx: Any) -> Context:
    """The circumstances of what this worker does.

    RPC: what the caller sent; the command of a caller that sends nothing is its request. Event: a command of its own,
    derived from the event's id and the handler, so that a redelivery repeats it. Timer: a fresh command.
    """
    where = f"{worker_ctx.service_name}.{worker_ctx.entrypoint.method_name}"
    if isinstance(worker_ctx.entrypoint, EventHandler):
        return _of_event(worker_ctx, where)
    if isinstance(worker_ctx.entrypoint, Rpc) or "command_id" in worker_ctx.data:
        request_id = getattr(worker_ctx, "request_id", None) or worker_ctx.call_id
        try:
            return Context.from_headers(worker_ctx.data, call_id=request_id, source=where)
        except ValueError as problem:
            raise MalformedRequest(f"context headers: {problem}") from None
    return Context.new(f"system:{worker_ctx.service_name}", where)  # a timer's worker, asked for the first time


def adopt(worker_ctx: Any) -> Context:
    """``context_of``, also set as what calls of this worker to other services carry on."""
    context = context_of(worker_ctx)
    worker_ctx.data.pop("after", None)  # what the sender of an event had seen is not what its handler must see
    worker_ctx.data.update(context.headers())
    return context


def _of_event(worker_ctx: Any, where: str) -> Context:
    message = worker_ctx.args[0] if worker_ctx.args else None
    event_id = _event_id(worker_ctx, message)
    meta = message.get("meta") if isinstance(message, Mapping) else None
    correlation = meta.get("correlation") if isinstance(meta, Mapping) else None
    return Context(
        command_id=uuid5(event_id, where),
        actor=f"system:{worker_ctx.service_name}",
        correlation_id=str(correlation or event_id),
        causation_id=str(event_id),
        causation_place=_place(message),
        source=where,
    )


def _place(message: object) -> str | None:
    """Where the event of one of our messages stands; None for what any other program dispatches."""
    if not isinstance(message, Mapping):
        return None
    stream, version = message.get("stream"), message.get("version")
    if not isinstance(stream, str) or not isinstance(version, int):
        return None
    return f"{stream}@{version}"[:MAX_PLACE]


def _event_id(worker_ctx: Any, message: object) -> UUID:
    """The id in our messages; what any other program dispatches is named by what it is and by who called."""
    if isinstance(message, Mapping):
        try:
            return UUID(str(message.get("id")))
        except ValueError:
            pass
    digest = hashlib.sha256(wire.encode(message)).hexdigest()
    return derived_uuid("event", str(worker_ctx.immediate_parent_call_id or ""), digest)
