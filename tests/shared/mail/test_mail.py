"""Mail: each event told once, over a real SMTP server and into a folder."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.rabbitmq import free_ports
from shared.errors import Refused
from shared.mail.delivery import TIMEOUT_S, NotNow, Outbox, Smtp, SmtpUrl, Undeliverable, open_delivery
from shared.mail.letters import MAX_BYTES, Letter, Letters
from shared.mail.pace import AT_ONCE, Pace
from shared.mail.postman import Postman, Several
from shared.mail.queue import KEPT, LATE, LEASE, MOST_TRIES, MailQueue
from shared.projections.database import Database
from shared.store.port import Position, Recorded, StreamNotFound
from tests.certificates import authority, device_certificate, key_text, new_key

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PERSON = "a" * 24


def event(number: int = 1, type: str = "MemberInvited", at: datetime = NOW) -> Recorded:  # noqa: A002
    return Recorded(UUID(int=number), type, "org-b", number, Position(number), at, b"{}", b"{}")


def letter(**changes: Any) -> Letter:
    fields = {"company": "Acme Lamps", "code": "AB23"}
    return Letter(
        **({"person": PERSON, "to": "jo@example.org", "template": "activation_code", "fields": fields} | changes)
    )


@pytest.fixture
def letters() -> Letters:
    return Letters("services.orgs.mail", "letters", "Flotilla <no-reply@fleet.example>")


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Store:
    """Has the events that it was given."""

    def __init__(self, *events: Recorded) -> None:
        self.events = events

    def read(self, stream: str, first: int = 0, limit: int | None = None, *, backwards: bool = False) -> list[Recorded]:
        found = [one for one in self.events if (one.stream, one.version) == (stream, first)]
        if not found:
            raise StreamNotFound(stream)
        return found


class Box:
    """Takes what it is told to take."""

    def __init__(self) -> None:
        self.sent: list[str] = []
        self.forgotten: list[str] = []
        self.trouble: Exception | None = None

    def send(self, message: Any, persons: Sequence[str], key: str) -> None:
        if self.trouble is not None:
            raise self.trouble
        self.sent.append(key)

    def forget(self, person: str) -> int:
        self.forgotten.append(person)
        return 1

    def tidy(self) -> int:
        return 0

    def abort(self) -> None:
        """It is quick."""


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue(tmp_path: Path, clock: Clock) -> Iterator[MailQueue]:
    database = Database(f"sqlite:///{tmp_path}", "orgs")
    database.prepare([])
    made = MailQueue(database, clock, bulk=("BetaInvited",), chance=lambda: 0.5)
    made.prepare()
    yield made
    database.close()


def postman(queue: MailQueue, letters: Letters, box: Any, *events: Recorded, compose: Any = None) -> Postman:
    return Postman(queue, Store(*events), letters, box, compose or (lambda *_: letter()))  # type: ignore[arg-type]


# -- the queue and the postman ----------------------------------------------------------------------------------------


def test_an_event_is_told_of_once_however_often_it_is_heard(queue: MailQueue, letters: Letters) -> None:
    box = Box()
    made = postman(queue, letters, box, event())
    for _ in range(3):
        made.post(event())
        while made.deliver_one():
            pass
    assert box.sent == [str(event().id)]
    assert queue.counts() == {"sent": 1}


def test_each_of_several_is_told_once_whatever_becomes_of_the_others(queue: MailQueue, letters: Letters) -> None:
    people = ["b" * 24, "c" * 24, "d" * 24]
    bad = {people[1]}

    def compose(_: Recorded, person: str | None) -> Letter | Several:
        if person is None:
            return Several(tuple(people))
        return letter(person=person, to="no address" if person in bad else f"{person}@example.org")

    box = Box()
    made = postman(queue, letters, box, event(), compose=compose)
    for again in range(3):
        made.post(event())
        while made.deliver_one():
            pass
        if again == 1:  # somebody has it told anew, and one more is there by then
            people.append("e" * 24)
            assert queue.again(str(event().id))
    assert sorted(box.sent) == [f"{event().id}-{person}" for person in people if person not in bad]
    assert queue.counts() == {"addressed": 1, "sent": 3, "parked": 1}
    assert {entry.person for entry in queue.listed("parked")} == bad


def test_messages_to_several_have_names_of_their_own(letters: Letters) -> None:
    names = {letters.write(letter(), event(), f"{event().id}-{one}")["Message-ID"] for one in ("b" * 24, "c" * 24)}
    assert len(names) == 2


def test_a_server_that_is_down_is_tried_again_with_longer_and_longer_pauses(
    queue: MailQueue, letters: Letters, clock: Clock
) -> None:
    box = Box()
    box.trouble = NotNow("connection refused")
    made = postman(queue, letters, box, event())
    made.post(event())
    pauses = []
    for _ in range(5):
        assert made.deliver_one()
        assert not made.deliver_one()
        (entry,) = queue.listed()
        assert (entry.state, entry.error) == ("waiting", "connection refused")
        pauses.append((entry.next_at - clock.now).total_seconds())
        clock.now = entry.next_at
    assert pauses == [10, 20, 40, 80, 160]
    box.trouble = None
    assert made.deliver_one()
    assert queue.counts() == {"sent": 1}


def test_what_is_never_taken_is_parked_and_can_be_tried_again(queue: MailQueue, letters: Letters, clock: Clock) -> None:
    box = Box()
    box.trouble = Undeliverable("550 no such user")
    made = postman(queue, letters, box, event(1), event(2))
    made.post(event(1))
    made.post(event(2))
    while made.deliver_one():
        pass
    assert queue.counts() == {"parked": 2}
    box.trouble = None
    assert queue.again(str(event(1).id))
    assert not queue.again("nobody")
    assert made.deliver_one()
    assert {entry.event_id: entry.state for entry in queue.listed()} == {
        str(event(1).id): "sent",
        str(event(2).id): "parked",
    }


def test_after_many_tries_it_is_parked(queue: MailQueue, letters: Letters, clock: Clock) -> None:
    box = Box()
    box.trouble = NotNow("down")
    made = postman(queue, letters, box, event())
    made.post(event())
    for _ in range(MOST_TRIES):
        assert made.deliver_one()
        clock.now += timedelta(hours=2)
    assert queue.counts() == {"parked": 1}


def test_a_replica_that_dies_with_a_message_in_hand_is_taken_over_from(
    queue: MailQueue, letters: Letters, clock: Clock
) -> None:
    box = Box()
    made = postman(queue, letters, box, event())
    made.post(event())
    dead = queue.take()
    assert dead is not None
    assert not made.deliver_one()
    clock.now += LEASE
    assert made.deliver_one()
    queue.later(dead, "it lives after all")  # what it says now is of an earlier try
    assert queue.counts() == {"sent": 1}


def test_nobody_is_told_who_is_gone_and_nothing_of_what_is_not_there(
    queue: MailQueue, letters: Letters
) -> None:  # EVT-5
    box = Box()
    gone = postman(
        queue, letters, box, event(1), event(3), compose=lambda one, _: "over" if one.version == 3 else "forgotten"
    )
    for number in (1, 2, 3):
        gone.post(event(number))
    while gone.deliver_one():
        pass
    assert (queue.counts(), box.sent) == ({"forgotten": 2, "over": 1}, [])


def test_who_is_forgotten_while_the_letter_is_written_is_looked_for_again(
    queue: MailQueue, letters: Letters
) -> None:  # EVT-5
    other = "b" * 24
    for number, then, gone in (
        (1, "forgotten", [PERSON, other]),
        (2, letter(), [other]),
        (3, letter(named=(other,)), []),
        (4, "over", []),
    ):
        box, answers = Box(), iter([letter(named=(other,)), then])
        made = postman(queue, letters, box, event(number), compose=lambda *_, answers=answers: next(answers))
        made.post(event(number))
        assert made.deliver_one()
        assert sorted(box.forgotten) == gone
    assert queue.counts() == {"sent": 4}


def test_what_is_heard_of_weeks_later_is_told_of_only_if_somebody_asks(
    queue: MailQueue, letters: Letters, clock: Clock
) -> None:
    box = Box()
    made = postman(queue, letters, box, event())
    clock.now += LATE
    made.post(event())
    assert not made.deliver_one()
    assert queue.counts() == {"late": 1}
    assert queue.again(str(event().id))
    assert made.deliver_one()
    assert box.sent == [str(event().id)]


def test_a_list_of_thousands_holds_up_nobodys_link(queue: MailQueue, clock: Clock) -> None:
    for number in range(3):
        queue.add(event(number, type="BetaInvited"))
    clock.now += timedelta(seconds=1)
    queue.add(event(9))
    taken = [queue.take() for _ in range(4)]
    assert [entry.type for entry in taken if entry] == ["MemberInvited", *["BetaInvited"] * 3]


def test_pauses_differ_by_a_fifth_at_most(tmp_path: Path, clock: Clock) -> None:
    database = Database(f"sqlite:///{tmp_path}", "orgs")
    database.prepare([])
    for chance, pause_s in ((0.0, 8), (0.5, 10), (1.0, 12)):
        drawn = MailQueue(database, clock, chance=lambda chance=chance: chance)
        drawn.prepare()
        drawn.add(event(pause_s))
        entry = drawn.take()
        assert entry is not None
        drawn.later(entry, "down")
        (again,) = drawn.found(entry.event_id)
        assert (again.next_at - clock.now).total_seconds() == pause_s
    database.close()


def test_all_that_is_parked_is_tried_anew_but_for_what_is_in_hand(queue: MailQueue, clock: Clock) -> None:
    for number in (1, 2, 3):
        queue.add(event(number))
    for state in ("parked", "parked", "sent"):
        entry = queue.take()
        assert entry is not None
        queue.done(entry, state)  # type: ignore[arg-type]
    assert queue.parked_again() == 2
    taken = queue.take()
    assert taken is not None
    assert not queue.again(taken.event_id)
    clock.now += LEASE
    assert queue.again(taken.event_id)
    assert queue.counts() == {"waiting": 2, "sent": 1}


def test_what_has_been_dealt_with_is_kept_for_a_while(queue: MailQueue, clock: Clock) -> None:
    queue.add(event(1))
    queue.add(event(2))
    entry = queue.take()
    assert entry is not None
    queue.done(entry, "sent")
    clock.now += KEPT
    assert queue.tidy() == 0
    clock.now += timedelta(seconds=1)
    assert (queue.tidy(), queue.counts()) == (1, {"waiting": 1})


def test_a_pace_lets_a_few_go_at_once_and_then_one_after_the_other() -> None:
    clock = [100.0]
    pace = Pace(60, lambda: clock[0])
    assert [pace.pause_s() for _ in range(AT_ONCE + 1)] == pytest.approx([*[0.0] * (AT_ONCE - 1), 1.0, 2.0])
    clock[0] += 2.0
    assert pace.pause_s() == pytest.approx(1.0)
    clock[0] += 3_600.0
    assert pace.pause_s() == 0.0
    assert {Pace(0).pause_s() for _ in range(1_000)} == {0.0}


def test_an_address_that_is_none_is_parked(queue: MailQueue, letters: Letters) -> None:
    made = postman(queue, letters, Box(), event(), compose=lambda *_: letter(to="no address\r\nBcc: x@example.org"))
    made.post(event())
    assert made.deliver_one()
    assert queue.counts() == {"parked": 1}


@settings(max_examples=15)
@given(st.lists(st.integers(1, 4), max_size=12))
def test_in_any_order_and_repetition_each_event_is_told_of_once(tmp_path_factory: Any, order: list[int]) -> None:
    folder = tmp_path_factory.mktemp("mail")
    database = Database(f"sqlite:///{folder}", "orgs")
    database.prepare([])
    queue, box = MailQueue(database, Clock()), Box()
    queue.prepare()
    made = postman(
        queue, Letters("services.orgs.mail", "letters", "a@b.example"), box, *(event(n) for n in range(1, 5))
    )
    for number in order:
        made.post(event(number))
        if number % 2:
            made.deliver_one()
    while made.deliver_one():
        pass
    database.close()
    assert sorted(box.sent) == sorted({str(event(number).id) for number in order})


# -- letters ----------------------------------------------------------------------------------------------------------


def test_a_letter_has_text_and_html_that_say_the_same(letters: Letters) -> None:
    message = letters.write(letter(sender="Acme"), event())
    assert message["From"] == "Acme <no-reply@fleet.example>"
    assert message["To"] == "jo@example.org"
    text, html = (message.get_body((kind,)).get_content() for kind in ("plain", "html"))
    for body in (text, html):
        assert "Acme Lamps" in body
        assert "AB23" in body


def test_a_double_has_the_id_of_the_first(letters: Letters) -> None:
    first, second = (letters.write(letter(), event()) for _ in range(2))
    assert first["Message-ID"] == second["Message-ID"] == f"<{event().id}@fleet.example>"


@given(
    name=st.text(max_size=60)
    | st.sampled_from(["<b>x</b>", "a\r\nBcc: evil@example.org", "{{ 7 * 7 }}", "\u00fc\u2028"])
)
def test_no_name_breaks_out_of_its_place(name: str) -> None:
    letters = Letters("services.orgs.mail", "letters", "a@b.example")
    message = letters.write(letter(sender=name, fields={"company": name, "code": "AB23"}), event())
    assert {header.lower() for header in message} == {
        "subject",
        "from",
        "to",
        "date",
        "message-id",
        "auto-submitted",
        "mime-version",
        "content-type",
    }
    parsed = message_from_bytes(message.as_bytes(), policy=policy.default)
    assert parsed["Bcc"] is None
    html = message.get_body(("html",)).get_content()
    assert "<b>" not in html
    assert "49" not in html or "49" in name


def test_what_customers_get_names_the_company_alone(letters: Letters) -> None:  # CUS-7
    fields = {"company": "Acme", "code": "AB23", "link": "https://fleet.example/reset?token=x", "until": "soon"}
    for template in ("customer_welcome", "customer_reset", "activation_code"):
        message = letters.write(letter(template=template, fields=fields, sender="Acme"), event())
        assert b"flotilla" not in message.as_bytes().lower()
        assert b"particle" not in message.as_bytes().lower()


# -- the folder -------------------------------------------------------------------------------------------------------


def test_mail_is_a_file_each_and_goes_with_its_person(tmp_path: Path, letters: Letters) -> None:  # EVT-5
    box = Outbox(tmp_path / "mail")
    for person, number in ((PERSON, 1), (PERSON, 1), ("b" * 24, 2)):
        box.send(letters.write(letter(), event(number)), (person,), str(event(number).id))
    assert [path.name for path in sorted((tmp_path / "mail").iterdir())] == [
        f"20260301120000-{PERSON}-{event(1).id}.eml",
        f"20260301120000-{'b' * 24}-{event(2).id}.eml",
    ]
    box.send(letters.write(letter(), event(3)), ("b" * 24, "c" * 24), str(event(3).id))
    assert (tmp_path / "mail").stat().st_mode & 0o777 == 0o700
    assert box.forget("c" * 24) == 1
    assert box.forget(PERSON) == 1
    assert [path.name[15:39] for path in (tmp_path / "mail").iterdir()] == ["b" * 24]
    with pytest.raises(Undeliverable):
        box.send(letters.write(letter(), event()), ("../x",), "1")


def test_a_folder_that_cannot_be_written_holds_mail_back(tmp_path: Path, letters: Letters) -> None:
    (tmp_path / "mail").write_text("a file")
    with pytest.raises((NotNow, FileExistsError)):
        Outbox(tmp_path / "mail").send(letters.write(letter(), event()), (PERSON,), "1")


# -- a server ---------------------------------------------------------------------------------------------------------


class Inbox:
    """What the SMTP server took."""

    def __init__(self) -> None:
        self.messages: list[Any] = []
        self.answer: str | None = None

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:  # noqa: N802
        if self.answer is not None:
            return self.answer
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.messages.append(message_from_bytes(envelope.content, policy=policy.default))
        return "250 OK"


def allowed(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (b"user", b"p@ss")
    return AuthResult(success=good)


@pytest.fixture
def inbox() -> Inbox:
    return Inbox()


@pytest.fixture
def server(inbox: Inbox) -> Iterator[Controller]:
    running = Controller(inbox, hostname="127.0.0.1", port=free_ports(1)[0], enable_SMTPUTF8=True)
    running.start()
    yield running
    running.stop()


def smtp(url: str) -> Smtp:
    return Smtp(SmtpUrl.of(url), "fleet.example")


def port_of(controller: Controller) -> int:
    return int(controller.port)


def test_mail_reaches_a_server(inbox: Inbox, server: Controller, letters: Letters) -> None:
    delivery = open_delivery(f"smtp://127.0.0.1:{port_of(server)}", "", "fleet.example")
    delivery.send(letters.write(letter(to="j\u00f6@b\u00fccher.example"), event()), (PERSON,), "1")
    (message,) = inbox.messages
    assert message["To"] == "j\u00f6@xn--bcher-kva.example"
    assert message.get_body(("html",)) is not None


@pytest.mark.parametrize(("answer", "kind"), [("550 no such user", Undeliverable), ("451 greylisted", NotNow)])
def test_a_server_says_whether_it_is_worth_another_try(
    inbox: Inbox, server: Controller, letters: Letters, answer: str, kind: type[Exception]
) -> None:
    inbox.answer = answer
    with pytest.raises(kind, match=answer[:3]):
        smtp(f"smtp://127.0.0.1:{port_of(server)}").send(letters.write(letter(), event()), (PERSON,), "1")


def test_a_server_that_is_not_there_is_tried_again(letters: Letters) -> None:
    (port,) = free_ports(1)
    with pytest.raises(NotNow):
        smtp(f"smtp://127.0.0.1:{port}").send(letters.write(letter(), event()), (PERSON,), "1")


def test_a_password_is_said_over_tls_alone(server: Controller, letters: Letters) -> None:
    url = f"smtp://user:p%40ss@127.0.0.1:{port_of(server)}"  # it offers no TLS
    with pytest.raises((NotNow, Undeliverable)):
        smtp(url).send(letters.write(letter(), event()), (PERSON,), "1")


@pytest.fixture
def certified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """Of a server at 127.0.0.1, by an authority that is trusted."""
    ca_key, key = new_key(), new_key()
    ca = authority("mail", ca_key, signs=True)
    (tmp_path / "ca.pem").write_text(ca)
    (tmp_path / "server.pem").write_text(device_certificate(ca, ca_key, "server", key, address="127.0.0.1"))
    (tmp_path / "server.key").write_text(key_text(key))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    return context


def test_over_tls_with_a_password(
    inbox: Inbox, letters: Letters, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Controller(
        inbox,
        hostname="127.0.0.1",
        port=free_ports(1)[0],
        tls_context=certified,
        authenticator=allowed,
        auth_required=True,
        require_starttls=True,
    )
    running.start()
    try:
        at, message = f"127.0.0.1:{port_of(running)}", letters.write(letter(), event())
        smtp(f"smtp://user:p%40ss@{at}").send(message, (PERSON,), "1")
        assert len(inbox.messages) == 1
        monkeypatch.setattr("shared.mail.delivery.TIMEOUT_S", 1.0)  # so long this server says nothing then
        with pytest.raises(NotNow):
            smtp(f"smtp://user:wrong@{at}").send(message, (PERSON,), "1")
    finally:
        running.stop()


def test_over_tls_from_the_start_to_whom_the_certificate_is_for(
    inbox: Inbox, letters: Letters, certified: ssl.SSLContext
) -> None:
    (port,) = free_ports(1)
    running = Controller(inbox, hostname="127.0.0.1", port=port, ssl_context=certified)
    message = letters.write(letter(), event())
    running.start()
    try:
        smtp(f"smtps://127.0.0.1:{port}").send(message, (PERSON,), "1")
        assert len(inbox.messages) == 1
        with pytest.raises(NotNow, match="certificate"):
            smtp(f"smtps://localhost:{port}").send(message, (PERSON,), "1")
    finally:
        running.stop()


def test_a_postman_that_is_stopped_does_not_wait_for_a_slow_server(
    queue: MailQueue, letters: Letters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.mail.postman.END_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as dumb:
        made = postman(queue, letters, smtp(f"smtp://127.0.0.1:{dumb.getsockname()[1]}"), event())
        made.start()
        made.post(event())
        caller, _ = dumb.accept()  # and no word to it
        with caller:
            begun = time.monotonic()
            made.stop()
            assert time.monotonic() - begun < TIMEOUT_S
    (entry,) = queue.listed()
    assert (entry.state, entry.tries) == ("waiting", 1)


@pytest.mark.parametrize("text", ["nobody", "a@", "@x.example", ""])
def test_what_mail_cannot_come_from_is_refused_at_the_start(text: str) -> None:
    with pytest.raises(Refused, match="FLOTILLA_MAIL_FROM"):
        Letters("services.orgs.mail", "letters", text)


def test_a_name_does_not_turn_the_sentence_round(letters: Letters) -> None:
    message = letters.write(letter(fields={"company": "Acme \u202egnoL\u2066", "code": "AB23"}), event())
    assert "Acme gnoL" in message.get_body(("plain",)).get_content()


def test_a_message_that_is_far_too_long_is_not_written(letters: Letters) -> None:
    with pytest.raises(ValueError, match=str(MAX_BYTES)):
        letters.write(letter(fields={"company": "A" * MAX_BYTES, "code": "AB23"}), event())


def test_the_folder_keeps_a_bounded_number_of_files(tmp_path: Path, letters: Letters, monkeypatch: Any) -> None:
    monkeypatch.setattr("shared.mail.delivery.MAX_FILES", 2)
    box = Outbox(tmp_path)
    for number in (1, 2, 3):
        told = event(number, at=NOW + timedelta(seconds=number))
        box.send(letters.write(letter(), told), (PERSON,), str(told.id))
    assert box.tidy() == 1
    assert [path.name[:14] for path in sorted(tmp_path.iterdir())] == ["20260301120002", "20260301120003"]


@pytest.mark.parametrize("url", ["http://x", "smtp://", "smtp://x:99999", "smtp://u:secret@x?tls=maybe"])
def test_an_address_of_no_server_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(Refused) as refusal:
        SmtpUrl.of(url)
    assert refusal.value.code == "bad_setting"
    assert "secret" not in refusal.value.reason
