"""Values, results, goodbyes, and what a device of each generation can take."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle import hello, values
from services.gateway.devices.particle.device_limits import Limits, limits_of, message_bytes
from services.gateway.devices.particle.goodbye import Goodbye, goodbye_payload, read_goodbye
from services.gateway.devices.particle.hello import Hello, HelloSystem
from services.gateway.devices.particle.violations import BAD_GOODBYE, BAD_VALUE, BadMessage

INT32 = st.integers(-(2**31), 2**31 - 1)
UINT32 = st.none() | st.integers(0, 2**32 - 1)


@given(
    st.booleans(), INT32, st.floats(allow_nan=False), st.text(st.characters(exclude_categories=("Cs",)), max_size=200)
)
def test_a_value_is_read_as_it_was_sent(boolean: bool, number: int, double: float, text: str) -> None:
    for kind, value in ((1, boolean), (2, number), (9, double), (4, text)):
        assert values.read_value(kind, values.value_bytes(kind, value)) == value
    assert values.read_result(values.result_bytes(number)) == number


def test_odd_values_are_read() -> None:
    assert values.read_value(values.BOOLEAN, b"\x02") is True
    assert values.read_value(values.STRING, None) == ""
    assert values.read_value(values.STRING, b"a\xff") == "a\ufffd"
    found = values.read_value(values.DOUBLE, values.value_bytes(values.DOUBLE, math.nan))
    assert isinstance(found, float)
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("kind", "payload"), [(1, b""), (1, None), (1, b"\0\1"), (2, bytes(3)), (9, bytes(4)), (4, bytes(1_025)), (3, b"x")]
)
def test_a_value_of_a_wrong_length_or_type_is_refused(kind: int, payload: bytes | None) -> None:
    with pytest.raises(BadMessage) as refusal:
        values.read_value(kind, payload)
    assert (refusal.value.kind, refusal.value.fatal) == (BAD_VALUE, False)


@pytest.mark.parametrize("payload", [None, b"", bytes(3), bytes(5)])
def test_a_result_is_four_bytes(payload: bytes | None) -> None:
    with pytest.raises(BadMessage):
        values.read_result(payload)


@given(st.builds(Goodbye, UINT32, UINT32, UINT32, UINT32))
def test_a_goodbye_is_read_as_it_was_said(said: Goodbye) -> None:
    assert read_goodbye(goodbye_payload(said)) == said


def test_a_goodbye_without_reasons_or_with_more_of_them_than_known_is_read() -> None:
    assert read_goodbye(None) == read_goodbye(b"") == read_goodbye(b"\0") == Goodbye()
    assert read_goodbye(bytes.fromhex("1402ff")) == Goodbye(sleep_s=2)
    assert read_goodbye(bytes.fromhex("0490 1c")) == Goodbye(sleep_s=3_600)


@pytest.mark.parametrize("payload", ["01", "0180", "01ffffffffff01", "01ffffffff7f", "0400" * 33, "ffffffffffff"])
def test_a_goodbye_whose_numbers_do_not_end_or_are_too_large_is_refused(payload: str) -> None:
    payload_bytes = bytes.fromhex(payload)
    with pytest.raises(BadMessage) as refusal:
        read_goodbye(payload_bytes)
    assert (refusal.value.kind, refusal.value.fatal) == (BAD_GOODBYE, False)


@pytest.mark.parametrize(("buffer_bytes", "longest"), [(640, 607), (800, 767), (960, 927)])
def test_the_longest_message_is_what_was_measured_with_real_firmware(buffer_bytes: int, longest: int) -> None:
    assert message_bytes(buffer_bytes) == longest


OLD, MIDDLE, NEW = Hello(1, 1, 0, 6), Hello(1, 1, hello.DIAGNOSTICS, 6), HelloSystem(3_302, 960, 1, 512)


@pytest.mark.parametrize(
    ("said", "limits"),
    [
        (Hello(1, 1, 0, 0), Limits(607, 63, 255, 12)),
        (OLD, Limits(767, 63, 255, 12)),
        (MIDDLE, Limits(767, 622, 622, 64)),
        (Hello(1, 1, 0x36, 6, "", NEW), Limits(927, 864, 864, 64)),
        (Hello(1, 1, 0, 10, "00" * 12), Limits(750, 63, 255, 12)),
        (Hello(1, 1, 0x36, 6, "", HelloSystem(3_302, 65_535, 1, 512)), Limits(2_015, 864, 864, 64)),
        (Hello(1, 1, 0x36, 6, "", HelloSystem(3_302, 0, 1, 512)), Limits(607, 864, 864, 64)),
    ],
)
def test_limits_are_those_of_the_generation_and_never_beyond_belief(said: Hello, limits: Limits) -> None:
    assert limits_of(said) == limits
