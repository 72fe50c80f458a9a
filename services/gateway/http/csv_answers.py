"""Every list of the API as CSV: with ``format=csv``, or where ``text/csv`` is what the client likes best.

A list is a call whose document is a list of objects, or begins with a member that is one (behind ``ok``). Its columns
are the fields of these objects as OpenAPI has them, members of objects in them as ``member.field``. All pages from the
one that was asked for on are sent, one after the other, as fast as the client reads: no more than one is in memory.
What goes wrong behind the first page ends the connection in the middle, so that nobody takes a part for the whole; so
does a login that ends, or may do something else now. Lists on their way are counted, by login and organization.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import marshmallow as ma
import msgspec
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from services.gateway.http import auth
from services.gateway.http.calls import Call, Route
from services.gateway.http.csv_columns import columns_of
from services.gateway.http.limits import Share
from shared.csv_text import MEDIA_TYPE, lines, values
from shared.errors import Refused, Unavailable

EXPORTS_PER_LOGIN, EXPORTS_PER_ORGANIZATION = 4, 16
"""That may be on their way at a time, on one gateway."""
PAGE_ROWS = 500
"""Rows of a page, where the client has not said how many, and the call allows so many."""
FORMATS = ("json", "csv")


@dataclass(frozen=True, slots=True)
class Rows:
    """``member`` of the document has the rows; None: the document itself."""

    member: str | None
    columns: tuple[str, ...]


@lru_cache(maxsize=512)
def rows_of(route: Route) -> Rows | None:
    """The rows of a call that is a list."""
    if route.method != "GET" or route.response is None:
        return None
    if route.response.many:
        return Rows(None, columns_of(route.response))
    name, first = next(((name, field) for name, field in route.response.fields.items() if name != "ok"), ("", None))
    if isinstance(first, ma.fields.List) and isinstance(first.inner, ma.fields.Nested):
        return Rows(first.data_key or name, columns_of(first.inner.schema))
    return None


def wanted(call: Call) -> Rows | None:
    """The rows, if this call is a list that the client wants as CSV. Raises ``Refused`` for another format."""
    rows = rows_of(call.route)
    if rows is None:
        return None
    asked = call.request.query_params.get("format", "")
    if asked and asked not in FORMATS:
        raise Refused("invalid_request", f"format: Must be {' or '.join(FORMATS)}.")
    likes_csv = asked == "csv" or (not asked and _likes_csv(call.request.headers.get("accept", "")))
    return rows if likes_csv else None


def _likes_csv(accept: str) -> bool:
    """``text/csv`` is named, and JSON not before it, or with a higher q."""
    liked: dict[str, float] = {}
    for part in accept.lower().split(",")[:20]:
        name, *options = (text.strip() for text in part.split(";"))
        q = next((option[2:] for option in options if option.startswith("q=")), "1")
        liked.setdefault(name, _number(q))
    csv, json = liked.get("text/csv", 0.0), liked.get("application/json", 0.0)
    names = list(liked)
    return csv > json or (csv == json > 0 and names.index("text/csv") < names.index("application/json"))


def _number(q: str) -> float:
    try:
        return float(q)
    except ValueError:
        return 0.0


async def answer(call: Call, rows: Rows) -> Response:
    """All pages; a call that has no document to show now (the past is being built) says so as it does otherwise."""
    _enlarge(call)
    document = await _document(call)
    if isinstance(document, Response):
        return document
    name = call.route.path.rsplit("/", 1)[-1].strip("{}") or "list"
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    if call.request.method == "HEAD":
        return Response(headers=headers, media_type=MEDIA_TYPE)
    token, release = await auth.sent_token(call), call.edge.exports.acquire(_shares(call))
    return Export(_pages(call, rows, document, token), release, headers)


class Export(StreamingResponse):
    """Gives its place back when it is over, however that came."""

    def __init__(self, pages: AsyncIterator[bytes], release: Callable[[], None], headers: Mapping[str, str]) -> None:
        super().__init__(pages, headers=headers, media_type=MEDIA_TYPE)
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()


def _shares(call: Call) -> list[Share]:
    """Whoever takes part in an organization counts for it, its customers apart."""
    caller = call.caller
    shares = [Share(call.signed_in.token_digest, EXPORTS_PER_LOGIN, "This login has")]
    if caller.org_id is not None:
        who, whose = ("customers", "All customers have") if caller.kind == "customer" else ("team", "Your team has")
        shares.append(Share(f"{who} {caller.org_id}", EXPORTS_PER_ORGANIZATION, whose))
    return shares


def _enlarge(call: Call) -> None:
    """Take larger pages than are good for a screen, unless the client has said how large."""
    fields = call.route.query.fields if call.route.query is not None else {}
    for name in ("per_page", "limit"):
        given = {name, "perPage"} & call.request.query_params.keys()
        if name in fields and not given:
            bounds = [one.max for one in fields[name].validators if isinstance(one, ma.validate.Range)]
            call.query[name] = min([PAGE_ROWS, *(int(most) for most in bounds if most is not None)])


async def _document(call: Call) -> Any:
    made: Any = await call.route.handler(call)
    if isinstance(made, Response) and made.status_code == 200:  # as of a past moment
        return msgspec.json.decode(made.body)
    return made


async def _pages(call: Call, rows: Rows, document: Any, token: str) -> AsyncIterator[bytes]:
    yield lines([rows.columns]).encode()
    while True:
        items = document if rows.member is None else document[rows.member]
        yield lines(values(item, rows.columns) for item in items).encode()
        behind = _behind(call, document)
        if behind is None:
            return
        session = await auth.find_session(call.edge, token, call.address)
        if session.caller != call.caller:
            raise Refused("permission_denied", "Whoever asked may do something else now.")
        await auth.find_owner(call)
        call.query.update(behind)
        document = await _document(call)
        if isinstance(document, Response):
            raise Unavailable("the past that this list is of is no longer at hand")


def _behind(call: Call, document: Any) -> dict[str, Any] | None:
    """What to ask for behind this page; None at the end."""
    fields = call.route.query.fields if call.route.query is not None else {}
    meta = document.get("meta", {}) if isinstance(document, dict) else {}
    if meta.get("next") is not None:
        return {name: meta["next"] for name in ("after", "before") if name in fields}
    if "next" not in meta and "page" in fields and meta.get("total_pages", 0) > call.query["page"]:
        return {"page": call.query["page"] + 1}
    return None
