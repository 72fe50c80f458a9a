"""The original time of an event that was restored: the server stamps its own, so it stands in front of the metadata.

``{"$at":<µs since 1970>,…}``, of which a reader sees neither key nor comma: what is read is what was stored, byte by
byte. Events that nobody restored are told apart by their first bytes, without decoding anything.
"""

from __future__ import annotations

import re

_KEY = b'{"$at":'
_STAMPED = re.compile(rb'\{"\$at":(-?\d{1,18})(?:,|(?=\s*\}))')


def stamped(meta: bytes, at_us: int) -> bytes:
    """Metadata, a JSON object, with the time in front. Raises ``ValueError`` for anything else."""
    if not meta.startswith(b"{"):
        raise ValueError("metadata must be a JSON object")
    comma = b"" if meta[1:].lstrip() == b"}" else b","
    return b"%s%d%s%s" % (_KEY, at_us, comma, meta[1:])


def read(meta: bytes, created_us: int) -> tuple[int, bytes]:
    """When the event was recorded at first, and its own metadata; ``created_us`` is the server's time."""
    if meta[: len(_KEY)] != _KEY:
        return created_us, meta
    found = _STAMPED.match(meta)
    if found is None:
        return created_us, meta
    return int(found[1]), b"{" + meta[found.end() :]
