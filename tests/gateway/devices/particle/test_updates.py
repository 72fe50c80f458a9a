"""Updates over the air: messages of both protocols, both ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle import coap, device_messages, device_reading, server_messages, update_v3
from services.gateway.devices.particle import update_messages as u
from services.gateway.devices.particle.coap import CON, NON, POST, Message
from services.gateway.devices.particle.messages import Answer, read
from services.gateway.devices.particle.update_messages import Chunk, UpdateBegin, UpdateResult
from services.gateway.devices.particle.update_v3 import ChunksReceived, Finish, NumberedChunk, Start, Started
from services.gateway.devices.particle.violations import BAD_REQUEST, BAD_UPDATE, BadMessage
from shared.errors import Misuse


def sent(message: Message) -> Message:
    """The message as it comes out at the other side."""
    return coap.decode(coap.encode(message))


BEGINS = st.builds(
    UpdateBegin,
    st.integers(0, 2**32 - 1),
    st.integers(1, 65_535),
    st.booleans(),
    st.sampled_from([u.FIRMWARE, u.SYSTEM, u.APPLICATION]),
    st.integers(0, 2**32 - 1),
)


@given(BEGINS)
def test_a_device_reads_the_begin_that_was_sent(begin: UpdateBegin) -> None:
    assert device_reading.read(sent(server_messages.update_begin(1, 2, begin))) == begin


@given(st.binary(min_size=1, max_size=1_024), st.none() | st.integers(0, 65_535))
def test_a_device_reads_the_chunk_that_was_sent_and_finds_it_intact(data: bytes, index: int | None) -> None:
    message = sent(server_messages.chunk(1, 2, data, index))
    chunk = device_reading.read(message)
    assert isinstance(chunk, Chunk)
    assert (chunk.data, chunk.index, chunk.intact) == (data, index, True)
    assert message.type == (CON if index is None else NON)
    assert not Chunk(data + b"\0", chunk.crc).intact


@pytest.mark.parametrize(
    ("queries", "payload"),
    [((), b"x"), ((b"abc",), b"x"), ((b"abcd", b"1"), b"x"), ((b"abcd",), None), ((b"abcd",), b"")],
)
def test_a_device_refuses_a_chunk_without_crc_or_data(queries: tuple[bytes, ...], payload: bytes | None) -> None:
    options = ((coap.URI_PATH, b"c"), *((coap.URI_QUERY, query) for query in queries))
    with pytest.raises(BadMessage) as refusal:
        device_reading.read(Message(CON, POST, 1, b"t", options, payload))
    assert refusal.value.kind == BAD_REQUEST


@pytest.mark.parametrize("fast", [True, False])
def test_a_device_is_ready_in_fast_or_slow_mode(fast: bool) -> None:
    ready = read(sent(device_messages.update_ready(1, b"t", fast)))
    assert isinstance(ready, Answer)
    assert u.read_ready(ready.payload) is fast


def test_a_ready_without_flags_is_refused() -> None:
    for payload in (None, b""):
        with pytest.raises(BadMessage):
            u.read_ready(payload)


def test_a_stored_chunk_and_one_with_a_wrong_crc_are_told_apart() -> None:
    stored, wrong = (read(sent(device_messages.chunk_stored(1, b"t", good))) for good in (True, False))
    assert isinstance(stored, Answer)
    assert isinstance(wrong, Answer)
    assert (stored.good, wrong.good, wrong.code) == (True, False, coap.BAD_REQUEST)


@given(st.lists(st.integers(0, 65_535), max_size=50).map(tuple))
def test_missing_chunks_are_read_as_they_were_listed(indexes: tuple[int, ...]) -> None:
    assert u.read_missing(u.missing_payload(indexes)) == indexes


def test_a_list_of_missing_chunks_is_bounded_and_of_whole_indexes() -> None:
    assert len(u.read_missing(bytes(2 * u.MAX_MISSING))) == u.MAX_MISSING
    assert u.read_missing(None) == ()
    for payload in (bytes(3), bytes(2 * u.MAX_MISSING + 2)):
        with pytest.raises(BadMessage) as refusal:
            u.read_missing(payload)
        assert (refusal.value.kind, refusal.value.fatal) == (BAD_UPDATE, False)


@pytest.mark.parametrize(
    ("payload", "result"),
    [
        (None, UpdateResult(True)),
        (b"", UpdateResult(True)),
        (b'{"r":0}', UpdateResult(True)),
        (b'{"r":-210}', UpdateResult(False, -210)),
        (b'{"r":"ok","u":{"s":0,"l":"m","vc":0,"vv":0,"d":[]}}', UpdateResult(True)),
        (b'{"r":"error"}', UpdateResult(False)),
        (b"{}", UpdateResult(True)),
        (b"[]", UpdateResult(True)),
    ],
)
def test_the_judgement_of_a_device_is_read(payload: bytes | None, result: UpdateResult) -> None:
    assert u.read_result(payload) == result


@pytest.mark.parametrize("payload", [b"{", b"\xff", b"[" * 1_000, b" " * 1_025])
def test_a_judgement_that_is_no_json_is_refused(payload: bytes) -> None:
    with pytest.raises(BadMessage) as refusal:
        u.read_result(payload)
    assert refusal.value.kind == BAD_UPDATE


STARTS = st.builds(
    Start,
    st.integers(1, 2**32 - 1),
    st.integers(1, 1_024).map(lambda n: n * 4),
    st.none() | st.binary(min_size=32, max_size=32),
)


@given(STARTS)
def test_a_device_reads_the_start_of_protocol_3_that_was_sent(start: Start) -> None:
    assert device_reading.read(sent(server_messages.start_v3(1, 2, start))) == start


def test_protocol_3_has_the_options_of_the_specification() -> None:
    message = server_messages.start_v3(1, 2, Start(0x1234, 512, bytes(32)))
    assert message.options == ((11, b"S"), (2057, b"\x12\x34"), (2061, bytes(32)), (2065, b"\x02\x00"))
    assert server_messages.chunk_v3(1, 300, b"data").options == ((11, b"C"), (2049, b"\x01\x2c"))
    assert server_messages.chunk_v3(1, 300, b"data").token == b""
    assert server_messages.finish_v3(1, 2, Finish(True, True)).options == ((11, b"F"), (2069, b""), (2073, b""))
    assert server_messages.finish_v3(1, 2).options == ((11, b"F"),)


def test_protocol_3_is_spoken_both_ways() -> None:
    consent = read(sent(device_messages.started_v3(1, b"t", Started(32, 0))))
    assert isinstance(consent, Answer)
    assert update_v3.read_started(consent.message) == Started(32, 0)
    chunk = device_reading.read(sent(server_messages.chunk_v3(1, 1, b"data")))
    assert chunk == NumberedChunk(1, b"data")
    for finish in (Finish(), Finish(cancel=True), Finish(discard=True), Finish(True, True)):
        assert device_reading.read(sent(server_messages.finish_v3(1, 2, finish))) == finish


def test_a_window_of_no_chunk_is_refused() -> None:
    with pytest.raises(BadMessage) as refusal:
        update_v3.read_started(device_messages.started_v3(1, b"t", Started(0, 512)))
    assert refusal.value.kind == BAD_UPDATE


@given(st.integers(0, 100_000), st.sets(st.integers(2, 4_096), max_size=40))
def test_what_has_arrived_is_read_as_it_was_told(upto: int, beyond: set[int]) -> None:
    received = ChunksReceived(upto, frozenset(upto + place for place in beyond))
    assert read(sent(device_messages.chunks_received_v3(1, received))) == received


def test_the_bitmap_is_little_endian_words_that_begin_behind_the_gap() -> None:
    assert update_v3.bitmap(ChunksReceived(10, frozenset((12, 13)))) == b"\x06\0\0\0"
    assert update_v3.bitmap(ChunksReceived(10, frozenset((43,)))) == b"\0\0\0\0\x01\0\0\0"
    assert update_v3.bitmap(ChunksReceived(10, frozenset())) == b""


def test_a_bitmap_is_bounded_and_of_whole_words() -> None:
    options = ((coap.URI_PATH, b"A"), (update_v3.CHUNK_INDEX, b"\x01"))
    for size in (3, update_v3.MAX_BITMAP_BYTES + 4):
        with pytest.raises(BadMessage) as refusal:
            read(Message(NON, POST, 1, b"", options, bytes(size)))
        assert (refusal.value.kind, refusal.value.fatal) == (BAD_UPDATE, False)
    most = read(Message(NON, POST, 1, b"", options, b"\xff" * update_v3.MAX_BITMAP_BYTES))
    assert isinstance(most, ChunksReceived)
    assert len(most.beyond) == 4_096


def test_a_hash_of_another_length_is_refused_by_a_device() -> None:
    options = ((coap.URI_PATH, b"S"), (update_v3.SHA256, bytes(31)))
    with pytest.raises(BadMessage) as refusal:
        device_reading.read(Message(CON, POST, 1, b"t", options))
    assert refusal.value.kind == BAD_REQUEST


def test_chunks_of_protocol_3_are_whole_words_and_count_from_one() -> None:
    for send in (
        lambda: server_messages.start_v3(1, 2, Start(100, 510)),
        lambda: server_messages.start_v3(1, 2, Start(100, 0)),
        lambda: server_messages.chunk_v3(1, 0, b"x"),
        lambda: server_messages.chunk_v3(1, 1, b""),
    ):
        with pytest.raises(Misuse):
            send()
