"""The bytes of records: what is one, what is none, and that nothing but the sealed content opens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle.dtls.protection import Protection
from services.gateway.devices.particle.dtls.records import (
    ALERT,
    APPLICATION_DATA,
    HANDSHAKE,
    HEADER_BYTES,
    MAX_DATAGRAM_BYTES,
    MAX_RECORDS,
    MAX_SEQUENCE,
    Datagram,
    Record,
    encode,
    encode_with_id,
    mark_moved,
    mark_reconnected,
    number_of,
    parse,
)
from services.gateway.devices.particle.dtls.refusals import Discarded
from services.gateway.devices.particle.dtls.window import WINDOW_RECORDS, ReplayWindow

DEVICE_ID = bytes(range(12))
CONNECTION_ID = b"12345678"
PROTECTION = Protection(b"k" * 16, b"iv12")

numbers = st.builds(number_of, st.integers(0, 0xFFFF), st.integers(0, MAX_SEQUENCE))
ordinary = st.builds(encode, st.sampled_from([20, 21, 22, 23]), numbers, st.binary(max_size=40))
with_id = st.builds(encode_with_id, numbers, st.binary(min_size=8, max_size=8), st.binary(max_size=40))


@given(st.lists(ordinary | with_id, min_size=1, max_size=MAX_RECORDS))
def test_a_datagram_is_its_records_in_order(encoded: list[bytes]) -> None:
    device_id, records = parse(b"".join(encoded))
    assert device_id == b""
    again = [
        encode_with_id(record.number, record.connection_id, record.fragment)
        if record.connection_id
        else encode(record.content_type, record.number, record.fragment)
        for record in records
    ]
    assert again == encoded


@given(ordinary | with_id, st.data())
def test_a_datagram_that_is_cut_anywhere_is_discarded(encoded: bytes, data: st.DataObject) -> None:
    cut = encoded[: data.draw(st.integers(0, len(encoded) - 1))]
    with pytest.raises(Discarded):
        parse(cut)
    with pytest.raises(Discarded):
        parse(encoded + cut if cut else b"")


@settings(max_examples=300)
@given(
    st.binary(max_size=60), st.sampled_from([b"", b"\x16\xfe\xfd", b"\x19\xfe\xfd", b"\xfd\xfe\xfd", b"\xfe\xfe\xfd"])
)
def test_bytes_are_records_or_discarded(rest: bytes, head: bytes) -> None:
    try:
        device_id, records = parse(head + rest)
    except Discarded:
        return
    assert records
    assert len(device_id) in (0, 12)


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (bytes(MAX_DATAGRAM_BYTES + 1), "size"),
        (encode(HANDSHAKE, number_of(0, 0), b"")[:-1], "size"),
        (encode(24, number_of(0, 0), b""), "content_type"),
        (encode(APPLICATION_DATA, number_of(1, 0), b"x", b"\xfe\xff"), "version"),
        (encode(APPLICATION_DATA, number_of(0, 0), b"x", b"\x03\x03"), "version"),
        (encode(HANDSHAKE, number_of(0, 0), b"") * (MAX_RECORDS + 1), "too_many_records"),
        (mark_moved(encode(APPLICATION_DATA, number_of(1, 0), b"x"), b"eleven byte"), "trailer"),
        (b"\xfe" + bytes(11) + b"\x0c", "trailer"),
        (encode(APPLICATION_DATA, number_of(1, 0), b"x") + encode(254, number_of(1, 1), b"x"), "content_type"),
    ],
)
def test_what_is_none_is_discarded_by_kind(datagram: bytes, kind: str) -> None:
    with pytest.raises(Discarded) as discarded:
        parse(datagram)
    assert discarded.value.kind == kind


def test_the_longest_datagram_is_read() -> None:
    longest = encode(ALERT, number_of(0, 0), bytes(MAX_DATAGRAM_BYTES - HEADER_BYTES))
    assert parse(longest).records[0].fragment == bytes(MAX_DATAGRAM_BYTES - HEADER_BYTES)


def test_the_first_record_may_have_the_version_of_dtls_1_0() -> None:
    assert parse(encode(HANDSHAKE, number_of(0, 7), b"x", b"\xfe\xff")).records[0].sequence == 7


def test_marks_of_continued_sessions_are_undone() -> None:
    number = number_of(1, 1 << 40)
    moved = mark_moved(encode(APPLICATION_DATA, number, b"data"), DEVICE_ID)
    assert moved[0] == 254
    assert moved[-13:] == DEVICE_ID + b"\x0c"
    assert parse(moved) == Datagram(DEVICE_ID, [Record(23, 1, 1 << 40, number, b"", b"data")])
    reconnected = mark_reconnected(encode_with_id(number, CONNECTION_ID, b"data"))
    assert reconnected[0] == 253
    assert parse(reconnected) == Datagram(b"", [Record(25, 1, 1 << 40, number, CONNECTION_ID, b"data")])


@given(content=st.binary(max_size=64), kind=st.sampled_from([21, 22, 23]), sequence=st.integers(0, MAX_SEQUENCE))
def test_what_is_sealed_opens(content: bytes, kind: int, sequence: int) -> None:
    number = number_of(1, sequence)
    for datagram in (
        PROTECTION.seal(kind, number, content),
        PROTECTION.seal_with_id(kind, number, content, CONNECTION_ID),
    ):
        (record,) = parse(datagram).records
        assert PROTECTION.open(record) == (kind, content)


def test_a_sealed_record_with_id_hides_its_type_and_length() -> None:
    sealed = {len(PROTECTION.seal_with_id(23, number_of(1, 0), bytes(size), CONNECTION_ID)) for size in range(16)}
    assert len(sealed) == 1
    (record,) = parse(PROTECTION.seal_with_id(21, number_of(1, 0), b"", CONNECTION_ID)).records
    assert record.content_type == 25


@pytest.mark.parametrize("size_bytes", [0, 7, 8, 15, 16, 40])
def test_a_fragment_too_short_or_foreign_is_discarded(size_bytes: int) -> None:
    number = number_of(1, 5)
    for fragment in (bytes(size_bytes), (number + bytes(size_bytes))[: max(size_bytes, 1)]):
        with pytest.raises(Discarded) as discarded:
            PROTECTION.open(Record(23, 1, 5, number, b"", fragment))
        assert discarded.value.kind == "bad_record"


def test_a_record_with_id_of_nothing_but_padding_is_discarded() -> None:
    number = number_of(1, 5)
    zeros = PROTECTION.seal_with_id(0, number, bytes(15), CONNECTION_ID)
    (record,) = parse(zeros).records
    with pytest.raises(Discarded):
        PROTECTION.open(record)


@given(st.lists(st.integers(0, 3 * WINDOW_RECORDS), max_size=60))
def test_the_window_tells_each_number_once_and_the_old_never(sequences: list[int]) -> None:
    window = ReplayWindow()
    seen: set[int] = set()
    for sequence in sequences:
        too_old = bool(seen) and sequence <= max(seen) - WINDOW_RECORDS
        assert window.is_fresh(sequence) == (sequence not in seen and not too_old)
        if window.is_fresh(sequence):
            window.mark(sequence)
            seen.add(sequence)
        assert window.bits < 1 << WINDOW_RECORDS
        window = ReplayWindow(window.highest, window.bits)  # as stored
