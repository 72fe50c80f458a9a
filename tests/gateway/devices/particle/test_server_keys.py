"""The server's keys on disk: made once, the same for all, readable by nobody else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from services.gateway.devices.particle import keys
from services.gateway.devices.particle.server_keys import TCP_FILE, UDP_FILE, ServerKeys, load_or_make
from shared.errors import Refused


def numbers(found: ServerKeys) -> tuple[bytes, bytes]:
    return keys.public_der(found.rsa.public_key()), keys.public_der(found.ec.public_key())


def test_keys_are_made_at_the_first_start_and_found_again(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "device-keys"
    made = load_or_make(folder)
    assert numbers(load_or_make(folder)) == numbers(made)
    assert made.rsa.key_size == 2_048
    assert sorted(path.name for path in folder.iterdir()) == [TCP_FILE, UDP_FILE]
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600, 0o600]
    assert folder.stat().st_mode & 0o777 == 0o700


def test_gateways_that_start_at_once_end_with_the_same_keys(tmp_path: Path) -> None:
    found: list[tuple[bytes, bytes]] = []
    gate = threading.Barrier(4)

    def start() -> None:
        gate.wait(10)
        found.append(numbers(load_or_make(tmp_path)))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 4
    assert len(set(found)) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [TCP_FILE, UDP_FILE]


@pytest.mark.parametrize("text", ["", "no key", "\xff"])
def test_a_key_that_cannot_be_used_is_refused_and_not_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / TCP_FILE).write_bytes(text.encode("latin-1"))
    with pytest.raises(Refused):
        load_or_make(tmp_path)
    assert (tmp_path / TCP_FILE).read_bytes() == text.encode("latin-1")


def test_a_key_of_the_wrong_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / TCP_FILE).write_text(keys.private_pem(keys.new_ec()))
    with pytest.raises(Refused) as refused:
        load_or_make(tmp_path)
    assert refused.value.code == "unfit_server_key"


def test_a_folder_that_cannot_be_made_is_a_setting_that_does_not_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Refused, match="FLOTILLA_DEVICE_KEYS"):
        load_or_make(tmp_path / "file" / "keys")
