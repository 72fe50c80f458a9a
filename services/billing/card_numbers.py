"""Card numbers that somebody sends us, which must go no further (BIL-6). Pure."""

from __future__ import annotations

import re

_LIKE_A_NUMBER = re.compile(rb"(?<![0-9])(?:[0-9][ \-]?){12,18}[0-9](?![0-9])")


def holds_card_number(body: bytes) -> bool:
    """Whether 13 to 19 digits that pass the Luhn check stand in it, together or parted by blanks or hyphens."""
    return any(_passes_luhn(found.group()) for found in _LIKE_A_NUMBER.finditer(body))


def _passes_luhn(text: bytes) -> bool:
    digits = [byte - 48 for byte in text if 48 <= byte <= 57]
    doubled = (digit if place % 2 == 0 else sum(divmod(2 * digit, 10)) for place, digit in enumerate(reversed(digits)))
    return sum(doubled) % 10 == 0
