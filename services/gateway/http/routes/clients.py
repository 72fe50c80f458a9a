"""OAuth clients, and logging in at them (contract 2 and 4)."""

from __future__ import annotations

from typing import Any

from services.gateway.http import clients, clients_schemas, documents, link_pages, oauth, people_schemas, requests
from services.gateway.http.calls import Route
from services.gateway.http.routes.rows import ORG, PRODUCT, delete, get, post, put

_PAGE: dict[str, Any] = {"media_type": "text/html"}


def _clients(path: str, read: str, change: str) -> list[Route]:
    one = path + "/clients/{client}"
    return [
        get(path + "/clients", read, "OAuth clients", clients.list_clients, clients_schemas.Clients()),
        post(
            path + "/clients",
            change,
            "Register an OAuth client; the only time that its secret is shown",
            clients.create_client,
            clients_schemas.ClientCreated(),
            request=clients_schemas.NewClient(),
            secret=True,
            also=("clients.change",),
        ),
        put(
            one,
            change,
            "Change its name or scope",
            clients.change_client,
            clients_schemas.ClientChanged(),
            request=clients_schemas.ClientChanges(),
        ),
        delete(one, change, "Delete it with all its tokens", clients.delete_client, None, status=204),
    ]


ROUTES = [
    *(
        post(
            path,
            "tokens.issue",
            "Log in, or trade a refresh token, a code, or a client's secret",
            oauth.issue_token,
            documents.TokenGrant(),
            request=requests.TokenRequest(),
            secret=True,
        )
        for path in ("/oauth/token", "/v1/oauth/token")
    ),
    get(
        "/oauth/authorize",
        "tokens.issue",
        "Ask somebody to let a client act for them",
        oauth.show_consent,
        None,
        **_PAGE,
    ),
    post(
        "/oauth/authorize",
        "tokens.issue",
        "What they said",
        oauth.give_consent,
        None,
        request=clients_schemas.Consent(),
        redirects=True,
        **_PAGE,
    ),
    get(
        "/verify",
        "users.verify",
        "What the mailed link opens that proves an address",
        link_pages.show_verify,
        None,
        query=clients_schemas.LinkQuery(),
        **_PAGE,
    ),
    post(
        "/verify", "users.verify", "Prove it", link_pages.verify, None, request=people_schemas.Verification(), **_PAGE
    ),
    get(
        "/reset",
        "users.reset",
        "What the mailed link opens that sets a new password",
        link_pages.show_reset,
        None,
        query=clients_schemas.LinkQuery(),
        **_PAGE,
    ),
    get(
        "/transfer",
        "transfers.answer",
        "What the mailed link opens by which somebody asks an owner for a device",
        link_pages.show_transfer,
        None,
        query=clients_schemas.LinkQuery(),
        **_PAGE,
    ),
    post(
        "/transfer",
        "transfers.answer",
        "Hand it over, or decline",
        link_pages.answer_transfer,
        None,
        request=clients_schemas.TransferForm(),
        **_PAGE,
    ),
    post("/reset", "users.reset", "Set it", link_pages.reset, None, request=clients_schemas.ResetForm(), **_PAGE),
    *_clients("/v1", "clients.own", "clients.own"),
    *_clients(PRODUCT, "clients.read", "clients.change"),
    *_clients(ORG, "clients.read", "clients.change"),
]
