"""Connections for provisioning (section 8), without a socket."""

from __future__ import annotations

import json
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.effects import Close, Now
from services.gateway.devices.mqtt.effects import Effect, Provision, WrongSecret
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import V5, decode_connect
from services.gateway.devices.mqtt.provisioning import FAILURE, NOT_FOUND, Provisioning
from services.gateway.devices.mqtt.reader import FrameReader
from shared.clock import system_clock
from shared.errors import Unavailable
from shared.ids import digest
from tests.gateway.devices.conftest import ClientWire, FakeDirectory

KEY, SECRET = "the-key", "the-secret"
OTHER = "ffffffffffffffffffffffff"
FINGERPRINT = "ab" * 32
PROPOSED = "a-token-that-the-device-proposes"


def frames(data: bytes) -> Any:
    reader = FrameReader(1 << 20)
    reader.feed(data)
    while (frame := reader.take()) is not None:
        yield frame


class Stranger:
    """A device that is provisioned; ``sent`` is what it is sent, ``asked`` what the devices service is asked."""

    def __init__(self, wire: Any, directory: Any, level: int = 4, secure: bool = False, **limits: Any) -> None:
        self.wire = wire
        self.level = level
        self.seconds = 100.0
        self.sent: list[bytes] = []
        self.asked: list[Provision] = []
        self.wrong = 0
        self.closed: Close | None = None
        self.limits = MqttLimits(**limits)
        numbers = count(1)
        [frame] = frames(wire.connect("provision", level=level, client_id="" if level == V5 else "provision"))
        connect = decode_connect(frame)
        self.machine = Provisioning(
            connect, directory, self.limits, lambda: f"made-here-number-{next(numbers):04}", secure, self.now
        )
        self.do(self.machine.start(connect, "a-1-p1"))

    @property
    def now(self) -> Now:
        return Now(self.seconds, system_clock())

    def do(self, effects: list[Effect]) -> list[bytes]:
        before = len(self.sent)
        for effect in effects:
            match effect:
                case bytes():
                    self.sent += [effect] if effect else []
                case Provision():
                    self.asked.append(effect)
                case WrongSecret():
                    self.wrong += 1
                case Close():
                    self.closed = effect
                case _:
                    raise AssertionError(effect)
        return self.sent[before:]

    def send(self, packet: bytes) -> list[bytes]:
        return [out for frame in frames(packet) for out in self.do(self.machine.receive(frame, self.now))]

    def ask(self, qos: int = 0, topic: str = "/provision/request", **members: Any) -> list[bytes]:
        whole = {"provisionDeviceKey": KEY, "provisionDeviceSecret": SECRET, **members}
        return self.send(self.wire.publish(topic, json.dumps(whole).encode(), qos, 7, self.level))

    def answered(self, known_as: str | None) -> list[bytes]:
        return self.do(self.machine.provisioned(known_as, self.now))


def told(packets: list[bytes]) -> dict[str, Any]:
    """The one answer among these packets; the topic is the right one."""
    [packet] = [packet for packet in packets if packet[0] >> 4 == 3]
    assert b"/provision/response" in packet
    answer: dict[str, Any] = json.loads(packet[packet.index(b"{") :])
    return answer


@pytest.fixture
def stranger(wire: Any, directory: Any) -> Stranger:
    directory.access = {
        "provisioning": "create",
        "provisioning_key": KEY,
        "provisioning_secret_digest": digest(SECRET),
    }
    return Stranger(wire, directory)


def test_a_device_gets_a_token_that_was_made_here(stranger: Stranger) -> None:
    assert stranger.sent == [b"\x20\x02\x00\x00"]
    assert stranger.ask(deviceName="Pump") == []
    [asked] = stranger.asked
    assert asked == Provision(1000, "Pump", digest("made-here-number-0001"), None, True)
    assert told(stranger.answered(OTHER)) == {
        "status": "SUCCESS",
        "credentialsType": "ACCESS_TOKEN",
        "credentialsValue": "made-here-number-0001",
    }


def test_a_product_that_only_knows_imported_devices_creates_none(stranger: Stranger, directory: Any) -> None:
    directory.access["provisioning"] = "imported"
    stranger.ask(deviceName=OTHER)
    assert (stranger.asked[0].device_name, stranger.asked[0].create) == (OTHER, False)
    assert told(stranger.answered(None)) == FAILURE


