"""Reports, offers and chunks of one session, without a socket (section 7)."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.calls import FunctionCall
from services.gateway.devices.firmware import SETUP_S
from services.gateway.devices.identity import Identity
from services.gateway.devices.mqtt.packets import Publish, decode
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.devices.mqtt.reports import told_by
from services.gateway.devices.transfers import TransferLimits, Transfers
from shared.events.gateway import FirmwareReported, RolloutTurnAsked, UpdateFailed, UpdatesDeclared, UpdateSucceeded
from shared.rollouts import PLACES, Releases, Rollout
from tests.gateway.devices.conftest import ClientWire

IMAGE = bytes(range(250)) * 4
NOBODY = Identity(None, None, "", "", False)


def messages(sent: list[bytes]) -> list[Publish]:
    reader = FrameReader(1 << 20)
    reader.feed(b"".join(sent))
    found = []
    while (frame := reader.take()) is not None:
        if frame.first >> 4 == 3:
            packet = decode(frame, 4)
            assert isinstance(packet, Publish)
            found.append(packet)
    return found


def offers(sent: list[bytes]) -> list[str]:
    """The versions offered unasked."""
    return [json.loads(one.payload)["fw_version"] for one in messages(sent) if one.topic.endswith(("attributes", "/a"))]


@pytest.fixture
def released(desk: Any, directory: Any) -> Any:
    """A desk whose device is connected, listens, and has version 7 released for it."""
    directory.put_image(7, IMAGE)
    directory.change(released_version=7)
    return desk


@pytest.fixture
def listening(released: Any, wire: Any) -> Any:
    released.connect(wire.connect(keep_alive_s=65_535))
    released.send(wire.subscribe("v1/devices/me/attributes"))
    return released


def unnamed(title: str) -> int | None:
    """No product's firmware has a name of its own."""
    return None


@pytest.mark.parametrize(
    ("report", "product", "version", "title", "text"),
    [
        ({"current_fw_title": "1000", "current_fw_version": "7"}, 1000, 7, "1000", "7"),
        ({"current_fw_title": "1000", "current_fw_version": "v007"}, 1000, 7, "1000", "v007"),
        ({"current_fw_version": 7}, None, 7, "", "7"),
        ({"current_fw_version": "65535"}, None, 65_535, "", "65535"),
        ({"current_fw_version": "65536"}, None, None, "", "65536"),
        ({"current_fw_version": "1.2"}, None, None, "", "1.2"),
        ({"current_fw_version": 1.5}, None, None, "", "1.5"),
        ({"current_fw_version": "9" * 500}, None, None, "", "9" * 128),
        ({"current_fw_title": "brewer", "current_fw_version": "1"}, 65_535, 1, "brewer", "1"),
        ({"product_id": 1001, "current_fw_title": "brewer"}, 1001, None, "brewer", ""),
        ({"product_id": 1001, "current_fw_title": "1000"}, 1001, None, "1000", ""),
        ({"product_id": "1001", "current_fw_version": "1"}, None, 1, "", "1"),
    ],
)
def test_what_a_device_reports_is_read_as_the_rules_say(
    report: Any, product: Any, version: Any, title: str, text: str
) -> None:  # MQF-1
    assert told_by(report, NOBODY, unnamed) == Identity(product, version, title, text, True)


@pytest.mark.parametrize(
    "report",
    [
        {"current_fw_title": "Initial", "current_fw_version": "v0"},
        {"fw_state": "UPDATED"},
        {"product_id": True},
        {"product_id": 70_000},
        {"current_fw_title": "", "current_fw_version": None},
    ],
)
def test_reports_that_say_nothing_are_none(report: Any) -> None:
    assert told_by(report, NOBODY, unnamed) is None


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x)))
def test_any_value_of_a_reserved_key_gives_an_identity_within_its_contract(value: Any) -> None:
    for key in ("current_fw_title", "current_fw_version", "product_id"):
        told = told_by({key: value}, NOBODY, unnamed)
        if told is not None:
            assert told.version is None or 0 <= told.version <= 65_535
            assert told.product is None or 0 <= told.product <= 65_535
            assert len(told.title) <= 128
            assert len(told.text) <= 128


