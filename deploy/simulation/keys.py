"""Keys of simulated Particle devices: the same device has the same key in every run on a data folder.

RSA keys take 10 ms each to make, so there are sixteen, and devices share them: what a server looks up on TCP is the
device's ID. On UDP it is the key, so every device has its own, derived from its ID and a secret of the folder.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.gateway.devices.particle import keys
from services.gateway.devices.particle.server_keys import TCP_FILE, UDP_FILE
from shared.errors import Misuse, Refused

SHARED_RSA_KEYS = 16
RSA_FILE = "rsa.pem"
SECRET_FILE = "secret"  # noqa: S105 - a name
_END = "-----END PRIVATE KEY-----\n"
_P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class SimulatedKeys:
    """The keys of one folder, made at the first use of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pems = [pem + _END for pem in _kept(folder / RSA_FILE, _new_pool).split(_END) if pem.strip()]
        self._secret = bytes.fromhex(_kept(folder / SECRET_FILE, lambda: secrets.token_hex(32)))
        self._rsa = [_rsa(pem) for pem in pems]

    def rsa(self, device_id: str) -> rsa.RSAPrivateKey:
        """For TCP."""
        return self._rsa[int(device_id, 16) % len(self._rsa)]

    def ec(self, device_id: str) -> ec.EllipticCurvePrivateKey:
        """For UDP."""
        drawn = hmac.digest(self._secret, device_id.encode(), hashlib.sha512)
        return ec.derive_private_key(1 + int.from_bytes(drawn, "big") % (_P256_ORDER - 1), ec.SECP256R1())


def server_public(folder: Path) -> tuple[rsa.RSAPublicKey, bytes]:
    """The keys that devices of this installation know its gateways by: for TCP, and for UDP in DER."""
    try:
        tcp = keys.server_rsa((folder / TCP_FILE).read_text())
        udp = keys.server_ec((folder / UDP_FILE).read_text())
    except OSError as error:
        reason = (
            f"the server's keys are not to be had: {error.filename}: {error.strerror}; run this where a gateway runs"
        )
        raise Refused("no_server_key", f"{reason}, or set FLOTILLA_DEVICE_KEYS") from error
    return tcp.public_key(), keys.public_der(udp.public_key())


def _new_pool() -> str:
    return "".join(keys.private_pem(keys.new_rsa(keys.DEVICE_RSA_BITS)) for _ in range(SHARED_RSA_KEYS))


def _kept(path: Path, make: Callable[[], str]) -> str:
    """What is in the file, which is made if it is not there."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(make())
    return path.read_text()


def _rsa(pem: str) -> rsa.RSAPrivateKey:
    key = load_pem_private_key(pem.encode(), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise Misuse("a simulated device's key for TCP is RSA")
    return key
