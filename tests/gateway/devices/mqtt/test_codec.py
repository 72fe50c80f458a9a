"""Bytes to packets and back; nothing but ``Violation`` comes out of what a peer may send."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.mqtt import properties, writer
from services.gateway.devices.mqtt.packets import (
    Acknowledgement,
    Connect,
    Disconnect,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    Will,
    decode,
    decode_connect,
)
from services.gateway.devices.mqtt.reader import Frame, FrameReader
from services.gateway.devices.mqtt.violations import UnsupportedLevel, Violation

TOPICS = st.text(st.characters(exclude_characters="+#\0", exclude_categories=("Cs",)), min_size=1, max_size=40)
LEVELS = st.sampled_from((3, 4, 5))


def frames(data: bytes, limit_bytes: int = 65_536) -> list[Frame]:
    reader = FrameReader(limit_bytes)
    reader.feed(data)
    found = []
    while (frame := reader.take()) is not None:
        found.append(frame)
    return found


@given(TOPICS, st.binary(max_size=300), st.integers(0, 2), st.integers(1, 65_535), LEVELS)
def test_a_publish_that_is_written_is_read_as_it_was(
    topic: str, payload: bytes, qos: int, packet_id: int, level: int
) -> None:
    [frame] = frames(writer.publish(level, topic, payload, qos, packet_id))
    assert decode(frame, level) == Publish(topic, payload, qos, packet_id if qos else 0)


@given(st.sampled_from((4, 5, 6, 7)), st.integers(1, 65_535), st.sampled_from((0, 0x90)), st.text(max_size=300), LEVELS)
def test_an_acknowledgement_that_is_written_is_read_as_it_was(
    kind: int, packet_id: int, reason: int, text: str, level: int
) -> None:
    [frame] = frames(writer.acknowledgement(level, kind, packet_id, reason, text))
    assert decode(frame, level) == Acknowledgement(kind, packet_id, reason if level == 5 else 0)
    assert frame.size_bytes <= 12 + 128


def test_a_disconnect_that_is_written_is_read_as_it_was() -> None:
    [frame] = frames(writer.disconnect(5, 0x8E, "a newer connection"))
    assert decode(frame, 5) == Disconnect(0x8E)
    assert writer.disconnect(4, 0x8E) == b""


@given(st.integers(0, 268_435_455))
def test_a_length_that_is_written_is_read_as_it_was(value: int) -> None:
    assert properties.Cursor(properties.varint(value)).varint() == value


def test_properties_that_are_written_are_read_as_they_were() -> None:
    given_properties: properties.Properties = {0x11: 70_000, 0x21: 32, 0x27: 65_536, 0x15: "x", 0x16: b"\0y"}
    cursor = properties.Cursor(properties.write(given_properties))
    assert properties.read(cursor, properties.IN_CONNECT) == given_properties


@given(st.lists(st.tuples(TOPICS, st.binary(max_size=200)), max_size=12), st.data())
def test_packets_survive_any_cut_of_the_stream(messages: list[tuple[str, bytes]], data: st.DataObject) -> None:
    stream = b"".join(writer.publish(5, topic, payload, 1, 9) for topic, payload in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    reader, found = FrameReader(65_536), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(memoryview(stream)[start:end])
        while (frame := reader.take()) is not None:
            found.append(decode(frame, 5))
    assert found == [Publish(topic, payload, 1, 9) for topic, payload in messages]
    assert reader.held_bytes == 0


@given(st.binary(max_size=2_000), LEVELS, st.integers(1, 64))
def test_garbage_is_refused_as_a_violation_and_never_holds_more_than_one_packet(
    garbage: bytes, level: int, step: int
) -> None:
    reader = FrameReader(256)
    rest = garbage
    try:
        while rest:
            size = min(step, reader.room)
            reader.feed(rest[:size])
            rest = rest[size:]
            assert reader.held_bytes <= 256
            while (frame := reader.take()) is not None:
                decode_connect(frame) if frame.first >> 4 == 1 else decode(frame, level)
    except Violation:
        assert reader.held_bytes <= 256


@given(st.integers(0, 255), st.binary(max_size=120), LEVELS)
def test_any_body_of_any_packet_is_read_or_refused(first: int, body: bytes, level: int) -> None:
    frame = Frame(first, body, len(body) + 2)
    for read in (decode_connect, lambda one: decode(one, level)):
        try:
            read(frame)
        except Violation:
            continue


def test_a_packet_above_the_limit_is_refused_at_its_fixed_header() -> None:
    reader = FrameReader(65_536)
    reader.feed(bytes((0x30, 0xFE, 0xFF, 0x03)))
    with pytest.raises(Violation) as violation:
        reader.take()
    assert (violation.value.reason, violation.value.kind) == (0x95, "packet_too_large")


def test_a_remaining_length_of_five_bytes_is_malformed() -> None:
    with pytest.raises(Violation, match="four bytes"):
        frames(b"\x30\xff\xff\xff\xff\x01")


def test_connect_of_every_level_is_read(wire: Any) -> None:
    for level in (3, 4, 5):
        [frame] = frames(wire.connect("name", password="secret", will=("v2/t", b"{}"), level=level, keep_alive_s=15))
        assert decode_connect(frame) == Connect(level, "client", True, 15, "name", b"secret", Will("v2/t", b"{}", 0))


def test_what_a_client_of_5_takes_is_read_from_its_properties(wire: Any) -> None:
    given_properties = properties.write({0x21: 3, 0x27: 512, 0x17: 0, 0x11: 60, 0x22: 5})[1:]
    given_properties += b"\x26" + wire.text("user") + wire.text("property")
    connect = decode_connect(frames(wire.connect(level=5, properties=given_properties))[0])
    assert (connect.receive_maximum, connect.packet_bytes, connect.problem_information) == (3, 512, False)


@pytest.mark.parametrize(("name", "level", "told"), [("MQTT", 3, 3), ("MQTT", 6, 6), ("MQIsdp", 4, 4), ("MQTT", 0, 0)])
def test_another_level_is_told_apart_from_what_is_malformed(name: str, level: int, told: int, wire: Any) -> None:
    with pytest.raises(UnsupportedLevel) as unsupported:
        decode_connect(frames(wire.packet(0x10, wire.text(name) + bytes([level, 2, 0, 60])))[0])
    assert unsupported.value.level == told


BAD = {
    "reserved flag in CONNECT": b"\x10\x0d\x00\x04MQTT\x04\x03\x00\x3c\x00\x01c",
    "will flags without a will": b"\x10\x0d\x00\x04MQTT\x04\x0a\x00\x3c\x00\x01c",
    "password without user name": b"\x10\x10\x00\x04MQTT\x04\x42\x00\x3c\x00\x01c\x00\x01p",
    "bytes left over": b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x01cx",
    "NUL in a client id": b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\x00",
    "client id that is not UTF-8": b"\x10\x0d\x00\x04MQTT\x04\x02\x00\x3c\x00\x01\xff",
    "surrogate in a client id": b"\x10\x0f\x00\x04MQTT\x04\x02\x00\x3c\x00\x03\xed\xa0\x80",
    "another protocol": b"\x10\x0c\x00\x03FOO\x04\x02\x00\x3c\x00\x01c",
    "CONNECT that ends early": b"\x10\x08\x00\x04MQTT\x04\x02",
    "property that CONNECT has not": b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x23\x00\x01\x00\x01c",
    "Receive Maximum 0": b"\x10\x11\x00\x04MQTT\x05\x02\x00\x3c\x03\x21\x00\x00\x00\x01c",
    "property twice": b"\x10\x14\x00\x04MQTT\x05\x02\x00\x3c\x06\x21\x00\x01\x21\x00\x01\x00\x01c",
    "QoS 3": b"\x36\x05\x00\x01t\x00\x01",
    "wildcard in a topic": b"\x30\x04\x00\x02a+",
    "empty topic": b"\x30\x02\x00\x00",
    "NUL in a topic": b"\x30\x03\x00\x01\x00",
    "packet id 0": b"\x32\x05\x00\x01t\x00\x00",
    "topic longer than the packet": b"\x30\x02\x00\x05",
    "SUBSCRIBE without filters": b"\x82\x02\x00\x01",
    "SUBSCRIBE with wrong flags": b"\x80\x06\x00\x01\x00\x01t\x00",
    "SUBSCRIBE for QoS 3": b"\x82\x06\x00\x01\x00\x01t\x03",
    "empty filter": b"\x82\x05\x00\x01\x00\x00\x00",
    "UNSUBSCRIBE without filters": b"\xa2\x02\x00\x01",
    "CONNACK from a client": b"\x20\x02\x00\x00",
    "SUBACK from a client": b"\x90\x03\x00\x01\x00",
    "PINGRESP from a client": b"\xd0\x00",
    "AUTH": b"\xf0\x00",
    "type 0": b"\x00\x00",
    "PINGREQ with a body": b"\xc0\x01\x00",
    "DISCONNECT with a body": b"\xe0\x01\x00",
    "PUBACK that ends early": b"\x40\x01\x00",
    "PUBREL with wrong flags": b"\x60\x02\x00\x01",
}


@pytest.mark.parametrize("name", BAD)
def test_bad_packets_are_violations(name: str) -> None:  # MQE-1, MQE-3
    [frame] = frames(BAD[name])
    with pytest.raises(Violation) as violation:
        decode_connect(frame) if frame.first == 0x10 else decode(frame, 4)
    assert violation.value.reason in (0x81, 0x82)


def test_the_other_packets_are_read(wire: Any) -> None:
    data = wire.subscribe("a/+", "#", packet_id=5) + wire.packet(0xA2, b"\x00\x06" + wire.text("a"))
    subscribe, unsubscribe, ping = (decode(frame, 4) for frame in frames(data + b"\xc0\x00"))
    assert subscribe == Subscribe(5, (("a/+", 1), ("#", 1)))
    assert unsubscribe == Unsubscribe(6, ("a",))
    assert ping == Ping()


def test_topic_aliases_are_read_and_0_is_none(wire: Any) -> None:
    [frame] = frames(wire.publish("t", b"x", level=5, properties=b"\x23\x00\x02"))
    assert decode(frame, 5) == Publish("t", b"x", alias=2)
    with pytest.raises(Violation) as violation:
        decode(frames(wire.publish("t", b"x", level=5, properties=b"\x23\x00\x00"))[0], 5)
    assert violation.value.reason == 0x94
