"""Server-sent events as the official clients read them (contract 12.2): one write a frame, LF alone, JSON in ASCII."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.gateway.http.calls import STREAM
from services.gateway.http.ports import Limits, Subscription
from services.gateway.hub import Missed, PublishedEvent
from services.gateway.stream_reader import Placed
from shared.times import iso

log = logging.getLogger(__name__)

PREAMBLE = b":ok\n\n"
KEEP_ALIVE = b"\n"
MISSED_EVENT = "flotilla/missed"
"""The name of the event that tells a reader how many it did not get, or that nobody knows."""
MISSED_OF_CUSTOMERS = "events/missed"
"""The same without our name (CUS-7)."""
HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
MEDIA_TYPE = f"{STREAM}; charset=utf-8"


def frame(item: PublishedEvent | Missed | Placed, missed: str = MISSED_EVENT, *, owners: bool = False) -> bytes:
    """One frame; of a place alone, one that no client shows. ``missed``: what the event of that is called; ``owners``:
    the reader may know whose devices are."""
    if not isinstance(item, Placed):
        return _frame(*_shown(item, missed, owners))
    place = f"id: {item.id}\n"
    return f"{place}\n".encode() if item.event is None else _frame(*_shown(item.event, missed, owners), place)


def _shown(event: PublishedEvent | Missed, missed: str, owners: bool) -> tuple[str, dict[str, Any]]:
    if isinstance(event, Missed):
        count, reason = (None, "history") if event.count is None else (str(event.count), "slow")
        return missed, {"data": count, "coreid": "particle-internal", "reason": reason}
    return event.name, {
        "data": event.data,
        "ttl": event.ttl,
        "published_at": iso(event.published_at),
        "coreid": event.coreid,
        "productID": event.product_id,
        "version": event.version,
        "public": event.public,
        **({"userid": event.owner_id} if owners and event.owner_id is not None else {}),
    }


def frame_of(name: str, fields: dict[str, Any]) -> bytes:
    """One frame of what no device published."""
    return _frame(name, fields)


def _frame(name: str, fields: dict[str, Any], place: str = "") -> bytes:
    one_line = re.sub(r"[\x00-\x1f\x7f\u0085\u2028\u2029]", " ", name)
    return f"event: {one_line}\ndata: {json.dumps(fields, separators=(',', ':'))}\n{place}\n".encode()


class EventStream(Response):
    """A stream of what a subscription brings, as ``framed``, until the client goes, the subscription ends, or
    ``still_allowed`` says no, which is asked every ``token_check_s``. Closes the subscription and calls ``ended`` in
    any case."""

    def __init__(
        self,
        subscription: Subscription,
        limits: Limits,
        still_allowed: Callable[[], Awaitable[bool]],
        ended: Callable[[], None],
        framed: Callable[[Any], bytes] = frame,
    ) -> None:
        super().__init__(headers=HEADERS, media_type=MEDIA_TYPE)
        del self.headers["content-length"]
        self._subscription = subscription
        self._limits = limits
        self._still_allowed = still_allowed
        self._ended = ended
        self._framed = framed

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(_disconnected(receive))
        try:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._write(send, PREAMBLE)
            await self._relay(send, gone)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.info("an event stream was closed: its reader took nothing for %s s", self._limits.stalled_reader_s)
        except OSError as error:
            log.debug("an event stream broke: %s", error)
        finally:
            self._subscription.close()
            self._ended()
            await _cancel(gone)

    async def _relay(self, send: Send, gone: asyncio.Task[None]) -> None:
        time_s = asyncio.get_running_loop().time
        events = aiter(self._subscription)
        pending = asyncio.create_task(_next(events))
        spoke = checked = time_s()
        keep_alive_s, check_s = self._limits.keep_alive_s, self._limits.token_check_s
        try:
            while not gone.done():
                pause_s = min(spoke + keep_alive_s, checked + check_s) - time_s()
                await asyncio.wait({pending, gone}, timeout=max(0.0, pause_s), return_when=asyncio.FIRST_COMPLETED)
                if time_s() - checked >= check_s:
                    checked = time_s()
                    if not await self._still_allowed():
                        return
                if pending.done():
                    event = pending.result()
                    if event is None:
                        return
                    await self._write(send, self._framed(event))
                    pending = asyncio.create_task(_next(events))
                elif time_s() - spoke >= keep_alive_s:
                    await self._write(send, KEEP_ALIVE)
                else:
                    continue
                spoke = time_s()
        finally:
            await _cancel(pending)

    async def _write(self, send: Send, data: bytes) -> None:
        async with asyncio.timeout(self._limits.stalled_reader_s):
            await send({"type": "http.response.body", "body": data, "more_body": True})


async def _next(events: AsyncIterator[Any]) -> Any:
    """The next one; None at the end."""
    return await anext(events, None)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _cancel(task: asyncio.Task[Any]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
