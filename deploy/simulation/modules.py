"""Builds firmware modules as a compiler would leave them: correct addresses and sums around any code. Pure.

HTTP contract 18. For demonstrations and tests; what reads them is ``services.firmware.modules``.
"""

from __future__ import annotations

import hashlib
import struct
import zlib

PHOTON = 6
USER_PART = 5
_START = 0x080A0000
_PREFIX = "<IIBBHHBB8x"
_WITHOUT_PRODUCT = 36


def build_module(
    product: int,
    version: int,
    code: bytes = bytes(64),
    *,
    platform: int = PHOTON,
    vector_table: bytes = b"",
    flags: int = 0,
    function: int = USER_PART,
    suffix_size: int = 40,
) -> bytes:
    """A module of this product and version; the keywords make those that are wrong in one place."""
    fields = b"" if suffix_size == _WITHOUT_PRODUCT else struct.pack("<HH", product, version)
    length = len(vector_table) + struct.calcsize(_PREFIX) + len(code) + len(fields) + 2 + 32 + 2 + 4
    prefix = struct.pack(_PREFIX, _START, _START + length - 4, 0, flags, 3, platform, function, 1)
    head = vector_table + prefix + code + fields + b"\0\0"
    body = head + hashlib.sha256(head).digest() + struct.pack("<H", suffix_size)
    return body + struct.pack(">I", zlib.crc32(body))
