"""OpenAPI 3 from the route table and its schemas."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import marshmallow as ma
from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin

from services.gateway.http.bodies import FORM, MULTIPART
from services.gateway.http.calls import LAST_ID_HEADER, POSITION_HEADER, REPEAT_HEADER, STREAM, Route
from services.gateway.http.csv_answers import FORMATS, rows_of
from services.gateway.http.documents import Building, Error
from services.gateway.http.requests import CallQuery
from shared.auth.permissions import rule_of

JSON = "application/json"
HTML = "text/html"
CSV = "text/csv"
_POSITION = {
    "description": "what has been seen, for reads of one's own writes",
    "schema": {"type": "integer", "minimum": 0},
}
_FORMAT = {
    "description": "csv: this page and all behind it as CSV, as with Accept: text/csv",
    "schema": {"type": "string", "enum": list(FORMATS)},
}
_LAST_ID = {
    "description": "the id of the last event that came: the stream goes on behind it; whoever sends this or accepts "
    "text/event-stream gets ids, but for /v1/events",
    "schema": {"type": "string"},
}
_REDIRECT = {
    "description": "the browser goes where the client is registered, or to the next page",
    "headers": {"Location": {"required": True, "schema": {"type": "string", "format": "uri-reference"}}},
}
_BUILDING = {"content": {JSON: {"schema": Building}}}
_UPLOADED_FILE = {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}}
_SIGNATURE = {
    "type": "object",
    "properties": {
        "signature": {
            "type": "string",
            "format": "binary",
            "description": "Ed25519 over the bytes of the file, by a key of the product: 64 bytes, or those in "
            "hexadecimal or base64, or a .minisig file",
        }
    },
}
OCTETS = "application/octet-stream"
SIGNED = frozenset({"firmware.upload", "devices.update", "own_devices.update"})
"""Where an upload may be signed."""
_PARTS = {
    "Range": "one range of bytes, as bytes=1000-",
    "If-Range": "the ETag of what is there already: all of it is sent if it is another",
    "If-None-Match": "the ETag of what is there already: nothing is sent if it is the same",
}
_IN_PARTS = {"206": {"description": "the range"}, "304": {"description": "it is there already"}}


def _schema_name(schema: Any) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return str(kind.__name__)


def describe(routes: Iterable[Route], version: str) -> Mapping[str, Any]:
    """The whole document."""
    spec = APISpec(
        title="Flotilla",
        version=version,
        openapi_version="3.0.3",
        info={"description": "Control plane for fleets of connected hardware."},
        plugins=[MarshmallowPlugin(schema_name_resolver=_schema_name)],
    )
    for scheme in ("bearer", "basic"):
        spec.components.security_scheme(scheme, {"type": "http", "scheme": scheme})
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(re.sub(r":\w+}", "}", route.path), {})[route.method.lower()] = _operation(route)
    for path, operations in paths.items():
        parameters = [_path_parameter(name) for name in re.findall(r"{(\w+)}", path)]
        spec.path(path=path, operations=operations, parameters=parameters)
    document: Mapping[str, Any] = spec.to_dict()
    return document


def _operation(route: Route) -> dict[str, Any]:
    signed_in = rule_of(route.permission).to != "anonymous"
    operation: dict[str, Any] = {
        "summary": route.summary,
        "x-permission": route.permission,
        "parameters": _parameters(route, signed_in),
        "responses": {
            str(route.status): _answer(route),
            **({"202": {"description": "the past is being built; ask again", **_BUILDING}} if route.past else {}),
            **({"202": {**_answer(route), "description": "not known yet; ask again"}} if route.unsettled else {}),
            **({"302": _REDIRECT} if route.redirects else {}),
            **(_IN_PARTS if route.media_type == OCTETS else {}),
            "default": {"description": "an error", "content": {**_page(route), **_json(Error)}},
        },
    }
    if signed_in:
        operation["security"] = [{"bearer": []}, *([{"basic": []}] if route.password else [])]
    if route.request is not None:
        operation["requestBody"] = {"content": _request_body(route)}
    return operation


def _parameters(route: Route, signed_in: bool) -> list[Any]:
    parameters: list[Any] = []
    if route.query is not None:
        parameters.append({"in": "query", "schema": type(route.query)})
    if rows_of(route) is not None:
        parameters.append({"in": "query", "name": "format", **_FORMAT})
    if signed_in:
        parameters.append({"in": "header", "name": POSITION_HEADER, **_POSITION})
    if route.media_type == STREAM:
        parameters.append({"in": "header", "name": LAST_ID_HEADER, **_LAST_ID})
    if route.media_type == OCTETS:
        for name, text in _PARTS.items():
            parameters.append({"in": "header", "name": name, "description": text, "schema": {"type": "string"}})
    if signed_in and route.method != "GET":
        parameters.append({"in": "header", "name": REPEAT_HEADER, "schema": {"type": "string", "maxLength": 128}})
    return parameters


def _request_body(route: Route) -> dict[str, Any]:
    schema = type(route.request)
    if route.body != "upload":
        return {JSON: {"schema": schema}, FORM: {"schema": schema}}
    parts = [schema, _UPLOADED_FILE, *([_SIGNATURE] if route.permission in SIGNED else [])]
    upload = {MULTIPART: {"schema": {"allOf": parts}}}
    only_one = {JSON: {"schema": schema}, FORM: {"schema": schema}}
    return upload if route.permission == "firmware.upload" else {**only_one, **upload}


def _answer(route: Route) -> dict[str, Any]:
    if route.status == 204:
        return {"description": "done"}
    answer: dict[str, Any] = {"description": route.summary}
    if route.media_type != JSON:
        answer["content"] = {route.media_type: {"schema": {"type": "string"}}}
    elif route.response is not None:
        answer["content"] = _json(route.response) if not isinstance(route.query, CallQuery) else _or_raw(route.response)
        if rows_of(route) is not None:
            answer["content"] = {**answer["content"], CSV: {"schema": {"type": "string"}}}
    for kind in route.streamed:
        answer["content"][kind] = {"schema": {"type": "string"}}
    if rule_of(route.permission).to != "anonymous" and route.method != "GET":
        answer["headers"] = {POSITION_HEADER: _POSITION}
    return answer


def _page(route: Route) -> dict[str, Any]:
    """Pages say on the page what is wrong with a form."""
    return {HTML: {"schema": {"type": "string"}}} if route.media_type == HTML else {}


def _or_raw(schema: ma.Schema) -> dict[str, Any]:
    raw = {"description": "only what the device answered, if format is raw"}
    return {JSON: {"schema": {"anyOf": [schema, raw]}}}


def _json(schema: ma.Schema | type[ma.Schema]) -> dict[str, Any]:
    return {JSON: {"schema": schema}}


def _path_parameter(name: str) -> dict[str, Any]:
    return {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}
