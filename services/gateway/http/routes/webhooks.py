"""Webhooks, and the same records as integrations (contract 14)."""

from __future__ import annotations

from services.gateway.http import documents, webhooks, webhooks_schemas
from services.gateway.http.calls import Route
from services.gateway.http.routes.rows import ORG, PRODUCT, delete, get, post, put


def _webhooks(path: str, read: str, change: str) -> list[Route]:
    return [
        get(path, read, "Webhooks", webhooks.list_webhooks, webhooks_schemas.Webhook(many=True)),
        _create(path, change),
        get(path + "/{hook}", read, "One webhook", webhooks.show_webhook, webhooks_schemas.OneWebhook()),
        delete(path + "/{hook}", change, "Delete a webhook", webhooks.delete_webhook, documents.Ok()),
    ]


def _integrations(path: str, read: str, change: str) -> list[Route]:
    one = path + "/{hook}"
    return [
        get(path, read, "Webhooks, as integrations", webhooks.list_webhooks, webhooks_schemas.Webhook(many=True)),
        _create(path, change),
        get(one, read, "One, with its last attempts", webhooks.show_integration, webhooks_schemas.OneIntegration()),
        put(
            one,
            change,
            "Change it; what is left out stays",
            webhooks.change_webhook,
            webhooks_schemas.Webhook(),
            request=webhooks_schemas.WebhookChanges(),
        ),
        delete(one, change, "Delete it", webhooks.delete_integration, None, status=204),
        get(
            one + "/logs",
            read,
            "Attempts to deliver, the newest first",
            webhooks.list_attempts,
            webhooks_schemas.Attempts(),
            query=webhooks_schemas.AttemptsQuery(),
        ),
        post(
            one + "/test",
            change,
            "Deliver a made-up event, once",
            webhooks.test_webhook,
            webhooks_schemas.TestAnswer(),
        ),
        post(
            one + "/redeliver",
            change,
            "Deliver one event again, or everything since a time",
            webhooks.redeliver,
            webhooks_schemas.Redelivered(),
            request=webhooks_schemas.Redelivery(),
        ),
    ]


def _create(path: str, change: str) -> Route:
    return post(
        path,
        change,
        "Create a webhook; the only time that its secret is shown",
        webhooks.create_webhook,
        webhooks_schemas.WebhookCreated(),
        request=webhooks_schemas.NewWebhook(),
        status=201,
        secret=True,
    )


ROUTES = [
    *_webhooks("/v1/webhooks", "webhooks.own", "webhooks.own"),
    *_webhooks(PRODUCT + "/webhooks", "webhooks.read", "webhooks.change"),
    *_integrations("/v1/integrations", "webhooks.own", "webhooks.own"),
    *_integrations(PRODUCT + "/integrations", "webhooks.read", "webhooks.change"),
    *_integrations(ORG + "/integrations", "webhooks.read", "webhooks.change"),
]
