"""The ids of an event stream (decision 25), and the cursors of a product's log, which are made alike."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from services.gateway.live import Cursor, Place

MAX_ID = 4_096
"""Characters of an id that is looked at."""
MAX_LANES = 80
"""Of an id; a reader that has heard of more gateways gets the places of so many."""
_FORM = 1
_PLACE, _PAGE = b"place", b"page"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class _Written(msgspec.Struct, array_like=True):
    form: int
    since_ms: int
    places: dict[str, tuple[int, int]]


class _Going(msgspec.Struct, array_like=True):
    form: int
    versions: dict[str, int]


_decode = msgspec.json.Decoder(_Written).decode
_decode_going = msgspec.json.Decoder(_Going).decode


class Ids:
    """Cursors as text that is safe in a header and in a line, sealed with a key of 32 bytes that all gateways have:
    what is in it says how busy the platform is. The same cursor is the same text (AES-SIV needs no nonce)."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESSIV(key)

    def text(self, cursor: Cursor) -> str:
        """As the id of an event."""
        places = {lane: (place.position, place.part) for lane, place in list(cursor.places.items())[-MAX_LANES:]}
        return self._sealed(_PLACE, _Written(_FORM, (cursor.since - _EPOCH) // _MILLISECOND, places))

    def cursor(self, text: str, now: datetime) -> Cursor | None:
        """The cursor of an id; None for anything that is none of ours, and for one of the future."""
        try:
            written = _decode(self._opened(_PLACE, text))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None
        if written.form != _FORM or not 0 <= written.since_ms <= (now - _EPOCH) // _MILLISECOND:
            return None
        places = {lane: Place(*numbers) for lane, numbers in written.places.items()}
        return Cursor(_EPOCH + written.since_ms * _MILLISECOND, places)

    def page_text(self, versions: Mapping[str, int]) -> str:
        """The cursor of a list: the version of each lane before which it goes on."""
        return self._sealed(_PAGE, _Going(_FORM, dict(versions)))

    def versions(self, text: str) -> dict[str, int] | None:
        """What ``page_text`` was given; None for anything else."""
        try:
            going = _decode_going(self._opened(_PAGE, text))
        except (InvalidTag, ValueError, msgspec.MsgspecError):
            return None
        return going.versions if going.form == _FORM else None

    def _sealed(self, what: bytes, written: msgspec.Struct) -> str:
        sealed = self._cipher.encrypt(msgspec.json.encode(written), [what])
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    def _opened(self, what: bytes, text: str) -> bytes:
        """Raises ``ValueError`` and ``InvalidTag``."""
        if not 0 < len(text) <= MAX_ID:
            raise ValueError("no text of ours is so long")
        return self._cipher.decrypt(base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True), [what])
