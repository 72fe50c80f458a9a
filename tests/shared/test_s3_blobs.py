"""What only a bucket has: marks instead of locks, refusals, and what breaks on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from threading import Thread

import obstore
import pytest
from moto.core import set_initial_no_auth_action_count
from obstore.store import S3Store

import shared.s3_blobs
from shared.blobs import Blobs, open_blobs
from shared.errors import Refused, Unavailable
from tests.s3 import bucket_server, make_bucket

DATA = b"kettle"
DIGEST = sha256(DATA).hexdigest()
_NUMBERS = count(1)
KEY, MARK = f"{DIGEST[:2]}/{DIGEST}", f"condemned/{DIGEST}"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with bucket_server() as url:
        yield url


@pytest.fixture
def bucket() -> str:
    return f"firmware-{next(_NUMBERS)}"


@pytest.fixture
def url(server: str, bucket: str) -> str:
    return make_bucket(server, bucket)


@pytest.fixture
def blobs(url: str) -> Blobs:
    return open_blobs(url)


@pytest.fixture
def inside(server: str, bucket: str, url: str) -> S3Store:
    """The bucket as others see it."""
    options = {"allow_http": True}
    return S3Store(bucket, prefix="some/prefix", config={"endpoint": server}, client_options=options)


def test_a_writer_that_meets_a_remover_waits_and_stores_again(blobs: Blobs, inside: S3Store):
    obstore.put(inside, MARK, b"")  # a remover has begun, and found the blob old
    writer = Thread(target=lambda: blobs.put([DATA]))
    writer.start()
    while not blobs.exists(DIGEST):
        pass
    obstore.delete(inside, KEY)
    assert writer.is_alive()
    obstore.delete(inside, MARK)
    writer.join()
    assert blobs.read(DIGEST, 0, 10) == DATA


def test_nobody_waits_longer_than_a_remover_takes(blobs: Blobs, inside: S3Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared.s3_blobs, "MARK_WAIT_S", 0)
    monkeypatch.setattr(shared.s3_blobs, "MARK_PAUSE_S", 0)
    obstore.put(inside, MARK, b"")
    with pytest.raises(Unavailable, match="being removed"):
        blobs.put([DATA])
    monkeypatch.setattr(shared.s3_blobs, "MARK_S", -10)  # the mark is from long ago: somebody crashed
    assert blobs.put([DATA]).sha256 == DIGEST


def test_a_remover_leaves_no_mark(blobs: Blobs, inside: S3Store):
    blobs.put([DATA])
    for before in (datetime.now(UTC) - timedelta(hours=1), datetime.now(UTC) + timedelta(hours=1)):
        blobs.remove(DIGEST, before)
        assert [one["path"] for page in obstore.list(inside, "condemned") for one in page] == []


def without_access(call: Callable[[], object]) -> object:
    """The call while the server looks at credentials, and ours are nobody's."""
    return set_initial_no_auth_action_count(0)(call)()


def test_wrong_credentials_are_refused_and_not_told(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-hidden")
    with pytest.raises(Refused, match="403 Forbidden, InvalidAccessKeyId") as refusal:
        without_access(lambda: open_blobs(url))
    assert refusal.value.code == "bad_setting"
    assert "hidden" not in str(refusal.value)


def test_a_store_that_does_not_answer_is_unavailable(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shared.s3_blobs, "RETRIES", 0)
    unreachable = url.partition("?")[0] + "?endpoint=http://127.0.0.1:9"
    with pytest.raises(Unavailable, match="does not answer"):
        open_blobs(unreachable)


def test_a_store_that_breaks_later_is_unavailable(blobs: Blobs):
    blobs.put([DATA])
    for ask in (lambda: blobs.put([DATA]), lambda: blobs.size(DIGEST), lambda: list(blobs.stored())):
        with pytest.raises(Unavailable, match="403"):
            without_access(ask)
