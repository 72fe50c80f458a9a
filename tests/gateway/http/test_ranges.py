from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.http.ranges import Stretch, etag, is_known, stretch

TAG = etag("ab" * 32)
ALL = Stretch(0, 10, 10)


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        (None, ALL),
        ("bytes=0-", ALL),
        ("bytes=0-9", ALL),
        ("bytes=0-99", ALL),
        ("bytes=3-5", Stretch(3, 6, 10)),
        ("Bytes = 9 - 9", Stretch(9, 10, 10)),
        ("bytes=7-", Stretch(7, 10, 10)),
        ("bytes=-4", Stretch(6, 10, 10)),
        ("bytes=-99", ALL),
        ("bytes=10-", None),
        ("bytes=99-100", None),
        ("bytes=-0", None),
        ("bytes=5-3", ALL),
        ("bytes=-", ALL),
        ("bytes=0-1,3-4", ALL),
        ("lines=0-1", ALL),
        ("bytes=x-1", ALL),
        ("bytes=٣-5", ALL),
    ],
)
def test_one_range_is_sent_and_what_is_none_is_ignored(asked: str | None, sent: Stretch | None):
    assert stretch(10, TAG, asked, None) == sent


def test_a_range_of_another_file_is_all_of_this_one():
    assert stretch(10, TAG, "bytes=3-5", TAG) == Stretch(3, 6, 10)
    for other in ('"cd"', f"W/{TAG}", "Wed, 21 Oct 2030 07:28:00 GMT"):
        assert stretch(10, TAG, "bytes=3-5", other) == ALL


def test_an_empty_file_has_no_ranges():
    assert stretch(0, TAG, None, None) == Stretch(0, 0, 0)
    for asked in ("bytes=0-", "bytes=-1"):
        assert stretch(0, TAG, asked, None) is None


@given(st.integers(0, 2**63), st.text(alphabet="bytes=-0123456789, x", max_size=30))
def test_whatever_is_asked_for_lies_in_the_file(size: int, asked: str):
    sent = stretch(size, TAG, asked, None)
    assert sent is None or 0 <= sent.first <= sent.end <= size


@pytest.mark.parametrize(
    ("condition", "known"),
    [(None, False), ("*", True), (TAG, True), (f'"x", W/{TAG}', True), ('"x"', False), ("", False), (TAG[1:-1], False)],
)
def test_who_has_it_need_not_load_it(condition: str | None, known: bool):
    assert is_known(TAG, condition) == known
