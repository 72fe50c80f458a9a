"""Events of webhooks (service ``hooks``; LOG-3). Stream ``webhooks-product-<id>``, ``webhooks-org-<id>`` or
``webhooks-account-<id>``: all webhooks of one owner."""

from __future__ import annotations

from typing import Annotated, Literal

from shared.events.fields import Event, Hex24, Moment, ProductNumber, Text

EventPrefix = Annotated[str, Text(64, 1)]
SealedRequest = Annotated[str, Text(65_536, 1)]
"""What is requested, with everything that may be secret in it, sealed under a secret of the installation."""


class WebhookCreated(Event, frozen=True):
    """What devices publish under names that begin with ``prefix`` is delivered from now on: of a product, of all
    products of an organization, or of what an account has claimed. Exactly one of ``product_id`` and ``account_id`` is
    set, or neither with ``org_id``, which stands beside a ``product_id``, too."""

    hook_id: Hex24
    org_id: Hex24 | None
    product_id: ProductNumber | None
    account_id: Hex24 | None
    prefix: EventPrefix
    device_id: Hex24 | None
    request: SealedRequest
    enabled: bool


class WebhookChanged(Event, frozen=True):
    """Which events, and how they are delivered, from now on."""

    hook_id: Hex24
    prefix: EventPrefix
    device_id: Hex24 | None
    request: SealedRequest


class WebhookEnabled(Event, frozen=True):
    """It goes on where it was."""

    hook_id: Hex24


class WebhookDisabled(Event, frozen=True):
    """Nothing is delivered any more: somebody ``asked`` for that, the receiver said that it is ``gone`` (410), or
    nothing got through for days (``failing``); ``detail`` is the last that was heard of it."""

    hook_id: Hex24
    reason: Literal["asked", "gone", "failing"]
    detail: Annotated[str, Text(512)]


class WebhookRewound(Event, frozen=True):
    """What was kept since then is delivered once more; a moment that lies ahead of where it is leaves out what is
    between."""

    hook_id: Hex24
    since: Moment


class WebhookDeleted(Event, frozen=True):
    """There is no such webhook any more."""

    hook_id: Hex24
