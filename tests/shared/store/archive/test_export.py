"""Exports: what is written, and going on after any interruption."""

from __future__ import annotations

import fcntl
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Refused
from shared.store.archive import lines
from shared.store.archive.exporting import export_file
from shared.store.archive.lines import End, Header, is_note, to_event
from shared.store.archive.reading import Archive
from shared.store.archive.scanning import Place
from shared.store.port import ANY, Position, Recorded
from shared.store.sqlite import SqliteEventStore
from tests.shared.store.archive.history import everything, grow, live_through, new

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.archive.writing.CHECKPOINT_EVENTS", 10)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteEventStore]:
    with closing(SqliteEventStore(tmp_path / "events.db", durable=False)) as store:
        live_through(store)
        yield store


def export(
    path: Path, store: SqliteEventStore, *, types: tuple[str, ...] = (), streams: tuple[str, ...] = (), **stretch: int
) -> tuple[End, list[Place]]:
    went_on: list[Place] = []
    asked = Header(created=NOON, types=types, streams=streams, **stretch)
    _, end = export_file(path, asked, store, goes_on=went_on.append, told=lambda _, __: None)
    return end, went_on


def events_of(path: Path) -> list[Recorded]:
    return [to_event(line) for line in path.read_bytes().splitlines(keepends=True) if not is_note(line)]


def test_all_events_are_written_in_order_between_a_header_and_an_end(store: SqliteEventStore, tmp_path: Path) -> None:
    path = tmp_path / "all.ndjson"
    end, _ = export(path, store)
    assert events_of(path) == everything(store)
    notes = [json.loads(line) for line in path.read_bytes().splitlines() if is_note(line)]
    assert notes[0]["to"] == store.head()
    assert [note["events"] for note in notes if note["type"] == "$checkpoint"] == list(range(10, end.events + 1, 10))
    assert [(note["stream"], note["first"], note["gone"]) for note in notes if note["type"] == "$forgotten"] == [
        ("back", 3, False),
        ("device-1", 3, False),
        ("gone", 4, True),
        ("gone-for-ever", 3, True),
    ]
    assert (notes[-1]["type"], notes[-1]["events"], end.events) == ("$end", len(everything(store)), notes[-1]["events"])
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_comes_while_it_is_written_is_not_in_it(store: SqliteEventStore, tmp_path: Path) -> None:
    before = everything(store)
    path = tmp_path / "all.ndjson"
    asked = Header(created=NOON)
    export_file(path, asked, store, goes_on=lambda _: None, told=lambda *_: store.append("late", ANY, new(9_100)))
    assert events_of(path) == before
    assert len(everything(store)) > len(before)


def test_types_streams_and_positions_choose_what_is_written(store: SqliteEventStore, tmp_path: Path) -> None:
    events = everything(store)
    first, last = events[7].position, events[90].position
    export(tmp_path / "some", store, types=("Locked",), streams=("device-2", "device-3"), since=first, until=last)
    assert events_of(tmp_path / "some") == [
        event for event in events[7:91] if event.type == "Locked" and event.stream in ("device-2", "device-3")
    ]
    export(tmp_path / "one", store, since=first, until=first)
    assert events_of(tmp_path / "one") == [events[7]]


def test_an_empty_store_gives_an_archive_without_events(tmp_path: Path) -> None:
    with closing(SqliteEventStore(tmp_path / "empty.db")) as store:
        assert export(tmp_path / "all", store)[0].events == 0
    assert Archive(tmp_path / "all").verify(lambda *_: None).last == {}


def test_an_end_that_the_store_has_not_reached_is_refused(store: SqliteEventStore, tmp_path: Path) -> None:
    with pytest.raises(Refused) as refusal:
        export(tmp_path / "all", store, until=Position((store.head() or 0) + 1))
    assert refusal.value.code == "no_such_position"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1))
