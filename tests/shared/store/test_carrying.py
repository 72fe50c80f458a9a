"""From every kind of store into every kind, through an archive; and what each of them promises to carriers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast
from uuid import uuid4

import pytest

from shared.errors import Refused, Unavailable
from shared.store.archive.lines import Header
from shared.store.archive.reading import Archive
from shared.store.archive.writing import export
from shared.store.carrying import Carrying, Forgotten
from shared.store.esdb import EsdbEventStore
from shared.store.importing import Import, Imported
from shared.store.port import ANY, NO_STREAM, New, Position, Recorded, StreamNotFound, StreamTombstoned
from shared.store.sqlite import SqliteEventStore
from tests.shared.store.archive.history import everything, grow, live_through, new
from tests.shared.store.esdb import patiently
from tests.standins.eventstoredb.node import Node

Open = Callable[[], Carrying]
LONG_AGO = datetime(2019, 5, 4, 3, 2, 1, 123_456, tzinfo=UTC)
KINDS = ("sqlite", "esdb")


@pytest.fixture
def opening(tmp_path: Path) -> Iterator[Callable[[str], Open]]:
    """Makes empty stores, each of which may be opened again and again."""
    with ExitStack() as stack:

        def make(kind: str) -> Open:
            if kind == "sqlite":
                path = tmp_path / f"{uuid4()}.db"
                return lambda: stack.enter_context(closing(SqliteEventStore(path, durable=False)))
            node = Node()
            stack.callback(node.stop)
            return lambda: stack.enter_context(closing(EsdbEventStore(node.url)))

        yield make


@pytest.fixture(params=KINDS)
def source(request: pytest.FixtureRequest, opening: Callable[[str], Open]) -> Carrying:
    return opening(request.param)()


@pytest.fixture(params=KINDS)
def reopen(request: pytest.FixtureRequest, opening: Callable[[str], Open]) -> Open:
    """The store that is carried to."""
    return opening(request.param)


@pytest.fixture
def past(opening: Callable[[str], Open], tmp_path: Path) -> Path:
    """An archive of a store with a past, long ago."""
    moments = iter(LONG_AGO + timedelta(milliseconds=n) for n in range(10_000))
    store = SqliteEventStore(tmp_path / "past.db", clock=lambda: next(moments), durable=False)
    with closing(store):
        live_through(store)
        return exported(store, tmp_path / "past.ndjson")


def exported(store: Carrying, path: Path, since: int | None = None) -> Path:
    with path.open("wb") as out:
        header = Header(created=LONG_AGO, since=since, until=store.head())
        export(store, header, out, told=lambda *_: None)
    return path


def imported(path: Path, store: Carrying) -> Imported:
    archive = Archive(path)
    work = Import(archive, archive.verify(lambda *_: None), store)
    work.look(lambda *_: None)
    return work.run(lambda *_: None)


def content(events: Sequence[Recorded], *, with_positions: bool) -> list[tuple[object, ...]]:
    """Everything of each event, with or without its position."""
    return [tuple(each) if with_positions else (*each[:4], *each[5:]) for each in events]


def shown(store: Carrying) -> dict[str, list[Recorded] | str]:
    """What each stream shows, without positions."""
    found: dict[str, list[Recorded] | str] = {}
    for stream in [*(f"device-{n}" for n in range(7)), "gone", "gone-for-ever", "back"]:
        try:
            found[stream] = content(store.read(stream), with_positions=False)  # type: ignore[assignment]
        except (StreamNotFound, StreamTombstoned) as gone:
            found[stream] = type(gone).__name__
    return found


def test_what_was_exported_and_imported_is_the_same(source: Carrying, reopen: Open, tmp_path: Path) -> None:
    live_through(source)
    target = reopen()
    path = exported(source, tmp_path / "all")
    forgotten = {each.stream: each.first for each in source.forgotten()}
    kept = [each for each in everything(source) if each.version >= forgotten.get(each.stream, 0)]
    kept = [each for each in kept if each.stream != "gone-for-ever"]
    done = imported(path, target)
    assert done.events == len(kept)
    assert content(everything(target), with_positions=target.keeps_positions) == content(
        kept, with_positions=target.keeps_positions
    )
    assert shown(target) == shown(source)
    assert target.read("device-1")[0].version == 3
    assert shown(target)["gone"] == "StreamNotFound"
    assert shown(target)["gone-for-ever"] == "StreamTombstoned"


def test_the_imported_streams_go_on_as_they_would_have_gone_on(past: Path, reopen: Open) -> None:
    store = reopen()
    imported(past, store)
    last = store.read("device-2", -1, 1, backwards=True)[0].version
    assert store.append("device-2", last, new(5_000)).version == last + 1
    assert store.append("gone", NO_STREAM, new(5_001)).version == 4
    assert store.append("back", ANY, new(5_002)).version == 5
    with pytest.raises(StreamTombstoned):
        store.append("gone-for-ever", ANY, new(5_003))
    head = store.head()
    assert head is not None
    assert store.at(head).stream == "back"
    assert [event.version for event in store.read("back")] == [3, 4, 5]


def test_times_data_and_metadata_are_those_of_long_ago_byte_for_byte(reopen: Open) -> None:
    store = reopen()
    metas = [b"{}", b"{ }", b'{"a":1}', b'{ "a" : 1 }', b'{"$at":7}', b'{"$at":8,"b":[1.0]}', b'{"\xc3\xa9":"\\u00e9"}']
    events = [
        Recorded(
            uuid4(), "Happened", "a", n, Position(n + 5), LONG_AGO + timedelta(microseconds=n), b'{"x": 1.0}', meta
        )
        for n, meta in enumerate(metas)
    ]
    store.restore(events)
    assert content(store.read("a"), with_positions=False) == content(events, with_positions=False)
    assert store.read_all().events == store.read("a")
    assert store.at(store.read("a")[3].position) == store.read("a")[3]
    store.append("b", NO_STREAM, new(1))
    assert store.read("b")[0].at > LONG_AGO + timedelta(days=365)


def test_an_import_that_is_repeated_changes_nothing(past: Path, reopen: Open) -> None:
    first = imported(past, reopen())
    before = everything(reopen())
    again = imported(past, reopen())
    assert (again.events, again.held) == (0, first.events)
    assert everything(reopen()) == before


@pytest.mark.parametrize("after", [0, 1, 2, 5])
def test_an_import_that_was_interrupted_is_gone_on_with(
    past: Path, reopen: Open, after: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.importing.BATCH", 9)
    store = reopen()
    restore, batches = store.restore, iter(range(after))

    def fails_after_some(events: Sequence[Recorded]) -> None:
        if next(batches, None) is None:
            raise Unavailable("the power is off")
        restore(events)

    store.restore = fails_after_some  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        imported(past, store)
    done = imported(past, reopen())
    assert done.held == after * 9
    with closing(SqliteEventStore(past.with_suffix(".db"))) as source:
        assert shown(reopen()) == shown(source)
        positions = store.keeps_positions
        assert content(everything(reopen()), with_positions=positions) == content(
            everything(source), with_positions=positions
        )


def test_an_archive_that_goes_on_from_another_is_imported_behind_it(reopen: Open, tmp_path: Path) -> None:
    target = reopen()
    with closing(SqliteEventStore(tmp_path / "growing.db", durable=False)) as source:
        grow(source, 30)
        imported(exported(source, tmp_path / "first"), target)
        until = source.head()
        grow(source, 30, start=31)
        source.truncate("device-3", 12)
        second = exported(source, tmp_path / "second", since=until)
        done = imported(second, target)
        assert done.held == 1  # the event at the position that both archives have
        assert shown(target) == shown(source)
    with pytest.raises(Refused, match="import the archive before it first"):
        imported(second, cast("Carrying", SqliteEventStore(tmp_path / "empty.db")))


@pytest.mark.parametrize(
    ("disturb", "says"),
    [
        (lambda store: store.append("device-2", ANY, [New(uuid4(), "Odd", b"{}", b"{}")]), "version 0.*Odd"),
        (lambda store: store.truncate("device-2", 4), "versions below 4 are forgotten here"),
        (lambda store: store.delete("device-2", forever=True), "forgotten here"),
    ],
)
def test_a_store_with_other_events_in_the_streams_is_refused_and_left_alone(
    past: Path, reopen: Open, disturb: Callable[[Carrying], object], says: str
) -> None:
    store = reopen()
    if "forgotten" in says:
        imported(past, store)
    disturb(store)
    before = everything(store)
    with pytest.raises(Refused, match=says) as refusal:
        imported(past, store)
    assert refusal.value.code == "does_not_fit"
    assert "device-2" in refusal.value.reason
    assert everything(store) == before


def test_a_stream_that_has_gone_on_behind_its_end_in_the_archive_is_refused(past: Path, reopen: Open) -> None:
    store = reopen()
    imported(past, store)
    last = store.append("device-2", ANY, [New(uuid4(), "Odd", b"{}", b"{}")]).version
    with pytest.raises(Refused, match=f"device-2, version {last}: the archive ends with version {last - 1}.*Odd"):
        imported(past, store)


def test_an_event_that_differs_in_the_middle_of_a_stream_is_named(past: Path, reopen: Open, tmp_path: Path) -> None:
    archive = Archive(past)
    events = [each for each in archive.events(lambda *_: None) if each.stream == "device-2"]
    other = Recorded(events[3].id, "Odd", "device-2", 3, events[3].position, events[3].at, b"{}", b"{}")
    store = reopen()
    store.restore([*events[:3], other, *events[4:6]])
    with pytest.raises(Refused, match=f"device-2, version 3: the archive has {events[3].type}.*Odd"):
        imported(past, store)


def test_other_streams_stay_where_positions_are_new_and_are_refused_where_they_are_kept(
    past: Path, reopen: Open
) -> None:
    store = reopen()
    mine = new(7_000, 3)
    store.append("mine", NO_STREAM, mine)
    if store.keeps_positions:
        with pytest.raises(Refused, match="up to position 3; import into an empty store"):
            imported(past, store)
        assert len(everything(store)) == 3
    else:
        imported(past, store)
        assert [event.id for event in store.read("mine")] == [event.id for event in mine]


def test_an_archive_of_some_types_is_not_imported(reopen: Open, tmp_path: Path) -> None:
    store = reopen()
    with (
        closing(SqliteEventStore(tmp_path / "some.db", durable=False)) as source,
        (tmp_path / "some").open("wb") as out,
    ):
        grow(source)
        header = Header(created=LONG_AGO, types=("Locked",), until=source.head())
        export(source, header, out, told=lambda *_: None)
    with pytest.raises(Refused) as refusal:
        imported(tmp_path / "some", store)
    assert refusal.value.code == "partial_archive"
    assert store.head() is None


def test_restoring_takes_only_what_fits_behind_what_is_there(reopen: Open) -> None:
    store = reopen()
    first, *rest = [Recorded(uuid4(), "Happened", "a", n, Position(n + 5), LONG_AGO, b"{}", b"{}") for n in range(4)]
    store.restore([first])
    store.delete("dead", forever=True)
    odd = [
        Recorded(uuid4(), "Happened", "a", 0, Position(50), LONG_AGO, b"{}", b"{}"),
        Recorded(uuid4(), "Happened", "dead", 0, Position(50), LONG_AGO, b"{}", b"{}"),
    ]
    for event in odd:
        with pytest.raises(Refused) as refusal:
            store.restore([event])
        assert refusal.value.code == "does_not_fit"
        assert event.stream in refusal.value.reason
    store.restore(rest)
    assert [event.version for event in store.read("a")] == [0, 1, 2, 3]


def test_what_is_forgotten_of_streams_is_told(reopen: Open) -> None:
    store = reopen()
    assert list(store.forgotten()) == []
    live_through(store)
    found = {each.stream: each for each in store.forgotten()}
    assert set(found) == {"back", "device-1", "gone", "gone-for-ever"}
    assert found["back"] == Forgotten("back", 3)
    assert found["device-1"] == Forgotten("device-1", 3)
    assert found["gone"] == Forgotten("gone", 4, gone=True)
    assert found["gone-for-ever"].forever


def test_long_beginnings_that_were_forgotten_are_made_up_for(reopen: Open) -> None:
    store = reopen()
    begins = [Forgotten("long", 2_345), Forgotten("ended", 1_001, gone=True), Forgotten("dead", 7, True, True)]
    store.begin(begins)
    store.begin(begins)
    event = Recorded(uuid4(), "Happened", "long", 2_345, Position(90_000), LONG_AGO, b"{}", b"{}")
    store.restore([event])
    store.begin(begins)
    assert content(store.read("long"), with_positions=False) == content([event], with_positions=False)
    assert len(everything(store)) == 1
    assert store.append("long", 2_345, new(1)).version == 2_346
    assert store.append("ended", NO_STREAM, new(2)).version == 1_001
    with pytest.raises(StreamTombstoned):
        store.read("dead")


def test_restoring_goes_on_when_the_server_was_away(tmp_path: Path) -> None:
    node = Node(folder=tmp_path)
    events = [
        Recorded(uuid4(), "Happened", f"a-{n % 3}", n // 3, Position(n + 5), LONG_AGO, b"{}", b"{}") for n in range(600)
    ]
    try:
        with closing(EsdbEventStore(node.url + "&DefaultDeadline=2")) as store:
            patiently(lambda: store.append("b", ANY, new(1)))
            node.faults.lost_replies = 5
            store.restore(events)
            assert content(everything(store)[1:], with_positions=False) == content(events, with_positions=False)
    finally:
        node.stop()
