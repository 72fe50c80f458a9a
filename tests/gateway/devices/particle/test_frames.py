"""The session cipher: any cut of the stream gives the same messages, and a lost synchronisation is noticed."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle import frames
from services.gateway.devices.particle.frames import FrameReader, FrameWriter
from services.gateway.devices.particle.violations import BAD_FRAME, BadMessage
from shared.errors import Misuse

KEY, IV = bytes(range(16)), bytes(range(16, 32))


def sealed(plain: bytes) -> bytes:
    """A frame of this plaintext, whatever its padding."""
    ciphertext = Cipher(AES(KEY), CBC(IV)).encryptor().update(plain)
    return len(ciphertext).to_bytes(2, "big") + ciphertext


@given(st.lists(st.binary(max_size=100), max_size=6), st.data())
def test_messages_survive_any_cut_of_the_stream(messages: list[bytes], data: st.DataObject) -> None:
    writer, reader = FrameWriter(KEY, IV), FrameReader(KEY, IV)
    wire = b"".join(map(writer.write, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        reader.feed(wire[start:end])
        while (message := reader.take()) is not None:
            found.append(message)
    assert found == messages
    assert reader.held_bytes == 0


def test_equal_messages_make_different_frames() -> None:
    writer = FrameWriter(KEY, IV)
    assert writer.write(b"hello") != writer.write(b"hello")


@pytest.mark.parametrize("size", [0, 1, 15, 17, 2_047, 2_049, 2_064, 65_520, 65_535])
def test_a_length_that_cannot_be_is_refused_before_the_frame_has_come(size: int) -> None:
    reader = FrameReader(KEY, IV)
    reader.feed(size.to_bytes(2, "big"))
    with pytest.raises(BadMessage, match=f"frame of {size} bytes") as refusal:
        reader.take()
    assert refusal.value.kind == BAD_FRAME


@pytest.mark.parametrize(
    "ending", [b"\0", b"\x11", b"\xff", b"\x01\x02", b"\x03\x02\x03", bytes((15,)) + bytes((16,)) * 15]
)
def test_wrong_padding_is_refused(ending: bytes) -> None:
    reader = FrameReader(KEY, IV)
    reader.feed(sealed(ending.rjust(16, b"\x20")))
    with pytest.raises(BadMessage, match="padding"):
        reader.take()


def test_a_frame_that_was_lost_does_not_go_unnoticed_for_long() -> None:
    writer, reader = FrameWriter(KEY, IV), FrameReader(KEY, IV)
    writer.write(b"lost")
    reader.feed(writer.write(b"hello"))
    with pytest.raises(BadMessage):
        reader.take()


def test_the_longest_message_passes_and_one_byte_more_is_a_bug_of_ours() -> None:
    writer, reader = FrameWriter(KEY, IV), FrameReader(KEY, IV)
    reader.feed(writer.write(bytes(frames.MAX_MESSAGE_BYTES)))
    assert reader.take() == bytes(2_047)
    with pytest.raises(Misuse):
        writer.write(bytes(frames.MAX_MESSAGE_BYTES + 1))


def test_a_reader_holds_one_frame_at_most_if_it_is_fed_what_it_has_room_for() -> None:
    reader = FrameReader(KEY, IV)
    wire = FrameWriter(KEY, IV).write(bytes(frames.MAX_MESSAGE_BYTES)) + b"more"
    assert reader.room == 2_050
    reader.feed(wire[:1])
    assert reader.take() is None
    assert reader.room == 2_049
    reader.feed(wire[1 : 1 + reader.room])
    assert reader.held_bytes == 2_050
    assert reader.room == 1
    assert reader.take() is not None
    assert reader.held_bytes == 0
