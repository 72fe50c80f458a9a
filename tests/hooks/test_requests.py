"""What a webhook requests, and what becomes of it with an event: reading, masking, templates, signatures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.hooks.heard import Heard, values
from services.hooks.hook_request import MASK, HookRequest, requested, shown_request
from services.hooks.signing import shown, signed, signing_key
from services.hooks.templates import MAX_RENDERED, TooLong, check_template, render
from services.hooks.writing import CHUNK_BYTES, Unwritable, published_answer, published_error, write
from shared.errors import Refused

DEVICE = "0123456789abcdef01234567"
AT = "2026-05-01T00:00:00.000Z"
URL = "https://example.com/in?a=1"
HEARD = Heard(
    "11111111-1111-4111-8111-111111111111", 7, "temp", '{"t":21.5,"who":"<b>"}', AT, AT, DEVICE, 1000, 3, False
)


def made(**fields: Any) -> HookRequest:
    return requested({"url": URL, **fields}, None, check_template)


def body_of(request: HookRequest, heard: Heard = HEARD) -> Any:
    return write(request, heard).body.decode()


def test_without_more_words_a_form_with_the_four_usual_fields_is_posted() -> None:
    outgoing = write(made(), HEARD)
    assert (outgoing.method, outgoing.url) == ("POST", URL)
    assert parse_qs(outgoing.body.decode()) == {
        "event": ["temp"],
        "data": [HEARD.data],
        "published_at": [AT],
        "coreid": [DEVICE],
    }
    assert outgoing.headers["content-type"] == "application/x-www-form-urlencoded"
    assert write(made(noDefaults=True), HEARD).body == b""


def test_a_json_object_has_its_texts_filled_in_and_the_usual_fields_beside_them() -> None:
    request = made(json={"t": "{{{t}}}", "list": ["{{PARTICLE_DEVICE_ID}}", 7], "event": "mine"})
    assert json.loads(body_of(request)) == {
        "event": "mine",
        "data": HEARD.data,
        "published_at": AT,
        "coreid": DEVICE,
        "t": "21.5",
        "list": [DEVICE, 7],
    }
    assert json.loads(body_of(made(json={"t": "{{t}}"}, noDefaults=True))) == {"t": "21.5"}


def test_a_json_template_and_a_body_are_sent_as_they_become() -> None:
    template = '{"n":"{{{PARTICLE_EVENT_NAME}}}","t":{{t}},"at":"{{PARTICLE_PUBLISHED_AT}}","v":{{PRODUCT_VERSION}}}'
    assert json.loads(body_of(made(json=template))) == {"n": "temp", "t": 21.5, "at": AT, "v": 3}
    assert body_of(made(body="{{{who}}} {{who}} {{SPARK_CORE_ID}} {{none}}")) == f"<b> &lt;b&gt; {DEVICE} "


def test_a_get_has_the_usual_fields_and_the_query_behind_what_the_url_has() -> None:
    outgoing = write(made(requestType="get", query={"t": "{{t}}", "x": 1}), HEARD)
    asked = parse_qs(urlsplit(outgoing.url).query)
    assert (outgoing.method, outgoing.body) == ("GET", b"")
    assert asked == {
        "a": ["1"],
        "event": ["temp"],
        "data": [HEARD.data],
        "published_at": [AT],
        "coreid": [DEVICE],
        "t": ["21.5"],
        "x": ["1"],
    }


def test_values_in_a_url_are_quoted_and_never_lead_to_another_host() -> None:
    heard = msgspec.structs.replace(HEARD, data='{"who":"../a b?&@evil.example"}')
    assert write(made(url="https://h.example/{{who}}/x"), heard).url == (
        "https://h.example/..%2Fa%20b%3F%26%40evil.example/x"
    )
    with pytest.raises(Unwritable):
        write(made(url="https://h.example/{{who}}"), msgspec.structs.replace(HEARD, data=f'{{"who":"{"x" * 9_000}"}}'))
    for url in (
        "https://{{who}}/",
        "https://h.example:8{{who}}/",
        "ftp://h.example/",
        "https:///x",
        "https://h.example:99999/",
        "nothing",
    ):
        with pytest.raises(Refused):
            made(url=url)


def test_credentials_are_sent_in_a_header_and_never_shown() -> None:
    outgoing = write(made(url="https://ada:secret@h.example/x", headers={"X-Key": "k", "Accept": "a/b"}), HEARD)
    assert outgoing.url == "https://h.example/x"
    assert base64.b64decode(outgoing.headers["authorization"].removeprefix("Basic ")) == b"ada:secret"
    request = made(
        url="https://ada:secret@h.example/x",
        headers={"X-Key": "hidden", "Accept": "a/b"},
        auth={"username": "u", "password": "hidden"},
    )
    shown_text = json.dumps(shown_request(request))
    assert "secret" not in shown_text
    assert "hidden" not in shown_text
    assert "a/b" in shown_text
    assert base64.b64decode(write(request, HEARD).headers["authorization"].removeprefix("Basic ")) == b"u:hidden"


def test_what_was_shown_and_is_sent_back_changes_nothing() -> None:
    request = made(
        url="https://ada:secret@h.example/x",
        headers={"X-Key": "hidden"},
        auth={"username": "u", "password": "hidden"},
        json={"a": [1]},
        responseTopic="answers",
    )
    assert requested(shown_request(request), request, check_template) == request
    assert requested({"body": "now this"}, request, check_template).json is None
    assert requested({"headers": {"X-Key": "new", "Y": MASK}}, request, check_template).headers["X-Key"] == "new"


@pytest.mark.parametrize(
    "fields",
    [
        {"requestType": "TRACE"},
        {"headers": {"Host": "h"}},
        {"headers": {"webhook-id": "h"}},
        {"headers": {"a b": "h"}},
        {"headers": {"a": "x\r\ny: z"}},
        {"headers": [1]},
        {"auth": {"username": "u"}},
        {"json": {"a": 1}, "form": {"b": 1}},
        {"json": "{{#a}}"},
        {"json": "{{#a}}{{#b}}{{/b}}{{/a}}"},
        {"body": "{{> other}}"},
        {"body": "x" * 16_385},
        {"query": {f"q{number}": "x" for number in range(33)}},
        {"form": {f"q{number}": "x" * 4_000 for number in range(20)}},
    ],
)
def test_what_cannot_be_requested_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(Refused) as refusal:
        made(**fields)
    assert refusal.value.code == "invalid_request"


def test_json_in_json_without_end_is_refused() -> None:
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    with pytest.raises(Refused):
        made(json=deep)


def test_a_template_never_becomes_longer_than_what_may_be_sent() -> None:
    many = {"l": list(range(30_000)), "s": "x" * 60_000}
    assert render("{{#l}}{{.}},{{/l}}", {"l": [1, 2]}) == "1,2,"
    assert render("{{^l}}none{{/l}}{{t}}{{n}}{{{o}}}", {"t": True, "n": None, "o": {"a": 1}}) == 'nonetrue{"a":1}'
    for template in ("{{#l}}" + "x" * 10_000 + "{{/l}}", "{{s}}" * (MAX_RENDERED // 60_000 + 1)):
        with pytest.raises(TooLong):
            render(template, many)
    with pytest.raises(Unwritable):
        write(made(body="{{{PARTICLE_EVENT_VALUE}}}" * 100), msgspec.structs.replace(HEARD, data="x" * 60_000))


@given(st.text(max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_whatever_is_published_one_header_stays_one_header(data: str, name: str, core: str) -> None:
    heard = msgspec.structs.replace(HEARD, data=json.dumps({"v": data}), name=name, coreid=core)
    request = made(
        headers={"X-V": "{{{v}}}", "X-N": "{{PARTICLE_EVENT_NAME}}"}, auth={"username": "{{v}}", "password": ""}
    )
    for value in write(request, heard).headers.values():
        assert value.isascii()
        assert value.isprintable()


@given(st.text(max_size=60))
def test_data_that_is_no_json_object_is_a_value_all_the_same(data: str) -> None:
    known = values(msgspec.structs.replace(HEARD, data="x" + data))
    assert known["PARTICLE_EVENT_VALUE"] == "x" + data
    assert "t" not in known


def test_signatures_are_those_of_the_standard() -> None:
    """The example of the Standard Webhooks specification."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    body = b'{"test": 2432232314}'
    headers = signed(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, body)
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }
    assert shown(key) == "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_each_webhook_signs_with_a_key_of_its_own() -> None:
    keys = {signing_key(secret, hook) for secret in (b"1", b"2") for hook in ("a", "b")}
    assert len(keys) == 4
    outgoing = write(made(), HEARD)
    headers = outgoing.signed_at(signing_key(b"1", "a"), 1)
    expected = hmac.digest(signing_key(b"1", "a"), f"{HEARD.id}.1.".encode() + outgoing.body, hashlib.sha256)
    assert headers["webhook-signature"] == "v1," + base64.b64encode(expected).decode()


def test_an_answer_is_told_in_pieces_under_names_that_say_whose_it_is() -> None:
    said = published_answer(made(), HEARD, b"x" * (CHUNK_BYTES + 1))
    assert [(one.name, len(one.data or "")) for one in said] == [
        ("hook-sent/temp", 0),
        ("hook-response/temp/0", CHUNK_BYTES),
        ("hook-response/temp/1", 1),
    ]
    assert len(published_answer(made(), HEARD, b"x" * 100_000)) == 33
    assert published_answer(made(), HEARD, b"")[1:] == []
    request = made(
        responseTopic="{{PARTICLE_DEVICE_ID}}/answer",
        responseTemplate="{{main.temp}} now",
        errorResponseTopic="oops",
    )
    assert [(one.name, one.data) for one in published_answer(request, HEARD, b'{"main":{"temp":20}}')[1:]] == [
        (f"{DEVICE}/answer/0", "20 now")
    ]
    assert [(one.name, one.data) for one in published_error(request, HEARD, "HTTP status 500")] == [
        ("oops/0", "HTTP status 500")
    ]
