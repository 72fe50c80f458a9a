"""The past over HTTP (EVT-3): ``as_of`` in a query, and what changed between two moments.

While a copy of the views is built the answer is 202 with how far that is; ask again. A ready one tells in the header
``X-Flotilla-As-Of``, and in ``meta`` where there is one, of which event it is the moment. Who may ask is decided as of
now, like everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from starlette.responses import Response

from services.gateway.http.answers import json_answer
from services.gateway.http.calls import AS_OF_HEADER, Call

AGAIN_AFTER_S = 1


async def ask(call: Call, service: str, method: str, shape: Callable[[dict[str, Any]], Any], **arguments: Any) -> Any:
    """Call a service for the views as of the query's ``as_of``, or of now; ``shape`` makes the document."""
    as_of = call.query.get("as_of")
    if as_of is None:
        return shape(await call.ask(service, method, **arguments))
    answer = await call.ask(service, method, **arguments, as_of=as_of)
    if "building" in answer:
        return _building(answer["building"])
    stamp = answer.pop("as_of")
    document = shape(answer)
    if isinstance(document, dict) and "meta" in document:
        document = {**document, "meta": {**document["meta"], "as_of": stamp}}
    return json_answer(document, headers={AS_OF_HEADER: msgspec.json.encode(stamp).decode()})


def _building(progress: dict[str, Any]) -> Response:
    return json_answer({"ok": True, "building": progress}, 202, {"Retry-After": str(AGAIN_AFTER_S)})


async def list_changes(call: Call) -> Any:
    query = call.query
    answer = await call.ask(
        "devices",
        "changes",
        product_id=call.product.product_id,
        since=query["since"],
        until=query["until"],
        after=query["after"],
        per_page=query["per_page"],
    )
    return _building(answer["building"]) if "building" in answer else answer
