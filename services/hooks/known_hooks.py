"""The webhooks that deliver, read from the view, with their requests opened."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import sqlalchemy as sa

from services.hooks.hook_request import HookRequest
from services.hooks.hook_views import GATEWAYS, WEBHOOKS
from services.hooks.webhooks import MISSING, Owner
from shared.errors import NotFound
from shared.people.keys import Gone, Keys
from shared.people.sealing import NotSealed, OtherKey, seal, unseal
from shared.projections.database import Database
from shared.projections.view import Row

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Hook:
    """One webhook that delivers."""

    hook_id: str
    owner: Owner
    prefix: str
    device_id: str | None
    request: HookRequest
    since: datetime
    rewinds: int
    changed_at: datetime

    @property
    def wanted(self) -> dict[str, Any]:
        """Which events, as gateways are asked."""
        owner = self.owner
        whose = {"product_id": owner.product_id, "org_id": owner.org_id, "account_id": owner.account_id}
        return {**whose, "device_id": self.device_id, "prefix": self.prefix}


SEALING = "requests of webhooks"
"""The name of the secret that those of products and organizations are sealed with."""


class Requests:
    """Seals and opens what webhooks request: a person's own with that person's key (EVT-5), those of teams with a
    secret of the installation."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def sealed(self, owner: Owner, hook_id: str, request: HookRequest) -> str:
        """As it stands in events and views. Raises ``NotFound`` for somebody who was forgotten."""
        account_id = owner.account_id
        key = self._keys.secret(SEALING) if account_id is None else self._keys.key_for(account_id)
        if isinstance(key, Gone):
            raise NotFound(MISSING)
        return seal(key, msgspec.json.encode(request).decode(), f"webhook {hook_id}")

    def opened(self, owner: Owner, hook_id: str, sealed: str) -> HookRequest | None:
        """The request again; None if the key is another one, or gone."""
        account_id = owner.account_id
        key = self._keys.secret(SEALING) if account_id is None else self._keys.find(account_id)
        if key is None or isinstance(key, Gone):
            return None
        try:
            return msgspec.json.decode(unseal(key, sealed, f"webhook {hook_id}"), type=HookRequest)
        except (OtherKey, NotSealed, msgspec.MsgspecError) as error:
            log.error("what webhook %s requests cannot be read: %r", hook_id, error)
            return None


class KnownHooks:
    """Safe from any thread."""

    def __init__(self, database: Database, requests: Requests) -> None:
        self._database = database
        self._requests = requests
        self._mark: tuple[Any, ...] | None = None
        self._found: tuple[dict[str, Hook], list[str]] = ({}, [])

    def read(self) -> tuple[dict[str, Hook], list[str]]:
        """Those that deliver, and all gateways. Raises ``Unavailable``."""
        hooks, gateways = self._database.table(WEBHOOKS), self._database.table(GATEWAYS)
        with self._database.connect() as connection:
            names = sorted(connection.execute(sa.select(gateways.c.gateway)).scalars())
            mark = connection.execute(sa.select(sa.func.count(), sa.func.max(hooks.c.updated_at))).one()
            if tuple(mark) != self._mark:
                rows = connection.execute(sa.select(hooks).where(hooks.c.enabled)).mappings()
                made = [self._hook(dict(row)) for row in rows]
                self._found = ({hook.hook_id: hook for hook in made if hook is not None}, names)
                self._mark = tuple(mark)
        return self._found[0], names

    def everyone(self) -> list[str]:
        """The ids of all webhooks, those that rest too."""
        with self._database.connect() as connection:
            return list(connection.execute(sa.select(self._database.table(WEBHOOKS).c.hook_id)).scalars())

    def _hook(self, row: Row) -> Hook | None:
        request = self._requests.opened(owner_of(row), row["hook_id"], row["request"])
        return None if request is None else hook_of(row, request)


def owner_of(row: Row) -> Owner:
    """Whose the webhook of this row is."""
    return Owner(row["account_id"], row["org_id"], row["product_id"])


def hook_of(row: Row, request: HookRequest) -> Hook:
    """The webhook of this row."""
    moments = (row["since"], row["rewinds"], row["updated_at"])
    return Hook(row["hook_id"], owner_of(row), row["prefix"], row["device_id"], request, *moments)
