"""Parts of a file that never changes: Range, If-Range and If-None-Match (RFC 9110). Pure.

One stretch at a time: who asks for several gets all of it, which every client must expect.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_ONE = re.compile(r"bytes\s*=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})", re.IGNORECASE)
_TAG = re.compile(r'(?:W/)?"[^"]*"')


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes from ``first`` up to, not including, ``end``, of ``size``."""

    first: int
    end: int
    size: int

    @property
    def is_all(self) -> bool:
        """Whether it is the whole file."""
        return self.end - self.first == self.size

    @property
    def content_range(self) -> str:
        """As the header has it."""
        return f"bytes {self.first}-{self.end - 1}/{self.size}"


def etag(sha256: str) -> str:
    """A strong one: the content is what its digest says."""
    return f'"{sha256}"'


def stretch(size: int, tag: str, asked: str | None, condition: str | None) -> Stretch | None:
    """What to send of a file with this ETag to whoever sent this Range and If-Range; None when there is nothing of the
    kind (416). What is no range is ignored, and so is one of another file."""
    everything = Stretch(0, size, size)
    found = _ONE.fullmatch(asked.strip()) if asked else None
    if found is None or (condition is not None and condition.strip() != tag):
        return everything
    first, last = found.groups()
    if not first and not last:
        return everything
    if not first:
        return Stretch(max(0, size - int(last)), size, size) if int(last) and size else None
    if last and int(last) < int(first):
        return everything
    if int(first) >= size:
        return None
    return Stretch(int(first), min(size, int(last) + 1) if last else size, size)


def is_known(tag: str, condition: str | None) -> bool:
    """Whether whoever sent this If-None-Match has the file already."""
    if condition is None:
        return False
    return condition.strip() == "*" or tag in (known.removeprefix("W/") for known in _TAG.findall(condition))
