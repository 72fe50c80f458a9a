"""An archive that is not as it was written is refused, with its line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.errors import Refused
from shared.store.archive.lines import End, Header, event_line, note_line
from shared.store.archive.reading import Archive, Contents
from shared.store.archive.writing import export
from shared.store.port import Position, Recorded
from shared.store.sqlite import SqliteEventStore
from tests.shared.store.archive.history import everything, live_through, new

NOON = datetime(2024, 2, 29, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _many_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.store.archive.writing.CHECKPOINT_EVENTS", 10)


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    path = tmp_path / "whole"
    with closing(SqliteEventStore(tmp_path / "events.db", durable=False)) as store, path.open("wb") as out:
        live_through(store)
        export(store, Header(created=NOON, until=store.head()), out, told=lambda *_: None)
        assert [*Archive(path).events(lambda *_: None)] == everything(store)
    return path


def verify(path: Path) -> Contents:
    return Archive(path).verify(lambda *_: None)


def line_of(path: Path) -> int:
    """The line that the refusal names."""
    with pytest.raises(Refused) as refusal:
        verify(path)
    assert refusal.value.code == "bad_archive"
    return int(refusal.value.reason.partition(", line ")[2].partition(":")[0])


def sealed(path: Path, *events: Recorded, since: int | None = None) -> Path:
    """An archive of these events with right checksums."""
    content = note_line(Header(created=NOON, since=since, until=9_999)) + b"".join(map(event_line, events))
    end = End(len(events), events[-1].position, hashlib.sha256(content).hexdigest())
    path.write_bytes(content + note_line(end))
    return path


def event(stream: str, version: int, position: int) -> Recorded:
    made = new(position)[0]
    return Recorded(made.id, made.type, stream, version, Position(position), NOON, made.data, made.meta)


def test_a_whole_archive_says_what_is_in_it(whole: Path) -> None:
    contents = verify(whole)
    assert contents.last["device-1"] > 3
    assert contents.begins == {"device-1": 3, "back": 3, "gone": 4, "gone-for-ever": 3}
    assert contents.forgotten["gone"].gone
    assert contents.size_bytes == whole.stat().st_size


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999), mask=st.integers(1, 255))
def test_any_changed_byte_is_noticed_at_its_line_or_the_next_checkpoint(share: float, mask: int, whole: Path) -> None:
    content = bytearray(whole.read_bytes())
    at = int(share * len(content))
    content[at] ^= mask
    hurt = whole.with_name("hurt")
    hurt.write_bytes(content)
    changed = content[:at].count(b"\n") + 1
    assert changed <= line_of(hurt) <= changed + 13


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.999))
def test_an_archive_that_is_cut_anywhere_is_refused_at_its_last_line(share: float, whole: Path) -> None:
    content = whole.read_bytes()[: int(share * whole.stat().st_size)]
    cut = whole.with_name("cut")
    cut.write_bytes(content)
    assert line_of(cut) == content.count(b"\n") + 1


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:5], *lines[6:]],
        lambda lines: [*lines[:5], lines[4], *lines[5:]],
        lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]],
        lambda lines: [*lines, lines[4]],
        lambda lines: [*lines, b"\n"],
        lambda lines: [*lines, *lines],
        lambda lines: [lines[0], *lines],
        lambda lines: lines[1:],
        lambda lines: [line.replace(b'"format":1', b'"format":2') for line in lines],
    ],
)
def test_lines_that_are_lost_doubled_or_moved_are_noticed(
    whole: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    hurt = whole.with_name("hurt")
    hurt.write_bytes(b"".join(change(whole.read_bytes().splitlines(keepends=True))))
    assert line_of(hurt) > 0


def test_positions_and_versions_must_be_those_that_a_store_gives(tmp_path: Path) -> None:
    first = event("a", 0, 10)
    path = tmp_path / "made"
    assert verify(sealed(path, first, event("a", 1, 12), event("b", 0, 13))).last == {"a": 1, "b": 0}
    for second in (event("b", 0, 10), event("a", 0, 11), event("a", 2, 11), event("b", 1, 11)):
        assert line_of(sealed(path, first, second)) == 3
    assert verify(sealed(path, first, event("b", 4, 11), since=10)).begins == {"b": 4}


def test_a_file_that_is_not_there_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="no file"):
        Archive(tmp_path / "nothing")
    (tmp_path / "other").write_text("{}\n")
    assert line_of(tmp_path / "other") == 1
    (tmp_path / "empty").write_text("")
    assert line_of(tmp_path / "empty") == 1
