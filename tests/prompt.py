"""An event store whose followers look whether to stop 50 times a second, so that a test need not wait for their end."""

from __future__ import annotations

from typing import Any

from shared.store.port import EventStore, Position

LONGEST_WAIT_S = 0.02


class _Prompt:
    def __init__(self, store: EventStore) -> None:
        self._store = store

    def wait(self, after: Position | None, timeout_s: float) -> bool:
        return self._store.wait(after, min(timeout_s, LONGEST_WAIT_S))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def prompt(store: EventStore) -> EventStore:
    """The same store; only ``wait`` ends, as if in vain, after ``LONGEST_WAIT_S``."""
    return _Prompt(store)
