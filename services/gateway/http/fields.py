"""marshmallow fields: those of what comes in, which read JSON and forms alike (contract 1.4), those of answers, all of
them required, and how complaints become a sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import marshmallow as ma

from shared.errors import Refused


class Line(ma.fields.String):
    """Text of at most ``longest`` characters, without NUL, which no store can keep."""

    def __init__(self, longest: int, shortest: int = 0, **options: Any) -> None:
        super().__init__(validate=ma.validate.Length(shortest, longest), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if "\x00" in text:
            raise ma.ValidationError("Must not contain NUL.")
        return text


class Whole(ma.fields.Integer):
    """An integer, or its decimal digits as text, between two bounds, both included."""

    def __init__(self, least: int, most: int, **options: Any) -> None:
        super().__init__(strict=True, validate=ma.validate.Range(least, most), **options)

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> int:
        if isinstance(value, str):
            digits = value.strip().removeprefix("-")
            if not (digits.isascii() and digits.isdigit() and len(digits) <= 20):
                raise self.make_error("invalid", input=value)
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.make_error("invalid", input=value)
        return value


class Flag(ma.fields.Boolean):
    """A boolean, or ``true``, ``false``, ``1``, ``0``."""

    def __init__(self, **options: Any) -> None:
        super().__init__(truthy={True, "true", "1"}, falsy={False, "false", "0"}, **options)


class Named(ma.fields.Dict):
    """An object whose names nobody knows beforehand; as with lists that come in, how many there are is judged first."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        if isinstance(value, dict):
            self._validate(value)
        return super()._deserialize(value, attr, data, **kwargs)  # type: ignore[no-untyped-call]  # marshmallow has none here


class Request(ma.Schema):
    """Base of what comes in: unknown fields are ignored."""

    class Meta:
        unknown = ma.EXCLUDE


class Document(ma.Schema):
    """Base of what goes out: nothing but what is declared."""

    class Meta:
        unknown = ma.RAISE


NULL: dict[str, Any] = {"required": True, "allow_none": True}
"""Options of a field of an answer that is null where there is nothing to say."""


def string(**options: Any) -> ma.fields.String:
    """Text."""
    return ma.fields.String(**{"required": True, **options})


def whole(**options: Any) -> ma.fields.Integer:
    """An integer."""
    return ma.fields.Integer(strict=True, **{"required": True, **options})


def flag(**options: Any) -> ma.fields.Boolean:
    """A boolean."""
    return ma.fields.Boolean(truthy={True}, falsy={False}, **{"required": True, **options})


def time(**options: Any) -> ma.fields.String:
    """A time of the contract."""
    iso = ma.validate.Regexp(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z\Z")
    return ma.fields.String(validate=iso, metadata={"format": "date-time"}, **{"required": True, **options})


def list_of(inner: Any, **options: Any) -> ma.fields.List[Any]:
    """A list."""
    return ma.fields.List(inner, **{"required": True, **options})


def of(schema: Any, **options: Any) -> ma.fields.Nested:
    """An object."""
    return ma.fields.Nested(schema, **{"required": True, **options})


def any_object(**options: Any) -> ma.fields.Dict:
    """An object with names that nobody knows beforehand."""
    return ma.fields.Dict(keys=ma.fields.String(), **{"required": True, **options})


def load(schema: ma.Schema, data: Mapping[str, Any], *, as_form: bool = False) -> dict[str, Any]:
    """What the schema makes of it; in forms and queries the word ``null`` is null. Raises ``Refused``."""
    if as_form:
        data = {name: None if _is_null(schema, name, value) else value for name, value in data.items()}
    try:
        return cast(dict[str, Any], schema.load(data))
    except ma.ValidationError as error:
        complaints = _flat(error.messages)
        raise Refused("invalid_request", " ".join(complaints[:5])) from None


def _is_null(schema: ma.Schema, name: str, value: Any) -> bool:
    field = schema.fields.get(name)
    return value == "null" and field is not None and field.allow_none


def _flat(messages: Any, where: str = "") -> list[str]:
    if isinstance(messages, Mapping):
        inner = [(f"{where}.{key}" if where else str(key), value) for key, value in messages.items()]
        return [line for place, value in inner for line in _flat(value, place)]
    if isinstance(messages, list):
        return [line for value in messages for line in _flat(value, where)]
    return [f"{where.removesuffix('._schema')}: {messages}" if where else str(messages)]
