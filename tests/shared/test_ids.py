from __future__ import annotations

from uuid import UUID, uuid5

from hypothesis import given
from hypothesis import strategies as st

from shared.ids import event_id, random_uuid


@given(st.uuids(), st.integers(0, 100_000), st.text(max_size=40).filter(lambda text: text.isprintable()))
def test_the_id_of_an_event_is_the_uuid_of_its_place_in_its_command(command_id: UUID, index: int, stream: str) -> None:
    assert event_id(command_id, index, stream) == uuid5(command_id, f"{stream}/{index}")
    assert event_id(command_id, index) == uuid5(command_id, f"/{index}")


@given(st.binary(min_size=16, max_size=16))
def test_a_random_uuid_is_one_of_version_4_of_its_bytes(random: bytes) -> None:
    assert random_uuid(random) == UUID(bytes=random, version=4)
