from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.simulation.chance import Chance
from deploy.simulation.conditions import FAILURES, Conditions
from deploy.simulation.counts import MAX_REASONS, OTHERS, note


def test_the_same_seed_and_name_give_the_same_numbers() -> None:
    assert [Chance(7, "a").random() for _ in range(3)] == [Chance(7, "a").random() for _ in range(3)]
    one, same = Chance(7, "a"), Chance(7, "a")
    assert [one.random() for _ in range(20)] == [same.random() for _ in range(20)]


def test_another_seed_or_name_gives_others() -> None:
    assert len({Chance(seed, name).random() for seed in range(5) for name in "abc"}) == 15


@settings(max_examples=30)
@given(st.integers(), st.text(max_size=8), st.integers(1, 1_000))
def test_numbers_are_within_their_limits(seed: int, name: str, limit: int) -> None:
    chance = Chance(seed, name)
    assert 0 <= chance.random() < 1
    assert 0 <= chance.below(limit) < limit
    assert 3 <= chance.uniform(3, 4) <= 4


def test_shares_come_true() -> None:
    conditions, chance = Conditions(failing_updates=0.3, flaky=0.5), Chance(1)
    updates = Counter(conditions.update_fate(chance) for _ in range(2_000))
    links = Counter(conditions.link_fate(chance) for _ in range(2_000))
    assert 0.65 < updates["succeeds"] / 2_000 < 0.75
    assert set(updates) == {"succeeds", *FAILURES}
    assert 0.45 < links["holds"] / 2_000 < 0.55
    assert set(links) == {"holds", "drops", "goes half-open"}


def test_nothing_fails_that_was_not_asked_to() -> None:
    conditions, chance = Conditions(), Chance(1)
    assert {conditions.update_fate(chance) for _ in range(100)} == {"succeeds"}
    assert {conditions.link_fate(chance) for _ in range(100)} == {"holds"}


def test_reasons_are_bounded() -> None:
    reasons: Counter[str] = Counter()
    for number in range(100):
        note(reasons, f"reason {number}")
        note(reasons, "reason 0")
    assert len(reasons) == MAX_REASONS + 1
    assert reasons["reason 0"] == 101
    assert reasons.total() == 200
    assert reasons[OTHERS] == 100 - MAX_REASONS
