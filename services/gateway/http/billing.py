"""What an organization pays (contract 13), also while it does not, and what the payment provider tells of it."""

from __future__ import annotations

import base64
import re
from typing import Any

from services.gateway.http import bodies
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from shared.errors import NotFound, Refused

MAX_HOOK_BYTES = 262_144
MAX_SIGNATURE = 2_048
SIGNATURE = "Stripe-Signature"
NO_INVOICE = "Invoice not found."
BAD_SIGNATURE = "The message is not signed with a secret of this installation."
CHARGE_S = 60.0
"""How long the provider may take to say whether it has charged a card."""
_NUMBER = re.compile(r"[1-9][0-9]{0,7}")
_SIGNED = re.compile(r"(?=.*\bt=[0-9]+)(?=.*\bv1=[0-9a-f]+)")


async def read_summary(call: Call) -> Any:
    """With the members whom mail about it does not reach."""
    return {**_summary(await ask(call, "summary")), **await ask(call, "unreachable")}


async def list_invoices(call: Call) -> Any:
    return {"ok": True, **await ask(call, "invoices", **call.query)}


async def read_invoice(call: Call) -> Any:
    number = call.params["number"]
    if not _NUMBER.fullmatch(number):
        raise NotFound(NO_INVOICE)
    return {"ok": True, **await ask(call, "invoice", number=int(number))}


async def preview(call: Call) -> Any:
    return _summary(await ask(call, "preview", **call.body))


async def switch_plan(call: Call) -> Any:
    return _summary(await ask(call, "switch_plan", **call.body))


async def cancel(call: Call) -> Any:
    answer = await ask(call, "cancel")
    return {**_summary(answer), "ends_at": answer["ends_at"]}


async def begin_card_setup(call: Call) -> Any:
    return {"ok": True, **await ask(call, "begin_card_setup")}


async def finish_card_setup(call: Call) -> Any:
    return _summary(await ask(call, "finish_card_setup", **call.body))


async def reactivate(call: Call) -> Any:
    """202 while the provider has not said whether it is paid."""
    answer = await ask(call, "reactivate", **call.body)
    return json_answer(_summary(answer), 200 if answer["known"] else 202)


async def begin_authentication(call: Call) -> Any:
    return {"ok": True, **await ask(call, "begin_authentication")}


async def take_hook(call: Call) -> Any:
    """A message of the payment provider (GW-5): its signature is all that counts, and it is not looked at here."""
    body = await bodies.read_whole(call.request, call.services.limits.body_s, MAX_HOOK_BYTES)
    signature = call.request.headers.get(SIGNATURE, "")
    if len(signature) > MAX_SIGNATURE or not _SIGNED.match(signature):
        raise Refused("bad_signature", BAD_SIGNATURE)
    await call.ask("billing", "receive_hook", body=base64.b64encode(body).decode(), signature=signature)
    return {"ok": True}


async def ask(call: Call, method: str, **arguments: Any) -> dict[str, Any]:
    """An answer of billing about the organization of the call; it may wait for the payment provider."""
    return await call.ask("billing", method, timeout_s=CHARGE_S, org_id=call.org.org_id, **arguments)


def _summary(answer: dict[str, Any]) -> dict[str, Any]:
    return {"ok": True, **answer["summary"]}
