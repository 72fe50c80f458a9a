"""What a webhook requests: read from what somebody sends (contract 14), kept, and shown without what is secret. Pure:
the check of templates comes in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal
from urllib.parse import urlsplit, urlunsplit

import msgspec

from shared.errors import Refused

MAX_URL = 2_048
MAX_NAMES = 32
"""Headers, and fields of a query or form."""
MAX_VALUE = 4_096
MAX_DEPTH = 16
MAX_REQUEST_BYTES = 32_768
"""Of all of it, as JSON."""
MASK = "********"
"""Stands for what is shown to nobody; sent back, it means what is there."""
OPEN_HEADERS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers whose values are shown."""
OWN_HEADERS = frozenset(
    """connection content-length expect host keep-alive proxy-authorization proxy-connection te trailer
    transfer-encoding upgrade webhook-id webhook-signature webhook-timestamp""".split()  # noqa: SIM905
)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,128}")
Check = Callable[[str, str], None]
"""Is told where a template stands, and the template; raises ``Refused``."""


class Auth(msgspec.Struct, frozen=True):
    """Basic authentication."""

    username: str
    password: str


class HookRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """Every text in it but ``method`` and the origin of ``url`` may be a template. ``json`` is JSON whose texts are
    templates, or one template that becomes JSON. At most one of ``json``, ``form`` and ``body`` is there."""

    url: str
    method: Literal["GET", "POST", "PUT", "DELETE"] = "POST"
    auth: Auth | None = None
    headers: dict[str, str] = {}
    query: dict[str, str] = {}
    json: Any = None
    form: dict[str, str] | None = None
    body: str | None = None
    response_template: str | None = None
    response_topic: str | None = None
    error_response_topic: str | None = None
    no_defaults: bool = False
    reject_unauthorized: bool = True


SENT = {
    "url": "url",
    "requestType": "method",
    "auth": "auth",
    "headers": "headers",
    "query": "query",
    "json": "json",
    "form": "form",
    "body": "body",
    "responseTemplate": "response_template",
    "responseTopic": "response_topic",
    "errorResponseTopic": "error_response_topic",
    "noDefaults": "no_defaults",
    "rejectUnauthorized": "reject_unauthorized",
}
"""Names in the contract, and ours."""


def requested(fields: Mapping[str, Any], before: HookRequest | None, check: Check) -> HookRequest:
    """What these fields make of it; those that are left out stay as they were. Raises ``Refused``:
    ``invalid_request``."""
    changes = {SENT[name]: value for name, value in fields.items() if name in SENT}
    kept: dict[str, Any] = {} if before is None else {name: getattr(before, name) for name in SENT.values()}
    if any(changes.get(name) is not None for name in ("json", "form", "body")):
        kept |= {"json": None, "form": None, "body": None}
    made = HookRequest(**{**kept, **{name: _read(name, value, before) for name, value in changes.items()}})
    if sum(one is not None for one in (made.json, made.form, made.body)) > 1:
        raise _bad("json, form, body: Only one of them.")
    if _depth(made.json, MAX_DEPTH) > MAX_DEPTH:
        raise _bad(f"json: At most {MAX_DEPTH} levels deep.")
    for where, template in templates(made):
        check(where, template)
    if len(msgspec.json.encode(made)) > MAX_REQUEST_BYTES:
        raise _bad(f"All of it together is longer than {MAX_REQUEST_BYTES} bytes.")
    return made


def templates(request: HookRequest) -> Iterator[tuple[str, str]]:
    """Everything that may be a template, and where it stands."""
    yield "url", request.url
    for where, named in (("headers", request.headers), ("query", request.query), ("form", request.form or {})):
        yield from ((f"{where}.{name}", value) for name, value in named.items())
    if request.auth is not None:
        yield from (("auth.username", request.auth.username), ("auth.password", request.auth.password))
    yield from (("json", text) for text in texts(request.json))
    optional = {
        "body": request.body,
        "responseTemplate": request.response_template,
        "responseTopic": request.response_topic,
        "errorResponseTopic": request.error_response_topic,
    }
    yield from ((where, text) for where, text in optional.items() if text is not None)


def _depth(value: Any, most: int) -> int:
    """How many objects and lists are in each other; no more than one beyond ``most`` is looked at."""
    if most < 0 or not isinstance(value, Mapping | list):
        return 0
    inner = value.values() if isinstance(value, Mapping) else value
    return 1 + max((_depth(one, most - 1) for one in inner), default=0)


def texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value, those that are names left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from texts(inner)


def shown_request(request: HookRequest) -> dict[str, Any]:
    """As the contract names it, with everything secret masked."""
    auth = None if request.auth is None else {"username": request.auth.username, "password": MASK}
    headers = {name: value if name.lower() in OPEN_HEADERS else MASK for name, value in request.headers.items()}
    every = {name: getattr(request, ours) for name, ours in SENT.items()}
    every |= {"url": shown_url(request.url), "auth": auth, "headers": headers}
    return {name: value for name, value in every.items() if value not in (None, {})}


def shown_url(url: str) -> str:
    """Without what stands before the ``@`` of its host."""
    parts = urlsplit(url)
    _, at, host = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{MASK}@{host}")) if at else url


def origin(url: str) -> tuple[str, str]:
    """Scheme, and host with port."""
    parts = urlsplit(url)
    return parts.scheme.lower(), parts.netloc


def _read(name: str, value: Any, before: HookRequest | None) -> Any:
    match name:
        case "url":
            return _url(value, before)
        case "method":
            return _method(value)
        case "auth":
            return None if value in (None, {}, "") else _auth(value, None if before is None else before.auth)
        case "headers":
            return _headers(_named("headers", value), {} if before is None else before.headers)
        case "query":
            return _named("query", value)
        case "form":
            return None if value in (None, "") else _named("form", value)
        case "json":
            return None if value == "" else value
        case "no_defaults" | "reject_unauthorized":
            return value
        case _:
            return _text(name, value)


def _url(value: Any, before: HookRequest | None) -> str:
    if before is not None and value == shown_url(before.url):
        return before.url
    if not isinstance(value, str) or not 8 <= len(value) <= MAX_URL or not value.isascii() or not value.isprintable():
        raise _bad(f"url: 8 to {MAX_URL} printable ASCII characters.")
    try:
        parts = urlsplit(value)
        has_host = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        has_host = False
    if not has_host or parts.scheme.lower() not in ("http", "https"):
        raise _bad("url: http:// or https://, and a host.")
    if any(sign in parts.netloc for sign in "{} \\"):
        raise _bad("url: The host cannot be a template.")
    return value


def _method(value: Any) -> Any:
    method = str(value).upper()
    if method not in ("GET", "POST", "PUT", "DELETE"):
        raise _bad("requestType: GET, POST, PUT or DELETE.")
    return method


def _auth(value: Any, before: Auth | None) -> Auth:
    named = _named("auth", value)
    username, password = named.get("username"), named.get("password")
    if username is None or password is None:
        raise _bad("auth: username and password.")
    return Auth(username, before.password if password == MASK and before is not None else password)


def _headers(named: dict[str, str], before: Mapping[str, str]) -> dict[str, str]:
    for name in named:
        if not _TOKEN.fullmatch(name) or name.lower() in OWN_HEADERS:
            raise _bad(f"headers: {name[:64]} cannot be set.")
    return {name: before.get(name, value) if value == MASK else value for name, value in named.items()}


def _named(where: str, value: Any) -> dict[str, str]:
    """Names and texts; other JSON values become texts."""
    if isinstance(value, str):
        try:
            value = msgspec.json.decode(value or "{}")
        except msgspec.MsgspecError:
            raise _bad(f"{where}: An object of names and texts.") from None
    if value is None:
        return {}
    if not isinstance(value, Mapping) or len(value) > MAX_NAMES:
        raise _bad(f"{where}: An object of at most {MAX_NAMES} names and texts.")
    named = {name: _as_text(one) for name, one in value.items()}
    for name, one in named.items():
        if not 0 < len(name) <= MAX_VALUE or len(one) > MAX_VALUE or any(sign in name + one for sign in "\r\n\0"):
            raise _bad(f"{where}.{name[:64]}: At most {MAX_VALUE} characters, in one line.")
    return named


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _text(name: str, value: Any) -> str | None:
    if value in (None, ""):
        return None
    text, longest = _as_text(value), MAX_VALUE if name.endswith("topic") else MAX_REQUEST_BYTES
    if len(text) > longest or "\0" in text:
        raise _bad(f"{name}: At most {longest} characters.")
    return text


def _bad(reason: str) -> Refused:
    return Refused("invalid_request", reason)
