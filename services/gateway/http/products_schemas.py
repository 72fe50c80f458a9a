"""What comes in and goes out when products are changed and configured (contract 6 and 6.1)."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.http.documents import ProductCreated
from services.gateway.http.fields import Document, Line, Request, any_object, flag, list_of, of, string, time, whole


class ProductChanges(Request):
    """The fields may also stand inside ``product``; what is not named stays as it is."""

    name = Line(128, 1)
    description = Line(4_000)
    type = Line(32, allow_none=True)
    hardware_version = Line(64, allow_none=True)

    @ma.pre_load
    def unwrap(self, data: Any, **kwargs: Any) -> Any:
        inner = data.get("product")
        return inner if isinstance(inner, dict) else data


class ProductChanged(ProductCreated):
    pass


SECTION = {"type": "object", "description": "questions and answers; null takes an answer back"}


class Answers(Request):
    """What is in them is judged where the questions are."""

    overview = ma.fields.Raw(metadata=SECTION)
    working_with_particle = ma.fields.Raw(metadata=SECTION)
    customers = ma.fields.Raw(metadata=SECTION)
    firmware = ma.fields.Raw(metadata=SECTION)


class Configuration(Document):
    ok = flag()
    configuration = any_object()
    product_configuration = any_object()
    unanswered = list_of(string())
    complete = flag()
    questionnaire = whole()


class Started(Document):
    started_at = time()


class Manufacturing(Document):
    ok = flag()
    manufacturing = of(Started)