@pytest.mark.parametrize(
    ("token", "taken"),
    [
        (PROPOSED, True),
        ("t" * 20, True),
        ("t" * 64, True),
        ("t" * 19, False),
        ("t" * 65, False),
        ("t" * 19 + "/", False),
        ("token-of-the-first-device", False),  # in use
        (OTHER, False),  # would stand for the user name of another device
        ("", False),
    ],
)
def test_a_token_that_the_device_proposes_is_taken_if_it_is_a_good_one(
    token: str, taken: bool, stranger: Stranger
) -> None:
    stranger.ask(token=token, credentialsType="ACCESS_TOKEN")
    value = told(stranger.answered(OTHER))["credentialsValue"]
    assert value == (token if taken else "made-here-number-0001")
    assert stranger.asked[0].token_digest == digest(value)


def test_a_user_name_that_is_the_device_id_gets_the_token_as_its_password(stranger: Stranger) -> None:
    stranger.ask(credentialsType="MQTT_BASIC", username=OTHER.upper(), password=PROPOSED, clientId="c-1")
    assert stranger.asked == [Provision(1000, OTHER.upper(), digest(PROPOSED), None, True)]
    assert told(stranger.answered(OTHER)) == {
        "status": "SUCCESS",
        "credentialsType": "MQTT_BASIC",
        "credentialsValue": {"clientId": "c-1", "userName": OTHER, "password": PROPOSED},
    }


def test_a_certificate_is_known_by_its_fingerprint(stranger: Stranger) -> None:
    colons = ":".join(["AB"] * 32)
    stranger.ask(credentialsType="X509_CERTIFICATE", hash=colons, deviceName=OTHER)
    assert stranger.asked == [Provision(1000, OTHER, None, FINGERPRINT, True)]
    answer = told(stranger.answered(OTHER))
    assert (answer["credentialsType"], answer["credentialsValue"]) == ("X509_CERTIFICATE", FINGERPRINT)


@pytest.mark.parametrize("members", [{"provisionDeviceSecret": "wrong"}, {"provisionDeviceKey": "wrong"}])
def test_a_wrong_key_or_secret_is_not_found_and_counts_as_a_refused_login(
    members: dict[str, str], stranger: Stranger
) -> None:
    assert told(stranger.ask(**members)) == NOT_FOUND
    assert (stranger.wrong, stranger.asked) == (1, [])


def test_a_key_without_a_secret_opens_nothing(stranger: Stranger, directory: Any) -> None:
    directory.access["provisioning_secret_digest"] = None
    assert told(stranger.ask()) == NOT_FOUND


@pytest.mark.parametrize(
    "members",
    [
        {"credentialsType": "LWM2M"},
        {"credentialsType": ["ACCESS_TOKEN"]},
        {"provisionDeviceKey": None},
        {"provisionDeviceSecret": 7},
        {"deviceName": 7},
        {"credentialsType": "MQTT_BASIC"},
        {"credentialsType": "MQTT_BASIC", "username": "somebody"},
        {"credentialsType": "MQTT_BASIC", "username": OTHER, "deviceName": "0" * 24},
        {"credentialsType": "X509_CERTIFICATE"},
        {"credentialsType": "X509_CERTIFICATE", "hash": "no certificate"},
        {"credentialsType": "X509_CERTIFICATE", "hash": "ab" * 40_000},
    ],
)
def test_all_else_that_cannot_be_is_a_failure(members: dict[str, Any], stranger: Stranger) -> None:
    assert told(stranger.ask(**members)) == FAILURE
    assert (stranger.wrong, stranger.asked) == (0, [])


def test_a_certificate_of_another_device_is_a_failure(stranger: Stranger, directory: Any) -> None:
    directory.certificates[FINGERPRINT] = next(iter(directory.devices))
    assert told(stranger.ask(credentialsType="X509_CERTIFICATE", hash=FINGERPRINT)) == FAILURE


def test_a_product_that_provisions_nothing_says_failure(stranger: Stranger, directory: Any) -> None:
    directory.access["provisioning"] = "off"
    assert told(stranger.ask()) == FAILURE


def test_a_product_that_demands_tls_provisions_nothing_without(stranger: Stranger, directory: Any) -> None:  # MQC-4
    directory.access["tls_only"] = True
    assert told(stranger.ask()) == FAILURE
    secure = Stranger(stranger.wire, directory, secure=True)
    secure.ask()
    assert len(secure.asked) == 1


def test_a_directory_that_cannot_be_read_is_a_failure(stranger: Stranger, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: str) -> None:
        raise Unavailable("the directory is away")

    monkeypatch.setattr(stranger.machine._directory, "product_by_provisioning_key", away)
    assert told(stranger.ask()) == FAILURE


def test_qos_1_is_acknowledged_with_the_answer(stranger: Stranger) -> None:
    assert stranger.ask(qos=1) == []
    ack, answer = stranger.answered(OTHER)
    assert ack == b"\x40\x02\x00\x07"
    assert told([answer])["status"] == "SUCCESS"


