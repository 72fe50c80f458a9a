"""Products and their statistics (contract 6)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import auth, bodies, past
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import Call
from shared.auth.permissions import Thing
from shared.errors import Refused


async def create_product(call: Call) -> Any:
    return await _create(call, call.org.org_id)


async def create_own_product(call: Call) -> Any:
    org_id = call.caller.org_id
    if org_id is None:
        raise Refused("organization_required", "Products belong to an organization; found or join one first.")
    return await _create(call, org_id)


async def _create(call: Call, org_id: str) -> Any:
    auth.must_also(call, "products.create", Thing(org_id))
    made = await call.ask("orgs", "create_product", org_id=org_id, **call.body)
    return {"ok": True, "product": made["product"]}


async def list_own_products(call: Call) -> Any:
    """Customers see none (contract 6)."""
    org_id = call.caller.org_id if call.caller.kind == "account" else None
    return {"products": []} if org_id is None else await _list(call, org_id)


async def list_products(call: Call) -> Any:
    return await _list(call, call.org.org_id)


async def _list(call: Call, org_id: str) -> Any:
    answer = await call.ask("orgs", "list_products", org_id=org_id)
    return {"products": [_with_release(call, product) for product in answer["products"]]}


async def read_product(call: Call) -> Any:
    answer = await call.ask("orgs", "get_product", product_id=call.product.product_id)
    return {"product": _with_release(call, answer["product"])}


async def change_product(call: Call) -> Any:
    answer = await call.ask("orgs", "change_product", product_id=call.product.product_id, changes=call.body)
    return {"ok": True, "product": _with_release(call, answer["product"])}


async def remove_product(call: Call) -> Any:
    await call.ask("orgs", "remove_product", product_id=call.product.product_id)


async def read_configuration(call: Call) -> Any:
    if "application/schema+json" in call.request.headers.get("accept", ""):
        return json_answer(await call.ask("orgs", "get_questionnaire"))
    return {"ok": True, **await call.ask("orgs", "get_configuration", product_id=call.product.product_id)}


async def answer_configuration(call: Call) -> Any:
    sent = await auth.read_fields(call)
    given = {section: answers for section, answers in sent.items() if section != "access_token"}
    if bodies.media_type(call.request) == bodies.FORM:
        given = {section: _from_form(answers) for section, answers in given.items()}
    product_id = call.product.product_id
    return {"ok": True, **await call.ask("orgs", "answer_configuration", product_id=product_id, answers=given)}


def _from_form(answers: Any) -> Any:
    """Forms have words for what JSON has values for (contract 1.4)."""
    if not isinstance(answers, dict):
        return answers
    return {name: _value(text) if isinstance(text, str) else text for name, text in answers.items()}


def _value(text: str) -> Any:
    words = {"null": None, "true": True, "false": False}
    return words[text] if text in words else int(text) if text.isascii() and text.isdigit() else text


async def start_manufacturing(call: Call) -> Any:
    return {"ok": True, **await call.ask("orgs", "start_manufacturing", product_id=call.product.product_id)}


def _with_release(call: Call, product: dict[str, Any]) -> dict[str, Any]:
    """The service of products does not know what is released; the directory does."""
    entry = call.services.directory.product(str(product["id"]))
    released = None if entry is None else entry.released_version
    return {**product, "latest_firmware_version": released}


async def read_statistics(call: Call) -> Any:
    """Customers, usage and errors have no past views: with ``as_of`` they are null, and it is said where they are."""
    product_id = call.product.product_id
    if call.query.get("as_of") is None:
        return await _present_statistics(call, product_id)
    return await past.ask(call, "devices", "statistics", lambda counted: {**counted, **_NO_PAST}, product_id=product_id)


_NO_PAST = {
    "customers": None,
    "usage": None,
    "errors": None,
    "missing": "Customers, usage and errors are counted as of now only: ask without as_of, or for usage and errors of "
    "past days with since and until.",
}


async def _present_statistics(call: Call, product_id: int) -> Any:
    counted = await call.ask("devices", "statistics", product_id=product_id)
    customers = await call.ask("orgs", "count_customers", product_id=product_id)
    return {**counted, "customers": {**customers, **counted["customers"]}}
