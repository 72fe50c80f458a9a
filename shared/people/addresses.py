"""Where people's commands come from: the address of a client, sealed under the key of whoever acts (EVT-5).

It is sealed where the command comes in, and copied into the metadata of whatever is appended because of it; so services
need no keys for that, and forgetting somebody erases it everywhere. What a company's program does for itself is no
person's: its address stays as it is. Nobody's key fits whoever is unknown: their address is not kept.
"""

from __future__ import annotations

import logging

from shared.errors import Unavailable
from shared.events.fields import FORGOTTEN
from shared.people.keys import Gone, Keys
from shared.people.sealing import NotSealed, OtherKey, is_sealed, seal, unseal

log = logging.getLogger(__name__)

MAX_ADDRESS = 64
"""Characters of an address that are kept: the longest of IPv6, with a zone."""
_PEOPLE = ("account:", "customer:")


class Addresses:
    """Seals and opens them."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def sealed(self, actor: str, address: str) -> str | None:
        """As it is kept; None where nothing is. Never fails: without the key of whoever acts, the command counts more
        than the address."""
        person = _person(actor)
        if person is None:
            return address[:MAX_ADDRESS] or None if actor.startswith("client:") else None
        try:
            key = self._keys.find(person)
        except Unavailable as error:
            log.warning("the address of a command is not kept: %s", error)
            return None
        if key is None or isinstance(key, Gone) or not address:
            return None
        return seal(key, address[:MAX_ADDRESS], _where(actor))

    def opened(self, actor: str, kept: str | None) -> str | None:
        """The address again; ``FORGOTTEN`` once nobody can read it any more. Raises ``Unavailable``."""
        person = _person(actor)
        if kept is None or person is None or not is_sealed(kept):
            return kept
        key = self._keys.find(person)
        if key is None or isinstance(key, Gone):
            return FORGOTTEN
        try:
            return unseal(key, kept, _where(actor))
        except (OtherKey, NotSealed):
            return FORGOTTEN


def _person(actor: str) -> str | None:
    """Whose key it is."""
    return next((actor.removeprefix(kind) for kind in _PEOPLE if actor.startswith(kind)), None)


def _where(actor: str) -> str:
    return f"address/{actor}"