def test_only_changes_of_what_a_device_reports_are_recorded(desk: Any, directory: Any) -> None:
    directory.change(reported_product=1000, reported_version=6, reported_title="1000", reported_text="6")
    directory.change(ever_reported=True, recorded_product=1000)
    desk.connect()
    for version in ("6", "6", "7", "7"):
        desk.up("v2/t", json.dumps({"current_fw_title": "1000", "current_fw_version": version}).encode())
    desk.up("v2/a", b'{"current_fw_version":"8","serial":"S-17"}')
    reported = [fact for fact in desk.facts if isinstance(fact, FirmwareReported)]
    assert [(fact.version, fact.product_id, fact.reported_product) for fact in reported] == [
        (7, 1000, 1000),
        (8, 1000, 1000),
    ]


@pytest.mark.parametrize(
    ("member", "report", "counts_as"),
    [
        ({}, b'{"product_id":1000}', 1000),
        ({}, b'{"product_id":1001}', None),
        ({"forced": True}, b'{"product_id":1001}', 1000),
        ({"quarantined": True}, b'{"product_id":1000}', None),
        ({}, b'{"current_fw_version":"1"}', 1000),
    ],
)
def test_a_report_says_which_product_the_device_counts_as(
    member: Any, report: bytes, counts_as: Any, desk: Any, directory: Any
) -> None:  # DEV-3
    directory.change(member=member)
    desk.connect().up("v2/t", report)
    assert desk.last(FirmwareReported).product_id == counts_as


def test_a_device_that_is_approved_while_connected_is_recorded_as_what_it_counts_as_now(
    desk: Any, directory: Any
) -> None:  # DEV-4, FW-5
    directory.change(member={"quarantined": True})
    desk.connect().up("v2/t", b'{"product_id":1000,"current_fw_version":"7"}')
    directory.change(member={"quarantined": False}, reported_product=1000, reported_version=7, reported_text="7")
    desk.news()
    desk.news()
    reported = [(fact.product_id, fact.version) for fact in desk.facts if isinstance(fact, FirmwareReported)]
    assert reported == [(None, 7), (1000, 7)]


def test_a_device_that_counts_as_another_product_at_its_return_is_recorded_with_its_first_report(
    desk: Any, directory: Any
) -> None:
    directory.change(reported_product=1000, reported_version=7, reported_title="1000", reported_text="7")
    directory.change(ever_reported=True, recorded_product=None)
    desk.connect()
    desk.news()
    assert desk.kinds() == ["DeviceConnected"]
    for _ in range(2):
        desk.up("v2/t", b'{"current_fw_title":"1000","current_fw_version":"7"}')
    assert desk.kinds() == ["DeviceConnected", "FirmwareReported"]
    assert desk.last(FirmwareReported).product_id == 1000


def test_a_device_that_has_reported_nothing_is_not_recorded_when_it_is_approved(desk: Any, directory: Any) -> None:
    directory.change(member={"quarantined": True})
    desk.connect()
    directory.change(member={"quarantined": False})
    desk.news()
    assert desk.kinds() == ["DeviceConnected"]


FIVE = {
    "fw_title": "1000",
    "fw_version": "7",
    "fw_size": 1000,
    "fw_checksum": "5d9c8d4b0c7a8f5c",
    "fw_checksum_algorithm": "SHA256",
}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (b"{}", list(FIVE)),
        (b'{"sharedKeys":"fw_title,fw_version,"}', ["fw_title", "fw_version"]),
        (b'{"sharedKeys":["fw_size","other"]}', ["fw_size"]),
        (b'{"clientKeys":"serial","sharedKeys":",fw_checksum"}', ["fw_checksum"]),
        (b'{"clientKeys":"serial"}', []),
        (b'{"sharedKeys":"other"}', []),
        (b'{"sharedKeys":""}', []),
    ],
)
@pytest.mark.parametrize(
    ("topic", "answer_topic"),
    [
        ("v1/devices/me/attributes/request/9", "v1/devices/me/attributes/response/9"),
        ("v2/a/req/9", "v2/a/res/9"),
    ],
)
def test_a_request_gets_the_firmware_keys_that_it_names(
    asked: bytes, named: list[str], topic: str, answer_topic: str, released: Any, directory: Any
) -> None:  # MQU-4, MQF-3
    [answer] = messages(released.connect().up(topic, asked))
    assert answer.topic == answer_topic
    expected = {**FIVE, "fw_checksum": directory.images[1000, 7].sha256}
    assert json.loads(answer.payload) == ({"shared": {key: expected[key] for key in named}} if named else {})