def test_wherever_an_export_is_cut_the_next_one_gives_the_same_bytes(
    share: float, store: SqliteEventStore, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if not whole.exists():
        export(whole, store)
        store.append("late", ANY, new(9_200))
    content = whole.read_bytes()
    cut.write_bytes(content[: int(share * (len(content) - 1))])
    _, went_on = export(cut, store)
    assert bool(went_on) == (b"\n" in content[: int(share * (len(content) - 1))])
    if went_on:
        assert cut.read_bytes() == content
    else:
        Archive(cut).verify(lambda *_: None)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.1, 0.99))
def test_what_is_damaged_is_cut_back_to_the_last_good_checkpoint(
    share: float, store: SqliteEventStore, tmp_path: Path
) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    if not whole.exists():
        export(whole, store)
    content = bytearray(whole.read_bytes()[:-1])
    at = int(share * len(content))
    content[at] ^= 1
    hurt.write_bytes(content)
    _, went_on = export(hurt, store)
    assert went_on[0].size_bytes <= at
    assert hurt.read_bytes() == whole.read_bytes()


def test_a_checkpoint_with_another_position_is_damage(store: SqliteEventStore, tmp_path: Path) -> None:
    whole, hurt = tmp_path / "whole", tmp_path / "hurt"
    export(whole, store)
    lines = whole.read_bytes().splitlines(keepends=True)
    index = next(number for number, line in enumerate(lines) if line.startswith(b'{"type":"$checkpoint"'))
    lines[index] = re.sub(rb'"position":(\d+)', lambda found: b'"position":%d' % (int(found[1]) - 1), lines[index])
    hurt.write_bytes(b"".join(lines[:-1]))
    _, went_on = export(hurt, store)
    assert went_on[0].size_bytes < len(b"".join(lines[:index]))
    assert hurt.read_bytes() == whole.read_bytes()


def test_filters_that_are_left_out_are_those_of_the_beginning_and_others_are_refused(
    store: SqliteEventStore, tmp_path: Path
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    export(whole, store, types=("Locked",), until=everything(store)[80].position)
    cut.write_bytes(whole.read_bytes()[:-200])
    with pytest.raises(Refused) as refusal:
        export(cut, store, types=("Released",))
    assert (refusal.value.code, "--type ['Locked']" in refusal.value.reason) == ("other_export", True)
    export(cut, store)
    assert cut.read_bytes() == whole.read_bytes()


def test_a_finished_archive_and_any_other_file_are_left_alone(store: SqliteEventStore, tmp_path: Path) -> None:
    finished, other = tmp_path / "finished", tmp_path / "other"
    export(finished, store)
    other.write_text("my only copy of something\n")
    for path, code in ((finished, "export_finished"), (other, "bad_archive")):
        content = path.read_bytes()
        with pytest.raises(Refused) as refusal:
            export(path, store)
        assert refusal.value.code == code
        assert path.read_bytes() == content


def test_an_export_of_another_store_is_not_gone_on_with(store: SqliteEventStore, tmp_path: Path) -> None:
    export(tmp_path / "whole", store)
    cut = (tmp_path / "whole").read_bytes()[:-200]
    for name, appends in (("longer", 200), ("shorter", 1)):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
        (tmp_path / "cut").write_bytes(cut)
        with closing(SqliteEventStore(tmp_path / name / "events.db")) as other:
            grow(other, appends, start=77)
            with pytest.raises(Refused) as refusal:
                export(tmp_path / "cut", other)
        assert refusal.value.code == "other_store"
        assert (tmp_path / "cut").read_bytes() == cut


def test_two_exports_do_not_write_to_one_file(store: SqliteEventStore, tmp_path: Path) -> None:
    with (tmp_path / "all").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(Refused) as refusal:
            export(tmp_path / "all", store)
    assert refusal.value.code == "file_in_use"


def test_the_largest_event_is_shorter_than_the_longest_line() -> None:
    data = b"\n" * lines.MAX_LINE_BYTES
    largest = Recorded(
        new(1)[0].id, "T" * 512, "☃" * 512, 0, Position(1), NOON, data[: 1_048_576 // 2], data[: 1_048_576 // 2]
    )
    assert len(lines.event_line(largest)) < lines.MAX_LINE_BYTES // 2
