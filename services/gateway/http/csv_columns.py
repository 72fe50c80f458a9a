"""The columns of a list as CSV, from the schema of its objects."""

from __future__ import annotations

import marshmallow as ma


def columns_of(schema: ma.Schema) -> tuple[str, ...]:
    """The columns of objects of this kind."""
    found: list[str] = []
    for name, field in schema.fields.items():
        shown = field.data_key or name
        if isinstance(field, ma.fields.Nested) and not field.many:
            found += [f"{shown}.{inner.data_key or one}" for one, inner in field.schema.fields.items()]
        else:
            found.append(shown)
    return tuple(found)
