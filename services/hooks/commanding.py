"""Commands about webhooks, from what somebody sends (contract 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.hooks.hook_object import KIND
from services.hooks.hook_request import HookRequest, requested
from services.hooks.known_hooks import Requests
from services.hooks.templates import check_template
from services.hooks.webhooks import (
    MISSING,
    WEBHOOKS,
    ChangeWebhook,
    Command,
    CreateWebhook,
    DeleteWebhook,
    DisableWebhook,
    EnableWebhook,
    Owner,
    RewindWebhook,
)
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.ids import device_id, record_id
from shared.store.port import Position
from shared.streams import Streams

MAX_PREFIX = 64
OWN_NAMES = ("spark", "particle/")
"""How the names of what the platform itself says begin."""


@dataclass(frozen=True, slots=True)
class HookCommands:
    """The commands of one call."""

    streams: Streams
    context: Context
    requests: Requests

    def create(self, owner: Owner, fields: Mapping[str, Any]) -> tuple[str, Position | None]:
        """The id of a new one."""
        if fields.get("integration_type", KIND) != KIND:
            raise Refused("not_supported", f"integration_type: There is {KIND} only.")
        if "event" not in fields or "url" not in fields:
            raise Refused("invalid_request", "event, url: Missing data for required field.")
        request = requested(fields, None, check_template)
        hook_id = record_id(self.context.command_id, "webhook")
        sealed = self.requests.sealed(owner, hook_id, request)
        what = (_prefix(fields["event"]), _device(fields.get("device")), sealed)
        command = CreateWebhook(hook_id, owner, *what, enabled=not fields.get("disabled", False))
        return hook_id, self._do(owner, command)

    def change(self, owner: Owner, hook_id: str, fields: Mapping[str, Any]) -> Position | None:
        """What is left out stays. Raises ``NotFound``."""
        hook = self.streams.load(WEBHOOKS, owner.stream).state.hooks.get(hook_id)
        if hook is None:
            raise NotFound(MISSING)
        prefix, device, sealed = hook.what
        before = self.requests.opened(owner, hook_id, sealed)
        request = requested(fields, before, check_template) if before or "url" in fields else None
        command = ChangeWebhook(
            hook_id,
            _prefix(fields["event"]) if "event" in fields else prefix,
            _device(fields["device"]) if "device" in fields else device,
            sealed if request in (before, None) else self._sealed(owner, hook_id, request),
        )
        position = self._do(owner, command)
        if "disabled" not in fields:
            return position
        switch = DisableWebhook(hook_id, "asked") if fields["disabled"] else EnableWebhook(hook_id)
        return self._do(owner, switch, "switch") or position

    def rewind(self, owner: Owner, hook_id: str, since: object, now: datetime) -> Position | None:
        """Begin again at this moment. Raises ``NotFound``."""
        return self._do(owner, RewindWebhook(hook_id, _moment(since, now)))

    def delete(self, owner: Owner, hook_id: str) -> Position | None:
        """Raises ``NotFound``."""
        return self._do(owner, DeleteWebhook(hook_id))

    def _sealed(self, owner: Owner, hook_id: str, request: HookRequest | None) -> str:
        return "" if request is None else self.requests.sealed(owner, hook_id, request)

    def _do(self, owner: Owner, command: Command, step: str | None = None) -> Position | None:
        context = self.context if step is None else self.context.step(step)
        return self.streams.handle(WEBHOOKS, owner.stream, command, context).position


def disable(streams: Streams, context: Context, owner: Owner, command: DisableWebhook) -> None:
    """What the deliverer decides; one that is gone needs no more."""
    try:
        streams.handle(WEBHOOKS, owner.stream, command, context)
    except NotFound:
        return


def _prefix(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value.encode()) <= MAX_PREFIX or not value.isprintable():
        raise Refused("invalid_request", f"event: 1 to {MAX_PREFIX} bytes that can be printed.")
    if value.lower().startswith(OWN_NAMES):
        raise Refused("not_supported", "event: Webhooks get what is published; spark… and particle/… is told by us.")
    return value


def _device(value: object) -> str | None:
    if value in (None, ""):
        return None
    found = device_id(str(value)[:64])
    if found is None:
        raise Refused("invalid_request", "deviceId: 24 hexadecimal digits.")
    return found


def _moment(value: object, now: datetime) -> datetime:
    if value == "now":
        return now
    try:
        moment = datetime.fromisoformat(str(value)[:64])
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment > now:
        raise Refused("invalid_request", "from: a time with its zone that has been, or now.")
    return moment
