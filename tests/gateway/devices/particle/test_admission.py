"""Who gets in: the table of ``admission``, row by row."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from services.gateway.devices.particle.admission import Admitted, Refusal, admitted, claimed
from services.gateway.devices.particle.hello import Hello
from shared.errors import Unavailable
from tests.gateway.devices.particle.desk import DEVICE, KEY, OLD, Desk, ParticleDirectory

ELSEWHERE = Hello(6, 1, 0, 6)


@pytest.mark.parametrize(
    ("device", "trusts", "hello", "shown", "expected"),
    [
        ({}, False, OLD, KEY, "in"),
        ({}, False, OLD, None, "in"),  # the oldest devices show no key: they have to read what is sealed with it
        ({}, False, ELSEWHERE, KEY, "in"),  # a foreign product: it stays connected (DEV-3)
        ({}, True, OLD, b"other", "wrong_key"),
        ({"key_algorithm": "ecc"}, True, OLD, KEY, "wrong_key"),
        ({"member": {"denied": True}}, True, OLD, KEY, "denied"),
        ({"member": {"quarantined": True}}, False, OLD, KEY, "in"),
        ({"member": {"product_id": None}}, False, OLD, KEY, "in"),  # reports a product: quarantine (DEV-4)
        ({"member": {"product_id": None}}, True, ELSEWHERE, KEY, "not_a_member"),
        ({"key_der": None, "key_algorithm": None}, True, OLD, b"first", "trusted"),
        ({"key_der": None, "key_algorithm": None}, False, OLD, b"first", "unknown_key"),
        ({"key_der": None, "key_algorithm": None}, True, OLD, None, "unknown_key"),
        (None, True, OLD, b"first", "trusted"),
        (None, False, OLD, b"first", "unknown_key"),
        (None, True, ELSEWHERE, b"first", "unknown_device"),
    ],
)
def test_the_table_of_admission(
    directory: ParticleDirectory,
    device: dict[str, Any] | None,
    trusts: bool,
    hello: Hello,
    shown: bytes | None,
    expected: str,
) -> None:
    directory.change_product(trust_first_key=trusts)
    if device is None:
        directory.devices.clear()
    else:
        directory.change(**device)
    found = Desk(directory).admit(hello, shown)
    if isinstance(found, Refusal):
        assert found.kind == expected
        return
    assert found.device_id == DEVICE
    assert ("trusted" if found.entry.key_der is None else "in") == expected


def test_a_hello_of_another_device_is_refused(directory: ParticleDirectory) -> None:
    found = Desk(directory).admit(dataclasses.replace(OLD, device_id="f" * 24))
    assert isinstance(found, Refusal)
    assert found.kind == "wrong_device"


def test_nobody_is_let_in_by_a_directory_that_is_away(directory: ParticleDirectory) -> None:
    directory.away = Unavailable("away")
    with pytest.raises(Unavailable):
        claimed(DEVICE, KEY, "rsa", directory, None)


def test_a_key_that_is_proved_is_the_devices(directory: ParticleDirectory) -> None:
    directory.change(key_der=None, key_algorithm=None)
    directory.change_product(trust_first_key=True)
    claim = claimed(DEVICE, b"first", "rsa", directory, None)
    assert not isinstance(claim, Refusal)
    assert not claim.on_record
    found = admitted(claim, "rsa", OLD, directory)
    assert isinstance(found, Admitted)
    assert (found.key_der, found.entry.key_der) == (b"first", None)
