"""One HTTP call on its way through the API: who asks, what for, and the calls to services that it makes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar
from uuid import UUID, uuid4

import marshmallow as ma
from starlette.requests import Request
from starlette.responses import Response

from services.gateway.entries import DeviceEntry, OrgEntry, ProductEntry, TokenEntry
from services.gateway.http.limits import Allowance, Familiar, Positions, Rate, Slots, UnknownTokens
from services.gateway.http.ports import Services
from shared.auth.permissions import ANONYMOUS, Caller
from shared.context import Context, about
from shared.errors import Misuse, Refused
from shared.ids import derived_uuid
from shared.store.port import Position

POSITION_HEADER = "X-Flotilla-Position"
AS_OF_HEADER = "X-Flotilla-As-Of"
ROLLOUT_HEADER = "X-Flotilla-Rollout"
"""The roll-out that a streamed dry run is of."""
REPEAT_HEADER = "Idempotency-Key"
LAST_ID_HEADER = "Last-Event-ID"
STREAM = "text/event-stream"
"""The media type of event streams."""
MAX_REPEAT_KEY = 128
MAX_POSITION = 2**63 - 1

T = TypeVar("T")
Handler = Callable[["Call"], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Route:
    """A row of the contract. The handler returns the document to answer with ``status``, or a ``Response``.

    ``body``: ``fields`` (JSON or form, read before the handler runs), ``upload`` (the handler reads it) or ``none``.
    ``secret``: the answer holds a secret and must not be cached. ``password``: a user's name and password in Basic
    authentication stand for a token (style U of contract 1.3). ``past``: asked of a past moment it may answer 202
    instead, while that is built. ``redirects``: it may answer 302, for browsers. ``also``: permissions that are
    asked, too, for some of what it can do. ``streamed``: types that a long list is answered as if the client
    accepts them. ``cardless``: a body with a card number in it is refused (BIL-6). ``unsettled``: it may answer 202
    with the same document, while what was asked for is not known to have been done.
    """

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    permission: str
    summary: str
    handler: Handler
    response: ma.Schema | None
    request: ma.Schema | None = None
    query: ma.Schema | None = None
    body: Literal["fields", "upload", "none"] = "none"
    status: int = 200
    secret: bool = False
    password: bool = False
    media_type: str = "application/json"
    past: bool = False
    redirects: bool = False
    also: tuple[str, ...] = ()
    streamed: tuple[str, ...] = ()
    cardless: bool = False
    unsettled: bool = False


@dataclass(frozen=True, slots=True)
class Session:
    """An access token that is good, and whose it is."""

    token_digest: str
    token: TokenEntry

    @property
    def caller(self) -> Caller:
        token = self.token
        return Caller(
            kind=token.subject,
            account_id=token.account_id,
            org_id=token.org_id,
            role=token.role,
            customer_id=token.customer_id,
            product_id=token.product_id,
            client_id=token.client if token.subject == "client" else None,
            scope=token.scope,
        )


class Edge:
    """What all calls share."""

    def __init__(self, services: Services) -> None:
        limits, clock = services.limits, services.clock
        self.services = services
        self.positions = Positions()
        self.unknown_tokens = UnknownTokens(clock)
        self.slots = Slots()
        self.exports = Slots("lists as CSV")
        self.logins = Rate(limits.failed_logins_burst, limits.failed_logins_per_s, clock, what="failed logins")
        self.names = Rate(limits.failed_names_burst, limits.failed_names_per_s, clock, what="failed logins")
        self.familiar = Familiar()
        self.dry_runs = asyncio.Semaphore(limits.dry_runs_at_once)
        self.hashing = asyncio.Semaphore(limits.hashing_at_once)
        self.sign_ups = Rate(limits.sign_ups_burst, limits.sign_ups_per_s, clock, what="new accounts")
        self.calls = Rate(limits.calls_burst, limits.calls_per_s, clock, what="calls", whose="of this login")
        self.calls_by_address = Rate(limits.calls_by_address_burst, limits.calls_by_address_per_s, clock, what="calls")
        self.calls_by_org = Rate(
            limits.calls_by_org_burst, limits.calls_by_org_per_s, clock, what="calls", whose="of this organization"
        )
        self.mails = Rate(limits.mails_burst, limits.mails_per_s, clock, what="mails that were asked for")
        self.published = Rate(
            limits.published_burst, limits.published_per_s, clock, what="events", whose="of this login"
        )
        self.lookups = Rate(limits.unknown_tokens_burst, limits.unknown_tokens_per_s, clock, what="invalid logins")
        self.openapi: Mapping[str, Any] = {}


@dataclass(slots=True)
class Call:
    """One request. ``params`` are decoded path segments; ``body`` and ``query`` what their schemas made of them;
    ``position`` is the last one that a command of this call reached."""

    edge: Edge
    route: Route
    request: Request
    params: Mapping[str, str]
    session: Session | None = None
    product_entry: ProductEntry | None = None
    org_entry: OrgEntry | None = None
    device_entry: DeviceEntry | None = None
    fields: dict[str, Any] | None = None
    body: dict[str, Any] = field(default_factory=dict)
    query: dict[str, Any] = field(default_factory=dict)
    after: Position | None = None
    position: Position | None = None
    allowance: Allowance | None = None
    _context: Context | None = None

    @property
    def services(self) -> Services:
        return self.edge.services

    @property
    def caller(self) -> Caller:
        """Who asks, as the table of permissions knows them."""
        return ANONYMOUS if self.session is None else self.session.caller

    @property
    def signed_in(self) -> Session:
        """The session of a route that needs one."""
        return _present(self.session)

    @property
    def product(self) -> ProductEntry:
        """The product in the path."""
        return _present(self.product_entry)

    @property
    def org(self) -> OrgEntry:
        """The organization in the path."""
        return _present(self.org_entry)

    @property
    def device(self) -> DeviceEntry:
        """The device in a path without product."""
        return _present(self.device_entry)

    @property
    def address(self) -> str:
        """Where the request comes from."""
        return self.request.client.host if self.request.client else ""

    @property
    def context(self) -> Context:
        """The circumstances of this call's command; the same command when the client repeats its Idempotency-Key."""
        if self._context is None:
            made = Context.new(self.caller.actor, f"gateway:{self.services.gateway}", self._command_id())
            token_id = self.session.token.token_id if self.session else ""
            self._context = replace(made, after=self.after, token=token_id or None, about=self._about())
        return self._context

    async def circumstances(self) -> Context:
        """The same with where it comes from, if it may change something."""
        context, addresses = self.context, self.services.addresses
        if self.route.method != "GET" and self.session is not None and context.address is None:
            address = await asyncio.to_thread(addresses.sealed, context.actor, self.address)
            self._context = context = replace(context, address=address)
        return context

    def acts_for(self, actor: str) -> None:
        """What is asked from now on is asked by whoever proved on the way who they are, and about what was found."""
        self._context = replace(self.context, actor=actor, about=self._about())

    def _about(self) -> str | None:
        """Whose team may see what is done: that of the thing in the path, or that a customer or client belongs to."""
        product, org, device = self.product_entry, self.org_entry, self.device_entry
        if product is None and device is not None:
            product = self.services.directory.product(str(device.membership.product_id))
        if product is not None:
            return about(product.org_id, product.product_id)
        if org is not None:
            return about(org.org_id, None)
        return None if self.caller.kind == "account" else about(self.caller.org_id, self.caller.product_id)

    def reconsider(self) -> None:
        """What is asked from now on is asked with the position that was reached meanwhile."""
        if self._context is not None:
            self._context = replace(self._context, after=self.after)

    def _command_id(self) -> UUID:
        key = self.request.headers.get(REPEAT_HEADER)
        account = self.caller.account_id
        if key is None or account is None:
            return uuid4()
        if not 1 <= len(key) <= MAX_REPEAT_KEY:
            raise Refused("invalid_request", f"{REPEAT_HEADER}: 1 to {MAX_REPEAT_KEY} characters.")
        return derived_uuid("idempotency", account, self.route.method, self.request.scope["path"], key)

    async def ask(
        self, service: str, method: str, *, timeout_s: float = 10.0, context: Context | None = None, **arguments: Any
    ) -> dict[str, Any]:
        """Call a service; the ``position`` of a command's answer is kept here and not passed on."""
        made = context or await self.circumstances()
        answer: dict[str, Any] = dict(
            await self.services.bus.call(service, method, made, timeout_s=timeout_s, **arguments) or {}
        )
        position = answer.pop("position", None)
        if position is not None:
            self.position = Position(max(int(position), self.position or 0))
        return answer

    def spend(self) -> None:
        """This call counts for its login and its organization, whose customers count apart, so that they do not keep
        its team out. Raises ``TooMany``."""
        if self.session is None:
            return
        allowances = [self.edge.calls.take(self.session.token_digest)]
        if self.caller.org_id is not None:
            who = "customers" if self.caller.kind == "customer" else "team"
            allowances.append(self.edge.calls_by_org.take(f"{self.caller.org_id} {who}"))
        self.allowance = min(allowances, key=lambda one: one.remaining)

    def asked_after(self) -> Position | None:
        """The position that the client says it has seen."""
        text = self.request.headers.get(POSITION_HEADER)
        if text is None:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 19 and int(text) <= MAX_POSITION):
            raise Refused("invalid_request", f"{POSITION_HEADER}: not a position.")
        return Position(int(text))

    def conclude(self, response: Response) -> None:
        """Tell the client what it may still do, and the position that its command reached, which is remembered for its
        token. A company's customers are told nothing that has our name on it (CUS-7)."""
        if self.allowance is not None:
            response.headers.update(self.allowance.headers())
        if self.position is None:
            return
        if self.caller.kind != "customer":
            response.headers[POSITION_HEADER] = str(self.position)
        if self.session is not None:
            self.edge.positions.remember(self.session.token_digest, self.position)


def _present(value: T | None) -> T:
    if value is None:
        raise Misuse("this route has no such thing in its path or permission")
    return value
