"""All events of a store, page by page."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.port import Only, Page, Position, Recorded
from shared.store.walking import walk


def event(position: int) -> Recorded:
    kind, at = "Odd" if position % 2 else "Even", datetime(2026, 1, 1, tzinfo=UTC)
    return Recorded(UUID(int=position), kind, "s", 0, Position(position), at, b"{}", b"{}")


class Pages:
    """A store of even and odd events that looks at a few positions a page, and counts how often it is asked."""

    def __init__(self, positions: list[int], looks: int) -> None:
        self._positions = positions
        self._looks = looks
        self.asked = 0

    def read_all(self, after: Position | None, limit: int, only: Only) -> Page:
        self.asked += 1
        behind = [position for position in self._positions if position > (after or 0)]
        seen = behind[: self._looks]
        found = [event(position) for position in seen if not only.types or event(position).type in only.types]
        return Page(found, Position(seen[-1]) if seen else after, end=len(seen) == len(behind))


positions = st.sets(st.integers(1, 40)).map(sorted)
bounds = st.none() | st.integers(1, 45)


@given(positions, st.integers(1, 7), bounds, bounds, st.sampled_from([Only(), Only(types=frozenset({"Odd"}))]))
def test_all_events_of_a_stretch_come_once_and_in_order(
    there: list[int], looks: int, after: int | None, until: int | None, only: Only
) -> None:
    begin, end = (None if bound is None else Position(bound) for bound in (after, until))
    found = walk(Pages(there, looks), only, after=begin, until=end)  # type: ignore[arg-type]
    wanted = [position for position in there if (after or 0) < position <= (until or 100)]
    assert [one.position for one in found] == [one for one in wanted if not only.types or one % 2]


@pytest.mark.parametrize("until", [1, 10])
def test_nothing_is_read_behind_the_end(until: int) -> None:
    pages = Pages(list(range(1, 101)), looks=5)
    assert len(list(walk(pages, until=Position(until)))) == until  # type: ignore[arg-type]
    assert pages.asked == (until + 4) // 5
