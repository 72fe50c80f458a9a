"""JSON answers of the API (contract 1.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.responses import Response

JSON_TYPE = "application/json; charset=utf-8"


def json_answer(document: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """A document as UTF-8 JSON; datetimes must have been made text before."""
    return Response(msgspec.json.encode(document), status, headers, media_type=JSON_TYPE)
