from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from services.gateway.http.ports import Limits
from services.gateway.http.uploads import MAX_FIELD_BYTES, MAX_FIELDS, Memory, Uploaded, receive_upload
from shared.errors import Refused

BOUNDARY = "xXx"
KIND = f"multipart/form-data; boundary={BOUNDARY}"


def part(name: str, content: bytes, file_name: str | None = None) -> bytes:
    also = "" if file_name is None else f'; filename="{file_name}"'
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{also}\r\n\r\n'
    return head.encode() + content + b"\r\n"


END = f"--{BOUNDARY}--\r\n".encode()


def receive(
    chunks: list[bytes],
    *,
    kind: str = KIND,
    max_bytes: int = 1_000_000,
    limits: Limits | None = None,
    hang: bool = False,
) -> tuple[Uploaded, bytes]:
    async def run() -> tuple[Uploaded, bytes]:
        messages: list[Any] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]

        async def receive_message() -> Any:
            if messages:
                return messages.pop(0)
            if hang:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": b"", "more_body": False}

        scope = {"type": "http", "method": "POST", "headers": [(b"content-type", kind.encode())]}
        memory = Memory()
        try:
            uploaded = await receive_upload(
                Request(scope, receive_message),
                memory,
                max_bytes=max_bytes,
                limits=limits or Limits(),
                too_large="Too large, really.",
            )
        except Refused:
            assert memory.content() == b""
            raise
        return uploaded, memory.content()

    return asyncio.run(run())


def refused(*chunks: bytes, **options: Any) -> Refused:
    with pytest.raises(Refused) as refusal:
        receive(list(chunks), **options)
    return refusal.value


@settings(deadline=None)
@given(st.binary(max_size=300), st.text(max_size=50), st.data())
def test_a_file_and_its_fields_survive_any_cut_of_the_body(content: bytes, title: str, data: st.DataObject) -> None:
    tricky = content + b"\r\n--xX" + content
    title = title.encode("utf-8", "replace").decode()
    assume(all(BOUNDARY.encode() not in value for value in (tricky, title.encode())))  # a client chooses it so
    body = part("title", title.encode()) + part("file", tricky, "a.bin") + part("version", b"7") + END
    cuts = sorted(data.draw(st.lists(st.integers(0, len(body)), max_size=8)))
    chunks = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    uploaded, received = receive([chunk for chunk in chunks if chunk])
    assert received == tricky
    assert uploaded == Uploaded({"title": title, "version": "7"}, "a.bin", len(tricky), 1)


def test_a_file_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() -> None:
    uploaded, _ = receive([part("file", b"x" * 1_000, "a") + END], max_bytes=1_000)
    assert uploaded.size_bytes == 1_000
    refusal = refused(part("file", b"x" * 1_001, "a") + END, max_bytes=1_000)
    assert (refusal.code, refusal.reason) == ("too_large", "Too large, really.")


def test_further_files_are_passed_over_but_not_without_end() -> None:
    uploaded, received = receive([part("file", b"one", "a") + part("file2", b"two", "b") + END])
    assert (received, uploaded.fields) == (b"one", {})
    flood = [part("file", b"one", "a"), part("file2", b"x" * 1_200_000, "b"), END]
    assert refused(*flood).code == "too_large"


def test_fields_are_limited_in_number_and_size() -> None:
    many = b"".join(part(f"f{number}", b"") for number in range(MAX_FIELDS + 1))
    assert refused(many + END).code == "invalid_request"
    assert refused(part("title", b"x" * (MAX_FIELD_BYTES + 1)) + END).code == "too_large"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no multipart at all",
        part("file", b"abc", "a"),
        part("file", b"abc", "a")[:-4],
        b"--xXx\r\nContent-Type: text/plain\r\n\r\nabc\r\n" + END,
        b"--xXx\r\n" + b"X-Long: " + b"x" * 10_000 + b"\r\n\r\n" + END,
        b"--xXx\r\n" + b"".join(b"X-%d: x\r\n" % number for number in range(50)) + b"\r\n" + END,
    ],
)
def test_a_body_that_is_broken_or_ends_early_is_refused(body: bytes) -> None:
    assert refused(body).code == "invalid_request"


@pytest.mark.parametrize("kind", ["multipart/form-data", "multipart/form-data; boundary=" + "b" * 5_000])
def test_without_a_sensible_boundary_nothing_is_read(kind: str) -> None:
    assert refused(b"x", kind=kind).code == "invalid_request"


@pytest.mark.parametrize("limits", [Limits(upload_idle_s=0.01), Limits(upload_s=0.01)])
def test_an_upload_that_stalls_is_given_up(limits: Limits) -> None:
    assert refused(part("file", b"abc", "a"), limits=limits, hang=True).code == "timeout"


def test_what_is_wrong_with_an_upload_is_answered_and_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    for body in (b"no boundary", part("a", b"1").replace(b"\r\n", b"\n") + END, b"--xXx\r\n\0: 1\r\n\r\n" + END):
        with pytest.raises(Refused):
            receive([body])
    assert caplog.records == []