def test_what_is_not_json_is_acknowledged_as_that_and_answered(stranger: Stranger, wire: Any) -> None:  # MQE-4
    device = Stranger(wire, stranger.machine._directory, level=V5)
    ack, answer = device.send(wire.publish("/provision/request", b"not json", 1, 7, V5))
    assert (ack[0], ack[4]) == (0x40, 0x99)
    assert told([answer]) == FAILURE


@pytest.mark.parametrize("topic", ["v1/devices/me/telemetry", "/provision/response", "anything"])
def test_any_other_topic_ends_the_connection(topic: str, stranger: Stranger, wire: Any) -> None:
    device = Stranger(wire, stranger.machine._directory, level=V5)
    [ack] = device.ask(qos=1, topic=topic)
    assert (ack[0], ack[4]) == (0x40, 0x90)
    assert device.closed is not None
    assert device.closed.packet[:1] + device.closed.packet[2:3] == b"\xe0\x90"
    stranger.ask(qos=1, topic=topic)
    assert stranger.closed == Close(b"", "misbehaved")


def test_pings_and_subscriptions_are_answered(stranger: Stranger, wire: Any) -> None:  # MQP-7
    assert stranger.send(wire.packet(0xC0, b"")) == [b"\xd0\x00"]
    assert stranger.send(wire.subscribe("/provision/response", qos=0)) == [b"\x90\x03\x00\x01\x00"]
    stranger.ask()
    [answer] = stranger.answered(OTHER)
    assert answer[0] == 0x30  # as the subscription wants it
    assert stranger.send(wire.packet(0xE0, b"")) == []
    assert stranger.closed == Close(b"", "disconnected")


def test_nothing_is_read_while_an_answer_is_awaited(stranger: Stranger) -> None:
    assert stranger.machine.hold_until(stranger.seconds) is None
    stranger.ask()
    assert stranger.machine.hold_until(stranger.seconds) == float("inf")
    stranger.answered(OTHER)
    assert stranger.machine.hold_until(stranger.seconds) is None
    assert stranger.answered(OTHER) == []  # nobody waits for it


def test_the_connection_ends_a_minute_after_connect_and_after_an_answer(stranger: Stranger) -> None:
    assert stranger.machine.wake_at() == 160.0
    stranger.seconds = 150.0
    stranger.ask()
    stranger.seconds = 155.0
    stranger.answered(OTHER)
    assert stranger.machine.wake_at() == 215.0
    stranger.seconds = 214.9
    assert stranger.machine.tick(False, stranger.now) == []
    stranger.seconds = 215.0
    assert stranger.machine.tick(False, stranger.now) == [Close(b"", "kicked")]


def test_a_silent_one_ends_earlier_by_its_keep_alive(wire: Any, directory: Any) -> None:  # MQS-4
    device = Stranger(wire, directory, provisioning_s=600.0)
    device.seconds = device.machine.wake_at()
    assert device.seconds == 190.0
    assert device.machine.tick(True, device.now) == []
    device.seconds = device.machine.wake_at()
    assert device.machine.tick(False, device.now) == [Close(b"", "keepalive")]


def test_one_connection_asks_so_often_and_not_more(stranger: Stranger, wire: Any) -> None:
    device = Stranger(wire, stranger.machine._directory, provisioning_requests=2)
    for _ in range(2):
        assert told(device.ask(provisionDeviceSecret="guess")) == NOT_FOUND
    assert device.ask() == []
    assert device.closed == Close(b"", "misbehaved")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=70), lambda inner: st.lists(inner, max_size=2)
)
MEMBERS = [
    "provisionDeviceKey",
    "provisionDeviceSecret",
    "deviceName",
    "credentialsType",
    "token",
    "username",
    "password",
    "clientId",
    "hash",
    "gateway",
]


@settings(max_examples=150)
@given(
    st.binary(max_size=80)
    | st.dictionaries(
        st.sampled_from(MEMBERS),
        st.sampled_from([KEY, SECRET, "MQTT_BASIC", "X509_CERTIFICATE", "ACCESS_TOKEN", OTHER, FINGERPRINT]) | JSON,
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_payload_is_answered_once_and_never_raises(payload: bytes) -> None:
    directory = FakeDirectory()
    directory.access = {
        "provisioning": "create",
        "provisioning_key": KEY,
        "provisioning_secret_digest": digest(SECRET),
    }
    device = Stranger(ClientWire, directory)
    answers = device.send(ClientWire.publish("/provision/request", payload, 1, 7))
    if device.asked:
        assert answers == []
        answers = device.answered(OTHER)
    assert told(answers)["status"] in ("SUCCESS", "FAILURE", "NOT_FOUND")
    assert len(answers) == 2
