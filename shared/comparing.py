"""When two names are the same name. Pure."""

from __future__ import annotations

import unicodedata


def comparable(name: str) -> str:
    """The form in which names are compared: without regard to case, width and composition."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name.strip()).casefold())
