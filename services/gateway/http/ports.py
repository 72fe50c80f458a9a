"""What the HTTP API needs of the rest of the gateway, and its limits."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from services.gateway.devices.calls import Question
from services.gateway.entries import DeviceEntry, OrgEntry, ProductEntry, TokenEntry
from services.gateway.history import Listed
from services.gateway.hub import Hub
from services.gateway.import_progress import Imports
from services.gateway.log_reading import Wanted
from services.gateway.rollout_progress import RolloutProgress
from services.gateway.stream_reader import History as StreamHistory
from shared.blobs import Blobs
from shared.clock import Clock
from shared.context import Context
from shared.events.gateway import ServerPublished
from shared.events.orgs import Role
from shared.people.addresses import Addresses
from shared.store.port import Position


class Bus(Protocol):
    """Calls to services; errors of ``shared.errors`` come back as themselves."""

    async def call(
        self, service: str, method: str, context: Context, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


class Directory(Imports, Protocol):
    """The gateway's own projection; look-ups take microseconds and do not block the loop."""

    def token(self, token_digest: str) -> TokenEntry | None: ...

    def membership(self, account_id: str) -> tuple[str, Role] | None: ...

    def org(self, ref: str) -> OrgEntry | None: ...

    def product(self, ref: str) -> ProductEntry | None: ...

    def device(self, device_id: str) -> DeviceEntry | None: ...

    async def wait_for(self, position: Position, timeout_s: float) -> bool: ...

    async def exists(self, position: Position) -> bool: ...


class Calls(Protocol):
    """Questions to devices, on whichever gateway holds them."""

    async def ask(self, device_id: str, question: Question, timeout_s: float, context: Context) -> Any:
        """What the device answers. Raises ``Refused`` with one of the codes of ``devices.calls``, ``Unavailable``."""
        ...

    async def is_online(self, device_id: str, context: Context) -> bool: ...


class Log(Protocol):
    """What was published, kept and told to whoever listens on any gateway."""

    def post(self, event: ServerPublished, actor: str) -> Awaitable[None]:
        """Done when it is durable. Raises ``Unavailable``."""
        ...


class Subscription(Protocol):
    """Iterates over ``PublishedEvent`` and, for a reader that was too slow, ``Missed``; over ``Placed`` for one that
    comes back with ids."""

    def __aiter__(self) -> AsyncIterator[Any]: ...

    def close(self) -> None: ...


class History(StreamHistory, Protocol):
    """What was published, as far as it is kept."""

    async def list_newest(
        self, product_id: int, before: Mapping[str, int] | None, wanted: Wanted, limit: int
    ) -> Listed:
        """A page of a product's log. Raises ``Unavailable``."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may do here. ``*_per_s`` are refills of a bucket that holds ``*_burst``, by address, and for
    ``failed_names`` by the name that somebody logs in with, so that many addresses cannot guess one password.
    ``streams_per_token`` is for somebody without a team altogether, too."""

    failed_logins_burst: float = 20
    failed_logins_per_s: float = 0.2
    failed_names_burst: float = 100
    failed_names_per_s: float = 0.05
    dry_runs_at_once: int = 2
    hashing_at_once: int = 4
    hashing_wait_s: float = 10.0
    sign_ups_burst: float = 30
    sign_ups_per_s: float = 0.5
    calls_burst: float = 1_000
    calls_per_s: float = 100
    calls_by_address_burst: float = 5_000
    calls_by_address_per_s: float = 500
    calls_by_org_burst: float = 5_000
    calls_by_org_per_s: float = 500
    mails_burst: float = 20
    mails_per_s: float = 0.1
    published_burst: float = 100
    published_per_s: float = 10
    unknown_tokens_burst: float = 100
    unknown_tokens_per_s: float = 5
    streams_per_token: int = 20
    streams_per_organization: int = 1_000
    stream_queue: int = 1_000
    keep_alive_s: float = 9.0
    token_check_s: float = 10.0
    stalled_reader_s: float = 60.0
    body_s: float = 30.0
    upload_idle_s: float = 30.0
    upload_s: float = 900.0


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that the API is built from. ``status`` gives the parts and their lag, without secrets; its ``ok``,
    where present, decides between 200 and 503."""

    bus: Bus
    directory: Directory
    hub: Hub
    history: History
    log: Log
    calls: Calls
    blobs: Blobs
    rollouts: RolloutProgress
    addresses: Addresses
    clock: Clock
    status: Callable[[], Mapping[str, Any]]
    gateway: str = "a"
    limits: Limits = Limits()

    def now(self) -> datetime:
        """The present moment."""
        return self.clock()
