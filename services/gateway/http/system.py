"""What the API says about itself: its description and its health."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call


async def read_openapi(call: Call) -> Any:
    return call.edge.openapi


async def read_health(call: Call) -> Response:
    """200, or 503 when a part does not work."""
    status = {"ok": True, **call.services.status()}
    return json_answer(status, 200 if status["ok"] else 503)
