"""Signatures as the Standard Webhooks specification has them: HMAC-SHA256 over id, time and body. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping

PREFIX = "whsec_"


def signing_key(installation: bytes, hook_id: str) -> bytes:
    """What this webhook's requests are signed with: derived, so it is kept nowhere."""
    return hmac.digest(installation, f"webhook {hook_id}".encode(), hashlib.sha256)


def shown(key: bytes) -> str:
    """The key as receivers are given it."""
    return PREFIX + base64.b64encode(key).decode()


def signed(key: bytes, message_id: str, at_s: int, body: bytes) -> Mapping[str, str]:
    """The headers of one attempt at ``at_s`` (seconds since 1970); ``message_id`` is the same at every attempt."""
    content = f"{message_id}.{at_s}.".encode() + body
    signature = base64.b64encode(hmac.digest(key, content, hashlib.sha256)).decode()
    return {"webhook-id": message_id, "webhook-timestamp": str(at_s), "webhook-signature": f"v1,{signature}"}
