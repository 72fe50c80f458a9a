"""What comes in and goes out about groups of devices (contract 10 and 7.2)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import NULL, Document, Line, Request, list_of, of, string, whole
from shared.bounded_list import BoundedList

_MOST_NAMES = 100


class GroupQuery(Request):
    name = Line(64, metadata={"description": "part of the name"})


class NewGroup(Request):
    name = Line(64, 1, required=True, metadata={"description": "of a-z, 0-9, - and _"})
    description = Line(1_000, allow_none=True, load_default=None)
    color = Line(32, allow_none=True, load_default=None)


class GroupChanges(Request):
    """What is not named stays as it is."""

    name = Line(64, 1)
    description = Line(1_000)
    color = Line(32)


class Group(Document):
    name = string()
    description = string()
    color = string()
    fw_version = whole(**NULL)
    device_count = whole()


class GroupAnswer(Document):
    group = of(Group)


class Groups(Document):
    groups = list_of(of(Group))


class Regrouping(Request):
    add = BoundedList(Line(64, 1), _MOST_NAMES, load_default=list)
    remove = BoundedList(Line(64, 1), _MOST_NAMES, load_default=list)


class DevicesUpdate(Request):
    """Many devices into groups, or out of them."""

    action = Line(16, required=True, metadata={"description": "groups"})
    devices = BoundedList(Line(64, 1), 1_000, 1, required=True)
    metadata = ma.fields.Nested(Regrouping, required=True)

    @ma.validates("action")
    def known_action(self, value: str, **kwargs: object) -> None:
        if value != "groups":
            raise ma.ValidationError("Must be groups.")
