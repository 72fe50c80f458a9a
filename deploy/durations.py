"""Lengths of time as people write them."""

from __future__ import annotations

import re

import typer

_UNITS_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3_600.0, "d": 86_400.0}


def duration_s(text: str) -> float:
    """Seconds, from "90", "90s", "1.5m", "2h"; more than nothing."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|)", text.strip())
    if found is None or not float(found[1]):
        raise typer.BadParameter(f"{text!r} is no duration; write 90, 90s, 1.5m or 2h")
    return float(found[1]) * _UNITS_S[found[2]]


def told(seconds: float) -> str:
    """The same the other way, in the largest unit that leaves no rest."""
    if not seconds:
        return "-"
    unit = next((unit for unit in ("d", "h", "m") if seconds % _UNITS_S[unit] == 0), "s")
    return f"{seconds / _UNITS_S[unit]:g} {unit}"
