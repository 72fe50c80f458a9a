"""What comes in and goes out about who did what."""

from __future__ import annotations

from services.gateway.http.fields import NULL, Document, Line, Request, Whole, list_of, of, string, time, whole
from services.gateway.http.requests import moment


class AuditQuery(Request):
    """A stretch of what was commanded, the newest first."""

    actor = Line(320, load_default=None, metadata={"description": "an id, account:ID, or an e-mail address"})
    kind = Line(64, data_key="type", load_default=None, metadata={"description": "the type of an event"})
    product = Line(64, load_default=None, metadata={"description": "id or slug"})
    since = moment(data_key="from", load_default=None)
    until = moment(data_key="to", load_default=None)
    after = Line(48, load_default=None, metadata={"description": "meta.next of the answer before"})
    per_page = Whole(1, 100, load_default=25)


class Command(Document):
    id = string(metadata={"description": "of the command; its events have it as correlation"})
    at = time()
    actor = string(metadata={"description": "account:ID, customer:ID, client:ID or anonymous"})
    name = string(**NULL)
    token = string(**NULL, metadata={"description": "the id of the access token"})
    address = string(**NULL)
    product_id = whole(**NULL)
    what = list_of(string())
    things = list_of(string())
    events = whole()


class AuditMeta(Document):
    per_page = whole()
    next = string(**NULL)


class Audit(Document):
    audit = list_of(of(Command))
    meta = of(AuditMeta)
