"""A list of what comes in, whichever door it comes in by."""

from __future__ import annotations

from typing import Any

import marshmallow as ma


class BoundedList(ma.fields.List[Any]):
    """JSON's lists of at most ``most`` items, and at least ``least``. How many there are is judged before the first of
    them is looked at, which takes its time and lets nobody else have the process."""

    def __init__(self, inner: Any, most: int, least: int | None = None, **options: Any) -> None:
        super().__init__(inner, validate=ma.validate.Length(least, most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> list[Any]:
        if not isinstance(value, list):  # of an object the keys would be taken for a list
            raise self.make_error("invalid")
        self._validate(value)
        return super()._deserialize(value, attr, data, **kwargs)
