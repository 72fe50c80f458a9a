"""One OAuth client: a company's program. Stream ``client-<id>``. Rule CUS-4, contract 4. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, assert_never

from shared.aggregates import Aggregate
from shared.errors import NotFound
from shared.events.oauth import ClientChanged, ClientCreated, ClientDeleted

MISSING = "OAuth client not found."
ClientType = Literal["installed", "web"]


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose it is: an account's own, one product's, or all products' of an organization."""

    account_id: str | None = None
    org_id: str | None = None
    product_id: int | None = None


@dataclass(frozen=True, slots=True)
class CreateClient:
    """Register it; the reservation of its id comes first."""

    client_id: str
    owner: Owner
    name: str
    type: ClientType
    secret_digest: str
    redirect_uri: str | None
    scope: str


@dataclass(frozen=True, slots=True)
class ChangeClient:
    """Call it something else, or let it do something else; None leaves that as it is."""

    owner: Owner
    name: str | None
    scope: str | None


@dataclass(frozen=True, slots=True)
class DeleteClient:
    """Let it be gone, with all tokens that were made with it."""

    owner: Owner


@dataclass(frozen=True, slots=True)
class Client:
    """``created`` is None for a client that was never registered."""

    created: ClientCreated | None = None
    name: str = ""
    scope: str = ""
    deleted: bool = False

    @property
    def lives(self) -> bool:
        """Whether there is such a client."""
        return self.created is not None and not self.deleted

    @property
    def owner(self) -> Owner:
        """Whose it is."""
        made = self.created
        return Owner() if made is None else Owner(made.account_id, made.org_id, made.product_id)


Command = CreateClient | ChangeClient | DeleteClient
Event = ClientCreated | ClientChanged | ClientDeleted


def decide(state: Client, command: Command) -> list[Event]:
    """What this means now; a client of another owner is missed as one that does not exist."""
    if isinstance(command, CreateClient):
        return [] if state.created is not None else [_created(command)]
    if state.created is None or state.deleted or state.owner != command.owner:
        raise NotFound(MISSING)
    client_id = state.created.client_id
    match command:
        case ChangeClient(_, name, scope):
            now = (state.name if name is None else name, state.scope if scope is None else scope)
            return [] if now == (state.name, state.scope) else [ClientChanged(client_id, *now)]
        case DeleteClient():
            return [ClientDeleted(client_id)]
        case _:
            assert_never(command)


def _created(command: CreateClient) -> ClientCreated:
    return ClientCreated(
        client_id=command.client_id,
        org_id=command.owner.org_id,
        product_id=command.owner.product_id,
        account_id=command.owner.account_id,
        name=command.name,
        type=command.type,
        secret_digest=command.secret_digest,
        redirect_uri=command.redirect_uri,
        scope=command.scope,
    )


def evolve(state: Client, event: Event) -> Client:
    """The client after this event."""
    match event:
        case ClientCreated(name=name, scope=scope):
            return Client(event, name, scope)
        case ClientChanged(_, name, scope):
            return replace(state, name=name, scope=scope)
        case ClientDeleted():
            return replace(state, deleted=True)
        case _:
            assert_never(event)


CLIENTS: Aggregate[Client, Command] = Aggregate(Client(), decide, evolve)


def stream_of(client_id: str) -> str:
    """The stream of this client."""
    return f"client-{client_id}"
