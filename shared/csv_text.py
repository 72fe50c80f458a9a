"""Lists as CSV (RFC 4180): what people open in a spreadsheet, and programs read.

Text that a spreadsheet would take for a formula gets an apostrophe in front: whoever names a device ``=HYPERLINK(…)``
must not run anything on the computer of whoever opens the list.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import msgspec

from shared.times import iso

MEDIA_TYPE = "text/csv; charset=utf-8; header=present"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def lines(rows: Iterable[Sequence[Any]]) -> str:
    """Rows of any values as text, each line ended by CRLF."""
    text = io.StringIO()
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    return text.getvalue()


def values(document: Mapping[str, Any], columns: Iterable[str]) -> list[Any]:
    """What a document has in these columns; ``update.state`` is the member ``state`` of its member ``update``."""
    return [_member(document, column) for column in columns]


def _member(document: Mapping[str, Any], column: str) -> Any:
    found: Any = document
    for name in column.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def cell(value: Any) -> str:
    """One value: nothing is empty, lists of plain values are joined by ``; ``, all other ones are JSON."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int() | float():
            return str(value)
        case str():
            return guarded(value)
        case datetime():
            return iso(value)
        case list() | tuple() if all(one is None or isinstance(one, str | int | float) for one in value):
            return guarded("; ".join(one if isinstance(one, str) else cell(one) for one in value))
        case _:
            return guarded(msgspec.json.encode(value).decode())


def guarded(text: str) -> str:
    """Text that no spreadsheet computes."""
    return f"'{text}" if text.startswith(FORMULA) or text.lstrip(" ").startswith(FORMULA) else text
