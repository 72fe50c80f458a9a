"""All webhooks of one owner. Stream ``webhooks-product-<id>``, ``webhooks-org-<id>`` or ``webhooks-account-<id>``.
Rule LOG-3. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound, Refused
from shared.events.webhooks import (
    WebhookChanged,
    WebhookCreated,
    WebhookDeleted,
    WebhookDisabled,
    WebhookEnabled,
    WebhookRewound,
)

MOST_WEBHOOKS = 20
"""Of one owner."""
MISSING = "Webhook not found"
MAX_DETAIL = 512

Event = WebhookCreated | WebhookChanged | WebhookEnabled | WebhookDisabled | WebhookRewound | WebhookDeleted


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose it is: an account's own, one product's, or all products' of an organization."""

    account_id: str | None = None
    org_id: str | None = None
    product_id: int | None = None

    @property
    def stream(self) -> str:
        """The stream of its webhooks."""
        if self.product_id is not None:
            return f"webhooks-product-{self.product_id}"
        return f"webhooks-account-{self.account_id}" if self.org_id is None else f"webhooks-org-{self.org_id}"


@dataclass(frozen=True, slots=True)
class CreateWebhook:
    """``request`` is sealed already."""

    hook_id: str
    owner: Owner
    prefix: str
    device_id: str | None
    request: str
    enabled: bool


@dataclass(frozen=True, slots=True)
class ChangeWebhook:
    """The same, for one that is there."""

    hook_id: str
    prefix: str
    device_id: str | None
    request: str


@dataclass(frozen=True, slots=True)
class EnableWebhook:
    """Let it go on."""

    hook_id: str


@dataclass(frozen=True, slots=True)
class DisableWebhook:
    """Let it rest."""

    hook_id: str
    reason: Literal["asked", "gone", "failing"]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class RewindWebhook:
    """Let it begin again at this moment."""

    hook_id: str
    since: datetime


@dataclass(frozen=True, slots=True)
class DeleteWebhook:
    """Let there be no such webhook."""

    hook_id: str


@dataclass(frozen=True, slots=True)
class DeleteAll:
    """The owner is no more."""


Command = DeleteAll | CreateWebhook | ChangeWebhook | EnableWebhook | DisableWebhook | RewindWebhook | DeleteWebhook


@dataclass(frozen=True, slots=True)
class Hook:
    """What ``decide`` asks of one: ``what`` is its prefix, device and request."""

    what: tuple[str, str | None, str]
    enabled: bool


@dataclass(frozen=True, slots=True)
class Webhooks:
    """Those that there are."""

    hooks: Mapping[str, Hook] = field(default_factory=dict)


def decide(state: Webhooks, command: Command) -> list[Event]:
    """What the command means now; an empty list if it changes nothing."""
    if isinstance(command, CreateWebhook):
        return _create(state, command)
    if isinstance(command, DeleteAll):
        return [WebhookDeleted(hook_id) for hook_id in state.hooks]
    hook_id = command.hook_id
    if hook_id not in state.hooks:
        raise NotFound(MISSING)
    hook = state.hooks[hook_id]
    match command:
        case ChangeWebhook(_, prefix, device_id, request):
            what = (prefix, device_id, request)
            return [] if hook.what == what else [WebhookChanged(hook_id, *what)]
        case EnableWebhook():
            return [] if hook.enabled else [WebhookEnabled(hook_id)]
        case DisableWebhook(_, reason, detail):
            return [WebhookDisabled(hook_id, reason, detail[:MAX_DETAIL])] if hook.enabled else []
        case RewindWebhook(_, since):
            return [WebhookRewound(hook_id, since)]
        case DeleteWebhook():
            return [WebhookDeleted(hook_id)]
        case _:
            assert_never(command)


def _create(state: Webhooks, command: CreateWebhook) -> list[Event]:
    if command.hook_id in state.hooks:
        return []
    if len(state.hooks) >= MOST_WEBHOOKS:
        raise Refused("too_many_webhooks", f"There are {MOST_WEBHOOKS} already, which is all that is possible.")
    owner = command.owner
    made = (command.prefix, command.device_id, command.request, command.enabled)
    return [WebhookCreated(command.hook_id, owner.org_id, owner.product_id, owner.account_id, *made)]


def evolve(state: Webhooks, event: Event) -> Webhooks:
    """The webhooks after this event."""
    match event:
        case WebhookCreated():
            return _with(state, event.hook_id, Hook((event.prefix, event.device_id, event.request), event.enabled))
        case WebhookChanged(hook_id, prefix, device_id, request):
            return _with(state, hook_id, replace(state.hooks[hook_id], what=(prefix, device_id, request)))
        case WebhookEnabled(hook_id):
            return _with(state, hook_id, replace(state.hooks[hook_id], enabled=True))
        case WebhookDisabled(hook_id):
            return _with(state, hook_id, replace(state.hooks[hook_id], enabled=False))
        case WebhookRewound():
            return state
        case WebhookDeleted(hook_id):
            return Webhooks({one: hook for one, hook in state.hooks.items() if one != hook_id})
        case _:
            assert_never(event)


def _with(state: Webhooks, hook_id: str, hook: Hook) -> Webhooks:
    return Webhooks({**state.hooks, hook_id: hook})


WEBHOOKS: Aggregate[Webhooks, Command] = Aggregate(Webhooks(), decide, evolve)
