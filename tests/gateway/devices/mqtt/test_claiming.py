"""A device that asks to be claimed (MQU-7)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.mqtt import payloads
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.violations import Rejected
from shared.events.gateway import ClaimOpened, ClaimPresented, DeviceMisbehaved
from shared.ids import digest

CLAIM = "v1/devices/me/claim"
DAY_S = 86_400.0
PUBACK = b"\x40\x02\x00\x07"


def claims(desk: Any) -> list[Any]:
    return [fact for fact in desk.facts if isinstance(fact, ClaimPresented | ClaimOpened)]


def test_a_secret_is_shown_as_a_claim_code_and_opens_the_device_to_claims(desk: Any) -> None:  # MQU-7
    desk.connect()
    secret = "c" * 64
    assert desk.up(CLAIM, json.dumps({"secretKey": secret, "durationMs": 60_000}).encode()) == [PUBACK]
    presented, opened = claims(desk)
    assert (presented.device_id, presented.product_id) == (desk.session.device_id, 1000)
    assert presented.code_digest == digest("c" * 63)
    assert (presented.gateway, presented.epoch, presented.session) == tuple(desk.session.name)
    assert opened.secret_digest == digest(secret)
    assert opened.until == desk.now.at + timedelta(minutes=1)


@pytest.mark.parametrize("payload", [b"", b"{}", b'{"secretKey":""}', b'{"secretKey":null,"durationMs":null}'])
def test_without_a_secret_the_device_is_open_to_whoever_knows_it_for_a_day(payload: bytes, desk: Any) -> None:  # MQU-7
    desk.connect()
    assert desk.up(CLAIM, payload) == [PUBACK]
    [opened] = claims(desk)
    assert isinstance(opened, ClaimOpened)
    assert (opened.secret_digest, opened.until) == (None, desk.now.at + timedelta(days=1))


def test_the_acknowledgement_waits_until_the_claim_is_stored(desk: Any) -> None:  # MQP-2
    desk.connect().waits = True
    assert desk.up(CLAIM, b'{"secretKey":"s"}') == []
    assert desk.store() == [PUBACK]


def test_no_device_is_open_longer_than_the_limit(make_desk: Callable[[MqttLimits], Any]) -> None:
    desk = make_desk(MqttLimits(claim_s=600.0)).connect()
    desk.up(CLAIM, b'{"durationMs":1e300}')
    assert claims(desk)[0].until == desk.now.at + timedelta(minutes=10)


@pytest.mark.parametrize(
    "payload", [b"[]", b'"s"', b'{"secretKey":1}', b'{"durationMs":"1"}', b'{"durationMs":-1}', b'{"durationMs":true}']
)
def test_what_is_no_claim_is_a_bad_payload_and_changes_nothing(payload: bytes, desk: Any) -> None:  # MQE-4
    desk.connect()
    assert desk.up(CLAIM, payload) == [PUBACK]
    assert claims(desk) == []
    assert desk.kinds()[-1] == "DeviceMisbehaved"


def test_a_secret_is_not_shown_with_what_is_wrong_with_its_message(desk: Any) -> None:
    desk.connect().up(CLAIM, b'{"secretKey":"open sesame","durationMs":"long"}')
    [told] = [fact for fact in desk.facts if isinstance(fact, DeviceMisbehaved)]
    assert told.kind == "bad_payload"
    assert "sesame" not in told.text


def test_a_secret_has_its_longest() -> None:
    longest = payloads.SECRET_CHARACTERS
    assert payloads.claim(json.dumps({"secretKey": "s" * longest}).encode(), DAY_S).secret == "s" * longest
    with pytest.raises(Rejected):
        payloads.claim(json.dumps({"secretKey": "s" * (longest + 1)}).encode(), DAY_S)


@given(
    st.binary(max_size=64)
    | st.dictionaries(
        st.sampled_from(["secretKey", "durationMs", "x"]),
        st.none() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.lists(st.booleans()),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_payload_is_a_claim_of_at_most_a_day_or_refused(payload: bytes) -> None:
    try:
        claim = payloads.claim(payload, DAY_S)
    except Rejected:
        return
    assert 0 <= claim.duration_s <= DAY_S
    assert len(digest(claim.secret)) == 64
