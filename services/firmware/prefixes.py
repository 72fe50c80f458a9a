"""Versions whose text begins with that of another (MQF-10). Pure."""

from __future__ import annotations

from collections.abc import Iterable


def prefix_warnings(version: int, in_use: Iterable[int], width: int) -> list[str]:
    """What to tell whoever uploads a version: the Arduino SDK compares versions only as far as the text of the one that
    it runs, so devices on a version that the new one begins with would not take it. ``width``: the digits that the
    product fills versions up to."""
    text = str(version).zfill(width)
    found = sorted(used for used in in_use if used != version and text.startswith(str(used).zfill(width)))
    return [
        f"Devices run version {used}, which {text} begins with: the Arduino SDK would take {text} for what it runs. "
        "Set a version width for the product, or choose another number."
        for used in found
    ]
