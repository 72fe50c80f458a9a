"""The firmware module of the Core, Photon, P1 and Electron: what a ``.bin`` file says about itself. Pure.

Little endian but for the CRC. A prefix of 24 bytes at offset 0, or at 268 behind a vector table; at the end the
product fields, a SHA-256 that nothing checks, the suffix size and the CRC-32 (HTTP contract 18). Layouts of later
platforms are refused.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from shared.errors import Refused

PREFIX_OFFSETS = (0, 0x10C)
NO_PRODUCT = 0xFFFF
"""In the product field of a module that was compiled without a product."""

PLATFORMS: Mapping[int, str] = {
    0: "Core",
    6: "Photon",
    8: "P1",
    10: "Electron",
    12: "Argon",
    13: "Boron",
    14: "Xenon",
    15: "E SoM X",
    22: "A SoM",
    23: "B SoM",
    24: "X SoM",
    25: "B5 SoM",
    26: "Tracker",
    28: "Tracker M",
    32: "Photon 2",
    35: "M SoM",
}
"""What the later ones are called helps whoever took the wrong file."""
_FLAGS: Mapping[int, str] = {
    0x01: "drops its header",
    0x02: "is compressed",
    0x04: "is combined with others",
    0x08: "is encrypted",
    0x10: "has extensions",
}
_PREFIX = struct.Struct("<IIBBHHBBBBHBBH")
_SUFFIX = struct.Struct("<HHH32sH")
_HASH_FROM_END = 38
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
    """What a valid module says. ``product_id`` and ``version`` are those that were compiled in, ``module_version`` that
    of the system interface; ``dependencies`` are function, index and lowest version of what it needs. ``app_hash`` is
    the SHA-256 that it says, ``app_hash_right`` whether that is true."""

    platform_id: int
    product_id: int
    version: int
    function: int
    index: int
    module_version: int
    dependencies: tuple[tuple[int, int, int], ...]
    app_hash: str
    app_hash_right: bool


def read_module(image: bytes) -> Module:
    """The module that this file is; raises ``Refused("invalid_binary")`` with the reason."""
    if len(image) < _SMALLEST:
        raise _invalid(f"it has {len(image)} bytes, and the smallest module {_SMALLEST}")
    prefix = _prefix(image)
    (stored,) = _CRC.unpack_from(image, len(image) - _CRC.size)
    computed = zlib.crc32(image[: -_CRC.size])
    if stored != computed:
        raise _invalid(f"its CRC-32 is {computed:08x}, and it says {stored:08x}")
    product_id, version = _product_fields(image)
    said = image[-_HASH_FROM_END:][:32]
    return Module(
        platform_id=prefix.platform_id,
        product_id=product_id,
        version=version,
        function=prefix.function,
        index=prefix.index,
        module_version=prefix.module_version,
        dependencies=prefix.dependencies,
        app_hash=said.hex(),
        app_hash_right=said == hashlib.sha256(image[:-_HASH_FROM_END]).digest(),
    )


def module_warnings(module: Module) -> list[str]:
    """What to tell whoever uploads a module that is accepted all the same."""
    if module.app_hash_right:
        return []
    return [
        "The SHA-256 in the module's suffix is not that of its content, so the hash that devices report for it "
        "identifies nothing. No device minds."
    ]


def check_module(module: Module, *, platform_id: int, product_id: int, version: int | None = None) -> None:
    """Refuse a module that does not agree with its product and the version that was stated, if one was (FW-1)."""
    if module.platform_id != platform_id:
        reason = f"the binary is for {_called(module.platform_id)}, the product for {_called(platform_id)}"
        raise Refused("platform_mismatch", reason)
    if module.product_id == NO_PRODUCT:
        raise Refused("product_mismatch", "the binary was compiled without a product id")
    if module.product_id != product_id:
        raise Refused(
            "product_mismatch", f"the binary was compiled for product {module.product_id}, not for {product_id}"
        )
    if version is not None and module.version != version:
        raise Refused("version_mismatch", f"the binary carries version {module.version}, and {version} was stated")


def _called(platform_id: int) -> str:
    name = PLATFORMS.get(platform_id)
    return f"platform {platform_id}" + (f" ({name})" if name else "")


@dataclass(frozen=True, slots=True)
class _Prefix:
    module_version: int
    platform_id: int
    function: int
    index: int
    dependencies: tuple[tuple[int, int, int], ...]


def _prefix(image: bytes) -> _Prefix:
    problem = "no module begins at byte 0 or 268"
    for offset in PREFIX_OFFSETS:
        if offset + _SMALLEST > len(image):
            continue
        fields: tuple[int, ...] = _PREFIX.unpack_from(image, offset)
        start, end, reserved, flags, module_version, platform_id, function, index, *needs = fields
        if function not in _FUNCTIONS or end <= start or reserved:
            continue
        stated_bytes = end - start + _CRC.size
        if stated_bytes != len(image):
            problem = f"it has {len(image)} bytes, and by its addresses {stated_bytes}"
        elif flags:
            said = ", ".join(text for bit, text in _FLAGS.items() if flags & bit) or "is something unknown"
            problem = f"its flags {flags:#04x} say that it {said}, as modules of later platforms may be"
        elif function not in _APPLICATIONS:
            problem = f"its module function {function} is a part of the system, not an application"
        else:
            dependencies = tuple((part, number, least) for part, number, least in (needs[:3], needs[3:]) if part)
            return _Prefix(module_version, platform_id, function, index, dependencies)
    raise _invalid(problem)


def _product_fields(image: bytes) -> tuple[int, int]:
    (size,) = _SUFFIX_SIZE.unpack_from(image, len(image) - _CRC.size - _SUFFIX_SIZE.size)
    if size == _WITHOUT_PRODUCT:
        return NO_PRODUCT, NO_PRODUCT
    if size != _WITH_PRODUCT:
        kind = "has extensions, as modules of later platforms have" if size > _WITH_PRODUCT else "is not understood"
        raise _invalid(f"its suffix of {size} bytes {kind}")
    product_id, version, *_ = _SUFFIX.unpack_from(image, len(image) - _CRC.size - _SUFFIX.size)
    return product_id, version


def _invalid(reason: str) -> Refused:
    return Refused("invalid_binary", f"the file is no firmware module: {reason}")
