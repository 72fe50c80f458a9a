"""The part of docs/queries.md that is made from code."""

from __future__ import annotations

from collections.abc import Mapping

from services.devices.query_language import OPERATORS
from services.devices.query_terms import FIELDS, Kind

_VALUES: Mapping[Kind, str] = {
    "flag": "`true`, `false`; alone: true",
    "number": "a whole number, `none`; alone: not `none`",
    "text": "text, `none`; alone: not `none`",
    "id": "hexadecimal digits",
    "group": "a name, `none`; alone: not `none`",
    "owner": "an address or an ID, `none`; alone: not `none`",
    "moment": "an age, a date, a time with its zone, `none`; alone: not `none`",
    "anywhere": "text",
}


def fields_table() -> str:
    """What can be asked for, how, and with which values."""
    rows = [
        f"| `{name}` | {field.about} | {_operators(field.kind)} | {_VALUES[field.kind]} |"
        for name, field in FIELDS.items()
    ]
    return "\n".join(["| field | what | operators | values |", "|---|---|---|---|", *rows]) + "\n\n"


def _operators(kind: Kind) -> str:
    return " ".join(f"`{one}`" for one in OPERATORS[kind])
