"""The few HTML pages of the gateway: consent to a log-in, what mailed links open, and the page of what is paid.

They are never kept, cannot be framed, and tell nobody where they were. All work without script but those with the
payment provider's card form, which is the only script and the only frame of somebody else's that they may have.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any
from urllib.parse import urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import Response

from shared.errors import Misuse

_STYLE = resources.files(__name__).joinpath("style.css").read_text()
_CARD_SCRIPT = resources.files(__name__).joinpath("card.js").read_text()
_MORE_FRAMES = {"https://js.stripe.com": ("https://*.js.stripe.com", "https://hooks.stripe.com")}
"""Besides the origin of the script: where Stripe keeps fields and asks the bank."""


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@dataclass(frozen=True, slots=True)
class CardForm:
    """The provider's form: its script, what that calls, and what it is told. ``kind``: ``setup`` for a card that is to
    be kept, ``payment`` for one that is to be confirmed with the bank."""

    kind: str
    script_url: str
    api_url: str
    publishable_key: str
    client_secret: str

    def policy(self) -> str:
        """What the page may load besides itself."""
        script, api = _origin(self.script_url), _origin(self.api_url)
        frames = " ".join((script, *_MORE_FRAMES.get(script, ())))
        return f"; script-src {_hash(_CARD_SCRIPT)} {script}; connect-src {api}; frame-src {frames}"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misuse("the payment provider has no address that a browser could use")
    return f"{parts.scheme}://{parts.netloc}"


_PAGES = Environment(
    loader=PackageLoader(__name__), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
)
_PAGES.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file
_PAGES.globals["card_script"] = Markup(_CARD_SCRIPT)  # noqa: S704 - our own file


def page(
    template: str, title: str, status: int = 200, *, goes_to: str = "", card_form: CardForm | None = None, **fields: Any
) -> Response:
    """A page. ``goes_to``: where else its form may lead, an origin or scheme. ``problem``: what went wrong before."""
    given = {"title": title, "problem": "", "card_form": card_form, **fields}
    text = _PAGES.get_template(f"{template}.html").render(given)
    policy = (
        f"default-src 'none'; style-src {_hash(_STYLE)}; form-action 'self' {goes_to}".rstrip()
        + "; frame-ancestors 'none'; base-uri 'none'"
        + ("" if card_form is None else card_form.policy())
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
        "X-Frame-Options": "DENY",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(text, status, headers, media_type="text/html; charset=utf-8")
