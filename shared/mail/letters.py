"""Letters: from a template and its fields to a message with text and HTML.

A template is text: ``Subject:`` and the subject, an empty line, then paragraphs. A paragraph that is a link alone is a
button in the HTML, which is made of the same paragraphs, so that nobody is told two things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from shared.errors import Refused
from shared.store.port import Recorded

MAX_SUBJECT = 200
MAX_BYTES = 65_536
"""Of a message. Names are short, and so is all that we say; a longer one is a mistake of ours."""
_LINK = re.compile(r"https?://\S+")
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")
_TURNS = re.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
"""What makes the text behind it run the other way, so that a name could rewrite the sentence that it stands in."""
_HTML = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{{ subject }}</title></head>
<body style="margin:0;padding:24px;background:#f3f4f6;font:16px/1.5 sans-serif;color:#111827">
<div style="max-width:480px;margin:0 auto;padding:24px;background:#ffffff;border-radius:8px">
{% for paragraph in paragraphs %}
{% if paragraph.is_link %}
<p><a href="{{ paragraph.text }}" style="display:inline-block;padding:10px 16px;border-radius:6px;background:#1d4ed8;
color:#ffffff;text-decoration:none">{{ button }}</a></p>
<p style="font-size:13px;color:#6b7280;word-break:break-all">{{ paragraph.text }}</p>
{% else %}
<p>{{ paragraph.text }}</p>
{% endif %}
{% endfor %}
</div></body></html>
"""


@dataclass(frozen=True, slots=True)
class Letter:
    """What is to be said to whom. ``person`` is whose key opens the event, ``named`` are others whose addresses stand
    in it: by them kept copies are found again. ``sender`` is the name that it comes from, the platform's own if
    None."""

    person: str
    to: str
    template: str
    fields: Mapping[str, Any]
    sender: str | None = None
    button: str = "Continue"
    named: tuple[str, ...] = ()

    @property
    def persons(self) -> tuple[str, ...]:
        """Everybody whom it tells something personal of, the one who gets it first."""
        return (self.person, *self.named)


class Letters:
    """The templates of one package, ``<package>/<name>.txt``. ``mail_from`` is the address that all mail comes from.
    Raises ``Refused`` ``bad_setting`` for one that is none."""

    def __init__(self, package: str, folder: str, mail_from: str) -> None:
        self._texts = Environment(  # noqa: S701 - plain text; the HTML is escaped
            loader=PackageLoader(package, folder), undefined=StrictUndefined, keep_trailing_newline=False
        )
        self._html = Environment(autoescape=True, undefined=StrictUndefined).from_string(_HTML)
        name, address = parseaddr(mail_from)
        self._name = name or "Flotilla"
        try:
            self._from = _address(address)
        except ValueError:
            raise Refused(
                "bad_setting", f"FLOTILLA_MAIL_FROM must be a name and an address, not {mail_from!r}"
            ) from None

    @property
    def domain(self) -> str:
        """Of the address that mail comes from."""
        return self._from.domain

    def write(self, letter: Letter, recorded: Recorded, key: str = "") -> EmailMessage:
        """The message that tells of this event; always the same for it, its id included, so that a double is
        recognized. ``key``: what the message is called by, where it is not the event alone. Raises ``ValueError`` for
        an address that mail cannot be sent to, and for what is far too long."""
        fields = {name: _plain(value) for name, value in letter.fields.items()}
        whole = self._texts.get_template(f"{letter.template}.txt").render(fields)
        head, _, body = whole.partition("\n\n")
        subject = _BREAKS.sub(" ", head.removeprefix("Subject:")).strip()[:MAX_SUBJECT]
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", body) if part.strip()]
        message = EmailMessage()
        message["Subject"] = subject
        message["From"] = self._sender(letter.sender)
        message["To"] = _address(letter.to)
        message["Date"] = format_datetime(recorded.at)
        message["Message-ID"] = f"<{key or recorded.id}@{self.domain}>"
        message["Auto-Submitted"] = "auto-generated"
        message.set_content("\n\n".join(paragraphs) + "\n")
        shown = [{"text": text, "is_link": _LINK.fullmatch(text) is not None} for text in paragraphs]
        message.add_alternative(
            self._html.render(subject=subject, paragraphs=shown, button=letter.button), subtype="html"
        )
        if len(bytes(message)) > MAX_BYTES:
            raise ValueError(f"a message of more than {MAX_BYTES} bytes")
        return message

    def _sender(self, name: str | None) -> Address:
        shown = _plain(self._name if name is None else name)
        return Address(shown, username=self._from.username, domain=self._from.domain)


def _address(text: str) -> Address:
    """An address with its domain as mail servers know it. Raises ``ValueError`` for what mail cannot be sent to."""
    local, _, domain = text.rpartition("@")
    if not local or not domain or _BREAKS.search(text) or " " in text:
        raise ValueError("no address that mail can be sent to")
    return Address(username=local, domain=domain if domain.isascii() else domain.encode("idna").decode())


def _plain(value: Any) -> Any:
    """Names that people chose, on one line: they end in headers and sentences."""
    return _TURNS.sub("", _BREAKS.sub(" ", value)).strip() if isinstance(value, str) else value
