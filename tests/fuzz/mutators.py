"""Changes real inputs a little, or a lot, the same way for the same random numbers."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Literal

Steps = tuple[bytes, ...]
"""An input: what comes, in order. A decoder takes one step, a machine with states many."""

MOST_STEPS = 120
MOST_STEP_BYTES = 131_072
"""Longer than every limit of a message that is fed."""

NUMBERS = (
    *(0, 1, 2, 3, 4, 5, 7, 8, 12, 13, 14, 15, 16, 31, 32, 63, 64, 65, 127, 128, 129, 254, 255, 256, 257, 268, 269),
    *(511, 512, 1_023, 1_024, 1_025, 2_047, 2_048, 2_049, 4_095, 4_096, 16_383, 16_384, 32_767, 32_768),
    *(65_535, 65_536, 2**24 - 1, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1),
)
"""Where fields of lengths and numbers begin and end to fit."""
TOKENS = (
    *(b"[", b"]", b"{", b"}", b'"', b",", b":", b"null", b"true", b'{"":', b"[[", b"1e999", b"-1e-999", b"NaN", b"-0"),
    *(b"9" * 40, b"9" * 5_000, b"0.1", b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xc3", b"\xef\xbb\xbf", b"\x00"),
    *(b"\r\n", b"\n", b"\r\n\r\n", b"--", b'"; filename="', b"[]=", b"%00", b"%ff", b"&", b"=", b"+", b"#", b"/", b"$"),
    *("\u2028".encode(), "\U0001f600".encode(), b"__type__", b"-----BEGIN CERTIFICATE-----\n", b"30", b"-", b" " * 300),
)
"""Pieces that mean something to one codec or another."""


def mutated(seeds: Sequence[Steps], random: Random) -> Steps:
    """One of the seeds with one to eight changes."""
    steps = list(random.choice(seeds))
    for _ in range(random.choice((1, 1, 1, 2, 2, 3, 5, 8))):
        if len(steps) > 1 and random.random() < 0.35:
            steps = _rearranged(steps, seeds, random)
        at = random.randrange(len(steps))
        steps[at] = _changed(steps[at], random.choice(random.choice(seeds)), random)[:MOST_STEP_BYTES]
    return tuple(steps[:MOST_STEPS])


def _rearranged(steps: list[bytes], seeds: Sequence[Steps], random: Random) -> list[bytes]:
    """Left out, said again and again, put somewhere else, mixed with another conversation."""
    first, last = sorted((random.randrange(len(steps)), random.randrange(len(steps))))
    match random.randrange(6):
        case 0:
            return steps[:first] + steps[last + 1 :] or steps
        case 1:
            return steps[: last + 1] + steps[first:]
        case 2:
            return steps[:first] + [steps[first]] * random.choice((2, 3, 10, 70)) + steps[first:]
        case 3:
            steps[first], steps[last] = steps[last], steps[first]
            return steps
        case 4:
            return steps[:first] + list(random.choice(seeds))[: random.randrange(1, 8)] + steps[first:]
    return steps[: last + 1]


def _changed(data: bytes, other: bytes, random: Random) -> bytes:
    changes = (_flipped, _replaced, _cut, _numbered, _nudged, _spliced, _repeated, _told, _removed, _random)
    return random.choice(changes)(data, other, random)


def _place(data: bytes, random: Random) -> int:
    """Anywhere, and more often near the beginning, where lengths and kinds are."""
    return random.randrange(len(data) + 1) if random.random() < 0.6 else random.randrange(min(len(data), 24) + 1)


def _flipped(data: bytes, other: bytes, random: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 8))):
        if changed:
            changed[_place(data, random) - 1] ^= 1 << random.randrange(8)
    return bytes(changed)


def _replaced(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + random.randbytes(1) + data[at + 1 :]


def _cut(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] if random.random() < 0.8 else data[at:]


def _numbered(data: bytes, other: bytes, random: Random) -> bytes:
    """A number that is interesting, over what is there or between, in binary or in digits."""
    at, number = _place(data, random), random.choice(NUMBERS)
    width = random.choice((1, 2, 2, 4, 8))
    order: Literal["big", "little"] = "big" if random.random() < 0.7 else "little"
    digits = random.random() < 0.2
    written = str(number).encode() if digits else (number % (1 << 8 * width)).to_bytes(width, order)
    return data[:at] + written + data[at + (len(written) if random.random() < 0.7 else 0) :]


def _nudged(data: bytes, other: bytes, random: Random) -> bytes:
    """A field of a length, a little more or less."""
    at, width = _place(data, random), random.choice((1, 2))
    value = int.from_bytes(data[at : at + width], "big") + random.choice((-2, -1, 1, 2, 16))
    return data[:at] + (value % (1 << 8 * width)).to_bytes(width, "big") + data[at + width :]


def _spliced(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: _place(data, random)] + other[_place(other, random) :]


def _repeated(data: bytes, other: bytes, random: Random) -> bytes:
    """A piece again and again, be it until the whole is huge."""
    first, last = sorted((_place(data, random), _place(data, random)))
    piece = data[first : last + 1]
    most = MOST_STEP_BYTES if random.random() < 0.05 else 3_000
    times = min(random.choice((2, 4, 33, 300, 5_000, 70_000)), max(1, most // max(1, len(piece))))
    return data[:first] + piece * times + data[last + 1 :]


def _told(data: bytes, other: bytes, random: Random) -> bytes:
    at, token = _place(data, random), random.choice(TOKENS)
    return data[:at] + token + data[at + random.choice((0, 0, len(token), 1)) :]


def _removed(data: bytes, other: bytes, random: Random) -> bytes:
    at = _place(data, random)
    return data[:at] + data[at + random.choice((1, 1, 2, 4, 8, 16)) :]


def _random(data: bytes, other: bytes, random: Random) -> bytes:
    return data[: _place(data, random)] + random.randbytes(random.choice((1, 4, 16, 64, 400)))
