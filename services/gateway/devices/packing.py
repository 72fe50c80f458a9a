"""Lists and objects of JSON as they are kept: as their text, which takes no more memory than it took to say them. In
memory an empty list of two bytes is an object of 56, and a device decides what it tells. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

_encode = msgspec.json.Encoder(order="deterministic").encode


class Packed(bytes):
    """The text of a list or an object; the same for what is the same."""

    __slots__ = ()


def packed(value: Any) -> Any:
    """Texts, numbers, truth values and null are kept as they are."""
    return Packed(_encode(value)) if isinstance(value, list | dict) else value


def unpacked(value: Any) -> Any:
    """The value again."""
    return msgspec.json.decode(value) if isinstance(value, Packed) else value


def for_json(value: Any) -> Any:
    """The value as msgspec takes it for a part of a text, without reading it."""
    return msgspec.Raw(value) if isinstance(value, Packed) else value
