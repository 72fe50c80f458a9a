"""``flotilla mail`` on the data of a platform that is not running: as tables, as messages, as pages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from typer.testing import CliRunner

from deploy import mail_page
from deploy.cli import app
from shared.clock import system_clock
from shared.errors import NotFound, Refused
from shared.mail.delivery import Outbox
from shared.mail.queue import MailQueue
from shared.projections.database import Database
from shared.settings import Settings
from shared.store.port import Position, Recorded

PERSON = "a" * 24
HOSTILE = '<script>alert("1")</script><img src="https://elsewhere.example/x.png">'


class Mail:
    """The queue and the outbox of a data folder."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.folder = Path(Settings.load({}, data=data).mail)
        self._database = Database(Settings.load({}, data=data).db, "orgs")
        self._database.prepare([])
        self.queue = MailQueue(self._database, system_clock)
        self.queue.prepare()

    def queued(self, type_: str = "PasswordChanged") -> str:
        id_ = uuid4()
        at = datetime(2030, 1, 1, tzinfo=UTC)
        self.queue.add(Recorded(id_, type_, f"account-{PERSON}", 3, Position(1), at, b"{}", b"{}"))
        return str(id_)

    def sent(
        self, subject: str = "Your password was changed", text: str = "It was.", html: str = "<p>It was.</p>"
    ) -> str:
        id_ = self.queued()
        message = EmailMessage()
        message["From"], message["To"], message["Subject"] = "no-reply@mail.example", "ada@example.com", subject
        message["Date"] = "Tue, 01 Jan 2030 00:00:00 +0000"
        message.set_content(text)
        message.add_alternative(html, subtype="html")
        Outbox(self.folder).send(message, (PERSON,), id_)
        entry = self.queue.take()
        assert entry is not None
        self.queue.done(entry, "sent")
        return id_

    def run(self, *words: str) -> str:
        done = CliRunner(env={"COLUMNS": "250"}).invoke(
            app, ["mail", *words, "--data", str(self.data)], catch_exceptions=False
        )
        assert done.exit_code == 0, done.output
        return done.output

    def browse(self, path: str, host: str = "127.0.0.1:1234") -> httpx.Response:
        async def get() -> httpx.Response:
            pages = httpx.ASGITransport(mail_page.build(self.queue.listed, self.folder, "secret"))
            async with httpx.AsyncClient(transport=pages, base_url=f"http://{host}") as browser:
                return await browser.get(path)

        return asyncio.run(get())

    def close(self) -> None:
        self._database.close()


@pytest.fixture
def mail(tmp_path: Path) -> Iterator[Mail]:
    opened = Mail(tmp_path)
    yield opened
    opened.close()


def test_what_was_sent_and_what_waits_is_listed(mail: Mail) -> None:
    sent, waiting = mail.sent(), mail.queued("MemberInvited")
    rows = {row["id"]: row for row in json.loads(mail.run("list", "--json"))}
    assert {id_: (row["state"], row["what"]) for id_, row in rows.items()} == {
        sent: ("sent", "PasswordChanged"),
        waiting: ("waiting", "MemberInvited"),
    }
    listed = mail.run("list", "--state", "sent")
    assert sent[:8] in listed
    assert waiting[:8] not in listed


def test_a_message_is_shown_by_the_beginning_of_its_id(mail: Mail) -> None:
    sent = mail.sent()
    said = mail.run("show", sent[:8])
    assert "To: ada@example.com" in said
    assert "It was." in said
    with pytest.raises(NotFound):
        mail.run("show", mail.queued())


def test_mail_is_tried_again_whatever_became_of_it(mail: Mail) -> None:
    sent = mail.sent()
    assert "waits to be sent" in mail.run("again", sent)
    assert [(entry.event_id, entry.state) for entry in mail.queue.listed()] == [(sent, "waiting")]


def test_all_that_is_parked_is_tried_again_at_once(mail: Mail) -> None:
    parked = mail.queued()
    entry = mail.queue.take()
    assert entry is not None
    mail.queue.done(entry, "parked", "550 no such user")
    assert "1 mails wait" in mail.run("again", "--parked")
    assert [(entry.event_id, entry.state) for entry in mail.queue.listed()] == [(parked, "waiting")]


@pytest.mark.parametrize("words", [("again",), ("again", "--parked", "abc")])
def test_either_one_or_all_that_is_parked(mail: Mail, words: tuple[str, ...]) -> None:
    done = CliRunner().invoke(app, ["mail", *words, "--data", str(mail.data)])
    assert (done.exit_code, "either the ID" in done.output) == (2, True)


def test_what_is_in_hand_is_not_sent_a_second_time(mail: Mail) -> None:
    waiting = mail.queued()
    assert mail.queue.take() is not None
    with pytest.raises(Refused, match="being sent"):
        mail.run("again", waiting[:8])


def test_the_pages_show_all_mail_and_each_message(mail: Mail) -> None:
    sent, waiting = mail.sent(), mail.queued("MemberInvited")
    listed = mail.browse("/secret/").text
    assert f'href="{sent}">Your password was changed' in listed
    assert f'href="{waiting}">MemberInvited' in listed
    shown = mail.browse(f"/secret/{sent}").text
    assert "It was." in shown
    assert "ada@example.com" in shown
    assert "not kept here" in mail.browse(f"/secret/{waiting}").text


def test_the_pages_show_nothing_of_whoever_is_forgotten(mail: Mail) -> None:  # EVT-5
    sent = mail.sent()
    Outbox(mail.folder).forget(PERSON)
    assert "ada@example.com" not in mail.browse("/secret/").text + mail.browse(f"/secret/{sent}").text


@pytest.mark.parametrize("path", ["/", "/other/", "/secret", "/secret/none", "/secret/../list.html", "/secret/%2e%2e"])
def test_whoever_does_not_know_the_address_sees_nothing(mail: Mail, path: str) -> None:
    mail.sent()
    answer = mail.browse(path)
    assert answer.status_code in (307, 404)
    assert "ada@example.com" not in answer.text


def test_another_host_name_is_refused(mail: Mail) -> None:
    """A page elsewhere whose name was made to mean the loopback reads nothing."""
    answer = mail.browse("/secret/", host="elsewhere.example")
    assert answer.status_code == 400


def test_a_hostile_message_is_text_on_the_page(mail: Mail) -> None:
    sent = mail.sent(subject=HOSTILE, text=HOSTILE, html=HOSTILE)
    for path in ("/secret/", f"/secret/{sent}"):
        answer = mail.browse(path)
        assert "<script" not in answer.text
        assert "<img" not in answer.text
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "<iframe sandbox title" in mail.browse(f"/secret/{sent}").text


@pytest.mark.parametrize(
    "raw", [b"", b"\x00\xff" * 50, b"Content-Type: multipart/mixed; boundary=x\n\n--x", b"To: \xff\n\n"]
)
def test_whatever_lies_in_the_folder_is_shown_somehow(mail: Mail, raw: bytes) -> None:
    sent = mail.sent()
    (path,) = mail.folder.glob("*.eml")
    path.write_bytes(raw)
    answer: Any = mail.browse(f"/secret/{sent}")
    assert answer.status_code == 200
