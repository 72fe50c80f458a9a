"""The plan of a roll-out as words of the command line: ``--stages 20,10%:hold,100% --window mon-fri,08:00-17:00``."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_STAGE = re.compile(r"(\d{1,8})(%?)(:hold)?")
_WINDOW = re.compile(r"(?:([a-z]{3})(?:-([a-z]{3}))?,)?(\d\d:\d\d)-(\d\d:\d\d)")


def stages(text: str, soak_s: int | None) -> list[dict[str, Any]]:
    """From "20,1%,10%:hold,100%": twenty devices, then a percentage, then one that waits for approval, then all."""
    return [_stage(part.strip(), soak_s) for part in text.split(",")]


def _stage(text: str, soak_s: int | None) -> dict[str, Any]:
    found = _STAGE.fullmatch(text)
    if found is None:
        raise typer.BadParameter(f"{text!r} is no stage; write 20 (devices), 10% or 10%:hold", param_hint="--stages")
    size, is_percent = int(found[1]), bool(found[2])
    return {
        "percent": size if is_percent else None,
        "devices": None if is_percent else size,
        "hold": bool(found[3]),
        **({} if soak_s is None else {"soak_s": soak_s}),
    }


def window(text: str) -> dict[str, Any]:
    """From "mon-fri,08:00-17:00", "sat,22:00-04:00" or "08:00-17:00", in UTC."""
    found = _WINDOW.fullmatch(text.strip().lower())
    first, last = (found[1], found[2] or found[1]) if found else (None, None)
    if found is None or not {first, last} <= {*DAYS, None}:
        raise typer.BadParameter(f"{text!r} is no window; write mon-fri,08:00-17:00", param_hint="--window")
    return {"days": _days(first, last), "from": found[3], "until": found[4]}


def _days(first: str | None, last: str | None) -> list[int]:
    if first is None or last is None:
        return list(range(7))
    begin, end = DAYS.index(first), DAYS.index(last)
    return sorted({day % 7 for day in range(begin, end + 1 if end >= begin else end + 8)})


def plan(file: Path | None, version: int | None, words: dict[str, Any], gates: dict[str, Any]) -> dict[str, Any]:
    """The body of the API: the file's, with what was said beside it. What nobody said the platform decides."""
    base: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file is not None else {}
    if not isinstance(base, dict):
        raise typer.BadParameter("the plan must be a JSON object", param_hint="--plan")
    said = {name: value for name, value in words.items() if value is not None}
    of_gates = {name: value for name, value in gates.items() if value is not None}
    made = {**base, **said, **({} if version is None else {"version": version})}
    if "version" not in made:
        raise typer.BadParameter("which version? name it, or a --plan that does", param_hint="VERSION")
    if of_gates:
        made["gates"] = {**base.get("gates", {}), **of_gates}
    return made


def window_text(shown: dict[str, Any]) -> str:
    """A window as people read it."""
    days: Sequence[int] = shown["days"]
    named = "" if len(days) == 7 else ",".join(DAYS[day] for day in days) + " "
    return f"{named}{shown['from']}-{shown['until']} UTC"
