"""One HTTP request to somebody's server: to an address that was judged, bounded in time and size, never redirected."""

from __future__ import annotations

import asyncio
import email.utils
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any

import httpcore

from services.hooks.addresses import Network, may_reach
from services.hooks.writing import CHUNK_BYTES, MAX_CHUNKS, Outgoing
from shared.clock import Clock, system_clock

TOTAL_S = 15.0
"""From the look-up of the name to the end of the answer."""
CONNECT_S = 5.0
LOOK_UP_S = 5.0
LOOKED_UP_AT_ONCE = 16
MOST_ADDRESSES = 3
"""Of one name that are tried."""
MAX_CONNECTIONS = 500
KEPT_CONNECTIONS = 100
KEPT_S = 30.0
MAX_ANSWER_BYTES = CHUNK_BYTES * MAX_CHUNKS
"""Of an answer that is read; the rest is left unread."""
MAX_ERROR = 256

Resolve = Callable[[str, int], Sequence[str]]


@dataclass(frozen=True, slots=True)
class Answer:
    """``status`` is None if there was none, and ``error`` says why; ``body`` is its beginning."""

    status: int | None
    error: str
    body: bytes
    asked: timedelta | None
    duration_ms: int


class NotAllowed(httpcore.ConnectError):
    """A name leads nowhere that we may connect to."""


def resolve(host: str, port: int) -> Sequence[str]:
    """The addresses of this name; blocks. Raises ``OSError``."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class Poster:
    """In one loop. ``allowed``: special networks that may be reached all the same."""

    def __init__(self, allowed: Sequence[Network], *, resolve: Resolve = resolve, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._threads = ThreadPoolExecutor(LOOKED_UP_AT_ONCE, thread_name_prefix="names of webhooks")
        self._network = _Judged(allowed, resolve, self._threads)
        self._pools: dict[bool, httpcore.AsyncConnectionPool] = {}

    async def post(self, outgoing: Outgoing, key: bytes) -> Answer:
        """Never raises; an answer that takes too long is none."""
        began = monotonic()
        try:
            async with asyncio.timeout(TOTAL_S):
                return await self._post(outgoing, key, began)
        except TimeoutError:
            error = f"no answer within {TOTAL_S:g} s"
        except (httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError) as problem:
            error = str(problem) or type(problem).__name__
        except (httpcore.UnsupportedProtocol, ValueError) as problem:
            error = f"this cannot be sent: {problem}"
        return Answer(None, error[:MAX_ERROR].replace("\0", "\ufffd"), b"", None, _since(began))

    async def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _post(self, outgoing: Outgoing, key: bytes, began: float) -> Answer:
        headers = outgoing.signed_at(key, int(self._clock().timestamp()))
        timeouts = {"connect": CONNECT_S, "read": TOTAL_S, "write": TOTAL_S, "pool": TOTAL_S}
        pool = self._pool(outgoing.verify)
        async with pool.stream(
            outgoing.method,
            outgoing.url,
            headers=[*headers.items()],
            content=outgoing.body,
            extensions={"timeout": timeouts},
        ) as response:
            body = b""
            async for chunk in response.aiter_stream():
                body += chunk
                if len(body) >= MAX_ANSWER_BYTES:
                    break
            asked = _asked(_named(response.headers).get("retry-after", ""), self._clock())
            return Answer(response.status, "", body[:MAX_ANSWER_BYTES], asked, _since(began))

    def _pool(self, verify: bool) -> httpcore.AsyncConnectionPool:
        if verify not in self._pools:
            self._pools[verify] = httpcore.AsyncConnectionPool(
                None if verify else _trusting(),
                max_connections=MAX_CONNECTIONS,
                max_keepalive_connections=KEPT_CONNECTIONS,
                keepalive_expiry=KEPT_S,
                network_backend=self._network,
            )
        return self._pools[verify]


class _Judged(httpcore.AsyncNetworkBackend):
    """Looks a name up once, judges every address, and connects to what it has judged."""

    def __init__(self, allowed: Sequence[Network], resolve: Resolve, threads: ThreadPoolExecutor) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._threads = threads
        self._inner = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        reachable = [one for one in await self._look_up(host, port) if may_reach(one, self._allowed)]
        if not reachable:
            raise NotAllowed(f"{host[:100]} leads to no address that webhooks may be delivered to")
        problem: Exception | None = None
        for address in reachable[:MOST_ADDRESSES]:
            try:
                return await self._inner.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = error
        raise problem or httpcore.ConnectError("no connection")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotAllowed("no URL leads to a socket in the file system")

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    async def _look_up(self, host: str, port: int) -> Sequence[str]:
        try:
            async with asyncio.timeout(LOOK_UP_S):
                looking = asyncio.get_running_loop().run_in_executor(self._threads, self._resolve, host, port)
                return await looking
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"the name {host[:100]} was not found within {LOOK_UP_S:g} s") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError(f"the name {host[:100]} is not known") from None


def _trusting() -> ssl.SSLContext:
    """For whoever said ``rejectUnauthorized: false``: encrypted, with whomever it may be."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _named(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in headers}


def _asked(text: str, now: datetime) -> timedelta | None:
    """What ``Retry-After`` asks for: seconds, or a time."""
    if text.isascii() and text.isdigit() and len(text) < 10:
        return timedelta(seconds=int(text))
    try:
        until = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(until.replace(tzinfo=until.tzinfo or UTC) - now, timedelta())


def _since(began: float) -> int:
    return int((monotonic() - began) * 1_000)