SIGNED = {"fw_signature": "ab" * 64, "fw_signature_key": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        (b"{}", list(FIVE)),
        (b'{"sharedKeys":"fw_signature"}', ["fw_signature"]),
        (b'{"sharedKeys":"fw_version,fw_signature,fw_signature_key"}', ["fw_version", *SIGNED]),
    ],
)
def test_the_signature_is_for_those_who_ask_for_it_by_name(
    asked: bytes, named: list[str], released: Any, directory: Any
) -> None:
    image = directory.images[1000, 7]
    directory.images[1000, 7] = replace(image, signature="ab" * 64, signature_key="0123456789abcdef")
    [answer] = messages(released.connect().up("v2/a/req/9", asked))
    expected = {**FIVE, **SIGNED, "fw_checksum": image.sha256}
    assert json.loads(answer.payload) == {"shared": {key: expected[key] for key in named}}
    directory.images[1000, 7] = image
    [answer] = messages(released.up("v2/a/req/10", b'{"sharedKeys":"fw_signature"}'))
    assert json.loads(answer.payload) == {}  # not signed


def test_a_request_is_answered_from_the_newest_word_of_the_directory(released: Any, directory: Any) -> None:
    released.connect()
    directory.put_image(8, b"other")
    directory.change(released_version=8)
    [answer] = messages(released.up("v2/a/req/1", b'{"sharedKeys":"fw_version"}'))
    assert answer.payload == b'{"shared":{"fw_version":"8"}}'


@pytest.mark.parametrize("member", [{"quarantined": True}, {"development": True}])
def test_without_a_target_the_firmware_keys_are_absent(member: Any, released: Any, directory: Any) -> None:
    directory.change(member=member)
    [answer] = messages(released.connect().up("v2/a/req/1", b"{}"))
    assert answer.payload == b"{}"


def test_an_offer_comes_a_moment_after_the_report(listening: Any) -> None:  # MQF-4
    assert offers(listening.up("v2/t", b'{"current_fw_version":"6"}')) == []
    assert offers(listening.wait(0.9)) == []
    assert offers(listening.wait(0.2)) == ["7"]
    assert offers(listening.wait(60)) == []


def test_an_offer_waits_for_its_turn_and_is_made_when_it_comes(desk: Any, directory: Any, wire: Any) -> None:
    transfers = Transfers(TransferLimits(at_once=1))
    desk.around = replace(desk.around, transfers=transfers)
    directory.put_image(7, IMAGE)
    directory.change(released_version=7)
    desk.connect(wire.connect(keep_alive_s=65_535))
    desk.send(wire.subscribe("v1/devices/me/attributes"))
    transfers.enter("another", desk.seconds)
    assert offers(desk.up("v2/t", b'{"current_fw_version":"6"}')) == []
    assert offers(desk.wait(30)) == []
    assert transfers.status() == {"running": 1, "waiting": 1}
    transfers.done("another", desk.seconds)
    desk.news()
    assert offers(desk.wait(1)) == ["7"]
    desk.up("v2/t", b'{"fw_state":"DOWNLOADING"}')
    desk.up("v2/t", b'{"fw_state":"UPDATING"}')
    assert transfers.status() == {"running": 0, "waiting": 0}


def test_a_device_that_is_set_up_is_offered_its_firmware_at_once_and_hears_nothing_else(
    listening: Any, directory: Any, wire: Any
) -> None:  # PRD-5
    directory.programs_at_setup = True
    listening.send(wire.subscribe("v1/devices/me/rpc/request/+"))
    directory.desire({"led": "red"})
    assert listening.news() == []
    assert listening.ask(FunctionCall("brew", "")) == []
    assert listening.answers[-1].outcome.code == "busy"
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    assert offers(listening.wait(0)) == ["7"]
    listening.up("v2/t", b'{"fw_state":"DOWNLOADING"}')
    assert listening.wait(200) == []
    directory.change(reported_product=1000, reported_version=7, ever_updated=True)
    listening.up("v2/t", b'{"current_fw_version":"7","fw_state":"UPDATED"}')
    listening.news()
    assert b"led" in b"".join(listening.sent)
    assert messages(listening.ask(FunctionCall("brew", ""), 2))[0].topic == "v1/devices/me/rpc/request/2"


