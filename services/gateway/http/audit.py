"""Who did what to an organization's things."""

from __future__ import annotations

from typing import Any

from services.gateway.http.auth import MAX_REF
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_PRODUCT
from shared.errors import NotFound

MAX_NUMBER = 65_534


async def list_audit(call: Call) -> Any:
    asked = dict(call.query)
    product = asked.pop("product")
    product_id = None if product is None else _product_id(call, product)
    return await call.ask("orgs", "list_audit", org_id=call.org.org_id, product_id=product_id, **asked)


def _product_id(call: Call, ref: str) -> int:
    """By number or slug; one that was removed, by number alone."""
    entry = call.services.directory.product(ref) if len(ref) <= MAX_REF else None
    if entry is not None and entry.org_id == call.org.org_id:
        return entry.product_id
    if entry is None and ref.isascii() and ref.isdigit() and int(ref) <= MAX_NUMBER:
        return int(ref)
    raise NotFound(NO_PRODUCT)
