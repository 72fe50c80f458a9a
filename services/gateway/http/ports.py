"""What the HTTP API needs of the rest of the gateway, and its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.gateway.entries import DeviceEntry, OrgEntry, ProductEntry, TokenEntry
from services.gateway.hub import EventFilter
from shared.blobs import Blobs
from shared.clock import Clock
from shared.context import Context
from shared.store.port import Position


class Bus(Protocol):
    """Calls to services; errors of ``shared.errors`` come back as themselves."""

    async def call(
        self, service: str, method: str, context: Context, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


class Directory(Protocol):
    """The gateway's own projection; look-ups take microseconds and do not block the loop."""

    def token(self, token_digest: str) -> TokenEntry | None: ...

    def account_org(self, account_id: str) -> str | None: ...

    def org(self, ref: str) -> OrgEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...

    def device(self, device_id: str) -> DeviceEntry | None: ...

    async def wait_for(self, position: Position, timeout_s: float) -> bool: ...


class Subscription(Protocol):
    """Iterates over ``PublishedEvent`` and, for a reader that was too slow, ``Missed``."""

    def __aiter__(self) -> AsyncIterator[Any]: ...

    def close(self) -> None: ...


class Hub(Protocol):
    """Live events."""

    def subscribe(self, filter: EventFilter, limit: int) -> Subscription: ...  # noqa: A002 - the hub's own word


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do here. ``*_per_s`` are refills of a bucket that holds ``*_burst``, by address."""

    failed_logins_burst: float = 20
    failed_logins_per_s: float = 0.2
    sign_ups_burst: float = 30
    sign_ups_per_s: float = 0.5
    unknown_tokens_burst: float = 100
    unknown_tokens_per_s: float = 5
    streams_per_token: int = 20
    stream_queue: int = 1_000
    keep_alive_s: float = 9.0
    token_check_s: float = 10.0
    stalled_reader_s: float = 60.0
    body_s: float = 30.0
    upload_idle_s: float = 30.0
    upload_s: float = 900.0


PUBLIC_CLIENTS = frozenset({"particle", "particle-api", "particle-cli", "CLI2", "user"})
"""OAuth clients that need no registration, any secret accepted (contract 2.1)."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API is built from. ``status`` gives the parts and their lag, without secrets; its ``ok``,
    where present, decides between 200 and 503."""

    bus: Bus
    directory: Directory
    hub: Hub
    blobs: Blobs
    clock: Clock
    status: Callable[[], Mapping[str, Any]]
    gateway: str = "a"
    clients: frozenset[str] = PUBLIC_CLIENTS
    limits: Limits = Limits()

    def now(self) -> datetime:
        """The present moment."""
        return self.clock()
