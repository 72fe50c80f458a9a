"""All webhooks of one owner, and the view of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from services.hooks.hook_views import fold
from services.hooks.webhooks import (
    MOST_WEBHOOKS,
    WEBHOOKS,
    ChangeWebhook,
    Command,
    CreateWebhook,
    DeleteAll,
    DeleteWebhook,
    DisableWebhook,
    EnableWebhook,
    Event,
    Owner,
    RewindWebhook,
    Webhooks,
    decide,
)
from shared.errors import NotFound, Refused
from shared.events.webhooks import WebhookCreated, WebhookDisabled, WebhookEnabled, WebhookRewound
from shared.store.port import Position, Recorded

OWNER = Owner(org_id="b" * 24, product_id=1000)
NOW = datetime(2026, 5, 1, tzinfo=UTC)
HOOK = "a1" * 12
CREATE = CreateWebhook(HOOK, OWNER, "temp", None, "sealed", enabled=True)


def after(*commands: Command) -> Webhooks:
    state = WEBHOOKS.initial
    for command in commands:
        for event in decide(state, command):
            state = WEBHOOKS.evolve(state, event)
    return state


def test_a_webhook_is_created_once() -> None:
    assert decide(after(), CREATE) == [WebhookCreated(HOOK, "b" * 24, 1000, None, "temp", None, "sealed", True)]
    assert decide(after(CREATE), CREATE) == []


def test_an_owner_has_so_many_at_most_and_another_one_for_each_that_is_deleted() -> None:
    full = after(*(replace(CREATE, hook_id=f"{number:024x}") for number in range(MOST_WEBHOOKS)))
    with pytest.raises(Refused) as refusal:
        decide(full, CREATE)
    assert refusal.value.code == "too_many_webhooks"
    [gone] = decide(full, DeleteWebhook(f"{0:024x}"))
    assert decide(WEBHOOKS.evolve(full, gone), CREATE)


@pytest.mark.parametrize(
    "command",
    [
        ChangeWebhook(HOOK, "temp", None, "sealed"),
        EnableWebhook(HOOK),
        DisableWebhook(HOOK, "gone"),
        RewindWebhook(HOOK, NOW),
        DeleteWebhook(HOOK),
    ],
)
def test_what_does_not_exist_is_missed(command: Command) -> None:
    with pytest.raises(NotFound):
        decide(after(), command)
    with pytest.raises(NotFound):
        decide(after(CREATE, DeleteWebhook(HOOK)), command)


def test_what_is_so_already_is_no_event() -> None:
    assert decide(after(CREATE), ChangeWebhook(HOOK, "temp", None, "sealed")) == []
    assert decide(after(CREATE), EnableWebhook(HOOK)) == []
    assert decide(after(CREATE, DisableWebhook(HOOK, "gone")), DisableWebhook(HOOK, "failing")) == []
    assert decide(after(CREATE, DisableWebhook(HOOK, "gone")), EnableWebhook(HOOK)) == [WebhookEnabled(HOOK)]


def test_whoever_is_no_more_has_none() -> None:
    gone = after(CREATE, replace(CREATE, hook_id="b2" * 12), DeleteAll())
    assert gone.hooks == {}
    assert decide(gone, DeleteAll()) == []


def test_each_owner_has_a_stream_of_their_own() -> None:
    owners = [OWNER, Owner(org_id="b" * 24), Owner(account_id="b" * 24)]
    assert [owner.stream for owner in owners] == [
        "webhooks-product-1000",
        f"webhooks-org-{'b' * 24}",
        f"webhooks-account-{'b' * 24}",
    ]


def recorded(at: datetime) -> Recorded:
    return Recorded(UUID(int=1), "t", "s", 0, Position(1), at, b"{}", b"{}")


def folded(*events: Event) -> Any:
    row: Any = None
    for number, event in enumerate(events):
        row = fold(row, event, recorded(NOW + timedelta(hours=number)))
    return row


def test_the_view_says_where_a_webhook_begins_and_why_it_rests() -> None:
    [created] = decide(after(), CREATE)
    assert folded(created)["since"] == NOW
    rewound = folded(created, WebhookRewound(HOOK, NOW - timedelta(days=1)), WebhookDisabled(HOOK, "gone", "410"))
    assert (rewound["since"], rewound["rewinds"]) == (NOW - timedelta(days=1), 1)
    assert (rewound["enabled"], rewound["reason"], rewound["detail"]) == (False, "gone", "410")
    assert rewound["updated_at"] == NOW + timedelta(hours=2)
