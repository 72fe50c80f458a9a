"""Private betas over HTTP: who is invited, and with which code (contract 11.3, PRD-4)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import bodies
from services.gateway.http.auth import read_body
from services.gateway.http.calls import Call
from services.gateway.http.customers_schemas import MOST_INVITED, Invitees
from services.gateway.http.imports import lines_of
from services.gateway.http.uploads import Memory, receive_upload
from shared.errors import Refused

MAX_FILE_BYTES = 4_194_304
INVITE_S = 30.0


async def invite(call: Call) -> Any:
    """Of a list, or of a file with an address a line (PRD-4)."""
    emails = await _invited(call)
    product_id = call.product.product_id
    answer = await call.ask("orgs", "invite_to_beta", timeout_s=INVITE_S, product_id=product_id, emails=emails)
    return {"ok": True, **answer}


async def _invited(call: Call) -> list[str]:
    if bodies.media_type(call.request) != bodies.MULTIPART:
        named: list[str] | None = (await read_body(call, Invitees()))["customers"]
        if named is None:
            raise Refused("invalid_request", "customers: Missing data for required field.")
        return named
    too_many = f"At most {MOST_INVITED} addresses and {MAX_FILE_BYTES} bytes at once; send several files."
    memory, limits = Memory(), call.services.limits
    uploaded = await receive_upload(call.request, memory, max_bytes=MAX_FILE_BYTES, limits=limits, too_large=too_many)
    lines = lines_of(memory.content())
    if uploaded.file_name is None or not any(line.strip() for line in lines):
        raise Refused("invalid_request", "file: The upload has no file, or no address is in it.")
    if len(lines) > MOST_INVITED:
        raise Refused("too_large", too_many)
    return lines


async def list_codes(call: Call) -> Any:
    answer = await call.ask("orgs", "list_activation_codes", product_id=call.product.product_id, **call.query)
    return {"ok": True, "problems": [], **answer}
