from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from services.gateway.http.errors import error_answer
from shared.errors import Conflict, Misuse, NotFound, PeerViolation, Refused, Unavailable, Unknown


def shown(error: Exception) -> tuple[int, Any]:
    answer = error_answer(error)
    return answer.status_code, json.loads(bytes(answer.body))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Refused("any_rule", "No."), 400, "any_rule"),
        (Refused("invalid_token", "No."), 401, "invalid_token"),
        (Refused("subscription_inactive", "No."), 402, "subscription_inactive"),
        (Refused("card_declined", "No."), 402, "card_declined"),
        (Refused("permission_denied", "No."), 403, "permission_denied"),
        (Refused("timeout", "No."), 408, "timeout"),
        (Refused("too_large", "No."), 413, "too_large"),
        (Refused("too_many_requests", "No."), 429, "too_many_requests"),
        (NotFound("Nothing here."), 404, "not_found"),
        (NotFound("Product not found."), 404, "Product not found."),
        (NotFound("Firmware not found."), 404, "Firmware not found."),
        (NotFound("Device not found for this product"), 404, "Device not found for this product"),
        (Conflict("org-1", "3", "4"), 409, "conflict"),
        (Unavailable("no broker"), 503, "unavailable"),
        (Unknown("no reply"), 503, "unavailable"),
        (PeerViolation("?"), 500, "server_error"),
        (Misuse("a bug"), 500, "server_error"),
        (ZeroDivisionError("a bug"), 500, "server_error"),
    ],
)
def test_every_error_has_its_status_and_code(error: Exception, status: int, code: str) -> None:
    seen, body = shown(error)
    assert (seen, body["ok"], body["error"]) == (status, False, code)
    assert body["error_description"]


@pytest.mark.parametrize("error", [Conflict("org-1", "3", "4"), Unavailable("10.0.0.1 refused"), Misuse("s3cret")])
def test_what_is_inside_stays_inside(error: Exception) -> None:
    _, body = shown(error)
    assert not any(word in json.dumps(body) for word in ("org-1", "10.0.0.1", "s3cret", "Traceback"))


def test_details_are_added_and_never_replace_the_three_fields() -> None:
    detail = json.dumps({"unanswered": ["a.b"], "ok": True, "error": "other"})
    _, body = shown(Refused("configuration_incomplete", "Two are missing.", detail))
    assert body == {
        "unanswered": ["a.b"],
        "ok": False,
        "error": "configuration_incomplete",
        "error_description": "Two are missing.",
    }


def test_a_broken_detail_is_logged_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    status, body = shown(Refused("any_rule", "No.", "[1]"))
    assert (status, sorted(body)) == (400, ["error", "error_description", "ok"])
    assert "any_rule" in caplog.text


def test_a_bug_is_logged_once_with_the_reference_that_the_client_gets(
    api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    api.bus.answers["orgs.list_products"] = ZeroDivisionError("deep inside")
    with caplog.at_level(logging.ERROR):
        answer = api.get("/v1/products")
    assert answer.status_code == 500
    reference = answer.json()["error_description"].rstrip(".").rsplit(" ", 1)[-1]
    assert [reference in record.getMessage() for record in caplog.records] == [True]
    assert "deep inside" in caplog.text
    assert "deep inside" not in answer.text


def test_no_text_but_that_of_token_trouble_speaks_of_access_tokens(api: Any) -> None:
    texts = [error_answer(error).body for error in (Conflict("a", "1"), Unavailable("x"), Unknown("x"), Misuse("x"))]
    assert not any(b"access token" in bytes(text) for text in texts)
