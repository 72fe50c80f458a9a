"""``flotilla gateway key``: the keys that Particle devices know an installation by."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from typer.testing import CliRunner

from deploy.gateway_command import app
from services.gateway.devices.particle import keys
from services.gateway.devices.particle.server_keys import load_or_make


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


def called(*words: str) -> str:
    done = CliRunner().invoke(app, ["key", *words])
    assert done.exit_code == 0, done.output
    return done.output


def test_both_public_keys_are_shown_and_made_if_there_are_none(data: Path) -> None:
    shown = called("--data", str(data))
    tcp, udp = [f"-----BEGIN{part}" for part in shown.split("-----BEGIN")[1:]]
    assert isinstance(load_pem_public_key(tcp.encode()), rsa.RSAPublicKey)
    assert isinstance(load_pem_public_key(udp.encode()), ec.EllipticCurvePublicKey)
    assert called("--data", str(data)) == shown
    assert called("--data", str(data), "--udp") == udp
    assert "PRIVATE" not in shown


def test_a_block_for_tcp_holds_key_address_and_port(data: Path) -> None:
    assert "452 bytes" in called("--data", str(data), "--block", "devices.example.com", "--port", "6000")
    block = (data.parent / "flotilla-tcp.der").read_bytes()
    found = load_or_make(data / "device-keys")
    assert block[:294] == keys.public_der(found.rsa.public_key())
    assert block[384:386] == bytes((1, len("devices.example.com")))
    assert block[450:] == (6_000).to_bytes(2, "big")


def test_a_block_for_udp_goes_where_it_is_wanted(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "electron.der"
    called("--data", str(data), "--udp", "--block", "192.0.2.1", "--out", str(out))
    block = out.read_bytes()
    assert block[:91] == keys.public_der(load_or_make(data / "device-keys").ec.public_key())
    assert block[192:198] == b"\x00\x04" + bytes((192, 0, 2, 1))
    assert len(block) == 260
