"""A reader against logs that grow, a relay that repeats itself, and connections that break at any moment."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.catching_up import CatchingUp, Page, Told
from services.gateway.live import MAX_WAITING_BYTES, PLATFORM, Cursor, Missed, Place, PublishedEvent
from services.gateway.stream_ids import Ids

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
IDS = Ids(bytes(32))
LANES = (PLATFORM, "aaaaaaaa", "bbbbbbbb")
BEGUN = Cursor(NOW, dict.fromkeys(LANES, Place(0, 9)))


def event(lane: str, position: int, part: int = 0) -> PublishedEvent:
    return PublishedEvent(
        f"{lane}/{position}/{part}", None, 60, NOW, "a" * 24, 1000, None, False, lane, Place(position, part)
    )


def told_of(position: int) -> range:
    """Every third position tells two events."""
    return range(2 if position % 3 == 0 else 1)


class World:
    """Three logs. ``heard``: how far the relay of each has told what is in it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.logs: dict[str, list[PublishedEvent]] = {lane: [] for lane in LANES}
        self.last = dict.fromkeys(LANES, 0)
        self.heard = dict.fromkeys(LANES, 0)
        self.core: CatchingUp | None = None
        self.pages: dict[str, Page | None] = {}
        self.behind: list[str] = []
        self.last_id = IDS.text(BEGUN)
        self.got: list[PublishedEvent] = []
        self.missed: list[Missed] = []

    def publish(self, lane: str) -> None:
        self.last[lane] += 1
        position = self.last[lane]
        self.logs[lane] += [event(lane, position, part) for part in told_of(position)]

    def relay(self, lane: str, again: int) -> None:
        """Tell the next, beginning some events earlier."""
        first = max(0, self.heard[lane] - again)
        self.heard[lane] = min(self.heard[lane] + 1, len(self.logs[lane]))
        if self.core is not None:
            for one in self.logs[lane][first : self.heard[lane]]:
                self.core.hear(one)

    def connect(self) -> None:
        cursor = IDS.cursor(self.last_id, NOW)
        assert cursor is not None
        self.core, self.pages, self.behind = CatchingUp(cursor, LANES, self.limit), {}, list(LANES)

    def disconnect(self) -> None:
        self.core = None

    def read(self, lane: str, most: int) -> None:
        """Begin a page, or hand over the one that was begun."""
        core = self.core
        if core is None or lane not in self.behind:
            return
        if lane not in self.pages:
            core.begin(lane)
            place = core.place(lane)
            assert place is not None
            found = [one for one in self.logs[lane] if one.place is not None and one.place > place]
            page, end = found[:most], len(found) <= most
            looked = Place(self.last[lane], 9) if end else page[-1].place
            self.pages[lane] = Page(page, max(looked, place) if looked else None, end)
            return
        page_read = self.pages.pop(lane)
        assert page_read is not None
        if core.page(lane, page_read):
            self.behind.remove(lane)

    def race(self, lane: str, most: int) -> None:
        """Something is published and told while a page is being read."""
        self.read(lane, most)
        for _ in range(most):
            self.publish(lane)
            self.relay(lane, 0)
        self.read(lane, most)

    def fail(self, lane: str) -> None:
        if self.core is not None and self.pages.pop(lane, None) is not None:
            self.core.leave(lane)

    def outage(self) -> None:
        """The bus was away: what the relays tell is heard by nobody, and then everything is read again."""
        if self.core is None:
            return
        self.behind = list(self.core.lose(LANES))
        self.pages = {}
        for lane in LANES:
            self.heard[lane] = len(self.logs[lane])

    def take(self) -> bool:
        told: Told | None = None if self.core is None else self.core.take()
        if told is None:
            return False
        if isinstance(told.event, PublishedEvent):
            self.got.append(told.event)
        elif told.event is not None:
            self.missed.append(told.event)
        self.last_id = IDS.text(told.cursor)
        return True

    def settle(self) -> None:
        """Nothing fails any more: everything is told in the end."""
        if self.core is None:
            self.connect()
        for lane in LANES:
            while self.heard[lane] < len(self.logs[lane]):
                self.relay(lane, 0)
                while self.take():
                    pass
            for _ in range(100):
                self.read(lane, 100)
                while self.take():
                    pass
            assert lane not in self.behind
        while self.take():
            pass


