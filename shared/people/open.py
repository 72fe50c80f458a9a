"""From a URL and an event store to the keys of a process."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from shared.events.contracts import CONTRACTS, Registry
from shared.people.key_table import KeyTable
from shared.people.keys import Keys
from shared.store.port import EventStore, Only, StreamNotFound

log = logging.getLogger(__name__)

LOOKED_AT = 1_000
"""Events with personal fields that are looked at to find out whether a new key table is one too many."""


def person_streams(person: str) -> tuple[str, ...]:
    """The streams that may be this person's own: of an account, of a customer."""
    return f"account-{person}", f"customer-{person}"


class PeopleKeys(Keys):
    """The keys at a URL, for the accounts in an event store. ``close`` it."""

    def __init__(self, url: str, store: EventStore) -> None:
        self.table = KeyTable(url)
        super().__init__(self.table, lambda person: has_sealed(store, person))
        if self.table.is_new and _holds_sealed(store):
            log.warning(
                "the key table is new, but the event store holds personal data that was sealed with keys of another: "
                "it shows as forgotten, and its owners cannot log in, until FLOTILLA_KEYS names the right one (EVT-5)"
            )

    def close(self) -> None:
        """Let go of the key table."""
        self.table.close()


def has_sealed(store: EventStore, person: str) -> bool:
    """Whether the person's own stream has something that was sealed for them."""
    return any(_holds(store, stream) for stream in person_streams(person))


def _holds(store: EventStore, stream: str) -> bool:
    try:
        return any(map(CONTRACTS.is_sealed, store.read(stream)))
    except StreamNotFound:
        return False


def _holds_sealed(store: EventStore) -> bool:
    page = store.read_all(None, LOOKED_AT, Only(types=CONTRACTS.sealed_types))
    return any(map(CONTRACTS.is_sealed, page.events))


@contextmanager
def open_contracts(url: str, store: EventStore) -> Iterator[Registry]:
    """All contracts with the keys at this URL, for a tool that looks from outside."""
    keys = PeopleKeys(url, store)
    try:
        yield CONTRACTS.with_keys(keys)
    finally:
        keys.close()
