"""The few HTML pages of the gateway: consent to a log-in, and what mailed links open.

They work without script, are never kept, cannot be framed, and tell nobody where they were.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

_STYLE = resources.files(__name__).joinpath("style.css").read_text()
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_PAGES = Environment(
    loader=PackageLoader(__name__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_PAGES.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file


def page(template: str, title: str, status: int = 200, *, goes_to: str = "", **fields: Any) -> Response:
    """A page. ``goes_to``: where else its form may lead, an origin or scheme. ``problem``: what went wrong before."""
    text = _PAGES.get_template(f"{template}.html").render({"title": title, "problem": "", **fields})
    policy = (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self' {goes_to}".rstrip()
        + "; frame-ancestors 'none'; base-uri 'none'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(text, status, headers, media_type="text/html; charset=utf-8")
