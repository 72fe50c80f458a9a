"""What all calls of the ``orgs`` service share: its dependencies, and how a command is begun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from nameko.rpc import ServiceRpc

from services.orgs import queries
from services.orgs.oauth.grants import Grants
from services.orgs.oauth.logging_in import LoggingIn
from shared.bus.calls import PatientRpc
from shared.bus.given import Given
from shared.bus.providers import ClockProvider, EventStreams, Views
from shared.context import Context
from shared.errors import NotFound
from shared.projections.view import Row
from shared.streams import Streams

Made = TypeVar("Made")
DRAFT_S = 60.0
"""So long the payment provider may be asked for a card, which billing tries several times."""


class Edge:
    """The only things of the service that have a connection."""

    streams = EventStreams()
    views = Views()
    clock = ClockProvider()
    public_clients = Given()
    billing = ServiceRpc("billing")
    drafts = PatientRpc("billing", DRAFT_S)

    def _command(self, kind: Callable[[Streams, Context, datetime], Made]) -> Made:
        return kind(Streams(self.streams.store, self.streams.contracts), self.streams.context, self.clock())

    def _logging_in(self) -> LoggingIn:
        token_of_refresh = partial(queries.token_of_refresh, self.views)
        return LoggingIn(self._command(Grants), self.public_clients, token_of_refresh)

    def _subscription(self, org: Row) -> Mapping[str, Any]:
        try:
            found: dict[str, Any] = self.billing.subscription(org_id=org["org_id"])
        except NotFound:
            return trial(org)  # billing has not heard of it yet
        return found


def trial(org: Row) -> dict[str, Any]:
    """What every subscription begins with (ORG-1)."""
    return {"state": "trialing", "reason": None, "plan": org["plan"]}
