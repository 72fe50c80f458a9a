"""An organization that stops paying, and pays again: what billing would tell of it, told to a platform that runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Self

from shared.context import Context
from shared.events.billing import AccountLocked, Card, SubscriptionReactivated
from shared.events.contracts import CONTRACTS
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import ANY, Only

PATIENCE_S = 60.0
CARD = Card("pm_1", "visa", "4242", 12, 2030, "")


class Paying:
    """Has the platform's store open beside it."""

    def __init__(self, settings: Settings, org_id: str) -> None:
        self._org_id = org_id
        self._open = ExitStack()
        self._store = open_store(settings.store)
        self._open.callback(self._store.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def stop(self) -> None:
        """The third attempt at a charge has failed (BIL-3)."""
        self._tell(AccountLocked(self._org_id, datetime.now(UTC), 1))

    def go_on(self) -> None:
        """It is paid again (BIL-5)."""
        now = datetime.now(UTC)
        self._tell(SubscriptionReactivated(self._org_id, now, now, "monthly", 1, CARD))

    def count(self, event_type: str) -> int:
        """How many such events there are, of anybody."""
        return len(self._store.read_all(only=Only(types=frozenset({event_type}))).events)

    def _tell(self, event: AccountLocked | SubscriptionReactivated) -> None:
        new = CONTRACTS.encode(event, 0, Context.new("system:test", "test"))
        self._store.append(f"subscription-{self._org_id}", ANY, [new])


def eventually(is_true: Callable[[], bool], what: str) -> None:
    """Raises ``AssertionError`` if it does not come true in ``PATIENCE_S``."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
