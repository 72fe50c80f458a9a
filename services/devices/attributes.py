"""Attributes of a device: names with JSON values, desired by the platform or reported by the device (MQU-3, MQX-3).

Pure. A value is kept as its JSON text, so that values are equal exactly when a device would be told the same.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from shared.errors import Refused

MAX_ATTRIBUTES = 1_024
"""Of one device and one kind."""
MAX_NAME_BYTES = 128
MAX_BYTES = 65_536
"""Of all desired attributes of one device as one JSON object, and of all reported ones."""
MAX_NESTING = 32
COMPUTED = ("fw_", "sw_")
"""How names begin that the platform computes (MQF-3): nobody may set those."""

Values = Mapping[str, str]
"""Name to the JSON text of the value."""


@dataclass(frozen=True, slots=True)
class Changes:
    """Values that are wanted, and names that are wanted no more."""

    values: Values
    removed: frozenset[str]


def parse(values: object, removed: object = ()) -> Changes:
    """What is asked for, checked; null takes a name away, as ``removed`` does. Raises ``Refused``."""
    if not isinstance(values, Mapping) or not isinstance(removed, list | tuple):
        raise _invalid("attributes are an object of names and values, and a list of names to remove")
    if len(values) + len(removed) > MAX_ATTRIBUTES:
        raise _invalid(f"at most {MAX_ATTRIBUTES} attributes are changed at a time")
    for name in (*values, *removed):
        _check_name(name)
    gone = {name for name, value in values.items() if value is None} | set(removed)
    return Changes({name: _text(name, value) for name, value in values.items() if name not in gone}, frozenset(gone))


def needed(before: Values, changes: Changes) -> tuple[Values, list[str]]:
    """The part of the changes that is not true yet, sorted. Raises ``Refused`` if it is more than a device can have."""
    values = {name: text for name, text in sorted(changes.values.items()) if before.get(name) != text}
    removed = sorted(changes.removed & before.keys())
    after = merged(before, values, removed)
    if len(after) > MAX_ATTRIBUTES or len(as_object(after).encode()) > MAX_BYTES:
        raise _invalid(f"a device has at most {MAX_ATTRIBUTES} desired attributes of {MAX_BYTES} bytes in all")
    return values, removed


def merged(before: Values, values: Values, removed: Collection[str]) -> Values:
    """The attributes after a change."""
    return {name: text for name, text in {**before, **values}.items() if name not in removed}


def as_object(values: Values) -> str:
    """The attributes as the text of one JSON object."""
    return "{" + ",".join(f"{_json(name)}:{text}" for name, text in values.items()) + "}"


def values_of(text: str) -> Values:
    """The attributes in the text of a JSON object."""
    return {name: _json(value) for name, value in json.loads(text).items()}


def newest(dated: Iterable[tuple[str, str, int]]) -> frozenset[str]:
    """The names of the newest of these (name, JSON text, when) that together are within the limits of a device."""
    kept, size = set[str](), 2
    for name, text, _ in sorted(dated, key=lambda one: (-one[2], one[0])):
        size += len(_json(name).encode()) + len(text.encode()) + 2
        if len(kept) == MAX_ATTRIBUTES or size > MAX_BYTES:
            break
        kept.add(name)
    return frozenset(kept)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not 1 <= len(_bytes(name)) <= MAX_NAME_BYTES or "\x00" in name:
        raise _invalid(f"an attribute's name has 1 to {MAX_NAME_BYTES} bytes; {str(name)[:64]!r} has not")
    if name.startswith(COMPUTED):
        raise _invalid(f"{name!r}: names that begin with fw_ or sw_ are the platform's own")


def _text(name: str, value: Any) -> str:
    if _depth(value) > MAX_NESTING:
        raise _invalid(f"{name!r} is nested deeper than {MAX_NESTING}")
    try:
        text = _json(value)
    except (TypeError, ValueError, RecursionError):
        raise _invalid(f"{name!r} has a value that JSON does not know") from None
    _bytes(text)
    return text


def _depth(value: Any) -> int:
    """How deep lists and objects stand in each other, counted up to one beyond the limit."""
    level, depth = [value], 0
    while depth <= MAX_NESTING:
        inner = [one for one in level if isinstance(one, list | dict)]
        if not inner:
            return depth
        depth += 1
        level = [child for one in inner for child in (one.values() if isinstance(one, dict) else one)]
    return depth


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def _bytes(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise _invalid(f"{text[:64]!r} holds half a character") from None


def _invalid(reason: str) -> Refused:
    return Refused("invalid_request", reason)
