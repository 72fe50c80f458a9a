"""A page of events as one row of a few long values.

Each row that SQLite steps to lets go of the interpreter, and beside a busy thread it takes up to a switch interval
(5 ms) to get it back: a second for a page of 1,000 rows. So SQLite joins the values of a page, and they are cut apart
here. Only JSON can be joined like that: it has no control characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

MAX_PACKED = 500
"""Most events in a row: at the largest, their values stay below the 10^9 bytes that SQLite allows."""

_BETWEEN = b"\x1e"
"""ASCII's record separator, which no JSON text contains."""
_ID_BYTES = 16
_numbers = msgspec.json.Decoder(list[int]).decode

Columns = Sequence[Sequence[Any]]
"""Of a page, in the order of ``names.COLUMNS``; empty for no event."""


def packed(select: str) -> str:
    """A query of ``names.COLUMNS`` whose rows become one."""
    numbers = ", ".join(f"json_group_array({name})" for name in ("type_id", "stream_id", "version", "pos", "at"))
    blobs = ", ".join(
        f"CAST(group_concat(CAST({name} AS TEXT), char({_BETWEEN[0]})) AS BLOB)" for name in ("data", "meta")
    )
    return f"SELECT group_concat(hex(event_id), ''), {numbers}, {blobs} FROM ({select})"  # noqa: S608 - constants


def unpacked(row: Any) -> Columns | None:
    """The columns that were packed; None if there are bytes in them that no JSON text has."""
    ids, *numbers, data, meta = row
    if ids is None:
        return ()
    columns = list(map(_numbers, numbers))
    pieces, metas = data.split(_BETWEEN), meta.split(_BETWEEN)
    if not len(pieces) == len(metas) == len(columns[0]):
        return None
    id_bytes = bytes.fromhex(ids)
    each_id = [id_bytes[start : start + _ID_BYTES] for start in range(0, len(id_bytes), _ID_BYTES)]
    return each_id, *columns, pieces, metas
