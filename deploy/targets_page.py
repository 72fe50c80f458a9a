"""The table of what a device should run, for the documents: made from the one that ``shared.targets`` is written by."""

from __future__ import annotations

from shared import targets

RULED = "===="


def targets_table() -> str:
    """As Markdown."""
    head, *rows = table_rows()
    lines = [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines) + "\n"


def table_rows() -> list[list[str]]:
    """The head of the table, and its rows; a line whose first column is empty goes on with the row above."""
    lines = (targets.__doc__ or "").splitlines()
    ruled = [number for number, line in enumerate(lines) if line.startswith(RULED)]
    first, second, last = ruled[:3]
    starts = [at for at, mark in enumerate(lines[first]) if mark == "=" and lines[first][at - 1 : at] in ("", " ")]
    rows: list[list[str]] = []
    for line in (*lines[first + 1 : second], *lines[second + 1 : last]):
        cells = [line[at:end].strip() for at, end in zip(starts, [*starts[1:], None], strict=True)]
        if cells[0]:
            rows.append(cells)
        else:
            rows[-1] = [" ".join(part for part in both if part) for both in zip(rows[-1], cells, strict=True)]
    return rows
