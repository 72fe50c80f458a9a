"""The engine as a part of a process: its loop is on a thread of its own, and any thread may ask it."""

from __future__ import annotations

import contextlib
import threading

from services.hooks.attempts import Delivery
from services.hooks.engine import Engine
from services.hooks.heard import Heard
from services.hooks.known_hooks import Hook
from shared.errors import Refused, Unavailable
from shared.threaded import Threaded

START_S = 30.0
STOP_S = 30.0
ASK_S = 1.0
ONCE_S = 20.0
ONCE_AT_ONCE = 2
"""Attempts that somebody waits for; each keeps one of the service's workers."""


class EnginePart(Threaded):
    """An engine as a part of a process, to be asked from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._once = threading.BoundedSemaphore(ONCE_AT_ONCE)
        super().__init__("webhooks", engine.start, engine.stop, start_s=START_S, stop_s=STOP_S)

    def look(self) -> None:
        """There may be other webhooks."""
        with contextlib.suppress(Unavailable):  # it looks every few seconds by itself
            self.ask(self._engine.look, ASK_S)

    def try_once(self, hook: Hook, gateway: str, heard: Heard) -> Delivery:
        """As ``Engine.try_once``. Raises ``Refused``: ``busy``, while others have theirs tried."""
        if not self._once.acquire(blocking=False):
            raise Refused("busy", "Others have webhooks tried just now; come again in a moment.")
        try:
            return self.carry_out(lambda: self._engine.try_once(hook, gateway, heard), ONCE_S)
        finally:
            self._once.release()

    def read_one(self, hook: Hook, delivery: Delivery) -> Heard | None:
        """As ``Engine.read_one``."""
        return self.carry_out(lambda: self._engine.read_one(hook, delivery), ONCE_S)