def test_a_device_that_takes_no_firmware_at_its_set_up_is_like_any_other_after_a_while(
    listening: Any, directory: Any, wire: Any
) -> None:  # PRD-5
    directory.programs_at_setup = True
    listening.send(wire.subscribe("v1/devices/me/rpc/request/+"))
    listening.wait(SETUP_S - 1)
    assert listening.ask(FunctionCall("brew", "")) == []
    listening.wait(1)
    assert len(messages(listening.ask(FunctionCall("brew", ""), 2))) == 1


def test_a_device_that_is_set_up_waits_for_no_turn_behind_others(desk: Any, directory: Any, wire: Any) -> None:  # PRD-5
    directory.programs_at_setup = True
    transfers = Transfers(TransferLimits(at_once=1))
    desk.around = replace(desk.around, transfers=transfers)
    directory.put_image(7, IMAGE)
    directory.change(released_version=7)
    desk.connect(wire.connect(keep_alive_s=65_535))
    desk.send(wire.subscribe("v1/devices/me/attributes"))
    transfers.enter("another", desk.seconds)
    transfers.enter("one that waits", desk.seconds)
    assert offers(desk.up("v2/t", b'{"current_fw_version":"6"}')) == []
    assert offers(desk.wait(5)) == []
    transfers.done("another", desk.seconds)
    desk.news()
    assert offers(desk.wait(0)) == ["7"]


def test_a_device_that_reports_nothing_is_offered_after_ten_seconds(listening: Any) -> None:
    assert offers(listening.wait(9.9)) == []
    assert offers(listening.wait(0.2)) == ["7"]


def test_the_same_offer_is_made_again_after_ten_minutes(listening: Any) -> None:
    assert offers(listening.wait(609)) == ["7"]
    assert offers(listening.wait(2)) == ["7"]


