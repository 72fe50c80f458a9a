"""Replays of the embedded platform: its handlers' queues are in its memory, so it replays itself, as a command wishes.

The wish is an ``Order`` in JSON, in ``<data>/replays/``; the answers are ``Answer``. See ``wishes``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec

from deploy.wishes import Wish, Wishes
from shared.bus.replay import Replay
from shared.bus.replay_plan import Done, Plan, plan
from shared.bus.transport import Transport
from shared.errors import FlotillaError, Refused
from shared.events.contracts import CONTRACTS
from shared.settings import Settings
from shared.store.port import EventStore, Position

TOLD_S = 0.2


class Order(msgspec.Struct, frozen=True):
    """Which events, behind ``after`` up to ``until``, go to which handlers of which service."""

    service: str
    types: list[str]
    handlers: list[str]
    reactions: list[str]
    after: int | None = None
    until: int = 0

    def plan(self, classes: Mapping[str, type]) -> Plan:
        """Raises ``Refused`` for names that there are not."""
        if self.service not in classes:
            raise Refused("unknown_service", f"{self.service!r} is no service; there are {', '.join(classes)}")
        names = {"types": self.types, "handlers": self.handlers, "reactions": self.reactions}
        return plan(classes[self.service], CONTRACTS, **names)

    def bounds(self) -> tuple[Position | None, Position]:
        """The positions as the store knows them."""
        return None if self.after is None else Position(self.after), Position(self.until)


class Answer(msgspec.Struct, frozen=True):
    """How far it is; ``error`` is why it ended before its end."""

    events: int
    sent: dict[str, int]
    position: int | None
    is_over: bool = False
    error: str = ""


def replays_folder(settings: Settings) -> Path:
    """Where the embedded platform is asked for replays."""
    return settings.data / "replays"


def replayer(store: EventStore, transport: Transport, folder: Path, classes: Mapping[str, type]) -> Wishes:
    """The part that replays what commands wish for; one replay at a time."""
    return Wishes("replays", folder, partial(grant, store, transport, classes), keep=False)


def grant(store: EventStore, transport: Transport, classes: Mapping[str, type], wish: Wish) -> None:
    """One replay. However it ends is told, because the command waits for it."""
    teller = _Teller(wish)
    try:
        order = msgspec.json.decode(wish.content, type=Order)
        replay = Replay(store, transport, order.plan(classes), is_wanted=lambda: wish.is_wanted)
        done = replay.run(*order.bounds(), teller.tell)
        is_whole = wish.is_wanted or (done.position or 0) >= order.until
        teller.end("" if is_whole else "the platform stopped before all was sent")
    except (FlotillaError, msgspec.DecodeError) as problem:
        teller.end(str(problem))
    except Exception:
        teller.end("it failed by a fault of the platform's own; its log says more")
        raise


class _Teller:
    """Tells whoever wished how far it is, now and then, and how it ended."""

    def __init__(self, wish: Wish) -> None:
        self._wish = wish
        self._done = Done()
        self._told_at = 0.0

    def tell(self, done: Done) -> None:
        self._done = done
        if time.monotonic() - self._told_at >= TOLD_S:
            self._told_at = time.monotonic()
            self._wish.tell(_encoded(done))

    def end(self, error: str) -> None:
        self._wish.tell(_encoded(self._done, is_over=True, error=error))


def _encoded(done: Done, *, is_over: bool = False, error: str = "") -> bytes:
    return msgspec.json.encode(Answer(done.events, done.sent, done.position, is_over, error))
