"""What a device says about itself by the reserved keys (MQF-1, MQF-8), and how it adds up over its reports. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from services.gateway.devices.identity import Identity
from shared.ids import NO_VERSION

FOREIGN_PRODUCT = 65_535
"""What a title that is no product's number counts as: never a product of ours."""
TEXT_CHARACTERS = 128
_NOTHING_SAID = ("Initial", "v0")
"""Title and version that mean that the Python SDK was told none."""


ProductOf = Callable[[str], int | None]
"""The product whose firmware has this name."""


def told_by(values: Mapping[str, Any], before: Identity, product_of: ProductOf) -> Identity | None:
    """What a device is after this report; None if the report says nothing about title, product or version. What it
    leaves out stays as it was."""
    title = _said(values.get("current_fw_title"))
    text = _said(values.get("current_fw_version"))
    if (title, text) == _NOTHING_SAID:
        title = text = ""
    product = values.get("product_id")
    if isinstance(product, bool) or not isinstance(product, int) or not 0 <= product <= 65_535:
        product = _product_of(title, product_of) if title else None
    if product is None and not text:
        return None
    told = replace(before, ever=True)
    if product is not None:
        told = replace(told, product=product, title=title or before.title)
    if text:
        told = replace(told, version=_version_of(text), text=text)
    return told


@dataclass(frozen=True, slots=True)
class State:
    """``fw_state`` and ``fw_error`` as reported; empty when not given."""

    word: str
    error: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> State:
        """From a report; anything but text is nothing."""
        word, error = values.get("fw_state"), values.get("fw_error")
        return cls(word if isinstance(word, str) else "", error if isinstance(error, str) else "")


def _said(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return text.strip()[:TEXT_CHARACTERS]


def _product_of(title: str, product_of: ProductOf) -> int:
    """Digits are a product's number, anything else is its firmware's name."""
    if title.isascii() and title.isdigit() and len(title) <= 5 and int(title) <= 65_535:
        return int(title)
    named = product_of(title)
    return FOREIGN_PRODUCT if named is None else named


def _version_of(text: str) -> int | None:
    digits = text.removeprefix("v")
    if not (digits.isascii() and digits.isdigit()):
        return None
    version = int(digits[-6:]) if not digits[:-6].strip("0") else NO_VERSION + 1
    return version if version <= NO_VERSION else None
