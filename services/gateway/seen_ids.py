"""Random ids for what a gateway records of its own accord, very often: their bytes are fetched for many at once, for
every fetch calls the system and lets another thread take over."""

from __future__ import annotations

import os
from collections.abc import Callable
from uuid import UUID

from shared.ids import random_uuid

AT_ONCE = 256
"""Ids whose bytes are fetched together."""
_ID_BYTES = 16


class SeenIds:
    """For one thread."""

    def __init__(self, random: Callable[[int], bytes] = os.urandom) -> None:
        self._random = random
        self._ready: list[UUID] = []

    def take(self) -> UUID:
        """One that was never taken."""
        if not self._ready:
            fetched = self._random(AT_ONCE * _ID_BYTES)
            self._ready = [random_uuid(fetched[at : at + _ID_BYTES]) for at in range(0, len(fetched), _ID_BYTES)]
        return self._ready.pop()
