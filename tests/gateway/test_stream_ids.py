from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESSIV
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.live import Cursor, Place
from services.gateway.stream_ids import MAX_ID, MAX_LANES, Ids

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
LANES = st.text("0123456789abcdef", min_size=8, max_size=8)
PLACES = st.builds(Place, st.integers(0, 2**63 - 1), st.integers(0, 9))
CURSORS = st.builds(
    Cursor, st.integers(0, 10**12).map(lambda ms: NOW - timedelta(milliseconds=ms)), st.dictionaries(LANES, PLACES)
)


KEY = b"k" * 32
IDS = Ids(KEY)


def written(*fields: object) -> str:
    sealed = AESSIV(KEY).encrypt(json.dumps(fields).encode(), [b"place"])
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


@given(CURSORS)
def test_an_id_comes_back_as_the_cursor_that_it_was(cursor: Cursor) -> None:
    assert IDS.cursor(IDS.text(cursor), NOW) == cursor


@given(CURSORS)
def test_an_id_fits_a_header_and_names_nobody(cursor: Cursor) -> None:
    assert IDS.text(cursor).isascii()
    assert IDS.text(cursor).replace("-", "").replace("_", "").isalnum()


def test_an_id_stays_short_enough_to_be_read_whatever_the_number_of_gateways() -> None:
    cursor = Cursor(NOW, {f"{number:08x}": Place(2**63 - 1, 9) for number in range(1_000)})
    again = IDS.cursor(IDS.text(cursor), NOW)
    assert len(IDS.text(cursor)) <= MAX_ID
    assert again is not None
    assert len(again.places) == MAX_LANES


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_garbage_is_no_id(text: str) -> None:
    assert IDS.cursor(text, NOW) is None


@given(CURSORS, st.data())
def test_an_id_with_one_sign_changed_is_none_or_the_same(cursor: Cursor, data: st.DataObject) -> None:
    text = IDS.text(cursor)
    at = data.draw(st.integers(0, len(text) - 1))
    changed = text[:at] + data.draw(st.sampled_from("aZ9-_+=\x00é")) + text[at + 1 :]
    assert IDS.cursor(changed, NOW) in (None, cursor)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "A" * (MAX_ID + 1),
        written(2, 0, {}),
        written(1, -1, {}),
        written(1, 10**15, {}),
        written(1, 0, {"a": [1]}),
        Ids(b"o" * 32).text(Cursor(NOW)),
        IDS.page_text({"a": 1}),
        written(1, 0, []),
        written(1, 10**400, {}),
    ],
)
def test_what_no_gateway_would_write_is_no_id(text: str) -> None:
    assert IDS.cursor(text, NOW) is None


def test_what_a_gateway_would_write_is_one() -> None:
    assert IDS.cursor(written(1, 0, {"a": [1, 0]}), NOW) is not None
