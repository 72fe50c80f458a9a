"""Card numbers that somebody sends us, which must go no further (BIL-6). Pure."""

from __future__ import annotations

import re
from collections.abc import Set
from itertools import accumulate

SHORTEST, LONGEST = 13, 19
_DIGITS = re.compile(rb"[0-9](?:[ \-]?[0-9]){12,}")
_GROUP = re.compile(rb"[0-9]+")


def holds_card_number(text: bytes) -> bool:
    """Whether 13 to 19 digits that pass the Luhn check stand in it, together or in groups parted by a blank or hyphen,
    whatever other groups are before and behind them. Time grows with the length alone."""
    return any(_holds(found.group()) for found in _DIGITS.finditer(text))


def _holds(digits: bytes) -> bool:
    """Of groups of digits: whether some that stand together are one."""
    groups = [found.group() for found in _GROUP.finditer(digits)]
    ends = list(accumulate(map(len, groups)))
    starts = {0, *ends}
    together = b"".join(groups)
    return any(_ends_one(together, end, starts) for end in ends if end >= SHORTEST)


def _ends_one(digits: bytes, end: int, starts: Set[int]) -> bool:
    """Whether one ends here: its sum is made from the last digit on, as Luhn's rule goes."""
    total = 0
    for count, place in enumerate(range(end - 1, max(-1, end - 1 - LONGEST), -1)):
        digit = digits[place] - 48
        total += digit if count % 2 == 0 else (2 * digit - 9 if digit > 4 else 2 * digit)
        if count + 1 >= SHORTEST and place in starts and total % 10 == 0:
            return True
    return False
