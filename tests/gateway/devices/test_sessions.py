"""Who may have a session, without a protocol."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from services.gateway.devices.effects import Now
from services.gateway.devices.memory import FACTS_A_SECOND, FACTS_AT_ONCE
from services.gateway.devices.sessions import FACTS_OF_A_SESSION, Sessions
from shared.context import Context
from shared.events.gateway import DeviceMisbehaved

DEVICE = "0123456789abcdef01234567"


class Around:
    """A device server that keeps what it is told."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.facts: list[object] = []

    def now(self) -> Now:
        return moment(0.0)

    def soon(self, call: Callable[[], None]) -> None:
        call()

    def note(self, kind: str) -> None:
        self.counts[kind] += 1

    def record(self, event: object, actor: str = "system:gateway", *, context: Context | None = None) -> None:
        self.facts.append(event)

    def ended(self, device_id: str) -> None:
        self.counts["ended"] += 1


class Coming:
    """A connection without protocol."""

    session: Any = None


class Going:
    device_id = DEVICE


def moment(seconds: float) -> Now:
    return Now(seconds, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_device_that_comes_and_goes_without_end_is_let_in_twice_a_fact_and_then_slowly() -> None:
    around = Around()
    sessions = Sessions(around)

    def comes(seconds: float) -> bool:
        connection: Any = Coming()
        if sessions.join(connection, DEVICE, moment(seconds)) is None:
            return False
        session: Any = Going()
        assert sessions.leave(connection, session)
        return True

    assert sum(comes(0.0) for _ in range(2_000)) == FACTS_AT_ONCE / FACTS_OF_A_SESSION
    sessions.sweep(moment(0.0))  # it is not forgotten
    [told] = around.facts
    assert isinstance(told, DeviceMisbehaved)
    assert (told.device_id, told.kind) == (DEVICE, "too_many_connections")
    assert sum(comes(float(second)) for second in range(1, 101)) == 100 * FACTS_A_SECOND / FACTS_OF_A_SESSION
