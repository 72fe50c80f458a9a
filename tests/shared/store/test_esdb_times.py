"""The original time in front of the metadata comes off again without a trace."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.store.esdb import times

objects = st.dictionaries(st.text(max_size=6), st.one_of(st.integers(), st.text(max_size=6), st.none()), max_size=4)
moments = st.integers(-(10**17), 10**17)


@given(objects, st.sampled_from([None, 2]), moments, moments)
def test_what_is_read_is_what_was_stamped_and_stays_json(
    found: dict[str, object], indent: int | None, at_us: int, created_us: int
) -> None:
    meta = json.dumps(found, indent=indent).encode()
    stored = times.stamped(meta, at_us)
    assert times.read(stored, created_us) == (at_us, meta)
    assert json.loads(stored) == {"$at": at_us, **found}
    assert times.read(times.stamped(stored, 5), created_us) == (5, stored)


@given(st.binary(max_size=40), moments)
def test_metadata_without_a_stamp_is_left_as_it_is(meta: bytes, created_us: int) -> None:
    assert times.read(meta, created_us) == (created_us, meta)


@pytest.mark.parametrize("meta", [b'{"$at":"soon"}', b'{"$at":}', b'{"$at":1.5e3}', b'{"$attempt":1}'])
def test_what_only_looks_like_a_stamp_is_left_as_it_is(meta: bytes) -> None:
    assert times.read(meta, 7) == (7, meta)


@pytest.mark.parametrize("meta", [b"", b"[]", b" {}", b"null"])
def test_metadata_that_is_no_object_cannot_be_stamped(meta: bytes) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        times.stamped(meta, 7)
