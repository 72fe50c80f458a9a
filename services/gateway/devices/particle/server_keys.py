"""The keys that devices know this installation by: one RSA key for TCP, one of the curve P-256 for UDP.

Made at the first start, in files that only their owner can read. Every gateway has to have the same: of two that start
at once, the first to put its key in place wins, and the other takes that one.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from services.gateway.devices.particle import keys
from shared.errors import Refused

TCP_FILE = "tcp-rsa.pem"
UDP_FILE = "udp-ec.pem"
FOLDER_MODE = 0o700
FILE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class ServerKeys:
    """The private keys."""

    rsa: rsa.RSAPrivateKey
    ec: ec.EllipticCurvePrivateKey


def load_or_make(folder: Path) -> ServerKeys:
    """The keys in this folder, made if they are not there. Raises ``Refused`` if they cannot be used."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=FOLDER_MODE)
        tcp = _text(folder / TCP_FILE, keys.new_rsa)
        udp = _text(folder / UDP_FILE, keys.new_ec)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("bad_setting", f"the keys in FLOTILLA_DEVICE_KEYS={folder} cannot be used: {error}") from error
    return ServerKeys(keys.server_rsa(tcp), keys.server_ec(udp))


def _text(path: Path, make: Callable[[], keys.PrivateKey]) -> str:
    if not path.exists():
        _put(path, keys.private_pem(make()))
    return path.read_text()


def _put(path: Path, text: str) -> None:
    """Write the file whole or not at all, unless another process did so first."""
    draft = path.with_name(f".{path.name}-{secrets.token_hex(8)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, path)
    except FileExistsError:
        return  # the other's is as good
    finally:
        draft.unlink(missing_ok=True)
