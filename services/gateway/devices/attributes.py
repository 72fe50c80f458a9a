"""What one device reported about itself (MQU-3), as this gateway knows it: the directory, and what came since. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from services.gateway.devices.packing import Packed, for_json, packed, unpacked

MOST_ATTRIBUTES = 1_024
MOST_BYTES = 65_536
"""Of all reported attributes of one device as one JSON object."""
LAG_S = 10.0
"""For so long after a change the directory may not have heard of it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_encode = msgspec.json.Encoder(order="deterministic").encode


class Dated(NamedTuple):
    """A JSON value, and since when it is known, in microseconds since 1970."""

    value: Any
    at_us: int

    @property
    def at(self) -> datetime:
        """Since when."""
        return _EPOCH + timedelta(microseconds=self.at_us)

    @classmethod
    def of(cls, value: Any, at: datetime) -> Dated:
        """The value at a moment."""
        return cls(value, (at - _EPOCH) // timedelta(microseconds=1))


class Change(NamedTuple):
    """What a report changes: the values as JSON text of an object, and the names that go."""

    values: str
    removed: list[str]


class TooManyAttributes(Exception):
    """The device would have more attributes than one may have."""


class Reported(Mapping[str, Any]):
    """Name to value, which is kept packed. Lives over the connections of the device for as long as the directory may
    not know the last change."""

    __slots__ = ("_bytes", "_changed_at", "_dated")

    def __init__(self, dated: Mapping[str, Dated]) -> None:
        self._dated = {name: Dated(packed(value), at_us) for name, (value, at_us) in dated.items()}
        self._bytes = sum(_size(name, entry.value) for name, entry in self._dated.items())
        self._changed_at = -LAG_S

    def __getitem__(self, name: str) -> Any:
        return unpacked(self._dated[name].value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._dated)

    def __len__(self) -> int:
        return len(self._dated)

    def dated(self, name: str) -> Dated | None:
        """The value with its time."""
        found = self._dated.get(name)
        return None if found is None else Dated(unpacked(found.value), found.at_us)

    def for_json(self) -> dict[str, Any]:
        """All of it, to be encoded by msgspec."""
        return {name: for_json(entry.value) for name, entry in self._dated.items()}

    def report(self, values: Mapping[str, Any], at: datetime, now: float) -> Change | None:
        """Take a report over; what it changes, if anything. None as a value takes the attribute away. Raises
        ``TooManyAttributes``; then nothing has changed."""
        changed, removed, grown, more = {}, [], 0, 0
        for name, told in values.items():
            known, value = self._dated.get(name), packed(told)
            if value is None:
                if known is not None:
                    removed.append(name)
                    grown, more = grown - _size(name, known.value), more - 1
            elif known is None or not _same(known.value, value):
                changed[name] = told
                grown += _size(name, value) - (_size(name, known.value) if known else 0)
                more += known is None
        if not changed and not removed:
            return None
        if (grown > 0 and self._bytes + grown > MOST_BYTES) or (more > 0 and len(self) + more > MOST_ATTRIBUTES):
            raise TooManyAttributes(f"at most {MOST_ATTRIBUTES} of {MOST_BYTES} bytes in all")
        self._dated.update({name: Dated.of(packed(value), at) for name, value in changed.items()})
        for name in removed:
            del self._dated[name]
        self._bytes += grown
        self._changed_at = now
        return Change(_encode(changed).decode(), sorted(removed))

    def settled(self, now: float) -> bool:
        """Whether the directory knows all of it."""
        return now >= self._changed_at + LAG_S


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values, packed, are the same: 1, 1.0 and true are three."""
    return type(one) is type(other) and bool(one == other)


def _size(name: str, value: Any) -> int:
    return len(_encode(name)) + len(value if isinstance(value, Packed) else _encode(value)) + 2
