"""What simulated organizations do, and how their cards behave: the same for the same seed, whatever the order in which
they are asked. Pure.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from services.billing.subscriptions import (
    AddSeat,
    Cancel,
    Command,
    Reactivate,
    RemoveSeat,
    ReplaceCard,
    StartSubscription,
    SwitchPlan,
    Wish,
)
from shared.events.billing import Card
from shared.events.orgs import Plan

DAY_S = 86_400
Answer = Literal["paid", "declined", "final", "unreachable"]


@dataclass(frozen=True, slots=True)
class Habits:
    """Parts of 1. ``yearly``: of those that begin; ``cancels`` and ``switches``: of all, once in their life;
    ``returns``: of those that cancelled; ``changes``: of teams in a month; the last three: of attempts."""

    yearly: float = 0.2
    cancels: float = 0.1
    returns: float = 0.5
    switches: float = 0.05
    changes: float = 0.3
    spread_days: int = 30
    declined: float = 0.06
    final: float = 0.01
    unreachable: float = 0.02


class Chance:
    """Draws that depend on what they are for, and on nothing else."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def drawn(self, *what: object) -> float:
        """From 0 to 1."""
        text = "/".join(map(str, (self._seed, *what)))
        return zlib.crc32(text.encode(), zlib.adler32(text.encode())) / 2**32

    def whole(self, most: int, *what: object) -> int:
        """From 0, below ``most``."""
        return int(self.drawn(*what) * most)


def org_id(number: int) -> str:
    """Of the simulated organization with this number."""
    return f"{number:024x}"


def card(number: int, which: int) -> Card:
    """The organization's ``which``-th card."""
    return Card(f"pm_{number}_{which}", "visa", "4242", 12, 2099, f"card {number} {which}")


def life(habits: Habits, chance: Chance, number: int, begins_at: datetime, days: int) -> list[Command]:
    """What this organization asks for, in the order of its times."""
    at = begins_at + timedelta(seconds=chance.whole(max(1, habits.spread_days) * DAY_S, number, "start"))
    plan: Plan = "yearly" if chance.drawn(number, "yearly") < habits.yearly else "monthly"
    founder = _member(number, 0)
    start = StartSubscription(org_id(number), plan, founder, f"cus_{number}", card(number, 0), at)
    wishes: list[Wish] = [*_team(habits, chance, number, at, days), *_ends(habits, chance, number, at, days)]
    if chance.drawn(number, "switches") < habits.switches:
        other: Plan = "monthly" if plan == "yearly" else "yearly"
        wishes.append(SwitchPlan(other, _some_day(chance, number, "switch", at, days)))
    return [start, *sorted(wishes, key=lambda wish: wish.at)]


def _team(habits: Habits, chance: Chance, number: int, at: datetime, days: int) -> Iterator[AddSeat | RemoveSeat]:
    """People join, and about half of them leave again."""
    for change in range(days // 30):
        if chance.drawn(number, "joins", change) >= habits.changes:
            continue
        joins_at = at + timedelta(days=30 * change, seconds=chance.whole(30 * DAY_S, number, "join", change))
        yield AddSeat(_member(number, change + 1), joins_at)
        if chance.drawn(number, "leaves", change) < 0.5:
            stays = timedelta(seconds=chance.whole(120 * DAY_S, number, "stay", change))
            yield RemoveSeat(_member(number, change + 1), joins_at + stays)


def _ends(
    habits: Habits, chance: Chance, number: int, at: datetime, days: int
) -> Iterator[Cancel | Reactivate | ReplaceCard]:
    if chance.drawn(number, "cancels") < habits.cancels:
        cancels_at = _some_day(chance, number, "cancel", at, days)
        yield Cancel(cancels_at)
        if chance.drawn(number, "returns") < habits.returns:
            away = timedelta(seconds=chance.whole(90 * DAY_S, number, "away"))
            yield Reactivate(cancels_at + away, card(number, 1))
    yield ReplaceCard(card(number, 2), _some_day(chance, number, "card", at, days))


def _some_day(chance: Chance, number: int, what: str, at: datetime, days: int) -> datetime:
    return at + timedelta(seconds=chance.whole(days * DAY_S, number, what, "at"))


def _member(number: int, which: int) -> str:
    return f"{number * 1_000 + which:024x}"


def answer(habits: Habits, chance: Chance, org: str, invoice: int, attempt: int, tries: int) -> Answer:
    """What becomes of an attempt, of which there were so many tries already."""
    if chance.drawn(org, invoice, attempt, tries, "reached") < habits.unreachable:
        return "unreachable"
    drawn = chance.drawn(org, invoice, attempt, "answer")
    if drawn < habits.final:
        return "final"
    return "declined" if drawn < habits.final + habits.declined else "paid"
