"""Lines of an archive: whatever a store holds comes back as it was."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.archive.lines import BadLine, End, Header, event_line, is_note, note_line, to_event, to_note
from shared.store.port import Position, Recorded

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = datetime(2024, 2, 29, 12, 0, 0, 123_456, tzinfo=UTC)
names = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)
payloads = st.one_of(
    st.binary(max_size=40),
    st.dictionaries(st.text(max_size=5), st.one_of(st.floats(), st.integers(), st.text(max_size=5))).map(
        lambda found: json.dumps(found).encode()
    ),
    st.sampled_from(
        [b'{"a": 1.0}', b' {"a":1}', b'{"a":\n1}', b'{"a":1,"a":2}', b'{"n":123456789012345678901234567890}']
    ),
)
events = st.builds(
    Recorded,
    id=st.uuids(),
    type=names,
    stream=names,
    version=st.integers(0, 2**31),
    position=st.integers(1, 2**62).map(Position),
    at=st.integers(0, 4 * 10**15).map(lambda us: EPOCH + timedelta(microseconds=us)),
    data=payloads,
    meta=payloads,
)


def event(data: bytes = b"{}") -> Recorded:
    return Recorded(UUID(int=7), "Happened", "device-1", 3, Position(9), NOON, data, b'{"schema":1}')


@given(events)
def test_an_event_comes_back_byte_for_byte_from_one_line(one: Recorded) -> None:
    line = event_line(one)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert not is_note(line)
    assert to_event(line) == one


def test_a_line_can_be_read_by_a_person() -> None:
    assert json.loads(event_line(event(b'{"product_id": 7}'))) == {
        "id": "00000000-0000-0000-0000-000000000007",
        "type": "Happened",
        "stream": "device-1",
        "version": 3,
        "position": 9,
        "at": "2024-02-29T12:00:00.123456Z",
        "data": {"product_id": 7},
        "meta": {"schema": 1},
    }
    assert b'"data":{"product_id": 7.0}' in event_line(event(b'{"product_id": 7.0}'))


def test_a_note_is_told_from_events_by_its_type() -> None:
    header = Header(created=NOON, types=("Happened",), streams=("device-",), since=3, until=9)
    for note in (header, End(3, 9, "ab" * 32)):
        assert is_note(note_line(note))
        assert to_note(note_line(note)) == note
    assert json.loads(note_line(header))["from"] == 3


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nothing\n",
        b"{}\n",
        b"[]\n",
        event_line(event()).replace(b'"version":3', b'"version":-1'),
        event_line(event()).replace(b'"position":9', b'"position":0'),
        event_line(event()).replace(b'"version":3', b'"version":"3"'),
        event_line(event()).replace(b',"data":{}', b""),
        event_line(event()).replace(b"Z", b""),
        event_line(event()).replace(b"device-1", b"device-\xff"),
    ],
)
def test_anything_else_is_no_event(line: bytes) -> None:
    with pytest.raises(BadLine):
        to_event(line)


@pytest.mark.parametrize("line", [b'{"type":"$end"}\n', b'{"type":"$later","events":1}\n', b'{"type":"$\xff"}\n'])
def test_anything_else_is_no_note(line: bytes) -> None:
    with pytest.raises(BadLine):
        to_note(line)
