"""What is fuzzed, and what must be true of it whatever comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.fuzz.mutators import Steps


@dataclass(frozen=True)
class Kept:
    """What a machine holds after all that came, without what it shares with others."""

    held: object
    apart: tuple[object, ...] = ()


@dataclass(frozen=True)
class Target:
    """``play`` takes an input and answers with what is held because of it; it raises nothing but ``refuses``. What is
    held has at most ``held_bytes``, and ``held_per_byte`` more for each byte that came; what is needed in between at
    most as much and ``PEAK_BYTES`` and ``PEAK_PER_BYTE`` more."""

    name: str
    play: Callable[[Steps], object]
    seeds: tuple[Steps, ...]
    refuses: tuple[type[Exception], ...] = ()
    held_bytes: int = 32_768
    held_per_byte: int = 0
    tested: int = 260
    """How many changed inputs the tests play; more than ``TRACED_EVERY``, unless each takes long."""
    share: int = 1
    """Of the time of a long run."""

    def held_most(self, size_bytes: int) -> int:
        """How much may be held after an input of this size."""
        return self.held_bytes + self.held_per_byte * size_bytes
