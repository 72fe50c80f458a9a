"""Whom mail does not reach: given what became of letters, then who cannot be reached, and since when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.mail.bouncing import Fate, bouncing

ADA, BOB = "a" * 24, "b" * 24
NO = "550 5.1.1 no such mailbox"


def at(day: int) -> datetime:
    return datetime(2026, 3, 1, tzinfo=UTC) + timedelta(days=day)


@pytest.mark.parametrize(
    ("outcomes", "since"),
    [
        ([], None),
        ([Fate(ADA, at(1))], None),
        ([Fate(ADA, at(1), NO)], 1),
        ([Fate(ADA, at(2), NO), Fate(ADA, at(1), NO)], 1),
        ([Fate(ADA, at(1), NO), Fate(ADA, at(2))], None),
        ([Fate(ADA, at(2)), Fate(ADA, at(1), NO), Fate(ADA, at(3), NO)], 3),
        ([Fate(ADA, at(1), NO), Fate(ADA, at(2), "ConnectionRefusedError: down")], 1),
        ([Fate(ADA, at(1), "451 not now")], None),
        ([Fate(ADA, at(-1), NO)], None),
        ([Fate(BOB, at(1), NO)], None),
    ],
    ids=[
        "no mail",
        "it arrived",
        "it was refused",
        "since the first refusal",
        "another one arrived",
        "refused again",
        "our own trouble changes nothing",
        "put off for too long",
        "to an earlier address",
        "somebody outside the team",
    ],
)
def test_who_is_refused_for_good_cannot_be_reached(outcomes: list[Fate], since: int | None) -> None:
    assert bouncing(outcomes, {ADA: at(0)}) == ({} if since is None else {ADA: at(since)})
