"""One session of a Particle device without a socket: what each message does, and what bad ones cost."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.calls import FunctionCall, Probe, Signal, VariableRead
from services.gateway.devices.memory import FACTS_AT_ONCE
from services.gateway.devices.particle import coap, device_messages, device_reading, values
from services.gateway.devices.particle.blocks import Block
from services.gateway.devices.particle.coap import ACK, CON, NON, Message
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.goodbye import Goodbye
from services.gateway.devices.particle.hello import Hello, HelloSystem
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.subscriptions import Wanted
from shared.context import Context
from shared.events.contracts import CONTRACTS
from shared.events.gateway import (
    ClaimPresented,
    DeviceConnected,
    DeviceDisconnected,
    DeviceErred,
    DeviceMisbehaved,
    DevicePublished,
    FirmwareReported,
    KeyPresented,
    SessionReplaced,
)
from shared.ids import digest
from tests.gateway.devices.particle.desk import (
    DESCRIPTION,
    DEVICE,
    NEW,
    OLD,
    ORG,
    OWNER,
    PRODUCT,
    Desk,
    ParticleDirectory,
)

CLAIM_CODE = b"Zk1yT0x2bWJhN" * 5
OTHERS = 777
"""A product of another organization."""


def read(messages: list[Message]) -> list[Any]:
    """What the server says."""
    return [device_reading.read(message) for message in messages]


def events_of(messages: list[Message]) -> list[Event]:
    return [said for said in read(messages) if isinstance(said, Event)]


def codes(messages: list[Message]) -> list[tuple[int, int]]:
    return [(message.type, message.code) for message in messages]


# -- Hello --------------------------------------------------------------------------------------------------------


def test_the_hello_of_a_device_is_answered_before_anything_else(desk: Desk) -> None:
    desk.connect()
    assert isinstance(device_reading.read(desk.sent[0]), device_reading.ServerHello)
    assert (desk.sent[0].type, desk.sent[0].token, desk.sent[0].payload) == (NON, b"", None)
    assert desk.kinds() == ["DeviceConnected", "FirmwareReported"]
    assert [type(fact) for fact in desk.vital] == [DeviceConnected]
    online = desk.last(DeviceConnected)
    assert (online.protocol, online.address, online.product_id) == ("particle/tcp", "192.0.2.1", PRODUCT)
    told = desk.last(FirmwareReported)
    assert (told.reported_product, told.version, told.title, told.text, told.product_id) == (PRODUCT, 1, "", "1", 1000)


def test_a_confirmable_hello_is_acknowledged_first(desk: Desk) -> None:
    desk.connect(reliable=False)
    assert codes(desk.sent[:2]) == [(ACK, coap.EMPTY), (NON, coap.POST)]
    assert desk.last(DeviceConnected).protocol == "particle/dtls"


def test_undefined_numbers_are_none(desk: Desk) -> None:
    desk.connect(dataclasses.replace(OLD, product_id=0xFFFF, product_version=0xFFFF))
    told = desk.last(FirmwareReported)
    assert (told.reported_product, told.version, told.text, told.product_id) == (None, None, "", PRODUCT)


def test_what_is_known_of_a_devices_firmware_is_not_recorded_again(desk: Desk, directory: ParticleDirectory) -> None:
    directory.change(
        reported_product=PRODUCT, reported_version=1, reported_text="1", ever_reported=True, recorded_product=PRODUCT
    )
    assert desk.connect().kinds() == ["DeviceConnected"]


def test_a_connection_that_takes_over_says_so_and_the_older_one_says_nothing(desk: Desk) -> None:
    desk.connect()
    older = desk.session
    desk.connect(replaced_address="192.0.2.9")
    assert desk.last(SessionReplaced).replaced_address == "192.0.2.9"
    assert [type(effect).__name__ for effect in older.replaced(desk.now)] == ["Close"]


def test_every_fact_of_a_session_keeps_its_contract(desk: Desk) -> None:
    desk.connect().describe()
    desk.publish("spark/device/claim/code", CLAIM_CODE)
    desk.bytes(b"\xff\xff\xff\xff")
    desk.lose("misbehaved")
    for fact in desk.facts:
        CONTRACTS.encode(fact, 0, Context.new("device:x", "gateway:a"))
    assert {"DeviceConnected", "DescriptionReported", "ClaimPresented", "DeviceMisbehaved"} <= set(desk.kinds())


def test_the_end_of_a_session_is_recorded_with_what_went_over_it(desk: Desk) -> None:
    desk.connect().describe()
    desk.seconds += 10
    desk.lose()
    over = desk.last(DeviceDisconnected)
    assert (over.reason, over.duration_s, over.messages_in, over.messages_out) == ("connection_lost", 10, 2, 2)


def test_a_goodbye_ends_the_session_in_order(desk: Desk) -> None:
    desk.connect()
    desk.say(device_messages.goodbye(desk.id, Goodbye(cloud_reason=6, sleep_s=60)))
    assert desk.closed is not None
    assert desk.closed.ending == "disconnected"
    assert desk.session.goodbye == Goodbye(cloud_reason=6, sleep_s=60)


def test_a_goodbye_that_waits_is_acknowledged(desk: Desk) -> None:
    answer = desk.connect().say(device_messages.goodbye(9, Goodbye(cloud_reason=5), confirmable=True))
    assert codes(answer) == [(ACK, coap.EMPTY)]


def test_on_udp_a_device_may_say_hello_again(desk: Desk) -> None:
    desk.connect(reliable=False).describe()
    again = dataclasses.replace(OLD, product_version=2)
    answer = desk.say(device_messages.hello(desk.id, again, confirmable=True))
    assert codes(answer[:2]) == [(ACK, coap.EMPTY), (NON, coap.POST)]
    assert desk.last(FirmwareReported).version == 2


@pytest.mark.parametrize(
    "says",
    [
        lambda desk, turn: device_messages.hello(
            desk.id, dataclasses.replace(NEW, product_version=1 + turn % 2), confirmable=True
        ),
        lambda desk, turn: device_messages.describe_post(desk.id, 2, b'{"f":["%d"],"v":{}}' % (turn % 2)),
    ],
)
def test_a_device_that_causes_facts_without_end_is_closed(
    desk: Desk, says: Callable[[Desk, int], coap.Message]
) -> None:
    desk.connect(NEW, reliable=False).say(device_messages.describe_post(desk.id, 1, b'{"p":6,"m":[]}'))
    for turn in range(10_000):
        desk.say(says(desk, turn))
        if desk.closed is not None:
            break
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"
    assert len(desk.facts) < FACTS_AT_ONCE + 10
    assert next(fact.kind for fact in desk.facts if isinstance(fact, DeviceMisbehaved)) == "too_fast"


def test_a_session_does_not_become_another_devices(desk: Desk) -> None:
    desk.connect(reliable=False)
    desk.say(device_messages.hello(desk.id, dataclasses.replace(OLD, device_id="f" * 24), confirmable=True))
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"


def test_a_session_that_goes_on_keeps_subscriptions_description_and_numbers(desk: Desk) -> None:
    desk.connect(reliable=False).describe()
    desk.say(device_messages.subscription(desk.id, Subscription("fleet", mine=True)))
    kept, last_id = desk.session.kept(), desk.sent[-1].id
    desk.facts.clear()
    desk.sent.clear()
    desk.resume(kept)
    assert desk.sent == []  # no Hello: the device did not say one
    assert desk.kinds()[0] == "DeviceConnected"
    assert desk.wanted == {Wanted("product", str(PRODUCT), "fleet")}
    [call] = desk.ask(FunctionCall("brew", "3"))
    assert read([call]) == [device_reading.FunctionCall(call.token, "Brew", b"3")]
    assert call.id != last_id


# -- silence ------------------------------------------------------------------------------------------------------


def test_a_device_that_is_silent_for_30_seconds_is_gone(desk: Desk) -> None:
    desk.connect().describe()
    desk.wait(29.9)
    assert desk.closed is None
    desk.wait(0.2)
    assert desk.closed is not None
    assert desk.closed.ending == "keepalive"


def test_pings_keep_a_session_alive(desk: Desk) -> None:
    desk.connect().describe()
    for _ in range(5):
        desk.wait(15.0)
        assert codes(desk.say(device_messages.ping(77))) == [(ACK, coap.EMPTY)]
    assert desk.closed is None


def test_a_device_on_udp_may_be_silent_for_two_of_its_intervals_and_a_minute(desk: Desk) -> None:
    desk.connect(reliable=False).describe()
    desk.wait(47 * 60 - 1)
    assert desk.closed is None
    desk.wait(2)
    assert desk.closed is not None
    assert desk.closed.ending == "keepalive"


# -- bad messages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("garbage", [b"", b"\x00", b"\x40\x02", b"\x80\x02\x00\x01", b"\x4f\x01\x00\x01", b"\xff" * 40])
def test_what_is_no_coap_ends_the_session(desk: Desk, garbage: bytes) -> None:
    desk.connect()
    assert desk.bytes(garbage) == []
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"
    assert desk.last(DeviceMisbehaved).kind == "bad_frame"


def test_what_nobody_knows_is_answered_4_04_and_the_session_stays(desk: Desk) -> None:
    desk.connect()
    unknown = Message(CON, coap.POST, 9, b"\x01", ((coap.URI_PATH, b"L"),))
    assert codes(desk.say(unknown)) == [(ACK, coap.NOT_FOUND)]
    assert desk.say(msgspec.structs.replace(unknown, type=NON)) == []
    assert desk.closed is None


def test_one_bad_message_is_refused_and_too_many_end_the_session(desk: Desk) -> None:
    desk.connect()
    nameless = Message(CON, coap.POST, 9, b"", ((coap.URI_PATH, b"e"),))
    assert codes(desk.say(nameless)) == [(ACK, coap.BAD_REQUEST)]
    assert desk.last(DeviceMisbehaved).kind == "bad_event"
    for _ in range(desk.limits.bad_messages_a_minute):
        desk.say(nameless)
    assert desk.closed is not None
    assert desk.closed.ending == "misbehaved"


def test_answers_that_nobody_asked_for_are_dropped_and_acknowledged(desk: Desk) -> None:
    desk.connect().describe()
    answer = desk.say(device_messages.answer(9, b"\x63", coap.CONTENT, b"1", confirmable=True))
    assert codes(answer) == [(ACK, coap.EMPTY)]
    assert desk.around.counts["unawaited_answers"] == 1


# -- events -------------------------------------------------------------------------------------------------------


def test_an_event_is_stored_as_the_device_published_it(desk: Desk) -> None:
    desk.connect()
    desk.publish("temp/out", b"-3", ttl_s=300, public=True, confirmable=False)
    [event] = desk.published
    about = (event.device_id, event.product_id, event.name, event.data, event.encoding, event.ttl_s, event.public)
    assert about == (DEVICE, PRODUCT, "temp/out", "-3", "text", 300, True)
    assert (event.version, event.device_at, event.published_at) == (1, None, desk.now.at)


@pytest.mark.parametrize(
    ("data", "stored", "encoding"),
    [(None, None, "text"), (b"", "", "text"), (b"\xff\x00", base64.b64encode(b"\xff\x00").decode(), "base64")],
)
def test_no_data_is_not_empty_data_and_bytes_are_kept(
    desk: Desk, data: bytes | None, stored: str | None, encoding: str
) -> None:
    desk.connect().publish("e", data)
    assert (desk.published[-1].data, desk.published[-1].encoding) == (stored, encoding)


def test_an_event_is_acknowledged_when_it_is_durable_and_behind_those_before_it(desk: Desk) -> None:
    desk.connect()
    desk.waits = True
    assert desk.publish("one") == []
    assert desk.publish("two") == []
    first, second = desk.acks
    desk.acks = [second]
    assert desk.store() == []
    desk.acks = [first]
    assert [(message.type, message.code) for message in desk.store()] == [(ACK, coap.EMPTY)] * 2


def test_an_event_that_cannot_be_stored_is_refused(desk: Desk) -> None:
    desk.connect()
    desk.waits = True
    desk.publish("one")
    assert codes(desk.store(lost=True)) == [(ACK, coap.UNAVAILABLE)]
    assert desk.closed is None


@pytest.mark.parametrize("member", [{"product_id": None}, {"quarantined": True}, {"product_id": 1001}])
def test_events_of_a_device_that_counts_as_no_product_are_acknowledged_and_dropped(  # DEV-4
    desk: Desk, directory: ParticleDirectory, member: dict[str, Any]
) -> None:
    directory.products[1001] = dataclasses.replace(directory.products[PRODUCT], product_id=1001)
    directory.change(member=member)
    assert codes(desk.connect().publish("e", b"1")) == [(ACK, coap.EMPTY)]
    assert desk.published == []


def test_a_flood_is_refused_and_the_session_stays(desk: Desk) -> None:
    desk.connect()
    burst = int(desk.limits.events_burst)
    taken = [codes(desk.publish(f"e{number}")) for number in range(burst + 5)]
    assert taken == [[(ACK, coap.EMPTY)]] * burst + [[(ACK, coap.BAD_REQUEST)]] * 5
    assert len(desk.published) == burst
    assert desk.kinds().count("DeviceMisbehaved") == 1
    desk.seconds += 1
    assert [codes(desk.publish("again"))[0][1] for _ in range(5)] == [coap.EMPTY] * 4 + [coap.BAD_REQUEST]
    assert desk.closed is None


def test_events_that_wait_for_the_store_are_bounded(desk: Desk) -> None:
    desk = Desk(desk.directory, ParticleLimits(waiting_events=3))
    desk.connect()
    desk.waits = True
    for _ in range(4):
        assert desk.publish("e") == []
    assert len(desk.published) == 3
    assert codes(desk.store()) == [(ACK, coap.EMPTY)] * 3 + [(ACK, coap.BAD_REQUEST)]


@pytest.mark.parametrize("name", ["spark/anything", "SPARKling", "particle/internal/x", "Spark/device/x"])
def test_names_of_the_platform_are_never_a_users_event(desk: Desk, name: str) -> None:
    assert codes(desk.connect().publish(name, b"x")) == [(ACK, coap.EMPTY)]
    assert desk.published == []


# -- system events ------------------------------------------------------------------------------------------------


def test_why_a_device_started_anew_is_in_the_log(desk: Desk) -> None:
    desk.connect().publish("spark/device/last_reset", b"panic, hard_fault", confirmable=False)
    assert (desk.published[0].name, desk.published[0].data) == ("spark/device/last_reset", "panic, hard_fault")
    told = desk.last(DeviceErred)
    assert (told.kind, told.text, told.version) == ("reset/panic.hard_fault", "panic, hard_fault", desk.memory.version)


def test_a_start_that_is_no_fault_and_an_event_like_others_are_no_errors(desk: Desk) -> None:
    desk.connect().publish("spark/device/last_reset", b"power_down", confirmable=False)
    desk.publish("temperature", b"21", confirmable=False)
    assert "DeviceErred" not in desk.kinds()


def test_an_event_of_the_application_that_is_named_as_an_error_is_counted_and_in_the_log(desk: Desk) -> None:
    desk.connect()
    for _ in range(3):
        desk.publish("error/pump", b"dry", confirmable=False)
    assert [event.name for event in desk.published] == ["error/pump"] * 3
    assert [(fact.kind, fact.text) for fact in desk.facts if isinstance(fact, DeviceErred)] == [("app/pump", "dry")]


def test_what_a_device_says_of_itself_is_kept(desk: Desk) -> None:
    desk.connect()
    for name, data in [
        ("spark/hardware/max_binary", b"1048576"),
        ("spark/hardware/ota_chunk_size", b"512"),
        ("spark/device/ident/0", b"89\x00abc"),
        ("particle/device/updates/enabled", b"false"),
    ]:
        desk.publish(name, data, confirmable=False)
    told = desk.session.told
    assert (told.max_binary_bytes, told.chunk_bytes, told.ident) == (1_048_576, 512, "89 abc")
    assert not desk.session.firmware.takes_updates
    desk.publish("particle/device/updates/forced", b"true")
    assert desk.session.firmware.takes_updates
    desk.publish("spark/hardware/max_binary", b"many")
    assert desk.session.told.max_binary_bytes is None


def test_safe_mode_is_seen(desk: Desk) -> None:
    desk.connect().publish("spark/device/safemode", b'{"m":[]}')
    assert desk.session.told.safe_mode
    assert (desk.published[0].name, desk.published[0].data) == ("spark/status/safe-mode", '{"m":[]}')


@pytest.mark.parametrize("prefix", ["spark", "particle"])
def test_what_an_application_asks_for_is_answered_with_the_name_it_used(desk: Desk, prefix: str) -> None:
    desk.connect()
    for what, data in [("ip", b"192.0.2.1"), ("random", bytes(range(40))), ("name", DEVICE.encode())]:
        answers = events_of(desk.publish(f"{prefix}/device/{what}", confirmable=False))
        assert answers == [Event(f"{prefix}/device/{what}", data)]
    assert desk.published == []


def test_a_device_learns_the_name_that_its_team_gave_it(desk: Desk, directory: ParticleDirectory) -> None:
    directory.change(name="cellar ☂")
    [answer] = events_of(desk.connect().publish("particle/device/name", confirmable=False))
    assert answer.data == "cellar ☂".encode()


def test_a_claim_code_is_recorded_by_the_digest_of_its_63_characters(desk: Desk, directory: ParticleDirectory) -> None:
    desk.connect().publish("spark/device/claim/code", CLAIM_CODE, confirmable=False)
    assert desk.last(ClaimPresented).code_digest == digest(CLAIM_CODE[:63].decode())
    assert events_of(desk.sent) == []
    assert events_of(desk.news()) == []
    directory.change(owner_id=OWNER)
    assert [event.name for event in events_of(desk.news())] == ["spark/device/claim/success"]
    assert events_of(desk.news()) == []


def test_a_claimed_device_that_shows_its_code_again_is_told_to_forget_it(
    desk: Desk, directory: ParticleDirectory
) -> None:
    directory.change(owner_id=OWNER)
    answers = events_of(desk.connect().publish("spark/device/claim/code", CLAIM_CODE))
    assert [event.name for event in answers] == ["spark/device/claim/success"]


# -- subscriptions ------------------------------------------------------------------------------------------------


def subscribe(desk: Desk, *wanted: Subscription) -> list[tuple[int, int]]:
    return [code for one in wanted for code in codes(desk.say(device_messages.subscription(desk.id, one)))]


def test_each_scope_of_a_subscription_is_what_the_device_may_hear(desk: Desk, directory: ParticleDirectory) -> None:
    desk.connect()
    assert subscribe(desk, Subscription("weather")) == [(ACK, coap.EMPTY)]
    assert desk.wanted == {Wanted("org", ORG, "weather"), Wanted("device", DEVICE, "weather")}
    subscribe(desk, Subscription("", mine=True))
    assert Wanted("product", str(PRODUCT), "") in desk.wanted
    directory.change(owner_id=OWNER)
    desk.news()
    assert desk.wanted == {
        Wanted("org", ORG, "weather"),
        Wanted("device", DEVICE, "weather"),
        Wanted("owner", OWNER, ""),
        Wanted("owner", f"{OWNER}/{ORG}", ""),
    }
    subscribe(desk, Subscription("x", device_id="f" * 24))
    assert {Wanted("org", ORG, "x", "f" * 24), Wanted("device", DEVICE, "x", "f" * 24)} <= (desk.wanted or set())


@pytest.mark.parametrize("prefix", ["spark", "spark/device", "particle", "SPARK"])
def test_a_system_subscription_is_accepted_and_gets_nothing_of_others(desk: Desk, prefix: str) -> None:
    assert subscribe(desk.connect(), Subscription(prefix)) == [(ACK, coap.EMPTY)]
    assert desk.wanted == frozenset()


def test_a_device_that_is_not_in_a_product_hears_nobody(desk: Desk, directory: ParticleDirectory) -> None:
    subscribe(desk.connect(), Subscription("weather"))
    directory.change(member={"quarantined": True})
    desk.news()
    assert desk.wanted == frozenset()


def test_at_most_eight_subscriptions_and_equal_ones_count_once(desk: Desk) -> None:
    desk.connect()
    eight = [Subscription(f"s{number}") for number in range(8)]
    assert subscribe(desk, *eight, *eight) == [(ACK, coap.EMPTY)] * 16
    assert subscribe(desk, Subscription("one more")) == [(ACK, coap.BAD_REQUEST)]
    assert desk.closed is None


def published(name: str, data: str | None, encoding: Any = "text", ttl_s: int = 60) -> DevicePublished:
    now = Desk(ParticleDirectory()).now.at
    return DevicePublished("f" * 24, PRODUCT, name, data, encoding, ttl_s, False, now, None, 1)


def test_an_event_for_the_device_is_sent_as_every_firmware_takes_it(desk: Desk) -> None:
    desk.connect()
    [message] = desk.deliver(published("fleet/alert", "payload"))
    assert (message.type, message.token) == (NON, b"")
    assert read([message]) == [Event("fleet/alert", b"payload")]
    assert read(desk.deliver(published("e", "AAE=", "base64", 2**40))) == [Event("e", b"\x00\x01", 16_777_215)]


def test_on_udp_events_for_the_device_are_confirmable(desk: Desk) -> None:
    [message] = desk.connect(reliable=False).deliver(published("e", None))
    assert message.type == CON


def test_what_the_device_has_no_room_for_is_left_out(desk: Desk) -> None:
    desk.connect()
    assert len(desk.deliver(published("e", "x" * 255))) == 1
    assert desk.deliver(published("e", "x" * 256)) == []
    assert desk.deliver(published("é" * 33, "x")) == []


def test_a_device_that_asks_gets_the_time(desk: Desk) -> None:
    [answer] = desk.connect().say(device_messages.time_request(9, b"\x07"))
    assert (answer.type, answer.code, answer.id, answer.token) == (ACK, coap.CONTENT, 9, b"\x07")
    assert answer.payload == int(desk.now.at.timestamp()).to_bytes(4, "big")


# -- description --------------------------------------------------------------------------------------------------


def test_an_old_device_is_asked_for_everything(desk: Desk) -> None:
    desk.connect().describe()
    [asked] = [said for said in read(desk.sent) if isinstance(said, device_reading.DescribeRequest)]
    assert asked.flags is None
    fact = desk.facts[-1]
    assert fact.functions == ["Brew", "stop"]
    assert [(one.name, one.type) for one in fact.variables] == [
        ("temp", "double"),
        ("count", "int"),
        ("Name", "string"),
        ("on", "boolean"),
    ]
    assert (fact.platform_id, fact.modules) == (6, "[]")


def test_a_description_is_recorded_when_it_changes(desk: Desk) -> None:
    desk.connect().describe()
    desk.connect().describe()
    assert desk.kinds().count("DescriptionReported") == 1
    desk.connect().describe(b'{"f":[],"v":{},"p":6,"m":[]}')
    assert desk.kinds().count("DescriptionReported") == 2


def test_a_device_that_refuses_the_whole_is_asked_for_the_parts(desk: Desk) -> None:
    desk.connect()
    asked = desk.sent[-1]
    [system] = desk.say(device_messages.acknowledgement(asked.id, coap.BAD_REQUEST, asked.token))
    assert device_reading.read(system) == device_reading.DescribeRequest(system.token, 1, None)
    assert desk.say(device_messages.acknowledgement(system.id)) == []
    sent = desk.say(device_messages.answer(desk.id, system.token, coap.CONTENT, b'{"p":6,"m":[]}', confirmable=True))
    assert codes(sent[:1]) == [(ACK, coap.EMPTY)]
    assert device_reading.read(sent[1]) == device_reading.DescribeRequest(sent[1].token, 2, None)
    desk.say(device_messages.answer(desk.id, sent[1].token, coap.CONTENT, b'{"f":["x"],"v":{}}', confirmable=True))
    assert desk.facts[-1].functions == ["x"]


def test_a_device_that_posts_its_description_is_not_asked(desk: Desk) -> None:
    desk.connect(NEW)
    assert len(desk.sent) == 1
    answer = desk.say(device_messages.describe_post(9, 1, b'{"p":6,"m":[]}', b"\x01"))
    assert [(message.code, message.token) for message in answer] == [(coap.CHANGED, b"\x01")]
    desk.say(device_messages.describe_post(10, 2, b'{"f":["x"],"v":{}}'))
    assert desk.facts[-1].functions == ["x"]
    assert [said for said in read(desk.wait(25, alive=True)) if isinstance(said, device_reading.DescribeRequest)] == []


def test_posts_that_do_not_come_are_asked_for_after_ten_seconds(desk: Desk) -> None:
    desk.connect(NEW)
    desk.say(device_messages.describe_post(9, 1, b'{"p":6,"m":[]}'))
    asked = desk.wait(10.0)
    assert [said.flags for said in read(asked)] == [2]


def test_a_description_in_blocks_is_put_together(desk: Desk) -> None:
    desk.connect(NEW)
    text = json.dumps({"f": [f"function{number}" for number in range(64)], "v": {}}).encode()
    blocks = [text[at : at + 512] for at in range(0, len(text), 512)]
    for number, part in enumerate(blocks):
        block = Block(number, number + 1 < len(blocks), 5)
        desk.say(device_messages.describe_post(desk.id, 2, part, bytes((number,)), block))
    assert len(desk.session.description.functions) == 64


def test_a_requested_description_in_blocks_is_fetched_block_by_block(desk: Desk) -> None:
    desk.connect(NEW)
    [asked] = desk.wait(10.0)
    text = json.dumps({"p": 6, "m": [], "x": "y" * 600}).encode()
    first = device_messages.describe_block(desk.id, asked.token, b"\x01", Block(0, True, 5), text[:512])
    _, more = desk.say(first)
    assert device_reading.read(more) == device_reading.DescribeRequest(more.token, 1, Block(1, False, 5))
    last = device_messages.describe_block(desk.id, more.token, b"\x01", Block(1, False, 5), text[512:])
    assert read(desk.say(last))[1].flags == 2
    assert desk.session.description.system is not None


@pytest.mark.parametrize("answer", [b"", b"{", b"[]", b"\xff\xfe", b'{"f":' + b"[" * 5_00])
def test_a_description_that_makes_no_sense_is_noted_and_the_session_goes_on(desk: Desk, answer: bytes) -> None:
    desk.connect().describe(answer)
    assert desk.last(DeviceMisbehaved).kind == "bad_describe"
    assert desk.closed is None
    assert len(desk.ask(FunctionCall("any", ""))) == 1  # nobody knows better


def test_a_device_that_never_describes_itself_can_still_be_called(desk: Desk) -> None:
    desk.connect()
    assert desk.ask(FunctionCall("any", "x")) == []
    [call] = [said for said in read(desk.wait(10.0, alive=True)) if isinstance(said, device_reading.FunctionCall)]
    assert call.name == "any"
    assert desk.ask(VariableRead("any")) == []
    assert desk.outcome() == "call_failed"


# -- questions ----------------------------------------------------------------------------------------------------


def test_a_function_is_called_as_the_device_spells_it_and_answers_with_its_result(desk: Desk) -> None:
    [call] = desk.connect().describe().ask(FunctionCall("BREW", "strong"))
    assert device_reading.read(call) == device_reading.FunctionCall(call.token, "Brew", b"strong")
    desk.say(device_messages.acknowledgement(call.id))
    desk.say(device_messages.function_result(desk.id, call.token, -12))
    assert desk.outcome() == -12


def test_a_call_without_an_argument_has_the_option_of_an_argument(desk: Desk) -> None:
    [call] = desk.connect().describe().ask(FunctionCall("stop"))
    assert device_reading.read(call) == device_reading.FunctionCall(call.token, "stop", b"")


def test_what_the_device_did_not_describe_is_refused_without_asking_it(desk: Desk) -> None:
    desk.connect().describe()
    assert desk.ask(FunctionCall("nosuch")) == []
    assert desk.outcome() == "unknown_function"
    assert desk.ask(VariableRead("nosuch")) == []
    assert desk.outcome() == "unknown_variable"


@pytest.mark.parametrize(
    ("hello", "longest"),
    [
        (OLD, 63),
        (dataclasses.replace(OLD, flags=2), 622),
        (Hello(PRODUCT, 1, 0x36, 6, "", HelloSystem(3302, 960, 0, 512)), 864),
    ],
)
def test_arguments_are_as_long_as_the_firmware_takes(desk: Desk, hello: Hello, longest: int) -> None:
    desk.connect(hello)
    if hello is OLD or hello.flags == 2:
        desk.describe()
    else:
        desk.say(device_messages.describe_post(9, 3, DESCRIPTION))
    assert len(desk.ask(FunctionCall("brew", "x" * longest))) == 1
    assert desk.ask(FunctionCall("brew", "x" * (longest + 1))) == []
    assert desk.outcome() == "argument_too_long"


@pytest.mark.parametrize(
    ("name", "kind", "value"),
    [("temp", values.DOUBLE, 3.25), ("COUNT", values.INT, 42), ("name", values.STRING, "hello"), ("on", 1, True)],
)
def test_a_variable_is_read_by_the_type_that_was_described(desk: Desk, name: str, kind: int, value: Any) -> None:
    [asked] = desk.connect().describe().ask(VariableRead(name))
    payload = values.value_bytes(kind, value)
    desk.say(device_messages.acknowledgement(asked.id, coap.CONTENT, asked.token, payload))
    assert desk.outcome() == {"value": value}


def test_a_variable_that_comes_apart_from_the_acknowledgement_is_acknowledged(desk: Desk) -> None:
    [asked] = desk.connect(reliable=False).describe().ask(VariableRead("count"))
    assert desk.say(device_messages.acknowledgement(asked.id)) == []
    answer = desk.say(device_messages.answer(9, asked.token, coap.CONTENT, b"\0\0\0\x07", confirmable=True))
    assert codes(answer) == [(ACK, coap.EMPTY)]
    assert desk.outcome() == {"value": 7}


@pytest.mark.parametrize(("code", "payload"), [(coap.NOT_FOUND, None), (coap.CONTENT, b"abc"), (coap.BAD_REQUEST, b"")])
def test_an_error_of_the_device_is_the_outcome(desk: Desk, code: int, payload: bytes | None) -> None:
    [asked] = desk.connect().describe().ask(VariableRead("count"))
    desk.say(device_messages.acknowledgement(asked.id, code, asked.token, payload))
    assert desk.outcome() == "call_failed"


def test_infinity_is_no_json(desk: Desk) -> None:
    [asked] = desk.connect().describe().ask(VariableRead("temp"))
    payload = values.value_bytes(values.DOUBLE, float("inf"))
    desk.say(device_messages.acknowledgement(asked.id, coap.CONTENT, asked.token, payload))
    assert desk.outcome() == {"value": None}


def test_a_probe_is_answered_by_any_empty_acknowledgement(desk: Desk) -> None:
    [ping] = desk.connect().describe().ask(Probe())
    assert (ping.type, ping.code, ping.token) == (CON, coap.EMPTY, b"")
    desk.say(device_messages.acknowledgement(ping.id + 77))  # TCP firmware gives it an id of its own
    assert desk.outcome() is True


@pytest.mark.parametrize("on", [True, False])
def test_a_signal_is_matched_by_its_token(desk: Desk, on: bool) -> None:
    [asked] = desk.connect().describe().ask(Signal(on))
    assert device_reading.read(asked) == device_reading.Signal(asked.token, on)
    desk.say(device_messages.acknowledgement(999, coap.CHANGED, asked.token))
    assert desk.outcome() is on


def test_questions_wait_for_the_description(desk: Desk) -> None:
    desk.connect()
    assert desk.ask(FunctionCall("brew"), 1) == []
    assert desk.ask(VariableRead("nosuch"), 2) == []
    assert desk.answers == []
    desk.describe()
    assert isinstance(device_reading.read(desk.sent[-1]), device_reading.FunctionCall)
    assert [answer.number for answer in desk.answers] == [2]


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(desk: Desk) -> None:
    [call] = desk.connect().describe().ask(FunctionCall("brew"), 1)
    desk.session.unask(1)
    desk.say(device_messages.function_result(desk.id, call.token, 1))
    assert desk.answers == []


def test_questions_that_wait_for_the_description_are_bounded(desk: Desk) -> None:
    desk.connect()
    for number in range(desk.limits.held_questions):
        desk.ask(FunctionCall("brew"), number)
    desk.ask(FunctionCall("brew"), 99)
    assert desk.outcome() == "busy"


# -- the directory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change", [{"member": {"denied": True}}, {"member": {"product_id": None}}, {"key_der": b"new"}]
)
def test_a_device_that_is_no_longer_welcome_is_sent_away(
    desk: Desk, directory: ParticleDirectory, change: dict[str, Any]
) -> None:
    desk.connect()
    directory.change(**change)
    desk.news()
    assert desk.closed is not None
    assert desk.closed.ending == "kicked"


def test_a_key_that_is_trusted_at_first_use_is_recorded_and_no_other_is_taken_then(
    desk: Desk, directory: ParticleDirectory
) -> None:
    directory.change(key_der=None, key_algorithm=None)
    directory.change_product(trust_first_key=True)
    desk.connect(shown=b"first")
    fact = desk.last(KeyPresented)
    assert (fact.product_id, fact.algorithm, base64.b64decode(fact.public_key)) == (PRODUCT, "rsa", b"first")
    assert fact in desk.vital
    refusal = desk.admit(OLD, b"second")
    assert getattr(refusal, "kind", None) == "wrong_key"
    desk.connect(shown=b"first")
    assert desk.kinds().count("KeyPresented") == 1
    directory.change(key_der=b"first", key_algorithm="rsa")
    desk.news()
    assert desk.memory.pinned_key is None
    assert desk.closed is None


def test_a_key_of_a_device_in_no_product_is_recorded_when_the_device_is_approved(
    desk: Desk, directory: ParticleDirectory
) -> None:
    directory.devices.clear()
    directory.change_product(trust_first_key=True)
    desk.connect(shown=b"first")
    assert "KeyPresented" not in desk.kinds()
    assert desk.last(FirmwareReported).product_id is None  # DEV-4: the devices service puts it into quarantine
    directory.add(key_der=None, key_algorithm=None)
    directory.change(member={"quarantined": True})
    desk.news()
    assert "KeyPresented" not in desk.kinds()
    refusal = desk.admit(OLD, b"second")
    assert getattr(refusal, "kind", None) == "wrong_key"
    desk.connect(shown=b"first")  # once more, before anybody approves it
    directory.change(member={"quarantined": False})
    desk.news()
    assert desk.last(KeyPresented).product_id == PRODUCT
    assert desk.closed is None


@pytest.mark.parametrize("connected", [True, False])
@pytest.mark.parametrize("approved", [True, False])
def test_a_key_that_one_product_trusted_is_worth_nothing_in_another(
    connected: bool, approved: bool, desk: Desk, directory: ParticleDirectory
) -> None:
    """Somebody whose own product trusts first keys cannot keep a device ID for when another imports it."""
    directory.products[OTHERS] = dataclasses.replace(directory.products[PRODUCT], product_id=OTHERS, org_id="e" * 24)
    directory.change_product(trust_first_key=True)
    directory.devices.clear()
    desk.connect(shown=b"first")
    if approved:
        directory.add(key_der=None, key_algorithm=None)
        desk.news()
    desk.facts.clear()
    directory.devices.clear()
    directory.add(key_der=None, key_algorithm=None)
    directory.change(member={"product_id": OTHERS})
    if connected:  # what happened in between was not seen
        desk.news()
        assert desk.closed is not None
    else:
        desk.lose()
    refusal = desk.admit(OLD, b"first")
    assert getattr(refusal, "kind", None) == "unknown_key"
    assert not {"KeyPresented", "DeviceConnected"}.intersection(desk.kinds())


def test_a_key_that_was_trusted_is_forgotten_with_the_membership(desk: Desk, directory: ParticleDirectory) -> None:
    directory.change(key_der=None, key_algorithm=None)
    directory.change_product(trust_first_key=True)
    desk.connect(shown=b"first")
    directory.change(member={"product_id": None})
    desk.news()
    assert desk.closed is not None
    directory.change(member={"product_id": PRODUCT})
    desk.connect(shown=b"second")
    assert base64.b64decode(desk.last(KeyPresented).public_key) == b"second"


# -- whatever comes ------------------------------------------------------------------------------------------------

PATHS = st.sampled_from([b"h", b"d", b"e", b"E", b"t", b"c", b"u", b"x", b"A", b"f", b"L", b"", b"spark/device/name"])
OPTIONS = st.lists(
    st.one_of(
        st.tuples(st.just(coap.URI_PATH), PATHS),
        st.tuples(st.just(coap.URI_QUERY), st.binary(max_size=4)),
        st.tuples(st.sampled_from([coap.MAX_AGE, coap.BLOCK1, coap.BLOCK2, coap.ETAG, 2049]), st.binary(max_size=5)),
    ),
    max_size=4,
)
ANYTHING = st.builds(
    lambda kind, code, number, token, options, payload: Message(
        kind, code, number, token, tuple(sorted(options, key=lambda option: option[0])), payload
    ),
    st.integers(0, 3),
    st.sampled_from([0, 1, 2, 3, 0x44, 0x45, 0x80, 0x84, 0xA3]),
    st.integers(0, 0xFFFF),
    st.binary(max_size=2),
    OPTIONS,
    st.one_of(st.none(), st.binary(max_size=40)),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANYTHING, max_size=20), st.booleans())
def test_whatever_a_device_says_raises_nothing_and_every_confirmable_request_is_answered_once(
    said: list[Message], reliable: bool
) -> None:
    directory = ParticleDirectory()
    directory.add()
    desk = Desk(directory).connect(reliable=reliable)
    for message in said:
        answers = desk.say(message)
        if desk.closed is not None:
            return
        acknowledgements = [answer for answer in answers if answer.type == ACK]
        assert len(acknowledgements) == (message.type == CON)
        assert all(answer.id == message.id for answer in acknowledgements)
    desk.wait(12.0)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=64))
def test_whatever_bytes_come_raise_nothing(data: bytes) -> None:
    directory = ParticleDirectory()
    directory.add()
    Desk(directory).connect().bytes(data)
