"""The key table on SQLite and on PostgreSQL."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from shared.errors import Refused, Unavailable
from shared.people.key_table import KeyTable
from shared.people.keys import DESTROYED
from shared.people.sealing import KEY_BYTES

ADA, BOB = "a" * 24, "b" * 24
Open = Callable[[], KeyTable]


@pytest.fixture
def open_table(views_url: str) -> Iterator[Open]:
    """Opens the same table as often as it is called, each as a process of its own would."""
    opened: list[KeyTable] = []

    def opener() -> KeyTable:
        opened.append(KeyTable(views_url))
        return opened[-1]

    yield opener
    for table in opened:
        table.close()


def test_a_key_is_made_once_for_all_who_come_at_once(open_table: Open) -> None:
    tables = [open_table() for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        made = set(pool.map(lambda number: tables[number % 4].create(ADA), range(64)))
        secrets = set(pool.map(lambda number: tables[number % 4].secret("names"), range(64)))
    (key,), (secret,) = made, secrets
    assert isinstance(key, bytes)
    assert len(key) == len(secret) == KEY_BYTES
    assert open_table().find(ADA) == key
    assert open_table().find(BOB) is None


def test_a_destroyed_key_is_gone_for_every_process_and_does_not_come_back(open_table: Open) -> None:
    one, other = open_table(), open_table()
    one.create(ADA)
    kept = one.create(BOB)
    for _ in range(2):
        other.destroy(ADA)
    assert one.find(ADA) is one.create(ADA) is other.find(ADA) is DESTROYED
    assert other.find(BOB) == kept
    one.destroy("c" * 24)
    assert one.create("c" * 24) is DESTROYED


def test_a_table_is_new_until_something_is_kept_in_it(open_table: Open) -> None:
    first = open_table()
    assert first.is_new
    assert open_table().is_new
    first.secret("names")
    assert not open_table().is_new


def test_a_table_that_is_closed_is_opened_again_with_what_it_held(open_table: Open) -> None:
    first = open_table()
    key = first.create(ADA)
    first.close()
    assert open_table().find(ADA) == key


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    table = KeyTable(f"sqlite:///{tmp_path / 'keys'}")
    table.create(ADA)
    table.close()
    assert stat.S_IMODE((tmp_path / "keys" / "keys.db").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


def test_the_bytes_of_a_destroyed_key_are_nowhere_in_the_folder(tmp_path: Path) -> None:
    table = KeyTable(f"sqlite:///{tmp_path}")
    keys = {number: table.create(f"{number:024x}") for number in range(50)}
    assert all(_found(tmp_path, key) for key in keys.values())
    for number in range(0, 50, 2):
        table.destroy(f"{number:024x}")
    assert [number for number, key in keys.items() if _found(tmp_path, key)] == list(range(1, 50, 2))
    table.close()


def _found(folder: Path, key: object) -> bool:
    assert isinstance(key, bytes)
    return any(key in path.read_bytes() for path in folder.iterdir())


def test_a_damaged_file_is_unavailable(tmp_path: Path) -> None:
    table = KeyTable(f"sqlite:///{tmp_path}")
    (tmp_path / "keys.db").write_bytes(b"this is no database" * 1000)
    with pytest.raises(Unavailable, match="the key table: file is not a database"):
        table.create(ADA)
    table.close()
    with pytest.raises(Unavailable, match="the key table"):
        KeyTable(f"sqlite:///{tmp_path}")


@pytest.mark.parametrize("url", ["", "keys", "sqlite:keys", "sqlite:///", "mysql://here/keys", "postgresql://x/y"])
def test_any_other_address_is_refused(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        KeyTable(url)
    assert refusal.value.code == "bad_setting"
