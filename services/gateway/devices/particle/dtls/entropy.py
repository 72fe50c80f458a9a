"""Where randomness comes from: injected, so that recorded handshakes can be replayed byte for byte."""

from __future__ import annotations

import os
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric import ec

from services.gateway.devices.particle.dtls.p256 import PrivateKey


class Source(Protocol):
    """What a handshake needs of chance."""

    def random(self, size_bytes: int) -> bytes:
        """Bytes that nobody can guess."""
        ...

    def ephemeral_key(self) -> PrivateKey:
        """A key that was never used."""
        ...


class SystemSource:
    """The operating system's randomness."""

    def random(self, size_bytes: int) -> bytes:
        """Bytes that nobody can guess."""
        return os.urandom(size_bytes)

    def ephemeral_key(self) -> PrivateKey:
        """A key that was never used."""
        return ec.generate_private_key(ec.SECP256R1())
