"""Whatever a peer or a person sends, every parser answers with a value or with the one exception that it names."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import coap
from services.gateway.devices.particle.violations import BadMessage
from shared.errors import Refused
from tests.gateway.devices.particle.decoders import DECODERS
from tests.gateway.devices.particle.vectors import MESSAGES

RECORDED = [bytes.fromhex(message["coap"]) for message in MESSAGES]
KINDS = st.sampled_from(
    [b"h", b"d", b"e", b"E", b"t", b"c", b"u", b"x", b"A", b"f", b"v", b"s", b"k", b"S", b"C", b"F"]
)
NUMBERS = st.sampled_from([4, 11, 14, 15, 23, 27, 258, 2049, 2053, 2057, 2061, 2065])


def survives(name: str, data: bytes) -> None:
    with suppress(BadMessage, Refused):
        DECODERS[name](data)


@pytest.mark.parametrize("name", DECODERS)
@settings(max_examples=40)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(name: str, data: bytes) -> None:
    survives(name, data)


@settings(max_examples=200)
@given(st.sampled_from(RECORDED), st.integers(0, 2_000), st.integers(0, 255), st.integers(0, 2_000))
def test_recorded_messages_with_a_byte_changed_or_cut_off_are_read_or_refused(
    recorded: bytes, at: int, byte: int, end: int
) -> None:
    changed = bytearray(recorded)
    changed[at % len(changed)] = byte
    survives("messages", bytes(changed[: max(4, len(changed) - end % len(changed))]))


@settings(max_examples=200)
@given(
    st.integers(0, 3),
    st.sampled_from([coap.GET, coap.POST, coap.PUT, coap.CREATED, coap.CONTENT]),
    KINDS,
    st.lists(st.tuples(NUMBERS, st.binary(max_size=40)), max_size=4),
    st.none() | st.binary(max_size=60),
)
def test_well_framed_messages_of_any_content_are_read_or_refused(
    kind: int, code: int, letter: bytes, options: list[tuple[int, bytes]], payload: bytes | None
) -> None:
    ordered = tuple(sorted([(coap.URI_PATH, letter), *options], key=lambda option: option[0]))
    survives("messages", coap.encode(coap.Message(kind, code, 1, b"t", ordered, payload)))


@pytest.mark.parametrize(
    "data",
    [
        b"[" * 30_000,
        b'{"a":' * 6_000,
        b'{"m":' + b"[" * 20_000,
        b'{"r":"\xff"}',
        b'{"r":1e999}',
        b'{"p":' + b"9" * 9_000,
    ],
    ids=["lists", "objects", "modules", "no UTF-8", "infinite", "long number"],
)
@pytest.mark.parametrize("name", ["description", "update result"])
def test_hostile_json_is_refused_or_says_nothing(name: str, data: bytes) -> None:
    survives(name, data)
