"""The ``hooks`` service: webhooks and what became of their deliveries (LOG-3, contract 14)."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from nameko.events import event_handler
from nameko.rpc import rpc

from services.hooks.attempts import Delivery
from services.hooks.commanding import HookCommands
from services.hooks.deliveries import MAX_LISTED
from services.hooks.heard import Heard, made_up
from services.hooks.hook_object import attempt_object, hook_object, with_log
from services.hooks.hook_views import WEBHOOKS
from services.hooks.known_hooks import Hook, hook_of, owner_of
from services.hooks.signing import shown, signing_key
from services.hooks.webhooks import MISSING, MOST_WEBHOOKS, DeleteAll, Owner
from services.hooks.webhooks import WEBHOOKS as AGGREGATE
from shared.bus.given import Given
from shared.bus.providers import ClockProvider, EventStreams, Views, WorkerViews
from shared.errors import FlotillaError, NotFound, Refused
from shared.projections.view import Row
from shared.store.port import Position
from shared.streams import Streams
from shared.times import iso

SHOWN_LOG = 20
"""Attempts in the answer about one webhook."""


class HooksService:
    """``owner`` has one of ``account_id``, ``org_id``, and ``product_id`` beside its ``org_id``; webhooks of others are
    missed as those that do not exist."""

    name = "hooks"

    streams = EventStreams()
    views = Views()
    clock = ClockProvider()
    requests = Given()
    deliveries = Given()
    engine = Given()
    signing_secret = Given()
    base_url = Given()

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="fields")
    def create_webhook(self, owner: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
        hook_id, position = self._commands().create(Owner(**owner), fields)
        made = self._object(self._row(Owner(**owner), hook_id, position))
        return {"webhook": {**made, "secret": shown(signing_key(self.signing_secret, hook_id))}, "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_webhooks(self, owner: Mapping[str, Any]) -> dict[str, Any]:
        return {"webhooks": [self._object(row) for row in _rows(self.views, Owner(**owner))]}

    @rpc(expected_exceptions=FlotillaError)
    def get_webhook(self, owner: Mapping[str, Any], hook_id: str) -> dict[str, Any]:
        row = self._row(Owner(**owner), hook_id)
        log = self.deliveries.listed(hook_id, None, SHOWN_LOG)
        return {"webhook": with_log(self._object(row), self.deliveries.state(hook_id, row["updated_at"]), log)}

    @rpc(expected_exceptions=FlotillaError, sensitive_arguments="fields")
    def change_webhook(self, owner: Mapping[str, Any], hook_id: str, fields: Mapping[str, Any]) -> dict[str, Any]:
        position = self._commands().change(Owner(**owner), hook_id, fields)
        return {"webhook": self._object(self._row(Owner(**owner), hook_id, position)), "position": position}

    @rpc(expected_exceptions=FlotillaError)
    def delete_webhook(self, owner: Mapping[str, Any], hook_id: str) -> dict[str, Any]:
        position = self._commands().delete(Owner(**owner), hook_id)
        self.engine.look()
        return {"position": position}

    @rpc(expected_exceptions=FlotillaError)
    def list_attempts(
        self, owner: Mapping[str, Any], hook_id: str, before: int | None = None, limit: int = MAX_LISTED
    ) -> dict[str, Any]:
        """The newest first; ``next`` is what to go on before."""
        self._row(Owner(**owner), hook_id)
        found: list[Delivery] = self.deliveries.listed(hook_id, before, limit)
        going = found[-1].id if len(found) == limit else None
        return {"attempts": [attempt_object(one) for one in found], "next": going}

    @rpc(expected_exceptions=FlotillaError)
    def test_webhook(self, owner: Mapping[str, Any], hook_id: str) -> dict[str, Any]:
        """Deliver a made-up event, once."""
        hook = self._hook(Owner(**owner), hook_id)
        heard = made_up(hook.prefix, hook.owner.product_id, iso(self.clock()))
        done = self._once(hook, "", heard, "tested")
        return {"pass": not done.error, "data": done.answer or None, "error": done.error or None}

    @rpc(expected_exceptions=FlotillaError)
    def redeliver_event(self, owner: Mapping[str, Any], hook_id: str, event_id: str) -> dict[str, Any]:
        """One event of the delivery log once more. Raises ``NotFound`` for one that is not kept any more."""
        hook = self._hook(Owner(**owner), hook_id)
        before = self.deliveries.find(hook_id, str(event_id))
        heard = None if before is None else self.engine.read_one(hook, before)
        if before is None or heard is None:
            raise NotFound("That event is not kept.")
        self._once(hook, before.gateway, heard, None)
        return {"attempt": attempt_object(self.deliveries.find(hook_id, heard.id) or before)}

    @rpc(expected_exceptions=FlotillaError)
    def rewind_webhook(self, owner: Mapping[str, Any], hook_id: str, since: str) -> dict[str, Any]:
        """Everything since this moment once more."""
        position = self._commands().rewind(Owner(**owner), hook_id, since, self.clock())
        row = self._row(Owner(**owner), hook_id, position)
        return {"from": iso(row["since"]), "position": position}

    @event_handler("orgs", "AccountForgotten")
    def end_of_account(self, message: Mapping[str, Any]) -> None:
        self._end(Owner(account_id=self.streams.event(message).account_id))

    @event_handler("orgs", "ProductRemoved")
    def end_of_product(self, message: Mapping[str, Any]) -> None:
        self._end(Owner(product_id=self.streams.event(message).product_id))

    def _end(self, owner: Owner) -> None:
        self.streams.handle(AGGREGATE, owner.stream, DeleteAll())

    def _once(self, hook: Hook, gateway: str, heard: Heard, outcome: Any) -> Delivery:
        done: Delivery = self.engine.try_once(hook, gateway, heard)
        kept = done if outcome is None else replace(done, outcome=outcome)
        self.deliveries.save(hook.hook_id, {}, None, [kept])
        return done

    def _commands(self) -> HookCommands:
        return HookCommands(Streams(self.streams.store, self.streams.contracts), self.streams.context, self.requests)

    def _row(self, owner: Owner, hook_id: str, position: Position | None = None) -> Row:
        """Not older than this position; then the deliverer is told that something has changed."""
        views = self.views if position is None else self.views.since(position)
        rows = [row for row in _rows(views, owner) if row["hook_id"] == hook_id]
        if not rows:
            raise NotFound(MISSING)
        if position is not None:
            self.engine.look()
        return rows[0]

    def _hook(self, owner: Owner, hook_id: str) -> Hook:
        row = self._row(owner, hook_id)
        request = self.requests.opened(owner, hook_id, row["request"])
        if request is None:
            raise Refused("unreadable", "What it requests cannot be read any more; set it anew.")
        return hook_of(row, request)

    def _object(self, row: Row) -> dict[str, Any]:
        request = self.requests.opened(owner_of(row), row["hook_id"], row["request"])
        return hook_object(row, request, self.base_url)


def _rows(views: WorkerViews, owner: Owner) -> list[Row]:
    """The webhooks of exactly this owner, the oldest first."""
    table = views.table(WEBHOOKS)
    whose = [
        column.is_(None) if value is None else column == value
        for column, value in (
            (table.c.account_id, owner.account_id),
            (table.c.org_id, owner.org_id),
            (table.c.product_id, owner.product_id),
        )
    ]
    query = sa.select(table).where(*whose).order_by(table.c.created_at, table.c.hook_id).limit(MOST_WEBHOOKS)
    with views.read() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]
