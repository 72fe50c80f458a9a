"""Proof that a peer receives what is sent to its address, before anything is remembered of it: RFC 6347, 4.2.1."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Protocol

from services.gateway.devices.particle.dtls.messages import (
    HELLO_VERIFY_REQUEST,
    ClientHello,
    Fragment,
    Message,
    encode_hello_verify_request,
)
from services.gateway.devices.particle.dtls.records import HANDSHAKE, Record, encode

COOKIE_BYTES = 16
SECRET_BYTES = 32

Address = tuple[str, int]
"""Host and port of a peer."""


class Cookies(Protocol):
    """What an endpoint asks of its cookies; the tests answer with recorded ones."""

    def make(self, address: Address, hello: ClientHello, now: float) -> bytes:
        """The cookie for this hello from this address."""
        ...

    def is_valid(self, address: Address, hello: ClientHello, now: float) -> bool:
        """Whether the hello brings the cookie that was made for it."""
        ...


class RotatingCookies:
    """Cookies under a secret that changes every ``period_s``; the one before is good until the next change."""

    __slots__ = ("_period_s", "_previous", "_random", "_rotate_at", "_secret")

    def __init__(self, random: Callable[[int], bytes], period_s: float, now: float) -> None:
        self._random = random
        self._period_s = period_s
        self._secret = self._previous = random(SECRET_BYTES)
        self._rotate_at = now + period_s

    def make(self, address: Address, hello: ClientHello, now: float) -> bytes:
        """The cookie for this hello from this address."""
        self._rotate(now)
        return cookie(self._secret, address, hello)

    def is_valid(self, address: Address, hello: ClientHello, now: float) -> bool:
        """Whether the hello brings the cookie that was made for it, not too long ago."""
        brought = hello.cookie
        if len(brought) != COOKIE_BYTES:
            return False
        self._rotate(now)
        secrets = (self._secret, self._previous)
        return any(hmac.compare_digest(brought, cookie(secret, address, hello)) for secret in secrets)

    def _rotate(self, now: float) -> None:
        if now < self._rotate_at:
            return
        slept = now >= self._rotate_at + self._period_s
        fresh = self._random(SECRET_BYTES)
        self._previous, self._secret = fresh if slept else self._secret, fresh
        self._rotate_at = now + self._period_s


def cookie(secret: bytes, address: Address, hello: ClientHello) -> bytes:
    """HMAC over the address and all of the hello but the cookie."""
    host = address[0].encode()
    peer = len(host).to_bytes(2, "big") + host + address[1].to_bytes(4, "big")
    return hmac.digest(secret, peer + hello.covered, "sha256")[:COOKIE_BYTES]


def hello_verify_request(record: Record, fragment: Fragment, value: bytes) -> bytes:
    """The datagram that asks for the cookie; numbered like the hello, because nothing else is remembered."""
    message = Message(HELLO_VERIFY_REQUEST, fragment.sequence, encode_hello_verify_request(value))
    return encode(HANDSHAKE, record.number, message.encode(), b"\xfe\xff")