LANE = st.sampled_from(LANES)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), LANE),
        st.tuples(st.just("relay"), LANE, st.integers(0, 4)),
        st.tuples(st.just("relay"), LANE, st.just(0)),
        st.tuples(st.just("read"), LANE, st.integers(1, 3)),
        st.tuples(st.just("race"), LANE, st.integers(1, 3)),
        st.tuples(st.just("fail"), LANE),
        st.tuples(st.just("connect")),
        st.tuples(st.just("disconnect")),
        st.tuples(st.just("outage")),
        st.tuples(st.just("take")),
    ),
    max_size=120,
)


def play(world: World, steps: list[Any]) -> None:
    for name, *arguments in steps:
        getattr(world, name)(*arguments)
        assert world.core is None or len(world.core) <= world.limit + 10
    world.settle()


@settings(max_examples=400)
@given(STEPS)
def test_a_reader_gets_each_event_once_and_each_lane_in_order_whenever_its_connection_breaks(steps: list[Any]) -> None:
    world = World(limit=1_000)
    play(world, steps)
    assert world.missed == []
    for lane in LANES:
        assert [one for one in world.got if one.lane == lane] == world.logs[lane]


@settings(max_examples=300)
@given(STEPS, st.integers(1, 5))
def test_a_slow_reader_gets_nothing_twice_and_is_told_how_much_it_missed(steps: list[Any], limit: int) -> None:
    world = World(limit)
    play(world, [step for step in steps if step[0] != "disconnect"])
    for lane in LANES:
        mine = [one.place for one in world.got if one.lane == lane and one.place is not None]
        assert mine == sorted(set(mine))
    published = sum(len(log) for log in world.logs.values())
    if not any(step[0] == "connect" for step in steps):
        assert len(world.got) + sum(missed.count or 0 for missed in world.missed) >= published
    assert max(Counter(one.name for one in world.got).values(), default=1) == 1


def reading(limit: int = 10, place: int = 5) -> CatchingUp:
    return CatchingUp(Cursor(NOW, {"aaaaaaaa": Place(place)}), ["aaaaaaaa"], limit)


def taken(core: CatchingUp) -> list[Any]:
    found = []
    while (told := core.take()) is not None:
        found.append(told.event)
    return found


def test_what_is_forgotten_is_told_before_what_is_left_of_it() -> None:
    core = reading()
    core.begin("aaaaaaaa")
    assert core.page("aaaaaaaa", Page([event("aaaaaaaa", 9)], Place(9, 9), end=True, gap=True))
    assert taken(core) == [Missed(None), event("aaaaaaaa", 9), None]


def test_a_log_that_begins_again_is_read_from_its_beginning() -> None:
    core = reading(place=500)
    core.begin("aaaaaaaa")
    core.page("aaaaaaaa", Page([event("aaaaaaaa", 1)], Place(1, 9), end=True, gap=True, restarted=True))
    core.hear(event("aaaaaaaa", 2))
    assert taken(core) == [Missed(None), event("aaaaaaaa", 1), None, event("aaaaaaaa", 2)]


def test_no_more_live_events_are_kept_for_a_page_than_may_wait_and_none_is_lost() -> None:
    core = reading(limit=3)
    core.begin("aaaaaaaa")
    for position in range(6, 12):
        core.hear(event("aaaaaaaa", position))
    assert not core.page("aaaaaaaa", Page([], Place(5, 9), end=True))
    core.begin("aaaaaaaa")
    assert core.page("aaaaaaaa", Page([event("aaaaaaaa", n) for n in range(6, 12)], Place(11, 9), end=True))
    assert [one.name for one in taken(core) if one] == [f"aaaaaaaa/{n}/0" for n in range(6, 12)]


def test_one_lane_that_is_behind_holds_no_other_up() -> None:
    core = reading()
    core.begin("aaaaaaaa")
    core.hear(event("bbbbbbbb", 1))
    assert taken(core) == [event("bbbbbbbb", 1)]


def test_a_lane_that_is_given_up_says_so_and_goes_on_live() -> None:
    core = reading()
    core.hear(event("aaaaaaaa", 6))
    assert core.left_out("aaaaaaaa") == 1
    core.give_up("aaaaaaaa")
    core.hear(event("aaaaaaaa", 7))
    assert taken(core) == [Missed(None), event("aaaaaaaa", 7)]


def test_what_waits_is_bounded_in_bytes_too() -> None:
    core = CatchingUp(BEGUN, [], 1_000)
    for position in range(1, 200):
        core.hear(replace(event("aaaaaaaa", position), data="x" * 65_536))
    assert MAX_WAITING_BYTES <= core.size_bytes < MAX_WAITING_BYTES + 70_000
    told = taken(core)
    assert told[-1] == Missed(199 - len(told) + 1)
    assert core.size_bytes == 0
