"""What a device said of itself by system events, and what is to be remembered of it in its session. Pure."""

from __future__ import annotations

TRUE = b"true"
FALSE = b"false"


class Told:
    """Of one session; None where the device said nothing."""

    __slots__ = (
        "chunk_bytes",
        "claim_shown",
        "ident",
        "max_binary_bytes",
        "safe_mode",
    )

    def __init__(self) -> None:
        self.ident: str | None = None
        self.max_binary_bytes: int | None = None
        self.chunk_bytes: int | None = None
        self.safe_mode = False
        self.claim_shown = False
