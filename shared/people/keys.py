"""What is asked of people's keys: by the codec of events (``Keys``), and of whatever keeps them (``KeptKeys``).

Every method raises ``Unavailable``. Blocking calls, safe from any thread.
"""

from __future__ import annotations

import enum
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

from shared.errors import Unavailable

MAX_REMEMBERED = 10_000
"""Keys that a process has at hand, and as many people of whom it saw that they were forgotten."""
REMEMBERED_S = 60.0
"""So long at most a key is used without asking for it again."""


class Gone(enum.Enum):
    """The key was there and was destroyed, on purpose and for ever."""

    DESTROYED = "destroyed"


DESTROYED = Gone.DESTROYED


class KeptKeys(Protocol):
    """Keys by account id."""

    def find(self, person: str) -> bytes | Gone | None:
        """None: no key was ever made here for this person."""
        ...

    def create(self, person: str) -> bytes | Gone:
        """A new key, or what is there already: the same for all who come at once. Durable when it returns."""
        ...

    def destroy(self, person: str) -> None:
        """Leave nothing but the mark that it was destroyed; safe to repeat, and for people without a key."""
        ...

    def secret(self, name: str) -> bytes:
        """A secret of the installation, made when it is first asked for."""
        ...


class Keys:
    """Keys as the codec of events uses them: remembered for a while, and never made anew for somebody whose key is
    lost.

    ``has_sealed`` says whether something was sealed for a person before; it is asked when there is no key.
    """

    def __init__(
        self,
        kept: KeptKeys,
        has_sealed: Callable[[str], bool],
        *,
        most: int = MAX_REMEMBERED,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept = kept
        self._has_sealed = has_sealed
        self._most = most
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._remembered: OrderedDict[str, tuple[bytes, float]] = OrderedDict()
        self._forgotten: OrderedDict[str, None] = OrderedDict()
        self._secrets: dict[str, bytes] = {}

    def find(self, person: str) -> bytes | Gone | None:
        """The person's key; None if there is none, or it is lost."""
        with self._lock:
            if person in self._forgotten:
                return DESTROYED
            key, until_s = self._remembered.get(person, (b"", 0.0))
            if key and self._monotonic() < until_s:
                return key
        return self._remember(person, self._kept.find(person))

    def key_for(self, person: str) -> bytes | Gone:
        """The person's key, made now for somebody new. Raises ``Unavailable`` if it is lost: what was sealed with it
        may come back with a restored key table, and must not be mixed with what another key seals."""
        found = self.find(person)
        if found is not None:
            return found
        if self._has_sealed(person):
            raise Unavailable(
                f"the key of account {person} is missing, so nothing personal can be stored for it (EVT-5): "
                "restore the key table (FLOTILLA_KEYS), or forget the account"
            )
        return self._remember(person, self._kept.create(person)) or DESTROYED

    def forgotten(self, person: str) -> None:
        """This process saw that the person was forgotten: from now on the key counts as destroyed."""
        with self._lock:
            self._remembered.pop(person, None)
            self._forgotten[person] = None
            self._forgotten.move_to_end(person)
            if len(self._forgotten) > self._most:
                self._forgotten.popitem(last=False)

    def destroy(self, person: str) -> None:
        """Destroy the key where it is kept, and here."""
        self._kept.destroy(person)
        self.forgotten(person)

    def secret(self, name: str) -> bytes:
        """A secret of the installation; the same at every call."""
        known = self._secrets.get(name)
        if known is None:
            known = self._secrets[name] = self._kept.secret(name)
        return known

    def _remember(self, person: str, found: bytes | Gone | None) -> bytes | Gone | None:
        with self._lock:
            if person in self._forgotten:
                return DESTROYED
            self._remembered.pop(person, None)
            if isinstance(found, bytes):
                self._remembered[person] = (found, self._monotonic() + REMEMBERED_S)
                if len(self._remembered) > self._most:
                    self._remembered.popitem(last=False)
        return found
