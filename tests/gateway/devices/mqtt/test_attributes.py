"""Attributes in one session without a socket: what the device reports (MQU-3), asks for (MQU-4), is told (MQX-3)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from services.gateway.devices.mqtt.packets import Publish, decode
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.entries import DesiredEntry
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import (
    AttributesReported,
    DescribedVariable,
    DescriptionReported,
    DeviceMisbehaved,
    FirmwareReported,
)

ME = "v1/devices/me/"
ATTRIBUTES = ME + "attributes"
CONTEXT = Context.new("system:test", "test")
ACK = [b"\x40\x02\x00\x07"]


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


def bodies(sent: list[bytes], level: int = 4) -> list[Any]:
    return [json.loads(message.payload) for message in messages(sent, level)]


def changes(desk: Any) -> list[tuple[Any, list[str]]]:
    return [(json.loads(one.values), one.removed) for one in desk.facts if isinstance(one, AttributesReported)]


@pytest.fixture
def listening(desk: Any, wire: Any) -> Any:
    desk.connect().send(wire.subscribe(ATTRIBUTES))
    return desk


# -- reported


@pytest.mark.parametrize("topic", [ATTRIBUTES, "v2/a", "v2/a/j"])
def test_only_attributes_that_differ_are_recorded(topic: str, desk: Any) -> None:  # MQU-3
    desk.connect()
    for values in (
        {"serial": "S-17", "n": 1},
        {"serial": "S-17", "n": 1},
        {"n": 2, "gone": None},
        {"n": None},
        {"n": 2.0},
        {"n": True},
        {},
    ):
        assert desk.up(topic, json.dumps(values).encode()) == ACK
    assert changes(desk) == [
        ({"serial": "S-17", "n": 1}, []),
        ({"n": 2}, []),
        ({}, ["n"]),
        ({"n": 2.0}, []),
        ({"n": True}, []),
    ]


def test_what_the_device_reported_on_any_gateway_is_known_at_its_next_connection(
    desk: Any, directory: Any
) -> None:  # MQU-3
    directory.reports["0123456789abcdef01234567"] = {"serial": ("S-17", 5), "o": ({"b": 1, "a": 2}, 5)}
    desk.connect().up("v2/a", b'{"serial":"S-17","o":{"a":2,"b":1},"new":1}')
    assert changes(desk) == [({"new": 1}, [])]
    assert desk.value("serial") == {"value": "S-17", "at": "1970-01-01T00:00:00.000Z"}


def test_a_report_of_a_moment_ago_counts_though_the_directory_has_not_heard_of_it(desk: Any, directory: Any) -> None:
    directory.reports["0123456789abcdef01234567"] = {"n": (1, 5)}
    desk.connect().up("v2/a", b'{"n":2}')
    desk.lose()
    desk.connect().up("v2/a", b'{"n":1}')
    assert changes(desk) == [({"n": 2}, []), ({"n": 1}, [])]
    desk.lose()
    assert not desk.memory.forgettable(desk.seconds)
    desk.seconds += 10
    assert desk.memory.forgettable(desk.seconds)
    directory.reports["0123456789abcdef01234567"] = {"n": (3, 5)}
    desk.connect().up("v2/a", b'{"n":3}')
    assert len(changes(desk)) == 2


def test_a_device_that_was_removed_and_comes_back_is_recorded_anew(desk: Any, directory: Any) -> None:  # DEV-8
    desk.connect().up("v2/a", b'{"n":1}')
    directory.change(member={"product_id": None})
    desk.news()
    assert desk.closed.ending == "kicked"
    directory.change(member={"product_id": 1000})
    desk.connect().up("v2/a", b'{"n":1}')
    assert changes(desk) == [({"n": 1}, [])] * 2


def test_a_report_that_could_not_be_stored_is_recorded_when_it_comes_again(desk: Any) -> None:  # MQP-2
    desk.connect().up("v2/a", b'{"n":1}')
    desk.session.not_stored()
    desk.connect().up("v2/a", b'{"n":1}')
    assert changes(desk) == [({"n": 1}, [])] * 2


def test_what_the_device_runs_is_no_attribute_of_its_own(desk: Any) -> None:  # MQU-3, MQF-3
    desk.connect().up("v2/a", b'{"current_fw_title":"1000","current_fw_version":"7","fw_title":"1001","a":1}')
    assert changes(desk) == [({"a": 1}, [])]
    assert desk.last(FirmwareReported).version == 7


def test_functions_and_variables_describe_the_device(desk: Any) -> None:  # MQU-3
    desk.connect()
    desk.up("v2/a", b'{"functions":["brew"],"variables":{"level":"INT","name":"text","x":5}}')
    desk.up("v2/a", b'{"functions":["brew"]}')
    desk.up("v2/a", b'{"functions":["brew","reset"],"variables":null}')
    first, second = [one for one in desk.facts if isinstance(one, DescriptionReported)]
    kinds = [("level", "int"), ("name", "string"), ("x", "other")]
    assert (first.functions, first.variables) == (["brew"], [DescribedVariable(*kind) for kind in kinds])
    assert (second.functions, second.variables) == (["brew", "reset"], [])
    assert first.platform_id is None
    assert len(changes(desk)) == 2


@pytest.mark.parametrize(
    "payload",
    [
        b'{"functions":"brew"}',
        b'{"functions":[1]}',
        b'{"variables":["a"]}',
        json.dumps({"functions": ["f" * 65]}).encode(),
        json.dumps({"functions": [str(n) for n in range(257)]}).encode(),
    ],
)
def test_descriptions_of_another_shape_are_refused_and_change_nothing(payload: bytes, desk: Any) -> None:  # MQE-4
    desk.connect()
    assert desk.up("v2/a", payload) == ACK
    assert desk.kinds() == ["DeviceConnected", "DeviceMisbehaved"]
    desk.up("v2/a", b'{"a":1}')
    assert changes(desk) == [({"a": 1}, [])]


@pytest.mark.parametrize("what", ["bytes", "names"])
def test_a_device_has_a_bounded_number_and_size_of_attributes(what: str, desk: Any, wire: Any) -> None:  # MQU-3
    desk.connect(wire.connect(level=5))
    if what == "bytes":
        desk.up("v2/a", json.dumps({"a": "x" * 33_000}).encode())
        [answer] = desk.up("v2/a", json.dumps({"b": "x" * 33_000}).encode())
    else:
        desk.up("v2/a", json.dumps({f"a{n}": n for n in range(1_024)}).encode())
        [answer] = desk.up("v2/a", b'{"b":1}')
    assert answer[4] == 0x97
    assert b"at most 1024 of 65536 bytes" in answer
    assert desk.last(DeviceMisbehaved).kind == "too_many_attributes"
    assert len(changes(desk)) == 1
    desk.up("v2/a", b'{"a":"y","a1":null}')  # less is always possible
    assert len(changes(desk)) == 2


def test_facts_of_attributes_keep_their_contract(desk: Any) -> None:
    desk.connect()
    desk.up("v2/a", json.dumps({"k" * 128: "é" * 30_000, "functions": ["f" * 64] * 256}).encode())
    for fact in desk.facts[1:]:
        CONTRACTS.encode(fact, 0, CONTEXT)


# -- asked for


@pytest.mark.parametrize(
    ("request_body", "answer"),
    [
        (b"{}", {"client": {"serial": "S", "n": 1}, "shared": {"rate": 5, "mode": {"a": [1]}}}),
        (
            b'{"clientKeys":"serial,n,none,","sharedKeys":"rate"}',
            {"client": {"serial": "S", "n": 1}, "shared": {"rate": 5}},
        ),
        (b'{"clientKeys":["n"]}', {"client": {"n": 1}}),
        (b'{"sharedKeys":["mode",""]}', {"shared": {"mode": {"a": [1]}}}),
        (b'{"clientKeys":"","sharedKeys":"none"}', {}),
        (b'{"sharedKeys":"rate,fw_title"}', {"shared": {"rate": 5, "fw_title": "1000"}}),
        (b'{"sharedKeys":"n"}', {}),
    ],
)
@pytest.mark.parametrize(
    ("topic", "answer_topic"),
    [
        (ME + "attributes/request/4", ME + "attributes/response/4"),
        ("v2/a/req/4", "v2/a/res/4"),
        ("v2/a/req/j/4", "v2/a/res/4"),
    ],
)
def test_a_device_is_told_what_it_asks_for_and_nothing_else(
    request_body: bytes, answer: Any, topic: str, answer_topic: str, desk: Any, directory: Any
) -> None:  # MQU-4
    if b"fw_" in request_body:
        directory.put_image(9, b"image")
        directory.change(released_version=9)
    directory.desire({"rate": 5, "mode": {"a": [1]}, "gone": 1})
    directory.desire({}, ["gone"])
    desk.connect().up("v2/a", b'{"serial":"S","n":1}')
    [message] = messages(desk.up(topic, request_body, 0))
    assert (message.topic, json.loads(message.payload)) == (answer_topic, answer)


def test_an_answer_includes_what_was_published_just_before(desk: Any) -> None:  # MQU-4, MQC-7
    desk.connect()
    desk.waits = True
    desk.up("v2/a", b'{"n":1}')
    assert bodies(desk.up("v2/a/req/1", b'{"clientKeys":"n"}', 0)) == [{"client": {"n": 1}}]


# -- desired


def test_a_change_is_told_at_once_with_its_keys_in_one_message(listening: Any, directory: Any) -> None:  # MQX-3, MQD-6
    directory.desire({"rate": 5, "mode": "eco"})
    [message] = messages(listening.news())
    assert (message.topic, message.payload) == (ATTRIBUTES, b'{"rate":5,"mode":"eco"}')
    directory.desire({"rate": 6}, ["mode"])
    assert bodies(listening.news()) == [{"rate": 6}, {"deleted": ["mode"]}]
    assert listening.news() == []


def test_changes_are_not_repeated_at_connection(desk: Any, directory: Any, wire: Any) -> None:  # MQX-3
    directory.desire({"rate": 5})
    desk.connect()
    directory.desire({"rate": 6})
    assert desk.news() == []
    assert messages(desk.send(wire.subscribe(ATTRIBUTES))) == []
    directory.desire({"mode": 1})
    assert bodies(desk.news()) == [{"mode": 1}]


def test_a_device_that_stops_listening_is_told_what_changed_when_it_listens_again(
    listening: Any, directory: Any, wire: Any
) -> None:  # MQD-2
    listening.send(wire.packet(0xA2, b"\x00\x09" + wire.text(ATTRIBUTES)))
    directory.desire({"rate": 5})
    assert listening.news() == []
    [message] = messages(listening.send(wire.subscribe("v2/a", qos=0)))
    assert (message.topic, message.qos, message.payload) == ("v2/a", 0, b'{"rate":5}')


def test_an_update_larger_than_the_client_takes_is_split_by_keys(desk: Any, directory: Any, wire: Any) -> None:  # MQD-4
    desk.connect(wire.connect(level=5, properties=b"\x27\x00\x00\x00\x50"))
    desk.send(wire.subscribe(ATTRIBUTES, level=5))
    wanted = {f"key{n}": n for n in range(20)}
    directory.desire({**wanted, "huge": "x" * 100})
    told = bodies(desk.news(), 5)
    assert len(told) > 3
    assert {name: value for one in told for name, value in one.items()} == wanted
    directory.desire({}, sorted(wanted))
    assert [name for one in bodies(desk.news(), 5) for name in one["deleted"]] == sorted(wanted)


def test_a_newer_connection_is_told_what_the_older_has_not_acknowledged(
    listening: Any, directory: Any, wire: Any
) -> None:  # MQS-2
    directory.desire({"rate": 5})
    [first] = messages(listening.news())
    listening.send(b"\x40\x02" + first.packet_id.to_bytes(2, "big"))
    directory.desire({"mode": 1})
    directory.desire({"more": 2})
    listening.news()
    listening.replaced()
    listening.connect(replaced_address="192.0.2.9")
    listening.replaced()  # and once more, before it has subscribed
    listening.connect(replaced_address="192.0.2.9")
    assert bodies(listening.send(wire.subscribe(ATTRIBUTES))) == [{"mode": 1, "more": 2}]


def test_after_a_connection_that_was_lost_nothing_is_repeated(
    listening: Any, directory: Any, wire: Any
) -> None:  # MQS-1
    directory.desire({"mode": 1})
    listening.news()
    listening.lose()
    listening.connect()
    assert messages(listening.send(wire.subscribe(ATTRIBUTES))) == []


def test_a_device_that_has_asked_for_everything_is_not_told_again(listening: Any, directory: Any) -> None:  # MQU-4
    directory.desire({"mode": 1})
    assert bodies(listening.up("v2/a/req/1", b"{}", 0)) == [{"shared": {"mode": 1}}]
    assert listening.news() == []


@pytest.fixture
def downloading(listening: Any, directory: Any, wire: Any) -> Any:
    listening.send(wire.subscribe("v2/fw/response/+/chunk/+", qos=0))
    directory.put_image(9, bytes(1_000))
    directory.change(released_version=9)
    listening.up("v2/fw/request/1/chunk/0", b"100")
    return listening


def test_other_attributes_wait_while_firmware_is_downloaded_and_go_merged(downloading: Any, directory: Any) -> None:
    # MQF-9
    for number in range(3):
        directory.desire({"rate": number, f"key{number}": number})
        assert downloading.news() == []
        downloading.wait(60)
    told = downloading.up("v2/t", b'{"fw_state":"UPDATING"}')
    assert bodies(told) == [{"rate": 2, "key0": 0, "key1": 1, "key2": 2}]


def test_other_attributes_wait_for_five_minutes_at_most(downloading: Any, directory: Any) -> None:  # MQF-9
    directory.desire({"rate": 1})
    assert downloading.news() == []
    told = []
    for second in range(400):
        downloading.up("v2/fw/request/1/chunk/0", b"100", 0)
        told += [second for _ in messages(downloading.wait(1))]
    assert told == [299]


@pytest.mark.parametrize("how", ["asked", "offered"])
def test_other_attributes_wait_for_a_moment_when_the_device_was_told_of_its_target(
    how: str, listening: Any, directory: Any
) -> None:  # MQF-9
    directory.put_image(9, bytes(1_000))
    if how == "asked":
        directory.change(released_version=9)
        listening.up("v2/a/req/1", b'{"sharedKeys":"fw_title,fw_version"}', 0)
    else:
        directory.change(member={"locked_version": 9, "flash_pending": True})
        listening.up("v2/t", b'{"current_fw_version":"1"}')
        listening.news()
        assert "fw_title" in bodies(listening.wait(1.1))[0]
    directory.desire({"rate": 1})
    assert listening.news() == []
    assert messages(listening.wait(3)) == []
    assert bodies(listening.wait(2)) == [{"rate": 1}]


def test_a_device_that_runs_its_target_is_told_of_other_attributes_at_once(listening: Any, directory: Any) -> None:
    directory.put_image(9, bytes(1_000))
    directory.change(released_version=9)
    listening.up("v2/a", b'{"current_fw_title":"1000","current_fw_version":"9"}')
    listening.up("v2/a/req/1", b'{"sharedKeys":"fw_title,fw_version"}', 0)
    directory.desire({"rate": 1})
    assert bodies(listening.news()) == [{"rate": 1}]


def test_a_failed_download_lets_the_attributes_go(downloading: Any, directory: Any) -> None:  # MQF-9
    directory.desire({"rate": 1})
    downloading.news()
    assert bodies(downloading.up("v2/t", b'{"fw_state":"FAILED","fw_error":"flash"}')) == [{"rate": 1}]


def test_a_device_hears_nothing_of_what_it_publishes_itself(listening: Any) -> None:  # MQD-5
    assert listening.up(ATTRIBUTES, b'{"n":1}') == ACK
    assert listening.news() == []


def test_nothing_is_desired_of_a_device_without_attributes(listening: Any) -> None:
    assert listening.directory.desired("0123456789abcdef01234567") == DesiredEntry()
    assert listening.news() == []


# -- firmware


def test_the_title_is_a_name_of_the_product_and_the_version_as_wide_as_it_says(desk: Any, directory: Any) -> None:
    # MQF-1, MQF-10
    directory.firmware_name, directory.version_width = "Brewer", 5
    directory.put_image(7, b"image")
    directory.change(released_version=7)
    desk.connect()
    [told] = bodies(desk.up("v2/a/req/1", b'{"sharedKeys":"fw_title,fw_version"}', 0))
    assert told == {"shared": {"fw_title": "Brewer", "fw_version": "00007"}}
    desk.up("v2/t", b'{"current_fw_title":"Brewer","current_fw_version":"00007"}')
    reported = desk.last(FirmwareReported)
    assert (reported.reported_product, reported.version, reported.product_id) == (1000, 7, 1000)
    assert (reported.title, reported.text) == ("Brewer", "00007")
