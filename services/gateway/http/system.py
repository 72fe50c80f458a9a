"""What the API says about itself: its description and its health."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from services.gateway.http import bodies
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from shared.errors import Refused


async def list_build_targets(call: Call) -> Any:
    """Nothing is compiled here; clients ask for the names of the platforms (contract 15)."""
    platforms = {"Core": 0, "Photon": 6, "P1": 8, "Electron": 10}
    return {"targets": [], "platforms": platforms, "default_versions": {}}


async def refuse_to_compile(call: Call) -> Any:
    """Compiling is out of scope (contract 15). The sources are read, so that the client gets to read the answer."""
    await bodies.discard(call.request)
    raise Refused("not_supported", "Nothing is compiled here; upload what you compiled yourself.")


async def list_system_versions(call: Call) -> Any:
    """Nor is system firmware kept."""
    return {"versions": [], "meta": {"page": 1, "per_page": 25, "total": 0, "total_pages": 1}}


async def read_openapi(call: Call) -> Any:
    return call.edge.openapi


async def read_health(call: Call) -> Response:
    """200, or 503 when a part does not work."""
    status = {"ok": True, **call.services.status()}
    return json_answer(status, 200 if status["ok"] else 503)
