"""The mail that was queued and written, as pages on the loopback interface, for as long as an operator looks at them.

Nothing is copied, so whoever is forgotten is gone from here, too (EVT-5). The address holds a secret, other host names
than the loopback's are refused, and a message is shown as what it is, something from outside: without script, without
anything that is loaded from elsewhere.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from shared.mail.queue import Entry

SECRET_BYTES = 16
MAX_MESSAGE_BYTES = 1_048_576
"""A longer file is not shown; our own are some kilobytes."""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; frame-src 'self'; base-uri 'none'; form-action 'none'"
_PAGES = Environment(
    loader=PackageLoader("deploy", "mail_pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
)

Entries = Callable[[], Sequence[Entry]]


@dataclass(frozen=True, slots=True)
class Shown:
    """A message as the page shows it; empty texts for one that is not kept."""

    sender: str = ""
    to: str = ""
    subject: str = ""
    date: str = ""
    text: str = ""
    html: str = ""


def build(entries: Entries, folder: Path, secret: str) -> Starlette:
    """The pages below ``/<secret>/``. ``entries``: the newest first."""

    def listed(_: Request) -> Response:
        found = [(entry, _message(folder, entry.event_id)) for entry in entries()]
        return _page("list.html", mails=found)

    def shown(request: Request) -> Response:
        wanted = request.path_params["mail"]
        entry = next((one for one in entries() if one.event_id == wanted), None)
        if entry is None:
            return _page("missing.html", 404)
        return _page("message.html", entry=entry, message=_message(folder, entry.event_id))

    def missing(_: Request, __: Exception) -> Response:
        return _page("missing.html", 404)

    return Starlette(
        routes=[Route(f"/{secret}/", listed), Route(f"/{secret}/{{mail}}", shown)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"], www_redirect=False)],
        exception_handlers={404: missing},
    )


def new_secret() -> str:
    """What nobody else on the machine can guess."""
    return secrets.token_urlsafe(SECRET_BYTES)


def find(folder: Path, mail: str) -> list[Path]:
    """The files in the outbox of the mail whose id begins so."""
    return [path for path in sorted(folder.glob("*.eml")) if path.stem.split("-", 2)[2].startswith(mail)]


def _message(folder: Path, event_id: str) -> Shown | None:
    """None for what was not written here, or is gone again."""
    try:
        (path,) = find(folder, event_id)
        raw = path.read_bytes() if path.stat().st_size <= MAX_MESSAGE_BYTES else b""
    except (ValueError, FileNotFoundError):
        return None
    return shown_message(message_from_bytes(raw, policy=policy.default))


def shown_message(message: EmailMessage) -> Shown:
    """What is shown of a message, whatever is in it."""
    named = {name: str(message[name] or "") for name in ("From", "To", "Subject", "Date")}
    return Shown(
        named["From"], named["To"], named["Subject"], named["Date"], _body(message, "plain"), _body(message, "html")
    )


def _body(message: EmailMessage, kind: str) -> str:
    body = message.get_body((kind,))
    return "" if body is None else str(body.get_content())


def _page(template: str, status: int = 200, **fields: Any) -> Response:
    headers = {
        "Content-Security-Policy": _POLICY,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
    }
    return HTMLResponse(_PAGES.get_template(template).render(fields), status, headers)
