"""The Starlette application of the HTTP API: routing, admission, bodies, answers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib.metadata import version
from typing import Any
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route as Path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.gateway.http import auth, bodies, csv_answers
from services.gateway.http.answers import json_answer
from services.gateway.http.calls import (
    AS_OF_HEADER,
    LAST_ID_HEADER,
    POSITION_HEADER,
    REPEAT_HEADER,
    ROLLOUT_HEADER,
    Call,
    Edge,
    Route,
)
from services.gateway.http.errors import error_answer, no_method, no_route
from services.gateway.http.fields import load
from services.gateway.http.limits import Allowance
from services.gateway.http.openapi import describe
from services.gateway.http.ports import Limits, Services
from services.gateway.http.routes import ROUTES

__all__ = ["Limits", "Services", "build_app"]

log = logging.getLogger(__name__)

TOO_LARGE = 413
PROGRAM_HEADERS = ("user-agent", "x-particle-tool", "x-particle-project")
SHOWN_OF_A_HEADER = 200
CORS = {
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept, User-Agent, X-Particle-Tool, "
    f"X-Particle-Project, {LAST_ID_HEADER}, {POSITION_HEADER}, {REPEAT_HEADER}",
    "Access-Control-Max-Age": "600",
}
EXPOSED = ", ".join([POSITION_HEADER, AS_OF_HEADER, ROLLOUT_HEADER, *Allowance(0, 0, 0).headers(), "Retry-After"])


def build_app(services: Services) -> Starlette:
    """The API over these services, ready to be served; it opens nothing by itself."""
    edge = Edge(services)
    edge.openapi = _description()
    app = Starlette(
        routes=_paths(edge),
        middleware=[Middleware(Outermost)],
        exception_handlers={HTTPException: _http_exception},
    )
    app.router.redirect_slashes = False
    app.state.edge = edge
    return app


@cache
def _description() -> Mapping[str, Any]:
    return describe(ROUTES, version("flotilla"))


def _paths(edge: Edge) -> list[Path]:
    """One Starlette route a path, in the order of the table."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in ROUTES:
        by_path.setdefault(route.path, {})[route.method] = route
    return [Path(path, _endpoint(edge, methods), methods=list(methods)) for path, methods in by_path.items()]


def _endpoint(edge: Edge, methods: Mapping[str, Route]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        route = methods["GET" if request.method == "HEAD" else request.method]
        params = {name: unquote(value) for name, value in request.path_params.items()}
        log.debug("%s %s from %s", route.method, route.path, _program(request))
        call = Call(edge, route, request, params)
        try:
            return await _answer(call)
        except ClientDisconnect:
            log.debug("the client went away in the middle of %s %s", route.method, route.path)
            return Response(status_code=400)
        except Exception as error:  # noqa: BLE001 - the one place where errors become answers
            answer = error_answer(error)
            if call.allowance is not None:
                answer.headers.update(call.allowance.headers())
            if answer.status_code == TOO_LARGE:
                await bodies.discard(request)
            return answer

    return endpoint


def _program(request: Request) -> str:
    """What the client says it is (contract 1.5)."""
    said = [request.headers.get(name, "")[:SHOWN_OF_A_HEADER] for name in PROGRAM_HEADERS]
    return " ".join(text for text in said if text)


async def _answer(call: Call) -> Response:
    route = call.route
    call.edge.calls_by_address.take(call.address)
    try:
        await auth.admit(call)
    finally:  # what is refused to whoever signed in counts as well
        call.spend()
    if route.query is not None:
        call.query = load(route.query, dict(call.request.query_params), as_form=True)
    if route.body == "fields":
        await auth.read_fields(call)  # also where nothing is asked for: what cannot be read is refused
        call.body = await auth.read_body(call, route.request) if route.request else {}
    response = await _made(call)
    if route.secret:
        response.headers["Cache-Control"] = "no-store"
    call.conclude(response)
    await auth.settle(call)
    return response


async def _made(call: Call) -> Response:
    rows = csv_answers.wanted(call)
    if rows is not None:
        return await csv_answers.answer(call, rows)
    made: Any = await call.route.handler(call)
    return made if isinstance(made, Response) else _document(call.route, made)


def _document(route: Route, document: Any) -> Response:
    return Response(status_code=204) if route.status == 204 else json_answer(document, route.status)


async def _http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: unknown paths and methods. A path that stands for any word, such as that of a
    function, is none for other methods: there is nothing of that name (contract 15)."""
    headers = getattr(error, "headers", None) or {}
    is_any_word = "name" in request.path_params
    return no_method(headers["Allow"]) if "Allow" in headers and not is_any_word else no_route()


class Outermost:
    """Prepares paths for routing, so that segments are decoded after it, and answers browsers' questions about other
    origins (contract 1.1 and 16.1)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
        answer = _with_origin(send, origin) if origin else send
        if scope["method"] == "OPTIONS":
            await Response(status_code=204, headers=CORS)(scope, receive, answer)
            return
        await self._app({**scope, "path": encoded_path(scope)}, receive, answer)


def encoded_path(scope: Scope) -> str:
    """The path with each segment percent-encoded in one way, and without a trailing slash."""
    raw = scope.get("raw_path")
    path = raw.decode("latin-1") if raw else quote(scope["path"], safe="/")
    segments = [quote(unquote(segment), safe="") for segment in path.split("/")]
    return "/".join(segments).rstrip("/") or "/"


def _with_origin(send: Send, origin: bytes) -> Send:
    async def send_with_origin(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [
                *message.get("headers", []),
                (b"access-control-allow-origin", origin),
                (b"access-control-expose-headers", EXPOSED.encode()),
                (b"vary", b"Origin"),
            ]
        await send(message)

    return send_with_origin
