"""From the shared secret to the keys: RFC 5246, sections 5, 6.3, 7.4.9 and 8.1, for this one suite."""

from __future__ import annotations

import hashlib
import hmac
from typing import NamedTuple

MASTER_SECRET_BYTES = 48
VERIFY_DATA_BYTES = 12
KEY_BYTES = 16
IV_BYTES = 4
CLIENT_FINISHED = b"client finished"
SERVER_FINISHED = b"server finished"


class Secrets(NamedTuple):
    """All that a session's keys follow from."""

    master_secret: bytes
    client_random: bytes
    server_random: bytes

    def __repr__(self) -> str:
        return "Secrets(...)"


class KeyBlock(NamedTuple):
    """Key and IV of both directions."""

    client_key: bytes
    server_key: bytes
    client_iv: bytes
    server_iv: bytes

    def __repr__(self) -> str:
        return "KeyBlock(...)"


def prf(secret: bytes, label: bytes, seed: bytes, size_bytes: int) -> bytes:
    """The pseudo-random function of TLS 1.2 with SHA-256."""
    seed = label + seed
    output, chained = b"", seed
    while len(output) < size_bytes:
        chained = hmac.digest(secret, chained, "sha256")
        output += hmac.digest(secret, chained + seed, "sha256")
    return output[:size_bytes]


def agree(premaster_secret: bytes, client_random: bytes, server_random: bytes) -> Secrets:
    """The master secret, beside the randoms it was made with."""
    master = prf(premaster_secret, b"master secret", client_random + server_random, MASTER_SECRET_BYTES)
    return Secrets(master, client_random, server_random)


def expand(secrets: Secrets) -> KeyBlock:
    """The keys of the session."""
    seed = secrets.server_random + secrets.client_random
    block = prf(secrets.master_secret, b"key expansion", seed, 2 * (KEY_BYTES + IV_BYTES))
    return KeyBlock(block[:16], block[16:32], block[32:36], block[36:40])


def verify_data(secrets: Secrets, label: bytes, transcript_hash: bytes) -> bytes:
    """What a Finished message says."""
    return prf(secrets.master_secret, label, transcript_hash, VERIFY_DATA_BYTES)


class Transcript:
    """The hash over all handshake messages from the second ClientHello on, with their headers as if never cut."""

    __slots__ = ("_hash",)

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, message: bytes) -> None:
        """The next message, header and body."""
        self._hash.update(message)

    def digest(self) -> bytes:
        """The hash over all so far."""
        return self._hash.digest()
