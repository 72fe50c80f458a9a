"""Keys of people in memory, and the contracts with them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from shared.events.contracts import CONTRACTS, Registry
from shared.people.keys import DESTROYED, Gone, Keys


@dataclass
class MemoryTable:
    """As ``shared.people.key_table`` keeps them; ``asked`` counts what reached it."""

    people: dict[str, bytes | Gone] = field(default_factory=dict)
    secrets: dict[str, bytes] = field(default_factory=dict)
    asked: int = 0

    def find(self, person: str) -> bytes | Gone | None:
        self.asked += 1
        return self.people.get(person)

    def create(self, person: str) -> bytes | Gone:
        return self.people.setdefault(person, os.urandom(32))

    def destroy(self, person: str) -> None:
        self.people[person] = DESTROYED

    def secret(self, name: str) -> bytes:
        return self.secrets.setdefault(name, os.urandom(32))


def contracts_with_keys(table: MemoryTable | None = None) -> Registry:
    """All contracts, with keys of their own or of this table; each call is another process."""
    return CONTRACTS.with_keys(Keys(table or MemoryTable(), lambda person: False))
