"""Transactions in a file: what was written before the process was killed is read again, a torn end is cut off."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from zlib import crc32

_FRAME = struct.Struct("<II")
_ITEM = struct.Struct("<I")


class Journal:
    """One frame a transaction: its length and checksum, then its items, each behind its length."""

    def __init__(self, path: Path) -> None:
        path.touch()
        self._file = path.open("r+b", buffering=0)

    def read(self) -> Iterator[list[bytes]]:
        """All whole transactions; afterwards the file ends behind the last one."""
        whole = 0
        while len(head := self._file.read(_FRAME.size)) == _FRAME.size:
            size_bytes, checksum = _FRAME.unpack(head)
            frame = self._file.read(size_bytes)
            if len(frame) < size_bytes or crc32(frame) != checksum:
                break
            whole += _FRAME.size + size_bytes
            yield _items(frame)
        self._file.seek(whole)
        self._file.truncate()

    def write(self, items: Sequence[bytes]) -> None:
        """Handed to the operating system when it returns, so it survives the death of the process."""
        frame = b"".join(_ITEM.pack(len(item)) + item for item in items)
        self._file.write(_FRAME.pack(len(frame), crc32(frame)) + frame)

    def close(self) -> None:
        self._file.close()


def _items(frame: bytes) -> list[bytes]:
    items, at = [], 0
    while at < len(frame):
        (size_bytes,) = _ITEM.unpack_from(frame, at)
        at += _ITEM.size + size_bytes
        items.append(frame[at - size_bytes : at])
    return items