def test_a_device_that_asked_itself_is_not_told_at_once(listening: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    listening.up("v2/a/req/1", b"{}")
    assert offers(listening.wait(4.9)) == []
    assert offers(listening.wait(0.2)) == ["7"]


def test_a_device_that_runs_its_target_is_offered_nothing(listening: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"7"}')
    assert offers(listening.wait(30)) == []


def test_a_device_that_does_not_listen_is_offered_nothing_until_it_does(released: Any, wire: Any) -> None:  # MQD-2
    released.connect().up("v2/t", b'{"current_fw_version":"6"}')
    assert offers(released.wait(30)) == []
    released.send(wire.subscribe("v2/a"))
    [offer] = messages(released.wait(2))
    assert (offer.topic, offer.qos) == ("v2/a", 1)
    released.send(wire.packet(0xA2, b"\x00\x01" + wire.text("v2/a")))
    assert released.session.firmware.offer_at() is None


def test_a_device_is_told_on_the_long_topic_if_it_listens_there_and_never_on_both(released: Any, wire: Any) -> None:
    released.connect().send(wire.subscribe("#", qos=0))
    [offer] = messages(released.wait(11))
    assert (offer.topic, offer.qos) == ("v1/devices/me/attributes", 0)


def test_nothing_is_offered_during_an_attempt(listening: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    listening.up("v2/fw/request/1/chunk/0", b"100")
    assert offers(listening.wait(50)) == []


def test_a_release_waits_for_the_next_connection_unless_it_is_intelligent(
    listening: Any, directory: Any, wire: Any
) -> None:  # FW-4
    listening.up("v2/t", b'{"current_fw_version":"7"}')
    directory.put_image(8, b"eight")
    directory.change(released_version=8)
    assert offers(listening.news() + listening.wait(30)) == []
    directory.intelligent = True
    assert offers(listening.news() + listening.wait(1)) == ["8"]
    directory.intelligent = False
    directory.put_image(9, b"nine")
    directory.change(released_version=9)
    assert offers(listening.news() + listening.wait(30)) == []
    listening.lose()
    listening.connect()
    listening.send(wire.subscribe("v1/devices/me/attributes"))
    assert offers(listening.wait(11)) == ["9"]


def test_a_lock_waits_for_the_next_connection_unless_it_is_to_be_flashed_now(
    listening: Any, directory: Any
) -> None:  # FW-3
    listening.up("v2/t", b'{"current_fw_version":"7"}')
    directory.put_image(5, b"five")
    directory.change(member={"locked_version": 5})
    assert offers(listening.news() + listening.wait(30)) == []
    directory.change(member={"flash_pending": True})
    assert offers(listening.news() + listening.wait(0.1)) == ["5"]
    directory.change(member={"locked_version": None, "flash_pending": False})
    assert offers(listening.news() + listening.wait(30)) == []


def test_flash_now_does_not_wait_ten_minutes_for_the_same_version(listening: Any, directory: Any) -> None:
    assert offers(listening.wait(11)) == ["7"]
    directory.change(member={"locked_version": 7, "flash_pending": True})
    assert offers(listening.news() + listening.wait(0.1)) == ["7"]


def test_a_development_device_gets_what_is_flashed_and_nothing_else(listening: Any, directory: Any) -> None:  # DEV-5
    directory.change(member={"development": True})
    listening.news()
    assert offers(listening.wait(30)) == []
    directory.change(member={"locked_version": 7, "flash_pending": True})
    assert offers(listening.news() + listening.wait(0.1)) == ["7"]


@pytest.mark.parametrize("member", [{"denied": True}, {"product_id": None}])
def test_a_device_that_is_denied_or_removed_is_sent_away(member: Any, desk: Any, directory: Any, wire: Any) -> None:
    desk.connect(wire.connect(level=5))
    directory.change(member=member)
    desk.news()
    assert (desk.closed.packet[2], desk.closed.ending) == (0x98, "kicked")


def test_a_device_that_is_quarantined_stays_and_its_attempt_is_cancelled(listening: Any, directory: Any) -> None:
    listening.up("v2/fw/request/1/chunk/0", b"100")
    directory.change(member={"quarantined": True})
    listening.news()
    assert listening.closed is None
    assert listening.last(UpdateFailed).reason == "cancelled"


def test_chunks_are_the_bytes_of_the_image(released: Any) -> None:  # MQF-5
    released.connect()
    for number in (3, 0, 1, 1, 2):
        released.up(f"v2/fw/request/1/chunk/{number}", b"300", 0)
    served = [(one.offset, one.length) for one in released.served]
    assert served == [(900, 100), (0, 300), (300, 300), (300, 300), (600, 300)]
    heads = [one.head for one in released.served]
    assert b"v2/fw/response/1/chunk/3" in heads[0]


def chunk(desk: Any, number: int, size: bytes, request: int = 1) -> Any:
    """The stretch that is served, or the text that comes instead."""
    before = len(desk.served)
    sent = [one for one in messages(desk.up(f"v2/fw/request/{request}/chunk/{number}", size, 0)) if one]
    if len(desk.served) > before:
        return (desk.served[-1].offset, desk.served[-1].length)
    return (sent[-1].topic, sent[-1].payload) if sent else None


def test_one_chunk_past_the_end_is_empty_and_the_next_an_error(released: Any) -> None:
    released.connect()
    assert chunk(released, 4, b"300") == ("v2/fw/response/1/chunk/4", b"")
    assert chunk(released, 5, b"300") == ("v2/fw/error", b"FAILURE")
    assert chunk(released, 4, b"250", 2) == ("v2/fw/response/2/chunk/4", b"")
    assert chunk(released, 3, b"250", 2) == (750, 250)


def test_the_size_is_remembered_for_its_request(released: Any) -> None:
    released.connect()
    assert chunk(released, 0, b"300") == (0, 300)
    assert chunk(released, 1, b"") == (300, 300)
    assert chunk(released, 0, b"", request=2) == (0, 1_000)


def test_chunks_and_images_above_the_limit_are_errors(released: Any, directory: Any, wire: Any) -> None:  # MQF-7
    released.connect()
    assert chunk(released, 0, b"65537") == ("v2/fw/error", b"PAYLOAD_TOO_LARGE")
    assert chunk(released, 0, b"9999999999") == ("v2/fw/error", b"PAYLOAD_TOO_LARGE")
    directory.put_image(7, bytes(8 * 1024 * 1024 + 1))
    assert chunk(released, 0, b"", request=2) == ("v2/fw/error", b"PAYLOAD_TOO_LARGE")
    assert chunk(released, 0, b"65536", request=2) == (0, 65_536)


def test_a_chunk_larger_than_the_client_takes_is_an_error(released: Any, wire: Any) -> None:
    released.connect(wire.connect(level=5, properties=b"\x27\x00\x00\x01\x00"))
    released.up("v2/fw/request/1/chunk/0", b"300", 0)
    assert released.served == []
    assert b"v2/fw/error" in released.sent[-1]
    released.up("v2/fw/request/1/chunk/0", b"200", 0)
    assert released.served[0].length == 200


def test_a_device_without_a_target_gets_no_image(desk: Any, directory: Any, wire: Any) -> None:
    desk.connect()
    assert chunk(desk, 0, b"300") == ("v2/fw/error", b"NOT_FOUND")
    assert [one.payload for one in messages(desk.up("v2/sw/request/1/chunk/0", b"9", 0))] == [b"NOT_FOUND"]  # MQF-11
    directory.put_image(7, IMAGE)
    directory.change(released_version=7, member={"quarantined": True})
    desk.connect(wire.connect(level=5))
    answers = desk.up("v2/fw/request/1/chunk/0", b"300")
    assert b"NOT_FOUND" in answers[0]
    assert b"\x40\x03\x00\x07\x87" in b"".join(answers)  # MQE-7
    assert desk.served == []


def test_a_release_in_mid_download_does_not_mix_two_images(released: Any, directory: Any) -> None:
    released.connect()
    chunk(released, 0, b"300")
    first = directory.images[1000, 7].sha256
    second = directory.put_image(8, b"x" * 1_000).sha256
    directory.change(released_version=8)
    chunk(released, 1, b"300")
    chunk(released, 0, b"300", request=2)
    assert [one.sha256 for one in released.served] == [first, first, second]
    kinds = [kind for kind in released.kinds() if kind.startswith("Update")]
    assert kinds == ["UpdateStarted", "UpdateFailed", "UpdateStarted"]
    assert released.last(UpdateFailed).reason == "cancelled"


@pytest.mark.parametrize("asks", [True, False])
def test_a_device_whose_target_changed_since_it_was_told_is_told_anew_before_it_gets_an_image(
    asks: bool, listening: Any, directory: Any
) -> None:  # MQF-3, MQF-5: the checksum that it was told is that of the image that it gets
    if asks:
        listening.up("v2/a/req/1", b'{"sharedKeys":"fw_version,fw_checksum"}')
    else:
        assert offers(listening.wait(11)) == ["7"]
    listening.up("v2/t", b'{"current_fw_version":"6","fw_state":"DOWNLOADING"}')
    second = directory.put_image(8, b"x" * 1_000).sha256
    directory.change(released_version=8)
    listening.news()
    assert offers(listening.up("v2/fw/request/1/chunk/0", b"300")) == ["8"]
    assert listening.served == []
    assert chunk(listening, 0, b"300", request=2) == (0, 300)
    assert [one.sha256 for one in listening.served] == [second]
    assert listening.last(UpdateFailed).reason == "cancelled"


def test_a_device_that_listens_to_no_attributes_gets_the_image_of_its_target_whatever_it_was_told(
    released: Any, directory: Any
) -> None:
    released.connect().up("v2/a/req/1", b'{"sharedKeys":"fw_version"}')
    second = directory.put_image(8, b"x" * 1_000).sha256
    directory.change(released_version=8)
    chunk(released, 0, b"300")
    assert [one.sha256 for one in released.served] == [second]


def test_only_the_last_requests_of_a_connection_are_remembered(released: Any) -> None:
    released.connect()
    for request in range(9):
        chunk(released, 0, b"300", request)
    assert chunk(released, 1, b"", request=8) == (300, 300)
    assert chunk(released, 0, b"", request=0) == (0, 1_000)  # forgotten: no size is known


def test_a_device_that_runs_its_target_may_read_the_image_without_an_attempt(released: Any) -> None:
    released.connect().up("v2/t", b'{"current_fw_version":"7"}')
    assert chunk(released, 0, b"300") == (0, 300)
    assert not any(kind.startswith("Update") for kind in released.kinds())


def test_the_story_of_an_update_is_told_in_order(listening: Any, wire: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    listening.wait(2)
    for number in range(4):
        chunk(listening, number, b"300")
        listening.wait(3)
    for word in ("DOWNLOADED", "VERIFIED", "UPDATING"):
        listening.up("v2/t", json.dumps({"current_fw_version": "6", "fw_state": word, "fw_error": ""}).encode())
    listening.lose()
    listening.wait(20)
    listening.connect()
    listening.up("v2/t", b'{"current_fw_version":"7","fw_state":"UPDATED"}')
    assert listening.kinds() == [
        "DeviceConnected",
        "FirmwareReported",
        "UpdateStarted",
        "UpdateAdvanced",
        "UpdateAdvanced",
        "UpdateAdvanced",
        "UpdateAdvanced",
        "UpdateAdvanced",
        "UpdateAdvanced",
        "DeviceDisconnected",
        "DeviceConnected",
        "FirmwareReported",
        "UpdateSucceeded",
    ]


def test_a_failure_is_kept_with_its_text_and_offered_again_after_ten_minutes(listening: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    assert offers(listening.wait(2)) == ["7"]
    chunk(listening, 0, b"300")
    listening.up("v2/t", b'[{"fw_state":"FAILED","fw_error":"Checksum verification failed!"}]')
    failed = listening.last(UpdateFailed)
    assert (failed.reason, failed.text, failed.failures) == ("device_failed", "Checksum verification failed!", 1)
    assert offers(listening.wait(598)) == []
    assert offers(listening.wait(5)) == ["7"]


def test_a_lost_download_is_interrupted_and_offered_at_the_next_connection(listening: Any, wire: Any) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    chunk(listening, 1, b"300")
    listening.lose()
    assert listening.kinds()[-2:] == ["UpdateInterrupted", "DeviceDisconnected"]
    listening.connect()
    listening.send(wire.subscribe("v1/devices/me/attributes"))
    assert offers(listening.wait(11)) == ["7"]


def test_a_device_that_fails_three_times_is_left_alone(listening: Any, directory: Any, wire: Any) -> None:
    directory.change(attempt_version=7, attempts=3, failures=3)
    listening.lose()
    listening.connect()
    listening.send(wire.subscribe("v1/devices/me/attributes"))
    assert offers(listening.wait(30)) == []
    directory.change(failures=0, member={"locked_version": 7, "flash_pending": True})
    assert offers(listening.news() + listening.wait(0.1)) == ["7"]


def test_flash_now_asked_for_once_more_is_offered_in_the_same_connection(
    listening: Any, directory: Any, wire: Any
) -> None:  # FW-7
    directory.change(attempt_version=7, attempts=3, failures=3, member={"locked_version": 7, "flash_pending": True})
    listening.lose()
    listening.connect()
    listening.send(wire.subscribe("v1/devices/me/attributes"))
    assert offers(listening.wait(30)) == []
    directory.change(failures=0)
    assert offers(listening.news() + listening.wait(0.1)) == ["7"]


@pytest.mark.parametrize("is_told", [True, False])
def test_success_is_told_once_though_the_directory_was_behind_when_the_device_came_from_another_gateway(
    listening: Any, directory: Any, is_told: bool
) -> None:
    listening.up("v2/t", b'{"current_fw_version":"6"}')
    listening.lose()
    directory.change(reported_version=6, attempt_version=7, attempts=1, attempt_applying=True)
    listening.connect()
    if is_told:
        news = {"reported_version": 7, "reported_text": "7", "ever_reported": True}
        directory.change(**news, attempt_applying=False)
    listening.up("v2/t", b'{"current_fw_version":"7"}')
    assert len([fact for fact in listening.facts if isinstance(fact, UpdateSucceeded)]) == (0 if is_told else 1)


# -- roll-outs ----------------------------------------------------------------------------------------------------

ROLLOUT = "a" * 24


def asked(desk: Any) -> list[RolloutTurnAsked]:
    return [fact for fact in desk.facts if isinstance(fact, RolloutTurnAsked)]


@pytest.fixture
def rolling_out(listening: Any, directory: Any) -> Any:
    """Version 7 is released, 8 is being rolled out, and the device has just connected anew."""
    directory.put_image(8, IMAGE[:-1])
    releases = Releases(7, {}, (Rollout(ROLLOUT, 8, share=PLACES),))
    directory.change(releases=releases)
    listening.lose()
    listening.connect(ClientWire.connect(keep_alive_s=0))
    listening.send(ClientWire.subscribe("v1/devices/me/attributes"))
    return listening


def test_a_device_hears_of_the_version_of_a_rollout_only_when_it_has_its_turn(
    rolling_out: Any, directory: Any
) -> None:  # FW-6
    rolling_out.up("v2/t", b'{"current_fw_version":"7"}')
    assert offers(rolling_out.wait(30.0)) == []
    assert [fact.rollout_id for fact in asked(rolling_out)] == [ROLLOUT]
    [answer] = messages(rolling_out.up("v1/devices/me/attributes/request/1", b'{"sharedKeys":"fw_version"}'))
    assert json.loads(answer.payload)["shared"] == {"fw_version": "7"}
    directory.change(turn=ROLLOUT)
    assert offers([*rolling_out.news(), *rolling_out.wait(5.0)]) == ["8"]
    rolling_out.up("v2/fw/request/0/chunk/0", b"100")
    assert rolling_out.served[-1].sha256 == directory.image(1000, 8).sha256


@pytest.mark.parametrize(
    ("word", "questions"),
    [
        ((), 1),
        (("v1/devices/me/telemetry", b'{"fw_state":"FAILED","fw_error":"no"}'), 1),
        (("v1/devices/me/telemetry", b'{"fw_state":"QUEUED"}'), 2),
        (("v1/devices/me/attributes/request/1", b'{"sharedKeys":"fw_version"}'), 2),
    ],
)
def test_who_leaves_the_offer_of_its_turn_without_a_word_asks_for_no_other_in_this_connection(
    rolling_out: Any, directory: Any, word: tuple[str, bytes], questions: int
) -> None:  # FW-6
    rolling_out.up("v2/t", b'{"current_fw_version":"7"}')
    rolling_out.wait(30.0)
    directory.change(turn=ROLLOUT)
    assert offers([*rolling_out.news(), *rolling_out.wait(5.0)]) == ["8"]
    if word:
        rolling_out.up(*word)
    rolling_out.wait(700.0)
    directory.change(turn=None, turns_ended=1)
    rolling_out.news()
    rolling_out.wait(100.0)
    assert (len(asked(rolling_out)), rolling_out.closed) == (questions, None)
    rolling_out.lose()
    rolling_out.connect()
    rolling_out.up("v2/t", b'{"current_fw_version":"7"}')
    rolling_out.wait(30.0)
    assert len(asked(rolling_out)) == questions + 1


def test_a_device_that_reports_nothing_asks_for_its_turn_after_a_while(rolling_out: Any) -> None:
    rolling_out.wait(9.0)
    assert asked(rolling_out) == []
    rolling_out.wait(2.0)
    assert len(asked(rolling_out)) == 1


def test_a_pause_is_heard_by_who_is_downloading(rolling_out: Any, directory: Any) -> None:
    rolling_out.up("v2/t", b'{"current_fw_version":"7"}')
    directory.change(turn=ROLLOUT)
    rolling_out.news()
    rolling_out.wait(5.0)
    rolling_out.up("v2/fw/request/0/chunk/0", b"100")
    directory.change(releases=Releases(7, {}, (Rollout(ROLLOUT, 8, state="paused", share=PLACES),)))
    rolling_out.news()
    assert rolling_out.last(UpdateFailed).reason == "cancelled"


def test_a_device_may_say_not_now(listening: Any) -> None:
    listening.up("v1/devices/me/telemetry", b'{"current_fw_version":"6","fw_updates_enabled":false}')
    assert (listening.last(UpdatesDeclared).enabled, listening.published) == (False, [])
    assert offers(listening.wait(60.0)) == []
    [answer] = messages(listening.up("v1/devices/me/attributes/request/1", b'{"sharedKeys":"fw_version"}'))
    assert json.loads(answer.payload)["shared"] == {"fw_version": "7"}  # who asks is told all the same
    listening.up("v1/devices/me/attributes", b'{"fw_updates_enabled":true}')
    assert offers(listening.wait(30.0)) == ["7"]


def test_not_now_is_overruled_by_flash_now(listening: Any, directory: Any) -> None:  # FW-3
    listening.up("v1/devices/me/telemetry", b'{"current_fw_version":"6","fw_updates_enabled":false}')
    directory.change(member={"locked_version": 7, "flash_pending": True})
    assert offers([*listening.news(), *listening.wait(5.0)]) == ["7"]
