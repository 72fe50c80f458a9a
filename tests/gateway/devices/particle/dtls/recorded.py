"""The two recorded DTLS sessions, and what is needed to play the server's part again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, cast

from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.gateway.devices.particle.dtls.cookies import Address
from services.gateway.devices.particle.dtls.messages import ClientHello
from services.gateway.devices.particle.dtls.p256 import PrivateKey

VECTORS = Path(__file__).resolve().parent.parent / "vectors.json"


def private_key(pem: str) -> PrivateKey:
    """A P-256 key of the vectors."""
    return cast(PrivateKey, load_pem_private_key(pem.encode(), None))


@dataclass(frozen=True)
class Step:
    """One datagram; ``coap`` is the application data in it, if any."""

    from_device: bool
    datagram: bytes
    coap: bytes | None


@dataclass(frozen=True)
class RecordedSession:
    """One recorded session."""

    fields: dict[str, Any]
    steps: tuple[Step, ...]

    def bytes_of(self, name: str) -> bytes:
        """A hex field."""
        return bytes.fromhex(self.fields[name])

    @property
    def moved_at(self) -> int:
        """The first datagram from another address."""
        return int(self.fields["first_datagram_after_reconnect"])


@cache
def _file() -> dict[str, Any]:
    return cast(dict[str, Any], json.loads(VECTORS.read_text(encoding="utf-8")))


def server_key() -> PrivateKey:
    """The static key of the test server."""
    return private_key(_file()["keys"]["dtls"]["server_private_key"])


def device_key() -> PrivateKey:
    """The key of the test device."""
    return private_key(_file()["keys"]["dtls"]["device_private_key"])


@cache
def sessions() -> tuple[RecordedSession, ...]:
    """Firmware 0.6.4, then 3.3.1."""
    return tuple(RecordedSession(each, tuple(map(_step, each["datagrams"]))) for each in _file()["dtls_sessions"])


def _step(fields: dict[str, Any]) -> Step:
    coap = bytes.fromhex(fields["coap"]) if "coap" in fields else None
    return Step(fields["from"] == "device", bytes.fromhex(fields["datagram"]), coap)


class RecordedSource:
    """Gives the random values of a recording, in the order in which a server asks."""

    def __init__(self, recorded: RecordedSession) -> None:
        self._random = {8: recorded.bytes_of("connection_id_given_to_device"), 32: recorded.bytes_of("server_random")}
        self._key = private_key(recorded.fields["server_ephemeral_key_pem"])

    def random(self, size_bytes: int) -> bytes:
        return self._random[size_bytes]

    def ephemeral_key(self) -> PrivateKey:
        return self._key


class RecordedKey:
    """Signs as the recording did: the device signed what it had received."""

    def __init__(self, signature: bytes) -> None:
        self._signature = signature

    def sign(self, data: bytes, algorithm: object) -> bytes:
        return self._signature


class RecordedCookies:
    """The cookie of a recording, valid for whom it was made."""

    def __init__(self, cookie: bytes) -> None:
        self._cookie = cookie

    def make(self, address: Address, hello: ClientHello, now: float) -> bytes:
        return self._cookie

    def is_valid(self, address: Address, hello: ClientHello, now: float) -> bool:
        return hello.cookie == self._cookie
