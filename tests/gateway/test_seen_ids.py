from __future__ import annotations

import os

from services.gateway.seen_ids import AT_ONCE, SeenIds


def test_every_id_is_random_and_another_and_bytes_are_fetched_for_many() -> None:
    fetched: list[int] = []

    def random(size_bytes: int) -> bytes:
        fetched.append(size_bytes)
        return os.urandom(size_bytes)

    ids = SeenIds(random)
    taken = [ids.take() for _ in range(AT_ONCE + 1)]
    assert len(set(taken)) == AT_ONCE + 1
    assert {one.version for one in taken} == {4}
    assert fetched == [AT_ONCE * 16] * 2
