"""What comes in and goes out about a product's log."""

from __future__ import annotations

from services.gateway.history import MOST_LISTED
from services.gateway.http.fields import NULL, Document, Line, Request, Whole, flag, list_of, of, string, time, whole
from services.gateway.stream_ids import MAX_ID


class LogQuery(Request):
    """A stretch of the log, the newest first."""

    limit = Whole(1, MOST_LISTED, load_default=100)
    before = Line(MAX_ID, load_default=None, metadata={"description": "meta.next of the answer before"})
    name = Line(64, load_default="", metadata={"description": "how the names of the events begin"})
    device_id = Line(24, data_key="deviceId", load_default=None)


class LoggedEvent(Document):
    id = string()
    name = string()
    data = string(**NULL)
    ttl = whole()
    published_at = time()
    coreid = string(metadata={"description": "the device; api: it was published over HTTP"})
    product_id = whole(data_key="productID")
    version = whole(**NULL, metadata={"description": "of the device's firmware"})


class LogMeta(Document):
    next = string(**NULL, metadata={"description": "for before; null: that was all"})
    incomplete = flag(metadata={"description": "a gateway could not be asked; what it has is left out of all pages"})


class ProductLog(Document):
    events = list_of(of(LoggedEvent))
    meta = of(LogMeta)
