"""Where mail goes: to a folder, where an operator reads it, or to an SMTP server. Chosen by settings."""

from __future__ import annotations

import os
import re
import smtplib
import socket
import ssl
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from functools import partial
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from shared.errors import Refused

TIMEOUT_S = 15.0
"""For each answer of a server; a message takes a dozen of them, and those must fit into ``queue.LEASE``."""
MAX_FILES = 10_000
"""In the folder; the oldest goes."""
TLS = ("required", "optional", "off")
_SAFE = re.compile(r"[0-9a-f-]{1,64}")


class Undeliverable(Exception):
    """This message will never be taken, however often it is tried."""


class NotNow(Exception):
    """Nothing is wrong with the message; try again later."""


class Delivery(Protocol):
    """Carries messages. ``persons`` and ``key`` are hex and say of whom it tells something personal, and which event it
    tells of."""

    def send(self, message: EmailMessage, persons: Sequence[str], key: str) -> None:
        """Raises ``Undeliverable`` and ``NotNow``."""
        ...

    def forget(self, person: str) -> int:
        """Remove what is kept of mail that says something of this person; how many files that were."""
        ...

    def tidy(self) -> int:
        """Remove what is kept beyond measure; how many files that were."""
        ...

    def abort(self) -> None:
        """Let whoever is sending fail at once, from another thread."""
        ...


class Outbox:
    """A file ``<time>-<person>[+<person>…]-<event>.eml`` for each message."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def send(self, message: EmailMessage, persons: Sequence[str], key: str) -> None:
        """Written whole, or not at all; a second time over the first."""
        if not all(map(_SAFE.fullmatch, (*persons, key))):
            raise Undeliverable("neither person nor event may have such an id")
        stamp = "".join(filter(str.isdigit, message["Date"].datetime.isoformat()))[:14]
        path = self._folder / f"{stamp}-{'+'.join(persons)}-{key}.eml"
        unfinished = path.with_suffix(".tmp")
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # links in it work
            with unfinished.open("wb") as file:
                file.write(message.as_bytes(policy=SMTP_POLICY.clone(utf8=True)))
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(path)
        except OSError as error:
            raise NotNow(f"{type(error).__name__}: {error}") from error

    def forget(self, person: str) -> int:
        """See ``Delivery``. What a crash left unfinished goes, too."""
        if not _SAFE.fullmatch(person):
            return 0
        files = (*self._folder.glob("*.eml"), *self._folder.glob("*.tmp"))
        return _removed(path for path in files if person in path.name.split("-", 2)[1].split("+"))

    def tidy(self) -> int:
        """See ``Delivery``."""
        return _removed(sorted(self._folder.glob("*.eml"))[:-MAX_FILES])

    def abort(self) -> None:
        """It is quick."""


def _removed(paths: Iterable[Path]) -> int:
    found = list(paths)
    for path in found:
        path.unlink(missing_ok=True)
    return len(found)


@dataclass(frozen=True, slots=True)
class SmtpUrl:
    """A server by URL: ``smtp://user:password@host:port?tls=required``, ``smtps://…``; ``tls``: ``required`` (with a
    user, if nothing is said), ``optional`` (otherwise), ``off``."""

    host: str
    port: int
    user: str
    password: str
    tls: str
    from_the_start: bool

    @classmethod
    def of(cls, url: str) -> SmtpUrl:
        """Raises ``Refused`` ``bad_setting`` for what is no such URL; its text has no password."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise Refused("bad_setting", "FLOTILLA_SMTP is no URL.") from None
        if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
            raise Refused("bad_setting", "FLOTILLA_SMTP must be smtp://host:port or smtps://host:port.")
        secure, user = parts.scheme == "smtps", unquote(parts.username or "")
        tls = parse_qs(parts.query).get("tls", ["required" if user else "optional"])[-1]
        if tls not in TLS:
            raise Refused("bad_setting", f"tls in FLOTILLA_SMTP must be one of {', '.join(TLS)}.")
        return cls(parts.hostname, port or (465 if secure else 587), user, unquote(parts.password or ""), tls, secure)


class Smtp:
    """A server, of which nothing is kept open. ``name`` is what we call ourselves to it: it stands in the headers of
    what customers get, so it is not the machine's (CUS-7)."""

    def __init__(self, url: SmtpUrl, name: str) -> None:
        self._url = url
        self._name = name
        self._server: smtplib.SMTP | None = None

    def send(self, message: EmailMessage, persons: Sequence[str], key: str) -> None:
        """See ``Delivery``."""
        try:
            with self._connected() as server:
                server.send_message(message)
        except smtplib.SMTPRecipientsRefused as error:
            code, text = next(iter(error.recipients.values()))
            raise _judged(code, text) from error
        except (smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise _judged(error.smtp_code, error.smtp_error) from error
        except smtplib.SMTPNotSupportedError as error:
            raise Undeliverable(str(error)) from error
        except (OSError, smtplib.SMTPException) as error:
            raise NotNow(f"{type(error).__name__}: {error}") from error

    def forget(self, person: str) -> int:
        """Nothing is kept here."""
        return 0

    def tidy(self) -> int:
        """Nothing is kept here."""
        return 0

    def abort(self) -> None:
        """See ``Delivery``."""
        connection = None if self._server is None else self._server.sock
        if connection is not None:
            with suppress(OSError):  # it has just ended by itself
                connection.shutdown(socket.SHUT_RDWR)

    def _connected(self) -> smtplib.SMTP:
        server = self._server = self._unconnected()
        try:
            server.connect(self._url.host, self._url.port)
            self._introduce(server)
        except BaseException as error:
            server.close()
            if isinstance(error, smtplib.SMTPNotSupportedError):  # of TLS, or of a log-in: a setting is wrong
                raise NotNow(str(error)) from error
            raise
        return server

    def _unconnected(self) -> smtplib.SMTP:
        """So that whoever aborts finds it while it waits to be greeted."""
        made: Callable[..., smtplib.SMTP] = smtplib.SMTP
        if self._url.from_the_start:
            made = partial(smtplib.SMTP_SSL, context=ssl.create_default_context())
        server = made(local_hostname=self._name, timeout=TIMEOUT_S)
        server._host = self._url.host  # type: ignore[attr-defined]  # which its certificate must be for
        return server

    def _introduce(self, server: smtplib.SMTP) -> None:
        server.ehlo()
        wants_tls = self._url.tls == "required" or (self._url.tls == "optional" and server.has_extn("starttls"))
        if wants_tls and not self._url.from_the_start:
            server.starttls(context=ssl.create_default_context())
            server.ehlo()
        if self._url.user:
            server.login(self._url.user, self._url.password)


def _judged(code: int, text: bytes | str) -> Exception:
    said = f"{code} {text.decode(errors='replace') if isinstance(text, bytes) else text}"
    return Undeliverable(said) if 500 <= code < 600 else NotNow(said)


def open_delivery(smtp: str, folder: str, name: str) -> Delivery:
    """By SMTP where there is a server, which knows us by this name; else into the folder."""
    return Smtp(SmtpUrl.of(smtp), name) if smtp else Outbox(Path(folder))
