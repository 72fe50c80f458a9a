"""What the platform asks of a device in one session without a socket: calls, variables, probes (MQX-1, 2, 4)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.calls import FlashFile, FunctionCall, Probe, Signal, VariableRead, return_value
from services.gateway.devices.mqtt.asking import returned
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import Publish, decode
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.entries import FlashEntry
from shared.errors import Refused, Unavailable

ME = "v1/devices/me/"
CALLS = ME + "rpc/request/+"
LATER_US = 2_000_000_000_000_000
CALL = FunctionCall("brew", "espresso")


def messages(sent: list[bytes], level: int = 4) -> list[Publish]:
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(sent))
    found = []
    while (frame := reader.take()) is not None:
        if frame.first >> 4 == 3:
            packet = decode(frame, level)
            assert isinstance(packet, Publish)
            found.append(packet)
    return found


@pytest.fixture
def listening(desk: Any, wire: Any) -> Any:
    desk.connect().send(wire.subscribe(CALLS))
    return desk


@pytest.mark.parametrize("filters", [[], ["v1/devices/me/attributes"], ["v2/fw/response/+/chunk/+"]])
def test_a_device_that_fetches_its_versions_is_flashed_no_file(filters: list[str], desk: Any, wire: Any) -> None:
    desk.connect()
    if filters:
        desk.send(wire.subscribe(*filters))
    before = len(messages(desk.ask(FlashFile(FlashEntry("f" * 24, 1000, 9, 4, "0" * 64), "a.bin"), 5)))
    assert (before, [given.outcome.code for given in desk.answers]) == (0, ["not_supported"])


@pytest.mark.parametrize(
    ("filters", "topic", "answer"),
    [
        ([CALLS], ME + "rpc/request/5", ME + "rpc/response/5"),
        (["v2/r/req/+"], "v2/r/req/5", "v2/r/res/5"),
        (["v2/r/req/+", CALLS], ME + "rpc/request/5", "v2/r/res/j/5"),
        (["#"], ME + "rpc/request/5", "v2/r/res/5"),
    ],
)
def test_a_call_goes_to_the_form_that_the_device_listens_to_and_is_answered_in_any(
    filters: list[str], topic: str, answer: str, desk: Any, wire: Any
) -> None:  # MQX-1, MQD-2
    desk.connect().send(wire.subscribe(*filters))
    [down] = messages(desk.ask(CALL, 5))
    assert (down.topic, down.qos) == (topic, 1)
    assert down.payload == b'{"method":"brew","params":"espresso"}'  # MQD-6
    assert desk.up(answer, b"42") == [b"\x40\x02\x00\x07"]
    assert [(given.number, given.outcome) for given in desk.answers] == [(5, 42)]


@pytest.mark.parametrize(
    ("payload", "outcome", "integer"),
    [
        (b"7", 7, 7),
        (b"-1", -1, -1),
        (b'{"return_value":3}', {"return_value": 3}, 3),
        (b'{"return_value":"3"}', {"return_value": "3"}, None),
        (b"true", True, None),
        (b"1.5", 1.5, None),
        (b'"hot"', "hot", None),
        (b"hot", "hot", None),
        (b"", "", None),
        (b"\xff", "\ufffd", None),
        (b"null", None, None),
        (b'{"error":17}', {"error": 17}, None),
        (b"[1]", [1], None),
    ],
)
def test_an_answer_is_returned_as_it_is(payload: bytes, outcome: Any, integer: int | None) -> None:  # MQX-1
    found = returned(payload)
    assert (found, type(found)) == (outcome, type(outcome))
    assert return_value(found) == integer


def test_an_object_with_a_text_error_is_a_failed_call(listening: Any) -> None:  # MQX-1
    listening.ask(CALL, 5)
    listening.up(ME + "rpc/response/5", b'{"error":"no beans"}')
    [answer] = listening.answers
    assert (answer.outcome.code, answer.outcome.reason) == ("call_failed", "no beans")


def test_a_device_that_does_not_listen_is_waited_for_five_seconds(desk: Any) -> None:  # MQX-1
    desk.connect()
    assert desk.ask(CALL, 5) == []
    desk.wait(4.9)
    assert desk.answers == []
    desk.wait(0.2)
    [answer] = desk.answers
    assert (answer.number, answer.outcome.code) == (5, "device_not_listening")
    desk.up(ME + "rpc/response/5", b"1")
    assert desk.around.counts["unawaited_answers"] == 1


def test_a_device_that_begins_to_listen_is_called_then(desk: Any, wire: Any) -> None:  # MQX-1
    desk.connect()
    desk.ask(CALL, 5)
    desk.wait(3)
    desk.up(ME + "rpc/response/5", b"1")
    assert desk.answers == []
    assert [down.topic for down in messages(desk.send(wire.subscribe(CALLS, qos=0)))] == [ME + "rpc/request/5"]
    desk.wait(10)
    desk.up(ME + "rpc/response/5", b"1")
    assert [answer.outcome for answer in desk.answers] == [1]


def test_a_call_that_nobody_waits_for_any_more_is_not_sent_later(desk: Any, wire: Any) -> None:  # MQX-1
    desk.connect()
    desk.ask(CALL, 5)
    desk.session.unask(5)
    assert messages(desk.send(wire.subscribe(CALLS))) == []
    for number in range(6, 23):
        desk.ask(CALL, number)
    desk.session.unask(22)
    assert messages(desk.send(b"\x40\x02\x00\x01")) == []


def test_an_answer_counts_once_and_a_late_one_not_at_all(listening: Any) -> None:  # MQU-5
    listening.ask(CALL, 5)
    listening.up(ME + "rpc/response/5", b"1")
    listening.up(ME + "rpc/response/5", b"2")
    listening.ask(CALL, 6)
    listening.session.unask(6)
    listening.up(ME + "rpc/response/6", b"3")
    assert [answer.outcome for answer in listening.answers] == [1]
    assert listening.around.counts["unawaited_answers"] == 2


def test_a_call_larger_than_the_device_takes_is_refused(desk: Any, wire: Any) -> None:  # MQD-4
    desk.connect(wire.connect(level=5, properties=b"\x27\x00\x00\x00\x64"))
    desk.send(wire.subscribe(CALLS, level=5))
    assert messages(desk.ask(FunctionCall("brew", "x" * 100), 5), 5) == []
    desk.connect()
    desk.ask(FunctionCall("brew", "x" * 70_000), 6)
    assert [answer.outcome.code for answer in desk.answers] == ["too_large_for_device"] * 2


def test_calls_wait_for_acknowledgements_and_are_never_dropped_for_attributes(
    listening: Any, directory: Any, wire: Any
) -> None:  # section 1
    listening.send(wire.subscribe("v2/a"))
    for number in range(16):
        listening.up(f"v2/r/req/{number}", b'{"method":"x"}', 0)
    assert listening.ask(CALL, 99) == []
    for number in range(150):
        directory.desire({"a": number})
        listening.news()
        listening.up(f"v2/r/req/{number}", b'{"method":"x"}', 0)
    freed = [one for number in range(1, 120) for one in messages(listening.send(b"\x40\x02\x00" + bytes([number])))]
    assert [one.topic for one in freed].count(ME + "rpc/request/99") == 1
    assert len(freed) == 100


def test_what_waits_for_a_device_that_acknowledges_nothing_is_bounded_in_bytes(listening: Any) -> None:  # section 1
    listening.up("v2/a", json.dumps({"a": "x" * 60_000}).encode())
    for number in range(16):
        listening.up(f"v2/r/req/{number}", b'{"method":"x"}', 0)
    for number in range(4):
        listening.ask(FunctionCall("brew", "y" * 60_000), 100 + number)
    for number in range(90):
        listening.up(f"v2/a/req/{number}", b"{}", 0)
    freed = [one for number in range(1, 120) for one in messages(listening.send(b"\x40\x02\x00" + bytes([number])))]
    calls = [one for one in freed if "rpc/request" in one.topic]
    assert [int(one.topic.rpartition("/")[2]) for one in calls] == [100, 101, 102, 103]
    assert sum(len(one.payload) for one in freed) <= MqttLimits().queued_down_bytes + 65_536


def test_a_newer_connection_is_not_sent_the_calls_of_the_older(listening: Any, wire: Any) -> None:  # MQS-2, MQX-1
    listening.ask(CALL, 5)
    listening.replaced()
    listening.connect(replaced_address="192.0.2.9")
    assert messages(listening.send(wire.subscribe(CALLS))) == []
    listening.up(ME + "rpc/response/5", b"1")
    assert listening.answers == []


def test_a_variable_is_the_latest_reported_attribute_or_telemetry(desk: Any) -> None:  # MQX-2
    desk.connect()
    desk.up("v2/t", b'[{"level":1,"heat":20},{"level":2}]')
    desk.up("v2/a", b'{"level":"high"}')
    assert desk.value("level") == {"value": "high", "at": desk.time()}
    desk.up("v2/a", b'{"level":null}')
    assert desk.value("level") == {"value": 2, "at": desk.time()}
    assert desk.value("heat")["value"] == 20
    assert desk.value("cold").code == "unknown_variable"
    assert desk.sent[-1][0] == 0x40  # nothing was asked of the device


def test_the_newer_device_time_wins_and_one_from_tomorrow_is_ours(desk: Any) -> None:  # MQU-1
    desk.connect()
    ours = int(desk.now.at.timestamp() * 1_000)
    for at, value in ((ours - 5_000, 1), (ours - 9_000, 2), (ours + 2 * 86_400_000, 3), (ours - 1_000, 4)):
        desk.up("v2/t", json.dumps({"ts": at, "values": {"a": value}}).encode())
    assert desk.value("a") == {"value": 3, "at": desk.time()}


def test_keys_that_say_what_the_device_runs_and_named_events_are_no_variables(desk: Any) -> None:  # MQU-1
    desk.connect().up("v2/t", b'[{"fw_state":"IDLE","a":1},{"event":"brewed","data":1}]')
    assert desk.value("a")["value"] == 1
    assert [desk.value(name).code for name in ("fw_state", "event", "data")] == ["unknown_variable"] * 3


def test_a_value_of_an_earlier_connection_is_found_unless_there_is_a_newer(desk: Any) -> None:  # MQX-2
    class Known:
        def value(self, device_id: str, key: str) -> tuple[Any, int] | None:
            return {"a": (1, 10), "b": (2, LATER_US)}.get(key)

    desk.around = replace(desk.around, latest=Known())
    desk.connect().up("v2/t", b'{"a":7,"b":8}')
    assert desk.value("a")["value"] == 7
    assert desk.value("b") == {"value": 2, "at": "2033-05-18T03:33:20.000Z"}


def test_a_device_stays_when_what_it_told_cannot_be_read(desk: Any) -> None:  # MQX-2
    class Away:
        def value(self, device_id: str, key: str) -> tuple[Any, int] | None:
            raise Unavailable("the latest values cannot be read")

    desk.around = replace(desk.around, latest=Away())
    desk.connect()
    assert desk.value("a").code == "call_failed"
    assert desk.closed is None


def test_a_fresh_read_calls_the_device(listening: Any) -> None:  # MQX-2
    [down] = messages(listening.ask(VariableRead("level", fresh=True), 5))
    assert down.payload == b'{"method":"getVariable","params":{"name":"level"}}'
    listening.up(ME + "rpc/response/5", b"3")
    listening.ask(VariableRead("level", fresh=True), 6)
    listening.up(ME + "rpc/response/6", b'{"error":"no such thing"}')
    first, second = listening.answers
    assert first.outcome == {"value": 3}
    assert second.outcome.code == "call_failed"


def test_a_probe_is_alive_when_it_is_acknowledged(desk: Any, wire: Any) -> None:  # MQX-4
    desk.connect().send(wire.subscribe("v2/a"))
    [down] = messages(desk.ask(Probe(), 5))
    assert (down.topic, down.payload, down.qos) == ("v2/a", b"{}", 1)
    assert desk.answers == []
    desk.send(b"\x40\x02" + down.packet_id.to_bytes(2, "big"))
    assert [(answer.number, answer.outcome) for answer in desk.answers] == [(5, True)]


def test_a_probe_that_could_not_be_acknowledged_is_answered_from_presence(
    desk: Any, directory: Any, wire: Any
) -> None:  # MQX-4
    desk.connect()
    assert desk.ask(Probe(), 5) == []
    desk.send(wire.subscribe("v2/a", qos=0))
    assert desk.ask(Probe(), 6) == []
    desk.send(wire.subscribe("v2/a", qos=1))
    directory.put_image(9, b"image")
    directory.change(released_version=9)
    desk.session.firmware.refresh(desk.seconds)
    desk.up("v2/fw/request/1/chunk/0", b"1")
    assert messages(desk.ask(Probe(), 7)) == []
    assert [answer.outcome for answer in desk.answers] == [True] * 3


def test_a_device_that_speaks_mqtt_cannot_be_signalled(desk: Any) -> None:
    desk.connect().ask(Signal(True), 5)
    assert isinstance(desk.answers[0].outcome, Refused)
    assert desk.answers[0].outcome.code == "not_supported"
