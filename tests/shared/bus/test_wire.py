"""Bytes, names and headers as nameko has them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import kombu.serialization
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nameko.exceptions import MethodNotFound, deserialize, serialize
from nameko.messaging import decode_from_headers, encode_to_headers

from shared.bus import wire
from shared.bus.errors import CROSSING, Malformed, RemoteError, from_error, to_error
from shared.bus.wire import Message
from shared.errors import Misuse, Refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text().filter(lambda key: key != "__type__"), inner),
    max_leaves=12,
)


def of(body: bytes, **more: Any) -> Message:
    return Message(body, "", "", **more)


@given(JSON)
def test_a_value_is_encoded_as_kombu_does_and_comes_back(value: Any) -> None:
    content_type, encoding, payload = kombu.serialization.dumps(value, "json")
    body = wire.encode(value)
    assert body == payload.encode()
    assert (content_type, encoding) == (wire.CONTENT_TYPE, wire.CONTENT_ENCODING)
    assert wire.decode(of(body)) == value


def test_dates_uuids_decimals_and_bytes_survive() -> None:
    value = {
        "at": datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC),
        "day": date(2026, 1, 2),
        "id": UUID(int=7),
        "price": Decimal("1.50"),
        "raw": b"\xff\x00",
    }
    assert wire.decode(of(wire.encode(value))) == value


@pytest.mark.parametrize("value", [object(), {1, 2}.__iter__(), {(1, 2): 3}])
def test_what_json_cannot_hold_is_misuse(value: Any) -> None:
    with pytest.raises(Misuse):
        wire.encode(value)


def test_a_cycle_and_a_body_over_the_limit_are_misuse() -> None:
    cycle: list[Any] = []
    cycle.append(cycle)
    for value in (cycle, "x" * wire.MAX_BODY_BYTES):
        with pytest.raises(Misuse):
            wire.encode(value)


@pytest.mark.parametrize(
    "message",
    [
        of(b"\xff"),
        of(b"[1"),
        of(b"1", content_type="application/x-python-serialize"),
        of(b"1", content_type=None),
        of(b"1", content_encoding="klingon"),
        of(b'{"__type__": "decimal", "__value__": "x"}'),
        of(b'{"__type__": "unheard", "__value__": "x"}'),
        of(b'{"__type__": "base64", "__value__": 1}'),
        of(b'{"__type__": [], "__value__": 1}'),
        of(b"[" * 100_000),
        of(b" " * (wire.MAX_BODY_BYTES + 1)),
    ],
)
def test_whatever_is_no_json_body_is_malformed(message: Message) -> None:
    with pytest.raises(Malformed):
        wire.decode(message)


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_malformed(body: bytes) -> None:
    for read in (wire.decode_request, wire.decode):
        try:
            read(of(body))
        except Malformed:
            continue


def test_a_reply_has_result_or_error_and_one_that_does_not_fit_is_an_error() -> None:
    body, told = wire.encode_reply({"a": 1}, None)
    assert (body, told) == (b'{"result": {"a": 1}, "error": null}', None)
    assert wire.decode_reply(of(body)) == {"a": 1}
    body, told = wire.encode_reply(object(), None)
    assert type(told).__name__ == "UnserializableValueError"
    with pytest.raises(RemoteError, match="Unserializable value"):
        wire.decode_reply(of(body))
    with pytest.raises(Malformed):
        wire.decode_reply(of(b"[]"))


@pytest.mark.parametrize("kind", CROSSING)
def test_errors_are_nameko_s_own_and_nameko_rebuilds_ours(kind: type[Exception]) -> None:
    sent = (
        Refused("a", "b", "c") if kind is Refused else kind(*["x", "y", "z"][: 3 if kind.__name__ == "Conflict" else 1])
    )
    error = to_error(sent)
    assert error == serialize(sent)
    assert error["exc_path"] == f"shared.errors.{kind.__name__}"
    for rebuilt in (deserialize(error), from_error(error)):
        assert type(rebuilt) is kind
        assert rebuilt.args == sent.args


def test_an_error_whose_arguments_do_not_fit_is_a_remote_error() -> None:
    error = {"exc_path": "shared.errors.Refused", "exc_type": "Refused", "exc_args": [], "value": "?"}
    assert isinstance(from_error(error), RemoteError)
    assert isinstance(from_error(serialize(MethodNotFound("x"))), MethodNotFound)


def test_headers_are_nameko_s() -> None:
    data = {"command_id": "1", "call_id_stack": ["a", "b"], "nothing": None}
    headers = wire.to_headers(data)
    assert headers == encode_to_headers(data)
    foreign = {**headers, "x-death": 1}
    assert wire.from_headers(foreign) == decode_from_headers(foreign)


def test_names_are_nameko_s() -> None:
    assert wire.rpc_queue("orgs") == "rpc-orgs"
    assert wire.event_exchange("orgs") == "orgs.events"
    assert wire.pool_queue("orgs", "Happened", "billing", "on_it") == "evt-orgs-Happened--billing.on_it"
    assert wire.singleton_queue("orgs", "Happened") == "evt-orgs-Happened"
    assert wire.broadcast_queue("orgs", "Happened", "b", "m", "1") == "evt-orgs-Happened--b.m-1"
    assert wire.reply_queue("gateway", "1") == "rpc.reply-gateway-1"
