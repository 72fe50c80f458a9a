"""Pages on which somebody of a team sees what their organization pays, and gives the payment provider a card (BIL-6).

Whoever logs in here gets a cookie that is good for these pages alone, for ``LIFE_S``, and that no script can read: the
provider's script runs on them, too. The card goes from the browser to the provider; what comes back to us is the name
of a finished set-up.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal
from urllib.parse import quote

from starlette.responses import RedirectResponse, Response

from services.gateway.http import auth, billing, oauth
from services.gateway.http.billing_words import consent, day, is_inactive, shown
from services.gateway.http.calls import Call
from services.gateway.http.errors import NO_ORGANIZATION, STATUS_OF_CODE
from services.gateway.pages import CardForm, page
from shared.auth.permissions import Thing
from shared.errors import NotFound, Refused

LIFE_S = 900
COOKIE = "flotilla_billing"
TITLE, CARD, CONFIRM = "What your organization pays", "Your card", "Confirm with your bank"
PERMISSION = "billing.change"
SAID = {
    "card": "The card is saved.",
    "ended": "The subscription is cancelled.",
    "kept": "The subscription goes on as before.",
    "paid": "Thank you, the payment went through.",
    "waiting": "The payment is on its way; it can take a minute until the bank has said so. Look again then.",
}
"""What a page says of the one before it."""
_LOGS_IN: dict[str, str] = {"grant_type": "password", "client_id": "particle", "client_secret": "particle"}


async def show_billing(call: Call) -> Response:
    return await _inside(call, _billing)


async def show_card(call: Call) -> Response:
    """A fresh set-up each time."""
    return await _inside(call, _card, "card")


async def save_card(call: Call) -> Response:
    """The form of the provider has finished the set-up. Of an inactive subscription the card is charged at once."""
    return await _inside(call, _save, "card")


async def cancel(call: Call) -> Response:
    """It ends with what is paid (BIL-4)."""
    return await _inside(call, _cancel)


async def reactivate(call: Call) -> Response:
    """Withdraw a cancellation (BIL-5)."""
    return await _inside(call, _keep)


async def confirm(call: Call) -> Response:
    """An attempt at the open invoice, with somebody there to confirm it."""
    return await _inside(call, _confirm)


async def confirmed(call: Call) -> Response:
    """The provider tells us itself whether it is paid."""
    return _to(call, said="waiting")


async def sign_in(call: Call) -> Response:
    to = call.body["to"]
    asked = {"fields": {**_LOGS_IN, **{name: call.body[name] for name in ("username", "password")}}}
    try:
        grant = await oauth.guarded(
            call, call.body["username"], "oauth_token", {**asked, "expires_in_s": LIFE_S}, proves=True
        )
    except Refused as refusal:
        if refusal.code != "invalid_grant":
            return _sign_in(call, to, refusal.reason)
        return _sign_in(call, to, oauth.WRONG)
    token = oauth.token_answer(call, grant)["access_token"]
    answer = _to(call, "/card" if to == "card" else "")
    options: dict[str, Any] = {"max_age": LIFE_S, "path": _at(call), "samesite": "strict"}
    answer.set_cookie(COOKIE, token, httponly=True, secure=call.request.url.scheme == "https", **options)
    return answer


async def sign_out(call: Call) -> Response:
    answer = _to(call)
    answer.delete_cookie(COOKIE, path=_at(call), httponly=True, samesite="strict")
    if await _knows(call):
        token = call.signed_in.token
        await call.ask("orgs", "revoke_token", token_id=token.token_id, account_id=token.account_id)
    return answer


async def _inside(call: Call, make: Callable[[Call], Awaitable[Response]], to: str = "") -> Response:
    """The page, for whoever has logged in here and may; what is refused is told on a page, too."""
    if not await _knows(call):
        return _sign_in(call, to)
    try:
        ref = call.params["org"]
        org = call.services.directory.org(ref) if len(ref) <= auth.MAX_REF else None
        auth.judged(call, PERMISSION, Thing() if org is None else Thing(org.org_id), NO_ORGANIZATION)
        call.org_entry = org
        call.acts_for(call.caller.actor)
        return await make(call)
    except (Refused, NotFound) as problem:
        status = 404 if isinstance(problem, NotFound) else STATUS_OF_CODE.get(problem.code, 400)
        return page("message", TITLE, status, problem=problem.reason, text="")


async def _knows(call: Call) -> bool:
    token = call.request.cookies.get(COOKIE, "")
    if not token:
        return False
    try:
        call.session = await auth.sign_in(call, token)
    except Refused as refusal:
        if refusal.code != "invalid_token":
            raise
        return False
    return True


async def _billing(call: Call) -> Response:
    summary = (await _ask(call, "summary"))["summary"]
    said = SAID.get(call.query["said"], "")
    return page("billing", TITLE, org=_path(call), said=said, unreachable=await _unreachable(call), **shown(summary))


async def _unreachable(call: Call) -> list[dict[str, str]]:
    """Members whom mail does not reach, by the name that they log in with."""
    refused = (await _ask(call, "unreachable"))["unreachable"]
    if not refused:
        return []
    team = (await call.ask("orgs", "list_team", org_id=call.org.org_id))["team"]
    names = {member["_id"]: member["username"] for member in team}
    return [{"name": names[one["user_id"]], "since": day(one["since"])} for one in refused if one["user_id"] in names]


async def _card(call: Call, refusal: Refused | None = None) -> Response:
    setup = (await _ask(call, "begin_card_setup"))["card_setup"]
    summary = (await _ask(call, "summary"))["summary"]
    status, problem = (200, "") if refusal is None else (STATUS_OF_CODE.get(refusal.code, 400), refusal.reason)
    given: dict[str, Any] = {
        "consent": consent(summary),
        "button": "Pay and re-activate" if is_inactive(summary) else "Save this card",
    }
    where: dict[str, Any] = {"org": _path(call), "action": f"{_at(call)}/card"}
    form = _form("setup", setup)
    return page("card", CARD, status, problem=problem, card_form=form, **where, **given, **shown(summary))


async def _save(call: Call) -> Response:
    setup_id = call.body["setup_id"]
    try:
        if call.org.inactive:
            is_known = (await _ask(call, "reactivate", setup_id=setup_id))["known"]
            return _to(call, said="paid" if is_known else "waiting")
        await _ask(call, "finish_card_setup", setup_id=setup_id)
    except Refused as refusal:
        return await _card(call, refusal)
    return _to(call, said="card")


async def _cancel(call: Call) -> Response:
    await _ask(call, "cancel")
    return _to(call, said="ended")


async def _keep(call: Call) -> Response:
    await _ask(call, "reactivate")
    return _to(call, said="kept")


async def _confirm(call: Call) -> Response:
    form = _form("payment", await _ask(call, "begin_authentication"))
    given: dict[str, Any] = {"consent": "Your bank asks you to confirm the payment that is open.", "button": "Confirm"}
    where: dict[str, Any] = {"org": _path(call), "action": f"{_at(call)}/confirmed", "sandbox": False}
    return page("confirm", CONFIRM, card_form=form, **where, **given)


async def _ask(call: Call, method: str, **arguments: Any) -> dict[str, Any]:
    answer = await billing.ask(call, method, **arguments)
    call.after = call.position or call.after
    call.reconsider()
    return answer


def _form(kind: Literal["setup", "payment"], told: dict[str, Any]) -> CardForm:
    return CardForm(kind, *(told[name] for name in ("script_url", "api_url", "publishable_key", "client_secret")))


def _sign_in(call: Call, to: str = "", problem: str = "") -> Response:
    username = call.body.get("username", "")
    return page("sign_in", TITLE, 400 if problem else 200, org=_path(call), to=to, username=username, problem=problem)


def _path(call: Call) -> str:
    return quote(call.params["org"], safe="")


def _to(call: Call, page_of: str = "", said: str = "") -> Response:
    query = f"?said={said}" if said else ""
    return RedirectResponse(f"{_at(call)}{page_of}{query}", 302, {"Cache-Control": "no-store"})


def _at(call: Call) -> str:
    return f"/orgs/{_path(call)}/billing"
