"""From an event and what a webhook requests to one HTTP request, and to what is published of its answer."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from services.hooks.heard import Heard, defaults, values
from services.hooks.hook_request import HookRequest, origin
from services.hooks.signing import signed
from services.hooks.templates import TooLong, render

CHUNK_BYTES = 512
"""Of the answer in one event (contract 12.3)."""
MAX_CHUNKS = 32
MAX_URL = 8_192
MAX_NAME = 64
USER_AGENT = "Flotilla-Hooks"
_FORM, _JSON, _TEXT = "application/x-www-form-urlencoded", "application/json", "text/plain; charset=utf-8"


class Unwritable(Exception):
    """With this event it becomes nothing that could be sent."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One HTTP request, but for its signature."""

    message_id: str
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    verify: bool

    def signed_at(self, key: bytes, at_s: int) -> Mapping[str, str]:
        """All its headers, for an attempt at ``at_s`` (seconds since 1970)."""
        return {**self.headers, **signed(key, self.message_id, at_s, self.body)}


@dataclass(frozen=True, slots=True)
class Published:
    """An event that tells of a delivery."""

    name: str
    data: str | None


def write(request: HookRequest, heard: Heard) -> Outgoing:
    """The request for this event. Raises ``Unwritable``."""
    try:
        return _written(request, heard)
    except TooLong as error:
        raise Unwritable(str(error)) from error


def _written(request: HookRequest, heard: Heard) -> Outgoing:
    known = values(heard)
    has_body = request.method in ("POST", "PUT") or request.body is not None
    kind, body = _body(request, heard, known) if has_body else ("", b"")
    query = _rendered(request.query, known)
    if not has_body and not request.no_defaults:
        query = {**defaults(heard), **query}
    headers = {"user-agent": USER_AGENT, **({"content-type": kind} if kind else {})}
    for name, value in _rendered(request.headers, known).items():
        headers[name.lower()] = _line(value)
    url, credentials = _url(request, known, query)
    if credentials is not None:
        headers.setdefault("authorization", "Basic " + base64.b64encode(credentials.encode()).decode())
    return Outgoing(heard.id, request.method, url, headers, body, request.reject_unauthorized)


def _url(request: HookRequest, known: Mapping[str, Any], query: Mapping[str, str]) -> tuple[str, str | None]:
    """With the credentials in it apart from it, for they belong into a header."""
    url = render(request.url, known, escape=lambda text: quote(text, safe=""))
    url = quote(url, safe="!#$%&'()*+,/:;=?@[]~")
    if origin(url) != origin(request.url) or len(url) > MAX_URL:
        raise Unwritable("the URL became another host's, or too long")
    parts = urlsplit(url)
    userinfo, _, host = parts.netloc.rpartition("@")
    asked = "&".join(filter(None, (parts.query, urlencode(query))))
    bare = parts._replace(netloc=host, fragment="", query=asked).geturl()
    if request.auth is not None:
        return bare, ":".join(render(one, known, str) for one in (request.auth.username, request.auth.password))
    return bare, userinfo or None


def _body(request: HookRequest, heard: Heard, known: Mapping[str, Any]) -> tuple[str, bytes]:
    """Its media type and its bytes."""
    usual = {} if request.no_defaults else defaults(heard)
    if request.body is not None:
        return _TEXT, render(request.body, known).encode()
    if isinstance(request.json, str):
        return _JSON, render(request.json, known).encode()
    if request.json is not None:
        filled = _filled(request.json, known)
        return _JSON, msgspec.json.encode({**usual, **filled} if isinstance(filled, dict) else filled)
    if request.form is None and not usual:
        return "", b""
    return _FORM, urlencode({**usual, **_rendered(request.form or {}, known)}).encode()


def _filled(value: Any, known: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return render(value, known)
    if isinstance(value, list):
        return [_filled(one, known) for one in value]
    return {name: _filled(one, known) for name, one in value.items()} if isinstance(value, dict) else value


def _rendered(named: Mapping[str, str], known: Mapping[str, Any]) -> dict[str, str]:
    return {name: render(value, known, str) for name, value in named.items()}


def _line(text: str) -> str:
    """What may stand in a header."""
    return "".join(sign if sign.isprintable() and sign.isascii() else " " for sign in text).strip()


def published_answer(request: HookRequest, heard: Heard, body: bytes) -> list[Published]:
    """What was sent, and the answer to it in pieces (contract 12.3); an empty answer has none."""
    text = body.decode(errors="replace")
    if request.response_template is not None:
        text = _of_answer(request.response_template, heard, text)
    topic = request.response_topic or "hook-response/{{{PARTICLE_EVENT_NAME}}}"
    return [Published(_name(f"hook-sent/{heard.name}"), None), *_pieces(topic, heard, text)]


def published_error(request: HookRequest, heard: Heard, error: str) -> list[Published]:
    """That it could not be delivered."""
    return _pieces(request.error_response_topic or "hook-error/{{{PARTICLE_EVENT_NAME}}}", heard, error)


def _of_answer(template: str, heard: Heard, text: str) -> str:
    """The template with the members of the answer, where that is a JSON object."""
    known = dict(values(heard))
    try:
        known.update(msgspec.json.decode(text, type=dict[str, Any]))
    except msgspec.MsgspecError:
        known["body"] = text
    return _rendered_or_not(template, known)


def _rendered_or_not(template: str, known: Mapping[str, Any]) -> str:
    try:
        return render(template, known, str)
    except TooLong as error:
        return str(error)


def _pieces(topic: str, heard: Heard, text: str) -> list[Published]:
    name = _rendered_or_not(topic, values(heard))
    data = text.encode()[: CHUNK_BYTES * MAX_CHUNKS]
    pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
    return [Published(_name(f"{name}/{index}"), piece.decode(errors="ignore")) for index, piece in enumerate(pieces)]


def _name(name: str) -> str:
    """As event names are."""
    printable = "".join(sign if sign.isprintable() else " " for sign in name)
    return printable.encode()[:MAX_NAME].decode(errors="ignore") or "hook-response"
