"""What comes in and goes out about what a fleet does: the five questions, errors, usage, and the page of a device."""

from __future__ import annotations

from typing import Any

import marshmallow as ma

from services.gateway.http.documents import DeviceCounts, VersionCount
from services.gateway.http.fields import (
    NULL,
    Document,
    Flag,
    Line,
    Request,
    Whole,
    any_object,
    list_of,
    of,
    string,
    time,
    whole,
)

MAX_PER_PAGE = 100
NO_PAST = "This is counted as of now only: ask for errors and usage of past days by their times (since, until, day)."
STEPS = ("ten_minutes", "hour", "day")


def _after() -> Line:
    return Line(64, load_default=None, metadata={"description": "meta.next of the answer before"})


def _day(what: str) -> Line:
    return Line(10, load_default=None, metadata={"description": f"{what}, such as 2026-01-31 (UTC)"})


class _Present(Request):
    """What has no past views, so that nobody takes the present for the past. Times say what is asked for."""

    @ma.pre_load
    def no_past(self, data: Any, **kwargs: object) -> Any:
        """Raises ``ValidationError`` for a query with ``as_of``."""
        if "as_of" in data:
            raise ma.ValidationError(NO_PAST, "as_of")
        return data


class Days(_Present):
    days = Whole(1, 90, load_default=30, metadata={"description": "so many days, today among them"})


class ErrorQuery(_Present):
    step = ma.fields.String(load_default="hour", validate=ma.validate.OneOf(STEPS))
    since = Line(64, load_default=None, metadata={"description": "a time with its zone (ISO 8601)"})
    until = Line(64, load_default=None, metadata={"description": "a time with its zone; without it, now"})
    kind = Line(128, load_default=None, metadata={"description": "errors of this kind alone"})
    version = Whole(0, 65_535, load_default=None, metadata={"description": "on this version alone"})


class ErringQuery(_Present):
    day = _day("one of the last eight days")
    after = _after()
    per_page = Whole(1, MAX_PER_PAGE, load_default=25)


class UsageQuery(_Present):
    since = _day("the first day")
    until = _day("the last day")


class CustomerQuery(_Present):
    days = Whole(1, 400, load_default=30, metadata={"description": "active: used a device in so many days"})
    active = Flag(load_default=None, metadata={"description": "only those who are, or who are not"})
    after = _after()
    per_page = Whole(1, MAX_PER_PAGE, load_default=25)


class Page(_Present):
    after = _after()
    per_page = Whole(1, MAX_PER_PAGE, load_default=25)


class Next(Document):
    per_page = whole()
    next = string(**NULL, metadata={"description": "for after; null: that was all"})


class KindCount(Document):
    kind = string()
    errors = whole()


class VersionErrors(Document):
    version = whole(**NULL, metadata={"description": "null: of devices that had not said"})
    errors = whole()


class DayErrors(Document):
    day = string()
    errors = whole()


class Used(Document):
    events = whole(metadata={"description": "that devices published"})
    calls = whole(metadata={"description": "of functions of devices"})
    reads = whole(metadata={"description": "of variables of devices"})
    sessions = whole(metadata={"description": "that began"})
    connected_s = whole()


class UsedDay(Used):
    day = string()


class ProductDay(UsedDay):
    devices = whole(**NULL, metadata={"description": "that did any of it; null: nobody counted"})


class CustomerFigures(Document):
    days = whole()
    with_device = whole()
    active = whole(metadata={"description": "used a device in these days"})
    inactive = whole()


class AllCustomers(CustomerFigures):
    total = whole(metadata={"description": "customers, with or without a device"})


class ErrorFigures(Document):
    total = whole()
    kinds = list_of(of(KindCount))
    versions = list_of(of(VersionErrors))
    course = list_of(of(DayErrors))


class Questions(Document):
    """How many are online, who uses theirs, how, which versions run, and which errors devices report."""

    days = whole()
    devices = of(DeviceCounts)
    customers = of(AllCustomers)
    usage = list_of(of(ProductDay))
    versions = list_of(of(VersionCount))
    errors = of(ErrorFigures)


class VersionErrorsOf(VersionErrors):
    devices = whole(**NULL, metadata={"description": "that report this version now"})


class Step(Document):
    at = time()
    errors = whole()


class Errors(Document):
    since = time()
    until = time()
    step = string()
    total = whole()
    kinds = list_of(of(KindCount))
    versions = list_of(of(VersionErrorsOf))
    course = list_of(of(Step))


class LastError(Document):
    kind = string()
    text = string()
    version = whole(**NULL)
    at = time()


class ErringDevice(Document):
    id = string()
    errors = whole()
    kinds = list_of(of(KindCount))
    last = of(LastError)


class ErringDevices(Document):
    """Those with most errors on that day first."""

    day = string()
    devices = list_of(of(ErringDevice))
    meta = of(Next)


class Usage(Document):
    days = list_of(of(ProductDay))
    total = of(Used)


class DeviceUsage(Document):
    id = string()
    days = list_of(of(UsedDay))
    total = of(Used)


class OwnerUsage(Document):
    owner_id = string()
    devices = whole(metadata={"description": "that they have now"})
    days = list_of(of(UsedDay))
    total = of(Used)


class UsingCustomer(Document):
    owner_id = string()
    customer_id = string(**NULL)
    username = string(**NULL)
    devices = whole()
    last_used = string(**NULL, metadata={"description": "day; null: never"})
    usage = of(Used)


class UsingCustomers(Document):
    """Those first who used a device last."""

    customers = list_of(of(UsingCustomer))
    counts = of(CustomerFigures)
    meta = of(Next)


class TimelineEvent(Document):
    position = whole()
    at = time()
    type = string()
    actor = string()
    text = string()
    data = any_object()


class TimelineMeta(Next):
    left_out = whole(metadata={"description": "events of weeks with too many sessions"})


class Timeline(Document):
    """The newest first."""

    id = string()
    events = list_of(of(TimelineEvent))
    meta = of(TimelineMeta)


class UpdateFate(Document):
    version = whole()
    attempt = whole()
    cause = string(**NULL, metadata={"description": "lock, release or file; null: nobody saw it begin"})
    state = string()
    percent = whole(**NULL)
    reason = string(**NULL)
    text = string()
    started_at = time(**NULL)
    ended_at = time(**NULL)


class Updates(Document):
    """The newest first."""

    id = string()
    updates = list_of(of(UpdateFate))


class Session(Document):
    gateway = string()
    epoch = whole()
    session = whole()
    protocol = string(**NULL)
    address = string(**NULL)
    to = time(**NULL)
    ended = string(**NULL, metadata={"description": "how; replaced: by a newer connection"})
    duration_s = whole(**NULL)


Sessions = Document.from_dict(
    {
        "id": string(),
        "sessions": list_of(of(Session.from_dict({"from": time()}, name="SessionOfDevice"))),
        "meta": of(Next),
    },
    name="Sessions",
)
