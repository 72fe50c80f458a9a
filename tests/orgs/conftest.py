"""A store in memory that can fail, or let somebody else go first, at any append; and what tests start from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from services.orgs.oauth.grants import Grants
from services.orgs.oauth.logging_in import LoggingIn
from services.orgs.people import accounts
from services.orgs.people.account_commands import VerifyEmail
from services.orgs.people.accounts import ACCOUNTS
from services.orgs.people.creation import Creation
from services.orgs.products.numbering import Numbering
from shared.context import Context
from shared.errors import Conflict, Unavailable, Unknown
from shared.events.contracts import Registry
from shared.store.port import NO_STREAM, Appended, Expected, New, Position, Recorded, StreamNotFound
from shared.streams import Streams
from tests.keys import contracts_with_keys

START = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass
class MemoryStore:
    """Exact versions and idempotent repeats, as the port promises. ``before`` and ``after`` are called around every
    append with its number; what they raise, the caller gets."""

    now: datetime = START
    events: list[Recorded] = field(default_factory=list)
    appends: int = 0
    before: Callable[[int], None] = lambda number: None
    after: Callable[[int], None] = lambda number: None
    reads: int = 0
    before_read: Callable[[int], None] = lambda number: None

    def append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        self.appends += 1
        number = self.appends
        self.before(number)
        done = self._append(stream, expected, events)
        self.after(number)
        return done

    def _append(self, stream: str, expected: int | Expected, events: Sequence[New]) -> Appended:
        there = [event for event in self.events if event.stream == stream]
        base = -1 if expected is NO_STREAM else int(expected)  # type: ignore[arg-type]
        repeated = there[base + 1 : base + 1 + len(events)]
        if [event.id for event in repeated] == [event.id for event in events]:
            return Appended(repeated[-1].version, repeated[-1].position)
        if len(there) - 1 != base:
            raise Conflict(stream, str(base), str(len(there) - 1))
        for index, new in enumerate(events):
            position = Position(10 * (len(self.events) + 1))
            self.events.append(
                Recorded(new.id, new.type, stream, base + 1 + index, position, self.now, new.data, new.meta)
            )
        return Appended(self.events[-1].version, self.events[-1].position)

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        self.reads += 1
        self.before_read(self.reads)
        there = [event for event in self.events if event.stream == stream]
        if not there:
            raise StreamNotFound(stream)
        return there[first:]


@dataclass
class World:
    """One store, one clock, and commands by name: the same name is the same command id."""

    store: MemoryStore = field(default_factory=MemoryStore)
    contracts: Registry = field(default_factory=contracts_with_keys)

    @property
    def streams(self) -> Streams:
        return Streams(self.store, self.contracts)  # type: ignore[arg-type]

    def context(self, command: str) -> Context:
        return Context.new("anonymous", "test", uuid5(UUID(int=7), command))

    def creation(self, command: str) -> Creation:
        return Creation(self.streams, self.context(command), self.store.now)

    def numbering(self, command: str) -> Numbering:
        return Numbering(self.streams, self.context(command), self.store.now)

    def grants(self, command: str) -> Grants:
        return Grants(self.streams, self.context(command), self.store.now)

    def log_in(self, command: str, username: str, password: str, client: str, life_s: int) -> dict[str, Any]:
        fields = {"grant_type": "password", "username": username, "password": password, "client_id": client}
        return self.logging_in(command).token(fields, None, life_s)

    def refresh(self, command: str, token_id: str | None, refresh_token: str, client: str) -> dict[str, Any]:
        fields = {"grant_type": "refresh_token", "refresh_token": refresh_token, "client_id": client}
        return self.logging_in(command, token_id).token(fields, None, None)

    def logging_in(self, command: str, token_id: str | None = None) -> LoggingIn:
        return LoggingIn(self.grants(command), frozenset({"particle", "CLI2"}), lambda _: token_id)

    def account(self, email: str, password_hash: str = "$argon2id$unused") -> str:
        return self.creation(f"sign up {email}").account(email, password_hash, ("Ada", "", ""))[0]

    def verified(self, email: str, password_hash: str = "$argon2id$unused") -> str:
        """The same, and the link that was mailed was followed."""
        account_id, stream = self.account(email, password_hash), accounts.stream_of
        link = self.streams.load(ACCOUNTS, stream(account_id)).state.verification
        assert link is not None
        command = VerifyEmail(link.nonce, self.store.now)
        self.streams.handle(ACCOUNTS, stream(account_id), command, self.context(f"verify {email}"))
        return account_id

    def organization(self, email: str = "ada@example.com", name: str = "Acme") -> str:
        return self.creation(f"found {name}").organization(self.account(email), name, None, "monthly").org_id

    def pass_time(self, seconds: float) -> None:
        self.store.now += timedelta(seconds=seconds)

    def of_type(self, event: str) -> list[Any]:
        return [self.contracts.decode(recorded) for recorded in self.store.events if recorded.type == event]

    def dies_at(self, append: int | None, *, after: bool) -> None:
        """The process dies at this append from now on, before or after it is stored; None: it lives."""
        number = None if append is None else self.store.appends + append

        def die(now: int) -> None:
            if now == number:
                raise Died

        self.store.before = (lambda now: None) if after else die
        self.store.after = die if after else (lambda now: None)

    def others_go_first_at(self, append: int, act: Callable[[], object]) -> None:
        """Somebody else does this before the given append from now on."""
        number = self.store.appends + append

        def step_in(now: int) -> None:
            if now == number:
                act()

        self.store.before = step_in

    def others_go_first_at_read(self, read: int, act: Callable[[], object]) -> None:
        """The same before the given read from now on."""
        number = self.store.reads + read

        def step_in(now: int) -> None:
            if now == number:
                act()

        self.store.before_read = step_in

    def nobody_else_goes_first(self) -> None:
        self.store.before = self.store.before_read = lambda number: None

    def loses_answer_of(self, append: int) -> None:
        """The given append from now on is stored, but its answer is lost."""
        number = self.store.appends + append

        def lose(now: int) -> None:
            if now == number:
                raise Unknown("lost")

        self.store.after = lose

    def is_away(self) -> None:
        """The store does not take anything any more."""

        def refuse(now: int) -> None:
            raise Unavailable("away")

        self.store.before = refuse


class Died(BaseException):
    """The process is gone: nobody may catch it."""


@pytest.fixture(scope="session")
def new_world() -> type[World]:
    return World


@pytest.fixture(scope="session")
def died() -> type[BaseException]:
    return Died


@pytest.fixture
def world() -> World:
    return World()
