"""Rules of the device API that no other module of these tests is about, and its tables, one entry after the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.calls import FunctionCall
from services.gateway.devices.mqtt import topics
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import Publish, decode, decode_connect
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.devices.mqtt.violations import Rejected, UnsupportedLevel, Violation
from shared.events.gateway import DeviceDisconnected, UpdateAdvanced, UpdateFailed, UpdateStarted, UpdateSucceeded

ME = "v1/devices/me/"
IMAGE = bytes(1_000)


def frame(packet: bytes) -> Any:
    reader = FrameReader(1 << 20)
    reader.feed(packet)
    found = reader.take()
    assert found is not None
    return found


def messages(sent: list[bytes], level: int = 4) -> list[Publish]:
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(sent))
    found = []
    while (one := reader.take()) is not None:
        if one.first >> 4 == 3:
            packet = decode(one, level)
            assert isinstance(packet, Publish)
            found.append(packet)
    return found


def test_the_limits_are_those_of_the_table() -> None:  # section 1, MQL-1, MQL-3, MQE-8
    limits = MqttLimits()
    assert (limits.connect_s, limits.connect_bytes, limits.packet_bytes) == (10.0, 8_192, 65_536)
    assert (limits.chunk_bytes, limits.image_bytes) == (65_536, 8 * 1024 * 1024)
    assert (limits.unacknowledged_down, limits.unacknowledged_down_old, limits.queued_down) == (32, 16, 100)
    assert (limits.unacknowledged_up, limits.subscriptions, limits.filter_bytes) == (64, 32, 256)
    assert (limits.topic_aliases, limits.messages_a_second, limits.messages_burst) == (8, 50.0, 500.0)
    assert (limits.chunks_a_second, limits.throttled_s, limits.bad_messages_a_minute) == (200.0, 30.0, 300)
    assert (limits.refused_logins, limits.refused_logins_s, limits.keep_alive_s) == (100, 60.0, 1_200)
    assert (limits.turn_bytes, limits.turn_packets, limits.standing_still_s) == (65_536, 200, 30.0)
    assert limits.write_buffer_bytes <= 262_144


@pytest.mark.parametrize(
    ("flags", "rest"),
    [
        (0x01, b"\0\x01c"),  # reserved
        (0x08, b"\0\x01c"),  # QoS of a will without a will
        (0x20, b"\0\x01c"),  # a will that is retained without a will
        (0x1C, b"\0\x01c\0\x01t\0\0"),  # a will with QoS 3
        (0x40, b"\0\x01c\0\x01p"),  # a password without a user name
        (0x80, b"\0\x01c"),  # a user name that is not there
        (0x02, b"\0\x01c\0"),  # one byte too many
        (0x02, b"\0\x01\xff"),  # not UTF-8
        (0x02, b"\0\x01\0"),  # a NUL
    ],
)
def test_connect_packets_that_contradict_themselves_are_malformed(flags: int, rest: bytes, wire: Any) -> None:  # MQC-1
    body = wire.text("MQTT") + bytes([4, flags]) + b"\0\x3c" + rest
    with pytest.raises(Violation) as violation:
        decode_connect(frame(wire.packet(0x10, body)))
    assert violation.value.reason == 0x81
    assert not isinstance(violation.value, UnsupportedLevel)


@pytest.mark.parametrize(
    ("wanted", "filters", "qos"),
    [
        ("call", [(ME + "rpc/request/+", 0)], 0),
        ("call", [(ME + "rpc/request/+", 1)], 1),
        ("call", [(ME + "rpc/request/+", 0), ("#", 1)], 1),
        ("answer", [], 1),
        ("answer", [(ME + "rpc/response/+", 0)], 0),
        ("answer", [("v2/r/res/+", 0)], 1),  # another form says nothing of this one
    ],
)
def test_messages_go_down_with_the_highest_qos_of_the_filters_that_match(
    wanted: str, filters: list[tuple[str, int]], qos: int, desk: Any, wire: Any
) -> None:  # MQD-3, MQP-1
    desk.connect()
    for filter_, asked in filters:
        desk.send(wire.subscribe(filter_, qos=asked))
    sent = desk.ask(FunctionCall("brew")) if wanted == "call" else desk.up(ME + "rpc/request/1", b'{"method":"x"}', 0)
    [message] = messages(sent)
    assert message.qos == qos
    assert bool(message.packet_id) is bool(qos)


def test_a_message_down_is_not_repeated_on_its_connection(desk: Any, wire: Any) -> None:  # MQP-1
    desk.connect(wire.connect(keep_alive_s=0))
    assert len(messages(desk.up("v2/r/req/1", b'{"method":"x"}', 0))) == 1
    assert messages(desk.wait(1_700)) == []


@pytest.mark.parametrize("level", [4, 5])
def test_packet_id_0_breaks_the_protocol(level: int, desk: Any, wire: Any) -> None:  # MQP-4, MQE-1
    desk.connect(wire.connect(level=level))
    desk.up("v2/t", b"{}", 1, 0)
    assert desk.closed.packet[2:3] == (b"\x82" if level == 5 else b"")


def test_two_publishes_with_one_id_are_both_answered_and_dup_is_counted(desk: Any, wire: Any) -> None:  # MQP-4
    desk.connect()
    desk.waits = True
    desk.up("v2/t", b'{"a":1}', 1, 7)
    again = bytearray(wire.publish("v2/t", b'{"a":1}', 1, 7))
    again[0] |= 0x08
    desk.send(bytes(again))
    assert b"".join(desk.store()) == b"\x40\x02\x00\x07" * 2
    assert len(desk.published) == 2
    assert desk.around.counts["duplicates"] == 1


def test_qos_2_of_3_1_1_is_answered_step_by_step_and_qos_3_is_malformed(desk: Any, wire: Any) -> None:  # MQP-3
    desk.connect()
    assert desk.up("v2/t", b'{"a":1}', 2, 9) == [b"\x50\x02\x00\x09"]
    assert desk.up("v2/t", b'{"a":1}', 2, 9) == [b"\x50\x02\x00\x09"]
    assert len(desk.published) == 1
    assert desk.send(b"\x62\x02\x00\x09") == [b"\x70\x02\x00\x09"]
    desk.up("v2/t", b'{"a":1}', 3, 9)
    assert desk.closed.ending == "misbehaved"


@pytest.mark.parametrize(
    "topic",
    [
        "v1/gateway/telemetry",
        "v1/gateway/connect",
        "v2/t/p",
        "v2/a/p",
        "v2/r/req/p/1",
        "spBv1.0/g/DDATA/n/d",
        "v1/devices/me/fw/request/1/chunk/0",
        "v2/fw/request/1",
    ],
)
def test_what_is_not_served_is_an_unknown_topic(topic: str) -> None:  # MQU-9, MQU-8, MQE-6
    with pytest.raises(Rejected) as rejected:
        topics.parse(topic)
    assert (rejected.value.reason, rejected.value.kind) == (0x90, "unknown_topic")


@pytest.mark.parametrize(
    ("topic", "kind", "answer"),
    [
        ("v2/fw/request/3/chunk/12", "chunk", "v2/fw/response/3/chunk/12"),
        ("v2/sw/request/3/chunk/12", "software", "v2/sw/response/3/chunk/12"),
        ("v2/t/j", "telemetry", ""),
        ("v2/a/j", "attributes", ""),
        ("v2/a/req/j/4", "attributes_request", "v2/a/res/4"),
        ("v2/r/res/j/4", "rpc_response", ""),
    ],
)
def test_short_forms_are_the_same_again(topic: str, kind: str, answer: str) -> None:  # MQU-8, MQU-9
    found = topics.parse(topic)
    assert (found.kind, found.answer) == (kind, answer)


def test_software_is_not_found_and_its_reports_are_ordinary_telemetry(desk: Any) -> None:  # MQF-11
    desk.connect()
    [error] = messages(desk.up("v2/sw/request/1/chunk/0", b"512", 0))
    assert (error.topic, error.payload) == ("v2/sw/error", b"NOT_FOUND")
    desk.up("v2/t", b'{"current_sw_version":"3","sw_state":"IDLE"}')
    assert [json.loads(event.data) for event in desk.published] == [{"current_sw_version": "3", "sw_state": "IDLE"}]


@pytest.mark.parametrize(
    ("member", "released", "title"),
    [
        ({"locked_version": 8}, 7, "8"),
        ({}, 7, "7"),
        ({"development": True}, 7, None),
        ({"development": True, "locked_version": 8, "flash_pending": True}, 7, "8"),
        ({"quarantined": True}, 7, None),
        ({}, None, None),
    ],
)
def test_the_target_is_the_lock_else_the_release_else_nothing(
    member: Any, released: int | None, title: str | None, desk: Any, directory: Any
) -> None:  # MQF-2
    directory.put_image(7, IMAGE)
    directory.put_image(8, IMAGE)
    directory.change(member=member, released_version=released)
    [answer] = messages(desk.connect().up("v2/a/req/1", b'{"sharedKeys":"fw_version"}', 0))
    assert json.loads(answer.payload) == ({} if title is None else {"shared": {"fw_version": title}})


@pytest.fixture
def updating(desk: Any, directory: Any) -> Any:
    directory.put_image(7, IMAGE)
    directory.change(released_version=7)
    return desk.connect()


@pytest.mark.parametrize(
    ("reports", "states", "end"),
    [
        (["IDLE", "QUEUED", "INITIATED"], [], None),
        (["DOWNLOADING"], [], None),
        (["DOWNLOADING", "DOWNLOADED"], ["downloaded"], None),
        (["DOWNLOADING", "DOWNLOADED", "VERIFIED", "UPDATING"], ["downloaded", "verified", "applying"], None),
        (["DOWNLOADING", "UPDATING"], ["applying"], None),
        (["DOWNLOADING", "FAILED"], [], "device_failed"),
        (["DOWNLOADING", "UPDATED"], [], "device_says_current"),
    ],
)
def test_what_is_reported_moves_the_attempt(
    reports: list[str], states: list[str], end: str | None, updating: Any
) -> None:  # MQF-8
    for word in reports:
        updating.up("v2/t", json.dumps({"fw_state": word}).encode())
    updating.wait(61)
    started = [fact for fact in updating.facts if isinstance(fact, UpdateStarted)]
    assert len(started) == ("DOWNLOADING" in reports)
    assert [fact.state for fact in updating.facts if isinstance(fact, UpdateAdvanced)] == states
    assert [fact.reason for fact in updating.facts if isinstance(fact, UpdateFailed)] == ([end] if end else [])


def test_only_the_version_report_is_success_whatever_was_said_before(updating: Any) -> None:  # MQF-8
    updating.up("v2/t", b'{"fw_state":"DOWNLOADING"}')
    updating.up("v2/t", b'{"current_fw_title":"1000","current_fw_version":"7"}')
    assert updating.last(UpdateSucceeded).version == 7


@pytest.mark.parametrize(("level", "packet"), [(4, b""), (5, b"\xe0\x1d\x83")])
def test_an_error_of_ours_is_no_fault_of_the_devices(level: int, packet: bytes, desk: Any, wire: Any) -> None:  # MQE-10
    desk.connect(wire.connect(level=level))
    close = desk.session.fault()
    assert (close.ending, close.packet[:1], close.packet[2:3]) == ("kicked", packet[:1], packet[2:3])
    assert desk.kinds() == ["DeviceConnected"]


@pytest.mark.parametrize("ending", ["disconnected", "connection_lost", "keepalive", "kicked", "draining"])
def test_the_end_is_told_with_duration_bytes_and_messages(ending: str, desk: Any) -> None:  # MQX-5
    desk.connect().up("v2/t", b'{"a":1}')
    desk.wait(7.5)
    desk.lose(ending)
    end = desk.last(DeviceDisconnected)
    assert (end.reason, end.duration_s, end.messages_in) == (ending, 7, 1)
    assert end.bytes_in > 7


@pytest.mark.parametrize(
    ("level", "qos", "answer"), [(4, 0, b""), (4, 1, b"\x40\x02\x00\x07"), (5, 0, b""), (5, 1, b"\x40\x03\x00\x07\x87")]
)
def test_a_quarantined_device_gets_no_firmware_and_no_event_is_made_of_it(
    level: int, qos: int, answer: bytes, desk: Any, directory: Any, wire: Any
) -> None:  # MQE-7, MQE-9
    directory.change(member={"quarantined": True})
    desk.connect(wire.connect(level=level))
    sent = desk.up("v2/fw/request/1/chunk/0", b"100", qos)
    assert [one for one in sent if one[0] >> 4 == 4] == ([answer] if answer else [])
    assert desk.kinds() == ["DeviceConnected"]


def test_what_differs_from_thingsboards_server_differs_here(
    desk: Any, directory: Any, wire: Any, make_desk: Callable[[MqttLimits], Any]
) -> None:  # section 14
    desk.connect(wire.connect(clean=False))
    assert desk.sent[0] == b"\x20\x02\x00\x00"  # session present
    assert desk.up("v2/t", b"not JSON") == [b"\x40\x02\x00\x07"]
    assert messages(desk.up("v2/fw/request/1/chunk/0", b"1", 0))[0].payload == b"NOT_FOUND"
    assert desk.send(wire.subscribe("v2/fw/response/+", qos=1)) == [b"\x90\x03\x00\x01\x01"]
    desk.up("v2/t", b'{"n":"42"}')
    assert desk.published[-1].data == '{"n":"42"}'
    assert messages(desk.up("v2/r/req/1", b'{"method":"x"}', 0))[0].payload == b'{"error":"unknown method"}'
    assert desk.closed is None
    slow = make_desk(replace(MqttLimits(), messages_a_second=1.0, messages_burst=1.0))
    slow.connect().up("v2/t", b"{}")
    assert slow.session.hold_until(slow.seconds) is not None  # read more slowly, not closed (MQL-2)
    assert slow.closed is None
