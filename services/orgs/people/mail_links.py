"""Links that are mailed: what their secret is derived from, and how one that comes back is recognized (ACC-1).

A link says ``<id of whom it is for>.<40 hex digits>``. The digits are an HMAC, under a key of the installation, over
purpose, id and a nonce; the nonce stands in the event that the link is mailed for, so nothing that is stored opens
anything.
"""

from __future__ import annotations

import hmac
import re
from typing import Literal

from services.orgs.people.links import Link
from shared.streams import Streams

Purpose = Literal["verify", "reset", "customer-reset", "transfer"]

KEY = "mail links"
"""Under which the key table keeps the secret."""

_LINK = re.compile(r"([0-9a-f]{24})\.[0-9a-f]{40}")


def link_token(streams: Streams, purpose: Purpose, subject_id: str, nonce: str) -> str:
    """What the link says."""
    text = f"{purpose}\n{subject_id}\n{nonce}".encode()
    return f"{subject_id}.{hmac.new(streams.contracts.keys.secret(KEY), text, 'sha256').hexdigest()[:40]}"


def subject_of(token: object) -> str | None:
    """Whose link this claims to be; None for what is no link."""
    found = _LINK.fullmatch(token) if isinstance(token, str) else None
    return found[1] if found else None


def is_link(streams: Streams, token: str, purpose: Purpose, subject_id: str, link: Link | None) -> bool:
    """Whether the token is this very link."""
    return link is not None and hmac.compare_digest(token, link_token(streams, purpose, subject_id, link.nonce))
