from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import Refused
from shared.projections.past_moments import Copy, Moment, Stamp, check_order, is_of, nearest, parse, stamp_of
from shared.store.port import Position, Recorded

START = datetime(2030, 1, 1, tzinfo=UTC)


def stamps(gaps: list[tuple[int, int]]) -> list[Stamp]:
    """Positions rise, times do not fall."""
    position, at, made = 0, START, []
    for step, seconds in gaps:
        position, at = position + step, at + timedelta(seconds=seconds)
        made.append(Stamp(Position(position), at))
    return made


def recorded(stamp: Stamp) -> Recorded:
    return Recorded(UUID(int=stamp.position), "Event", "stream", 0, stamp.position, stamp.at, b"{}", b"{}")


HISTORIES = st.lists(st.tuples(st.integers(1, 3), st.integers(0, 2)), max_size=12).map(stamps)
MOMENTS = st.one_of(
    st.integers(0, 40).map(lambda position: Moment(position=Position(position))),
    st.integers(-1, 25).map(lambda seconds: Moment(at=START + timedelta(seconds=seconds))),
)


def included(history: list[Stamp], moment: Moment) -> list[Stamp]:
    return [stamp for stamp in history if moment.includes(stamp)]


def copy_for(history: list[Stamp], moment: Moment, number: int = 1) -> Copy:
    inside = included(history, moment)
    outside = history[len(inside) :]
    last, behind = inside[-1] if inside else None, outside[0] if outside else None
    return Copy(number, "ready", moment.at, moment.position, last, behind)


@given(HISTORIES, MOMENTS)
def test_a_page_is_cut_where_the_moment_ends(history: list[Stamp], moment: Moment) -> None:
    events = [recorded(stamp) for stamp in history]
    assert [stamp_of(event) for event in events[: moment.kept(events)]] == included(history, moment)


@given(HISTORIES, MOMENTS, MOMENTS)
def test_a_copy_is_taken_for_no_moment_but_its_own(history: list[Stamp], built: Moment, asked: Moment) -> None:
    copy = copy_for(history, built)
    assert is_of(copy, built)
    if is_of(copy, asked):
        assert included(history, asked) == included(history, built)
    if copy.next is not None and included(history, asked) == included(history, built):
        assert is_of(copy, asked)


@given(HISTORIES, st.lists(MOMENTS, max_size=5), MOMENTS)
def test_the_nearest_copy_lacks_events_and_has_none_too_many(
    history: list[Stamp], built: list[Moment], asked: Moment
) -> None:
    copies = [copy_for(history, moment, number) for number, moment in enumerate(built)]
    base = nearest(copies, asked)
    inside = included(history, asked)
    usable = [len(found) for moment in built if (found := included(history, moment)) and found == inside[: len(found)]]
    if base is None:
        assert usable == []
    else:
        assert base.last == inside[max(usable) - 1]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", Moment(position=Position(0))),
        ("4711", Moment(position=Position(4711))),
        ("2030-01-01T00:00:00Z", Moment(at=START)),
        ("2030-01-01T02:00:00.000+02:00", Moment(at=START)),
        ("2030-01-01T00:00:00.000001Z", Moment(at=START + timedelta(microseconds=1))),
    ],
)
def test_a_moment_is_a_time_with_a_zone_or_a_position(text: str, moment: Moment) -> None:
    assert parse(text) == moment
    assert parse(str(moment)) == moment


@pytest.mark.parametrize(
    "text", ["", "yesterday", "-1", "1.5", "9" * 19, "9" * 20, "2030-13-01T00:00:00Z", "x" * 65, "٣", None, 7]
)
def test_anything_else_is_refused_with_what_it_must_be(text: object) -> None:
    with pytest.raises(Refused, match="to: must be a time with its zone") as refusal:
        parse(text, "to")
    assert refusal.value.code == "invalid_request"


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+23:00", "9999-12-31T23:59:59-23:00"])
def test_a_time_that_no_calendar_has_in_utc_is_refused(text: str) -> None:
    with pytest.raises(Refused):
        parse(text)


def test_a_time_without_a_zone_is_refused_with_what_to_add() -> None:
    with pytest.raises(Refused, match="has no zone; add Z"):
        parse("2030-01-01T00:00:00")


def test_moments_that_are_certainly_the_wrong_way_round_are_refused() -> None:
    for since, until in (("2", "1"), ("2030-01-01T00:00:01Z", "2030-01-01T00:00:00Z")):
        with pytest.raises(Refused, match=f"from: {since} is later than to, {until}"):
            check_order(parse(since), parse(until))
    check_order(parse("2030-01-01T00:00:01Z"), parse("1"))
    check_order(parse("1"), parse("1"))
