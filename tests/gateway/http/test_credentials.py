from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from shared.errors import Refused

DEVICE = "0123456789abcdef01234567"
PATH = f"/v1/products/thermo/devices/{DEVICE}"
PROVISIONING = f"/v1/provisioning/{DEVICE}"
START = datetime(2026, 1, 1, tzinfo=UTC)
PEM = "-----BEGIN PUBLIC KEY-----"


@pytest.fixture(autouse=True)
def answers(api: Any) -> None:
    api.bus.answers["devices.set_key"] = {"algorithm": "ecc", "position": 7}
    api.bus.answers["devices.set_certificate"] = {"position": 8}


def certificate() -> x509.Certificate:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, START, START + timedelta(days=3_650))
    return made.sign(key, hashes.SHA256())


def test_a_key_is_set_and_known_here_when_the_answer_comes(api: Any) -> None:
    answer = api.put(f"{PATH}/key", json={"public_key": PEM})
    assert answer.json() == {"ok": True, "algorithm": "ecc"}
    asked = {"product_id": 1000, "device_id": DEVICE, "algorithm": None, "public_key": PEM}
    assert api.bus.last("set_key").arguments == asked
    assert api.directory.waited == [7]


def test_a_key_that_no_device_can_use_is_refused_in_words(api: Any, world: Any) -> None:
    api.bus.answers["devices.set_key"] = Refused("invalid_key", "the curve secp384r1 is not P-256")
    answer = api.put(f"{PATH}/key", json={"public_key": PEM, "algorithm": "ecc"})
    assert world.error_of(answer) == (400, "invalid_key", "the curve secp384r1 is not P-256")
    assert world.error_of(api.put(f"{PATH}/key", json={}))[:2] == (400, "invalid_request")
    path = "/v1/products/thermo/devices/kettle/key"
    answer = api.put(path, json={"public_key": PEM})
    assert world.error_of(answer)[:2] == (404, "Device not found for this product")


def test_particle_cli_registers_a_key_in_its_own_words(api: Any) -> None:  # contract 8
    body = {"deviceID": DEVICE.upper(), "publicKey": PEM, "algorithm": "rsa", "filename": "particle-api", "order": "x"}
    assert api.post(PROVISIONING, data=body).json() == {"ok": True}
    asked = {"product_id": 1000, "device_id": DEVICE, "algorithm": "rsa", "public_key": PEM}
    assert api.bus.last("set_key").arguments == asked


@pytest.mark.parametrize("body", [{"deviceID": "f" * 24, "publicKey": PEM}, {"deviceID": DEVICE}])
def test_a_registration_of_another_device_or_of_no_key_is_refused(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.post(PROVISIONING, json=body))[:2] == (400, "invalid_request")
    assert api.bus.count("set_key") == 0


def test_a_certificate_is_known_by_its_fingerprint(api: Any) -> None:  # MQC-6
    made = certificate()
    fingerprint = hashlib.sha256(made.public_bytes(Encoding.DER)).hexdigest()
    colons = ":".join(fingerprint[at : at + 2] for at in range(0, 64, 2)).upper()
    for body in ({"certificate": made.public_bytes(Encoding.PEM).decode()}, {"fingerprint": colons}):
        assert api.put(f"{PATH}/certificate", json=body).json() == {"ok": True}
        asked = {"product_id": 1000, "device_id": DEVICE, "fingerprint": fingerprint}
        assert api.bus.last("set_certificate").arguments == asked
    assert api.directory.waited[-1] == 8


@pytest.mark.parametrize("body", [{}, {"certificate": "no", "fingerprint": "0" * 64}, {"certificate": "no"}])
def test_what_is_no_certificate_is_refused(api: Any, world: Any, body: Any) -> None:
    assert world.error_of(api.put(f"{PATH}/certificate", json=body))[:2] == (400, "invalid_request")
    assert api.bus.count("set_certificate") == 0
