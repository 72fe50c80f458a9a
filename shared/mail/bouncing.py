"""Whom mail does not reach, because a server refuses it for good (billing specification, "E-mail"). Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

_FOR_GOOD = re.compile(r"5\d\d\b")
"""How what a server said begins, where it will say no other thing however often it is asked (RFC 5321, 4.2.1)."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a letter to this person; ``error`` is empty if it arrived."""

    person: str
    at: datetime
    error: str = ""


def bouncing(outcomes: Iterable[Fate], address_since: Mapping[str, datetime]) -> dict[str, datetime]:
    """Who of these people cannot be reached, and since when: from the first letter that was refused for good, until
    one arrives or the address is another. ``address_since``: those who are asked about, each with when the address
    became what it is."""
    refused: dict[str, datetime] = {}
    for one in sorted(outcomes, key=lambda outcome: outcome.at):
        since = address_since.get(one.person)
        if since is None or one.at < since:
            continue
        if not one.error:
            refused.pop(one.person, None)
        elif _FOR_GOOD.match(one.error):
            refused.setdefault(one.person, one.at)
    return refused
