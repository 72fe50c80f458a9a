"""One session without a socket: what each message does, and what bad ones cost."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from services.gateway.devices.memory import FACTS_A_SECOND, FACTS_AT_ONCE
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import Publish, decode
from services.gateway.devices.mqtt.reader import Frame, FrameReader
from shared.events.contracts import CONTRACTS
from shared.events.gateway import DeviceErred, DeviceMisbehaved, FirmwareReported

ME = "v1/devices/me/"


def messages(sent: list[bytes], level: int = 4) -> list[Publish]:
    """The publishes among what was sent."""
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(sent))
    found = []
    while (frame := reader.take()) is not None:
        if frame.first >> 4 == 3:
            packet = decode(frame, level)
            assert isinstance(packet, Publish)
            found.append(packet)
    return found


@pytest.mark.parametrize("topic", [ME + "telemetry", "v2/t", "v2/t/j"])
@pytest.mark.parametrize(
    ("payload", "data"),
    [
        ('{"temperature":21.5}', [{"temperature": 21.5}]),
        ('[{"a":1},{"b":[2,{"c":null}]}]', [{"a": 1}, {"b": [2, {"c": None}]}]),
        ('{"a":null,"b":1}', [{"b": 1}]),
        ("{}", []),
        ("[]", []),
        ('{"a":null}', []),
        ('{"current_fw_title":"1000","fw_state":"IDLE"}', []),
        ('{"ts":1,"other":2}', [{"ts": 1, "other": 2}]),
        ('{"n":9223372036854775807,"m":18446744073709551616}', [{"n": 2**63 - 1, "m": 2.0**64}]),
        ('{"text":"42"}', [{"text": "42"}]),
    ],
)
def test_each_item_of_telemetry_is_a_published_event(topic: str, payload: str, data: Any, desk: Any) -> None:  # MQU-1
    desk.connect().up(topic, payload.encode())
    assert [json.loads(event.data) for event in desk.published] == data
    for event in desk.published:
        assert (event.name, event.product_id, event.public, event.ttl_s) == ("telemetry", 1000, False, 60)
        assert (event.published_at, event.encoding, event.device_at) == (desk.now.at, "text", None)


def test_a_timed_item_keeps_the_devices_own_time(desk: Any) -> None:
    desk.connect().up("v2/t", b'{"ts":1795373457326,"values":{"a":1},"metadata":{"x":1}}')
    [event] = desk.published
    assert event.device_at.isoformat() == "2026-11-22T18:50:57.326000+00:00"
    assert event.data == '{"a":1}'


def test_an_item_with_an_event_key_is_published_under_that_name(desk: Any) -> None:
    desk.connect()
    desk.up("v2/t", b'[{"event":"brewed","data":"hot","ttl":5,"private":false},{"event":"done","data":{"n":[1, 2]}}]')
    desk.up("v2/t", b'{"event":"plain"}')
    desk.up("v2/t", b'{"event":"not alone","other":1}')
    found = [(event.name, event.data, event.ttl_s, event.public) for event in desk.published]
    assert found == [
        ("brewed", "hot", 5, True),
        ("done", '{"n":[1,2]}', 60, False),
        ("plain", None, 60, False),
        ("telemetry", '{"event":"not alone","other":1}', 60, False),
    ]


@pytest.mark.parametrize(
    ("name", "payload", "found"),
    [
        ("door/open", b"yes", ("door/open", "yes", "text", False)),
        ("public/door", b"", ("door", "", "text", True)),
        ("raw", b"\xff\x00", ("raw", "/wA=", "base64", False)),
        ("x" * 64, "é".encode(), ("x" * 64, "é", "text", False)),
    ],
)
def test_any_payload_is_published_under_any_name(name: str, payload: bytes, found: Any, desk: Any) -> None:  # MQU-2
    desk.connect().up(ME + "events/" + name, payload)
    [event] = desk.published
    assert (event.name, event.data, event.encoding, event.public) == found


@pytest.mark.parametrize("name", ["spark/status", "spark", "particle/x", "public/spark/status"])
def test_names_of_the_platforms_own_events_are_not_a_devices(name: str, desk: Any, wire: Any) -> None:
    desk.connect(wire.connect(level=5))
    [answer] = desk.up(ME + "events/" + name, b"offline")
    assert answer[4] == 0x87
    [answer] = desk.up("v2/t", json.dumps([{"a": 1}, {"event": name.removeprefix("public/"), "data": "x"}]).encode())
    assert answer[4] == 0x87
    assert desk.published == []
    assert [fact.kind for fact in desk.facts if isinstance(fact, DeviceMisbehaved)] == ["reserved_name"]


def test_an_event_that_is_named_as_an_error_is_counted_and_in_the_log(desk: Any) -> None:
    desk.connect()
    desk.up(ME + "events/error/pump", b"dry")
    desk.up("v2/t", b'{"event":"error","data":"low"}')
    desk.up("v2/t", b'{"event":"error","data":"low"}')
    assert [event.name for event in desk.published] == ["error/pump", "error", "error"]
    told = [fact for fact in desk.facts if isinstance(fact, DeviceErred)]
    assert [(fact.kind, fact.text, fact.count) for fact in told] == [("app/pump", "dry", 1), ("app/error", "low", 1)]


def test_published_events_keep_their_contract(desk: Any) -> None:
    desk.connect()
    desk.up("v2/t", b'{"event":"e","data":"' + b"x" * 16_000 + b'","ttl":31536000}')
    desk.up(ME + "events/big", bytes(16_384))
    for event in desk.published:
        fields = {name: getattr(event, name) for name in event.__slots__}
        fields["published_at"] = event.published_at.isoformat()
        assert not CONTRACTS.schema("DevicePublished").validate(fields)


BAD_JSON = {
    "nothing": b"",
    "no JSON": b"{a:1}",
    "two values": b"{} {}",
    "NaN": b'{"a":NaN}',
    "Infinity": b'{"a":-Infinity}',
    "not UTF-8": b'{"a":"\xff"}',
    "a key that is not UTF-8": b'{"\xc3":1}',
    "half a surrogate": b'{"a":"\\ud800"}',
    "64 KiB of brackets": b"[" * 65_000,
    "nested": b'{"a":' * 40 + b"1" + b"}" * 40,
    "a number of a thousand digits": b'{"a":' + b"9" * 1_000 + b"}",
    "a number beyond doubles": b'{"a":1e400}',
    "a long key": b'{"' + b"k" * 129 + b'":1}',
    "an empty key": b'{"":1}',
    "too many keys": json.dumps({str(n): n for n in range(1_025)}).encode(),
    "a number": b"1",
    "a list in a list": b"[[1]]",
    "ts that is no number": b'{"ts":"now","values":{}}',
    "ts that is true": b'{"ts":true,"values":{}}',
    "ts that is no time": b'{"ts":1e300,"values":{}}',
    "values that are no object": b'{"ts":1,"values":[]}',
    "one bad item": b'[{"a":1},2]',
    "too many items": b"[" + b'{"a":1},' * 1_024 + b"{}]",
    "an event without a name": b'{"event":""}',
    "an event with a long name": json.dumps({"event": "x" * 65}).encode(),
    "an event with a ttl in words": b'{"event":"x","ttl":"long"}',
    "an event that is perhaps private": b'{"event":"x","private":"perhaps"}',
}


@pytest.mark.parametrize("name", BAD_JSON)
@pytest.mark.parametrize("level", [4, 5])
def test_a_bad_payload_is_acknowledged_and_noted_and_the_device_stays(
    name: str, level: int, desk: Any, wire: Any
) -> None:  # MQE-4
    desk.connect(wire.connect(level=level))
    answer = b"".join(desk.up("v2/t", BAD_JSON[name]))
    if level == 4:
        assert answer == b"\x40\x02\x00\x07"
    else:
        assert (answer[0], answer[2:5]) == (0x40, b"\x00\x07\x99")
        assert len(answer) < 140
    assert desk.closed is None
    assert desk.published == []
    assert desk.last(DeviceMisbehaved).kind == "bad_payload"
    assert len(desk.last(DeviceMisbehaved).text) <= 256


@pytest.mark.parametrize(
    ("topic", "payload", "kind", "reason"),
    [
        (ME + "attributes", b"[]", "bad_payload", 0x99),
        (ME + "attributes/request/1", b"1", "bad_payload", 0x99),
        (ME + "attributes/request/1", b'{"sharedKeys":1}', "bad_payload", 0x99),
        (ME + "attributes/request/x", b"{}", "bad_number", 0x99),
        (ME + "attributes/request/-1", b"{}", "bad_number", 0x99),
        ("v2/a/req/99999999999", b"{}", "bad_number", 0x99),
        ("v2/r/req/1", b"[]", "bad_payload", 0x99),
        ("v2/r/req/1", b'{"method":1}', "bad_payload", 0x99),
        ("v2/r/req/٣", b"{}", "bad_number", 0x99),
        ("v2/fw/request/a/chunk/1", b"", "bad_number", 0x99),
        ("v2/fw/request/1/chunk/b", b"", "bad_number", 0x99),
        ("v2/fw/request/1/chunk/1", b"many", "bad_number", 0x99),
        ("v2/fw/request/1/chunk/1", b"0", "bad_number", 0x99),
        ("v2/fw/request/1/chunk/1", b"-5", "bad_number", 0x99),
        (ME + "events/", b"x", "bad_payload", 0x99),
        (ME + "events/" + "x" * 65, b"x", "bad_payload", 0x99),
        (ME + "events/é", b"x", "bad_payload", 0x99),
        (ME + "events/big", bytes(16_385), "bad_payload", 0x99),
        ("v1/gateway/telemetry", b"{}", "unknown_topic", 0x90),
        ("v2/t/p", b"x", "unknown_topic", 0x90),
        ("/provision/request", b"{}", "unknown_topic", 0x90),
        ("v2/fw/request/1/chunk", b"", "unknown_topic", 0x90),
        (ME, b"", "unknown_topic", 0x90),
        ("/", b"", "unknown_topic", 0x90),
    ],
)
@pytest.mark.parametrize("qos", [0, 1])
def test_bad_messages_have_their_reason_and_kind(
    topic: str, payload: bytes, kind: str, reason: int, qos: int, desk: Any, wire: Any
) -> None:  # MQE-4, 5, 6, 9
    desk.connect(wire.connect(level=5))
    answer = b"".join(desk.up(topic, payload, qos))
    assert answer[4:5] == (bytes([reason]) if qos else b"")
    assert desk.closed is None
    assert desk.last(DeviceMisbehaved).kind == kind


@pytest.mark.parametrize("level", [4, 5])
def test_more_than_300_bad_messages_in_a_minute_are_too_many(level: int, desk: Any, wire: Any) -> None:  # MQE-8
    desk.connect(wire.connect(level=level))
    for _ in range(300):
        desk.up("v2/t", b"bad", 0)
    assert desk.closed is None
    desk.up("v2/t", b"bad", 0)
    assert desk.closed.ending == "misbehaved"
    assert desk.closed.packet[2:3] == (b"\x99" if level == 5 else b"")
    kinds = [fact.kind for fact in desk.facts if isinstance(fact, DeviceMisbehaved)]
    assert kinds == ["bad_payload", "too_many_bad_messages"]


@pytest.mark.parametrize(
    ("packet", "reason", "kind"),
    [
        (b"\x36\x05\x00\x01t\x00\x01", 0x81, "malformed_packet"),
        (b"\x20\x02\x00\x00", 0x82, "unexpected_packet"),
        (b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x00", 0x82, "unexpected_packet"),
        (b"\xf0\x00", 0x82, "unexpected_packet"),
        (b"\x50\x02\x00\x01", 0x82, "unexpected_packet"),
        (b"\x62\x02\x00\x01", 0x82, "unexpected_packet"),
        (b"\x34\x06\x00\x01t\x00\x01\x00", 0x9B, "malformed_packet"),
        (b"\x30\x07\x00\x01t\x03\x23\x00\x09", 0x94, "malformed_packet"),
        (b"\x30\x06\x00\x00\x03\x23\x00\x01", 0x94, "malformed_packet"),
        (b"\x82\x09\x00\x01\x02\x0b\x01\x00\x01#\x00", 0xA1, "malformed_packet"),
    ],
)
def test_who_breaks_the_protocol_is_told_and_closed(
    packet: bytes, reason: int, kind: str, desk: Any, wire: Any
) -> None:
    desk.connect(wire.connect(level=5))
    desk.send(packet)
    assert desk.closed.packet[2] == reason
    assert desk.closed.ending == "misbehaved"
    assert desk.last(DeviceMisbehaved).kind == kind
    desk.connect(wire.connect(level=4))
    desk.send(b"\x36\x05\x00\x01t\x00\x01")
    assert desk.closed.packet == b""


def test_topic_aliases_stand_for_their_topics(desk: Any, wire: Any) -> None:  # MQP-5
    desk.connect(wire.connect(level=5))
    desk.send(wire.publish("v2/t", b'{"a":1}', level=5, properties=b"\x23\x00\x08"))
    desk.send(wire.publish("", b'{"a":2}', level=5, properties=b"\x23\x00\x08"))
    assert [event.data for event in desk.published] == ['{"a":1}', '{"a":2}']


def test_one_more_than_receive_maximum_is_a_violation_in_5(desk: Any, wire: Any) -> None:
    desk.connect(wire.connect(level=5))
    desk.waits = True
    for number in range(1, 65):
        desk.up("v2/t", b'{"a":1}', 1, number)
    assert desk.closed is None
    desk.up("v2/t", b'{"a":1}', 1, 65)
    assert desk.closed.packet[2] == 0x93


def test_acknowledgements_go_out_in_the_order_of_the_publishes(desk: Any) -> None:  # MQC-7
    desk.connect()
    desk.waits = True
    assert desk.up("v2/t", b'[{"a":1},{"a":2}]', 1, 1) == []
    assert desk.up("v2/t", b"bad", 1, 2) == []
    assert desk.up("v2/t", b'{"a":3}', 1, 3) == []
    assert b"".join(desk.store()) == b"\x40\x02\x00\x01\x40\x02\x00\x02\x40\x02\x00\x03"
    assert desk.up("v2/t", b"{}", 1, 4) == [b"\x40\x02\x00\x04"]


@pytest.mark.parametrize(
    ("request_topic", "answer_topic"),
    [
        (ME + "rpc/request/5", ME + "rpc/response/5"),
        ("v2/r/req/5", "v2/r/res/5"),
        ("v2/r/req/j/5", "v2/r/res/5"),
    ],
)
def test_calls_of_the_platform_are_always_answered_in_their_form(
    request_topic: str, answer_topic: str, desk: Any
) -> None:  # MQU-6, MQD-1
    desk.connect()
    answers = [
        messages(desk.up(request_topic, payload))[0]
        for payload in (
            b'{"method":"getSessionLimits","params":"{}"}',
            b'{"method":"getCurrentTime"}',
            b'{"method":"getTime","params":{}}',
            b'{"method":"brew"}',
        )
    ]
    assert {answer.topic for answer in answers} == {answer_topic}
    assert json.loads(answers[0].payload) == {
        "maxPayloadSize": 65536,
        "maxInflightMessages": 64,
        "rateLimits": {"messages": "50:1", "telemetryMessages": "50:1", "telemetryDataPoints": ""},
    }
    assert json.loads(answers[1].payload) == {"time": int(desk.now.at.timestamp() * 1000)}
    assert answers[3].payload == b'{"error":"unknown method"}'


def test_an_answer_that_nobody_waits_for_is_counted(desk: Any) -> None:  # MQU-5
    desk.connect()
    assert desk.up("v2/r/res/9", b"whatever") == [b"\x40\x02\x00\x07"]
    assert desk.around.counts["unawaited_answers"] == 1


def test_answers_beyond_what_a_client_takes_wait_for_its_acknowledgements(desk: Any, wire: Any) -> None:
    desk.connect(wire.connect(level=5, properties=b"\x21\x00\x02"))
    for number in range(4):
        desk.up(f"v2/r/req/{number}", b'{"method":"x"}', 0)
    first = messages(desk.sent[1:], 5)
    assert [(one.topic, one.qos, one.packet_id) for one in first] == [("v2/r/res/0", 1, 1), ("v2/r/res/1", 1, 2)]
    [third] = messages(desk.send(b"\x40\x02\x00\x01"), 5)
    assert third.topic == "v2/r/res/2"
    assert desk.send(b"\x40\x02\x00\x63") == []


def test_the_queue_of_a_device_that_acknowledges_nothing_is_bounded(desk: Any) -> None:
    desk.connect()
    for number in range(300):
        desk.up(f"v2/r/req/{number}", b'{"method":"x"}', 0)
    assert len(messages(desk.sent[1:])) == 16
    freed = [messages(desk.send(b"\x40\x02\x00" + bytes([number]))) for number in range(1, 120)]
    topics = [one.topic for some in freed for one in some]
    assert topics == [f"v2/r/res/{number}" for number in range(200, 300)]


def test_a_message_larger_than_the_client_takes_is_not_sent(desk: Any, wire: Any) -> None:  # MQD-4
    desk.connect(wire.connect(level=5, properties=b"\x27\x00\x00\x00\x40"))
    assert messages(desk.up("v2/r/req/1", b'{"method":"getSessionLimits"}'), 5) == []
    assert messages(desk.up("v2/r/req/1", b'{"method":"x"}'), 5)[0].payload == b'{"error":"unknown method"}'


@pytest.mark.parametrize(
    ("filter_", "code"),
    [
        ("#", 1),
        ("v1/devices/me/#", 1),
        ("v1/devices/me/attributes", 1),
        ("v2/a", 1),
        ("+/a", 1),
        ("v1/devices/me/rpc/request/+", 1),
        ("v2/r/req/17", 1),
        ("v2/fw/response/+", 1),
        ("v2/fw/response/+/chunk/+", 1),
        ("v2/sw/response/x", 1),
        ("v2/fw/error", 1),
        ("/provision/response", 1),
        ("v1/devices/me/telemetry", 0x80),
        ("v2/r/req/x", 0x80),
        ("v1/devices/+/attributes/response", 0x80),
        ("a/#/b", 0x80),
        ("v2/a+", 0x80),
        ("$share/group/v2/a", 0x80),
        ("v2/a/" + "x" * 252, 0x80),
    ],
)
def test_filters_are_granted_when_something_can_come_down_there(filter_: str, code: int, desk: Any, wire: Any) -> None:
    assert desk.connect().send(wire.subscribe(filter_, qos=2)) == [b"\x90\x03\x00\x01" + bytes([code])]
    assert desk.closed is None


def test_the_thirty_third_subscription_is_refused(desk: Any, wire: Any) -> None:
    for level, code in ((4, 0x80), (5, 0x97)):
        desk.connect(wire.connect(level=level))
        filters = [f"v2/r/req/{number}" for number in range(33)]
        [answer] = desk.send(wire.subscribe(*filters, level=level))
        assert answer[-33:] == b"\x01" * 32 + bytes([code])
        [again] = desk.send(wire.subscribe(filters[0], qos=0, level=level))
        assert again[-1] == 0


def test_unsubscribing_from_what_was_not_subscribed_is_told_in_5(desk: Any, wire: Any) -> None:  # MQP-7
    desk.connect(wire.connect(level=5))
    desk.send(wire.subscribe("v2/a", level=5))
    body = b"\x00\x09\x00" + wire.text("v2/a") + wire.text("v2/b")
    assert desk.send(wire.packet(0xA2, body)) == [b"\xb0\x05\x00\x09\x00\x00\x11"]
    assert desk.send(b"\xc0\x00") == [b"\xd0\x00"]


def test_a_device_that_counts_as_none_may_stay_but_not_publish(desk: Any, directory: Any, wire: Any) -> None:  # DEV-4
    directory.change(member={"quarantined": True})
    desk.connect(wire.connect(level=5))
    assert desk.up("v2/t", b'[{"current_fw_version":"3"},{"a":1}]')[-1][4] == 0x87
    assert desk.published == []
    assert desk.last(FirmwareReported).version == 3
    assert desk.last(FirmwareReported).product_id is None
    assert desk.closed is None


def test_a_will_on_a_topic_that_is_none_of_the_devices_is_dropped_and_noted(desk: Any, wire: Any) -> None:  # MQS-5
    desk.connect(wire.connect(will=("v1/devices/me/rpc/request", b"x")))
    assert desk.last(DeviceMisbehaved).kind == "bad_will"
    desk.lose()
    assert desk.published == []


def test_disconnect_with_will_publishes_it(desk: Any, wire: Any) -> None:
    desk.connect(wire.connect(level=5, will=(ME + "events/gone", b"bye")))
    desk.send(b"\xe0\x01\x04")
    assert desk.closed.ending == "disconnected"
    desk.lose("disconnected")
    assert [(event.name, event.data) for event in desk.published] == [("gone", "bye")]


def test_keep_alive_stands_still_while_nothing_is_read(desk: Any, wire: Any) -> None:  # MQS-4
    desk.connect(wire.connect(keep_alive_s=10))
    desk.wait(1_000, held=True)
    assert desk.closed is None
    desk.wait(15.1)
    assert desk.closed.ending == "keepalive"


@pytest.mark.parametrize(("level", "keep_alive_s", "silence_s"), [(4, 0, 1_800), (5, 0, 1_800), (5, 2_000, 1_800)])
def test_without_a_keep_alive_half_an_hour_of_silence_is_enough(
    level: int, keep_alive_s: int, silence_s: int, desk: Any, wire: Any
) -> None:
    desk.connect(wire.connect(level=level, keep_alive_s=keep_alive_s))
    desk.wait(silence_s - 1)
    assert desk.closed is None
    desk.wait(2)
    assert desk.closed.ending == "keepalive"


def test_a_publisher_that_stays_too_fast_is_refused_and_then_closed_in_5(
    make_desk: Callable[[MqttLimits], Any], wire: Any
) -> None:  # MQL-3
    desk = make_desk(MqttLimits(messages_a_second=1.0, messages_burst=1.0))
    desk.connect(wire.connect(level=5))
    reasons = []
    while desk.closed is None:
        hold_until = desk.session.hold_until(desk.seconds)
        if hold_until is not None:
            desk.seconds = hold_until
            continue
        answer = desk.up("v2/t", b'{"a":1}')
        reasons += [answer[-1][4] if len(answer[-1]) > 4 else 0] if answer else []
        desk.seconds += 0.01
    assert desk.closed.packet[2] == 0x96
    assert reasons[:30] == [0] * 30
    assert reasons.count(0x97) > 1_000
    assert 60 < desk.seconds - 1_000 < 63
    assert [fact.kind for fact in desk.facts if isinstance(fact, DeviceMisbehaved)] == ["too_fast"]


def test_a_publisher_that_slows_down_is_taken_again(make_desk: Callable[[MqttLimits], Any], wire: Any) -> None:
    desk = make_desk(MqttLimits(messages_a_second=1.0, messages_burst=1.0))
    desk.connect(wire.connect(level=5))
    while not desk.facts or not isinstance(desk.facts[-1], DeviceMisbehaved):
        desk.seconds = desk.session.hold_until(desk.seconds) or desk.seconds
        desk.up("v2/t", b'{"a":1}')
    for _ in range(100):
        desk.seconds += 1.5
        assert desk.up("v2/t", b'{"a":1}') == [b"\x40\x02\x00\x07"]
    assert desk.session.hold_until(desk.seconds) is not None


def test_a_publisher_that_stays_too_fast_is_closed_in_3_1_1(make_desk: Callable[[MqttLimits], Any]) -> None:
    desk = make_desk(MqttLimits(messages_a_second=1.0, messages_burst=1.0))
    desk.connect()
    while desk.closed is None:
        desk.seconds = desk.session.hold_until(desk.seconds) or desk.seconds
        assert desk.up("v2/t", b'{"a":1}') or desk.closed
    assert 30 < desk.seconds - 1_000 < 32
    assert desk.closed.ending == "misbehaved"


@pytest.mark.parametrize(
    ("topic", "payloads"),
    [
        (ME + "attributes", [b'{"a":1}', b'{"a":2}']),
        (ME + "attributes", [b'{"functions":["a"]}', b'{"functions":["b"]}']),
        ("v2/t", [b'{"current_fw_title":"1000","current_fw_version":"1"}', b'{"current_fw_version":"2"}']),
        (ME + "claim", [b'{"secretKey":"s","durationMs":60000}', b'{"secretKey":"t","durationMs":60000}']),
    ],
)
def test_a_device_that_causes_facts_without_end_is_held_and_then_closed(
    topic: str, payloads: list[bytes], desk: Any
) -> None:
    began = desk.seconds
    desk.connect()
    for turn in range(10_000):
        desk.seconds = desk.session.hold_until(desk.seconds) or desk.seconds
        desk.up(topic, payloads[turn % 2])
        if desk.closed is not None:
            break
    assert desk.closed.ending == "misbehaved"
    assert len(desk.facts) < FACTS_AT_ONCE + (desk.seconds - began + 2) * FACTS_A_SECOND
    assert [fact.kind for fact in desk.facts if isinstance(fact, DeviceMisbehaved)] == ["too_fast"]


def test_any_packet_of_garbage_leaves_the_session_with_effects_only(desk: Any, wire: Any) -> None:
    for first in range(256):
        for body in (b"", b"\x00", b"\x00\x01", b"\x00\x04v2/t{}", b"\x00\x04v2/t\x00\x01[", bytes(40)):
            desk.connect(wire.connect(level=5 if first % 2 else 4))
            desk.session.receive(Frame(first, body, len(body) + 2), desk.now)
