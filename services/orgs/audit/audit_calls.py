"""Calls about who did what."""

# Nameko's decorators have no types.
# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from typing import Any

from nameko.rpc import rpc

from services.orgs.audit import audit_queries
from services.orgs.edge import Edge
from shared.errors import FlotillaError
from shared.people.addresses import Addresses


class AuditCalls(Edge):
    """Calls about who did what."""

    @rpc(expected_exceptions=FlotillaError)
    def list_audit(
        self,
        org_id: str,
        product_id: int | None = None,
        actor: str | None = None,
        kind: str | None = None,
        since: str | None = None,
        until: str | None = None,
        after: str | None = None,
        per_page: int = 25,
    ) -> dict[str, Any]:
        asked = audit_queries.parse(org_id, product_id, actor, kind, since, until, after, per_page)
        return audit_queries.page(self.views, Addresses(self.streams.contracts.keys), asked)
