"""The firmware module of the Core, Photon, P1 and Electron: what a ``.bin`` file says about itself. Pure.

Little endian but for the CRC. A prefix of 24 bytes at offset 0, or at 268 behind a vector table; at the end the
product fields, a SHA-256 that nothing checks, the suffix size and the CRC-32 (HTTP contract 18). Layouts of later
platforms are refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from shared.errors import Refused

PREFIX_OFFSETS = (0, 0x10C)
NO_PRODUCT = 0xFFFF
"""In the product field of a module that was compiled without a product."""

_PREFIX = struct.Struct("<IIBBHHBB8x")
_SUFFIX = struct.Struct("<HHH32sH")
_CRC = struct.Struct(">I")
_SUFFIX_SIZE = struct.Struct("<H")
_WITH_PRODUCT = 40
_WITHOUT_PRODUCT = 36
_FUNCTIONS = range(1, 10)
_APPLICATIONS = (3, 5)
"""Monolithic (Core) and user part: the functions of product firmware; the others are parts of the system."""
_SMALLEST = _PREFIX.size + _SUFFIX.size + _CRC.size


@dataclass(frozen=True, slots=True)
class Module:
    """What a valid module says. ``product_id`` and ``version`` are those that were compiled in."""

    platform_id: int
    product_id: int
    version: int


def read_module(image: bytes) -> Module:
    """The module that this file is; raises ``Refused("invalid_binary")`` with the reason."""
    if len(image) < _SMALLEST:
        raise _invalid(f"it has {len(image)} bytes, and the smallest module {_SMALLEST}")
    platform_id = _platform(image)
    (stored,) = _CRC.unpack_from(image, len(image) - _CRC.size)
    computed = zlib.crc32(image[: -_CRC.size])
    if stored != computed:
        raise _invalid(f"its CRC-32 is {computed:08x}, and it says {stored:08x}")
    product_id, version = _product_fields(image)
    return Module(platform_id, product_id, version)


def check_module(module: Module, *, platform_id: int, product_id: int, version: int | None = None) -> None:
    """Refuse a module that does not agree with its product and the version that was stated, if one was (FW-1)."""
    if module.platform_id != platform_id:
        raise Refused(
            "platform_mismatch", f"the binary is for platform {module.platform_id}, the product for {platform_id}"
        )
    if module.product_id == NO_PRODUCT:
        raise Refused("product_mismatch", "the binary was compiled without a product id")
    if module.product_id != product_id:
        raise Refused(
            "product_mismatch", f"the binary was compiled for product {module.product_id}, not for {product_id}"
        )
    if version is not None and module.version != version:
        raise Refused("version_mismatch", f"the binary carries version {module.version}, and {version} was stated")


def _platform(image: bytes) -> int:
    problem = "no module begins at byte 0 or 268"
    for offset in PREFIX_OFFSETS:
        if offset + _SMALLEST > len(image):
            continue
        start, end, reserved, flags, _, platform_id, function, _ = _PREFIX.unpack_from(image, offset)
        if function not in _FUNCTIONS or end <= start or reserved:
            continue
        stated_bytes = end - start + _CRC.size
        if stated_bytes != len(image):
            problem = f"it has {len(image)} bytes, and by its addresses {stated_bytes}"
        elif flags:
            problem = f"its flags {flags:#04x} are not understood"
        elif function not in _APPLICATIONS:
            problem = f"its module function {function} is a part of the system, not an application"
        else:
            return int(platform_id)
    raise _invalid(problem)


def _product_fields(image: bytes) -> tuple[int, int]:
    (size,) = _SUFFIX_SIZE.unpack_from(image, len(image) - _CRC.size - _SUFFIX_SIZE.size)
    if size == _WITHOUT_PRODUCT:
        return NO_PRODUCT, NO_PRODUCT
    if size != _WITH_PRODUCT:
        raise _invalid(f"its suffix of {size} bytes is not understood")
    product_id, version, *_ = _SUFFIX.unpack_from(image, len(image) - _CRC.size - _SUFFIX.size)
    return product_id, version


def _invalid(reason: str) -> Refused:
    return Refused("invalid_binary", f"the file is no firmware module: {reason}")
