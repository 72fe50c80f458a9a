"""The known-answer vectors: seven sessions recorded with real firmware on TCP, two on DTLS, and single messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from services.gateway.devices.particle import coap, keys

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent / "vectors.json").read_text(encoding="utf-8"))
UNIT: dict[str, Any] = VECTORS["unit"]
SESSIONS: list[dict[str, Any]] = VECTORS["tcp_sessions"]
DATAGRAMS = [
    datagram for session in VECTORS["dtls_sessions"] for datagram in session["datagrams"] if "coap" in datagram
]
MESSAGES = [message for session in SESSIONS for message in session["messages"]] + DATAGRAMS

SERVER_KEY = keys.server_rsa(VECTORS["keys"]["tcp"]["server_private_key"])
SERVER_EC = keys.server_ec(VECTORS["keys"]["dtls"]["server_private_key"])


def _device_key() -> RSAPrivateKey:
    key = load_pem_private_key(VECTORS["keys"]["tcp"]["device_private_key"].encode(), None)
    assert isinstance(key, RSAPrivateKey)
    return key


DEVICE_KEY = _device_key()


def said_by(who: str) -> list[coap.Message]:
    """Every recorded message of one side, in order."""
    return [coap.decode(bytes.fromhex(message["coap"])) for message in MESSAGES if message["from"] == who]
