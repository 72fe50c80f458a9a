"""What is checked of an append before it waits for its turn."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from shared.errors import Misuse
from shared.store.port import MAX_APPEND_BYTES, MAX_APPEND_EVENTS, AppendTooLarge, Expected, New

MAX_NAME = 512
"""Longest name of a stream or an event type, in characters."""


def check_stream(name: str) -> None:
    """Raises ``Misuse`` for a name that no stream can have."""
    if not _is_name(name):
        raise Misuse(f"{name[:MAX_NAME]!r} cannot be the name of a stream")


def append_bytes(stream: str, expected: int | Expected, events: Sequence[New]) -> int:
    """The size that counts for the limit. Raises ``Misuse`` and ``AppendTooLarge``."""
    check_stream(stream)
    if isinstance(expected, int) and expected < 0:
        raise Misuse(f"version {expected} of {stream} cannot be expected")
    if not events:
        raise Misuse(f"nothing to append to {stream}")
    if len(events) > MAX_APPEND_EVENTS:
        raise AppendTooLarge(f"{len(events)} events, at most {MAX_APPEND_EVENTS} in one append")
    total = sum([check_event(event.type, event.data, event.meta) for event in events])
    if total > MAX_APPEND_BYTES:
        raise AppendTooLarge(f"{total} bytes, at most {MAX_APPEND_BYTES} in one append")
    return total


def check_event(kind: str, data: bytes, meta: bytes) -> int:
    """The size that counts for the limit. Raises ``Misuse`` for what no event can be."""
    if not _is_type(kind):
        raise Misuse(f"{kind[:MAX_NAME]!r} cannot be the type of an event")
    if not (isinstance(data, bytes) and isinstance(meta, bytes)):
        raise Misuse(f"data and metadata of {kind} must be bytes")
    return len(data) + len(meta) + 2 * len(kind)


@lru_cache(1_024)
def _is_type(text: str) -> bool:
    return _is_name(text) and text[0] != "$"


def _is_name(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and "\0" not in text and (text.isascii() or _is_utf8(text))


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
    return True
