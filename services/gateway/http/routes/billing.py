"""What an organization pays (contract 13)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import billing, billing_pages, documents, requests
from services.gateway.http import billing_schemas as schemas
from services.gateway.http.calls import Handler, Route
from services.gateway.http.routes.rows import ORG, get, post, put

BILLING = ORG + "/billing"


def _change(path: str, summary: str, handler: Handler, response: Any, **options: Any) -> Route:
    return post(BILLING + path, "billing.change", summary, handler, response, cardless=True, **options)


def _page(path: str, summary: str, handler: Handler, **options: Any) -> dict[str, Any]:
    return {
        "path": f"/orgs/{{org}}/billing{path}",
        "permission": "billing.page",
        "summary": summary,
        "handler": handler,
        "response": None,
        "media_type": "text/html",
        "redirects": True,
        "also": ("billing.change",),
        "cardless": True,
        **options,
    }


PAGES = [
    get(**_page("", "The page of what is paid", billing_pages.show_billing, query=schemas.PageQuery())),
    get(**_page("/card", "The page with the payment provider's card form", billing_pages.show_card)),
    post(**_page("/card", "Its form", billing_pages.save_card, request=schemas.CardRequest())),
    post(**_page("/confirm", "The page on which a bank's check is passed", billing_pages.confirm)),
    post(**_page("/confirmed", "Its form", billing_pages.confirmed)),
    post(**_page("/cancel", "Have it end with what is paid", billing_pages.cancel)),
    post(**_page("/reactivate", "Withdraw a cancellation", billing_pages.reactivate)),
    post(**_page("/sign-in", "Log in to these pages", billing_pages.sign_in, request=schemas.SignIn())),
    post(**_page("/sign-out", "Log out of them", billing_pages.sign_out)),
]

ROUTES = [
    *PAGES,
    get(BILLING, "billing.read", "How its subscription stands", billing.read_summary, schemas.Standing()),
    get(
        BILLING + "/invoices",
        "billing.read",
        "Its invoices, the latest first",
        billing.list_invoices,
        schemas.Invoices(),
        query=requests.Paging(),
    ),
    get(
        BILLING + "/invoices/{number}",
        "billing.read",
        "One invoice, with the attempts to charge it",
        billing.read_invoice,
        schemas.InvoiceAnswer(),
    ),
    _change(
        "/card/setup",
        "A set-up, with which a browser gives a card to the payment provider",
        billing.begin_card_setup,
        schemas.CardSetupAnswer(),
        status=201,
        secret=True,
    ),
    put(
        BILLING + "/card",
        "billing.change",
        "Charge the card of a finished set-up from now on",
        billing.finish_card_setup,
        schemas.Summary(),
        request=schemas.CardRequest(),
        cardless=True,
    ),
    post(
        BILLING + "/preview",
        "billing.read",
        "What a change would come to; changes nothing",
        billing.preview,
        schemas.Preview(),
        request=schemas.PreviewRequest(),
        cardless=True,
    ),
    _change("/plan", "Switch the plan", billing.switch_plan, schemas.Summary(), request=schemas.PlanRequest()),
    _change("/cancel", "Have it end with what is paid", billing.cancel, schemas.Cancelled()),
    _change(
        "/reactivate",
        "Let it go on, or begin anew with a card that is charged at once",
        billing.reactivate,
        schemas.Summary(),
        request=schemas.ReactivateRequest(),
        unsettled=True,
    ),
    _change(
        "/authenticate",
        "An attempt at the open invoice that the member confirms with the bank",
        billing.begin_authentication,
        schemas.Authentication(),
        secret=True,
    ),
    post(
        "/v1/hooks/stripe",
        "billing.tell",
        "What the payment provider tells, signed by it",
        billing.take_hook,
        documents.Ok(),
        body="none",
    ),
]
