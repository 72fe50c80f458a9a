"""A version's file, fetched by stretches until it is there: what was cut goes on where it stopped, in this run or in
the next one, and what is not what its digest says is not kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from deploy.api import Api
from shared.errors import Refused, Unavailable

Told = Callable[[int], None]
"""Hears how many bytes are there."""


def fetch(api: Api, product: int, firmware: dict[str, Any], target: Path, told: Told = lambda done: None) -> None:
    """Have the file of this firmware object at ``target``. What has arrived so far is beside it, by its digest. Raises
    ``ApiError``, ``Unavailable`` when nothing more comes, ``Refused`` for a file that is not what was promised."""
    sha256, size_bytes = firmware["sha256"], firmware["size"]
    part = target.with_name(f".{target.name}.{sha256[:12]}.part")
    have = part.stat().st_size if part.exists() else 0
    while have < size_bytes:
        told(have)
        try:
            _go_on(api, product, firmware, part, have, told)
        except httpx.HTTPError as error:
            now = part.stat().st_size if part.exists() else 0
            if now <= have:
                reason = f"the download stopped at {now} of {size_bytes} bytes ({error}); ask again, and it goes on"
                raise Unavailable(reason) from None
        have = part.stat().st_size
    with part.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        part.unlink()
        raise Refused("damaged", f"what arrived has the SHA-256 {found}, and the version {sha256}")
    part.replace(target)
    told(size_bytes)


def _go_on(api: Api, product: int, firmware: dict[str, Any], part: Path, have: int, told: Told) -> None:
    asked = api.firmware_binary(product, firmware["version"], firmware["sha256"], have)
    with asked as (begins, pieces), part.open("ab" if begins else "wb") as file:
        for piece in pieces:
            file.write(piece)
            told(file.tell())
