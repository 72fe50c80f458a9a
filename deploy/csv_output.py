"""Lists of commands as CSV, with the columns that the same list has over HTTP."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import marshmallow as ma
import typer

from services.gateway.http.csv_columns import columns_of
from shared import csv_text

Csv = Annotated[bool, typer.Option("--csv", help="CSV instead of a table.")]


def print_csv(schema: ma.Schema, items: Iterable[Mapping[str, Any]]) -> None:
    """Print objects of this kind as they come; none of them stays in memory."""
    columns = columns_of(schema)
    sys.stdout.write(csv_text.lines([columns]))
    for item in items:
        sys.stdout.write(csv_text.lines([csv_text.values(item, columns)]))
