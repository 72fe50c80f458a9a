"""The HTTP server of a gateway: uvicorn in the gateway's own loop."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

import uvicorn
from starlette.types import ASGIApp

from services.gateway.web_protocol import BoundedHttp
from shared.errors import Refused

GRACE_S = 5
"""How long answers that are under way may take when the server stops."""
KEEP_ALIVE_S = 75
BACKLOG = 2_048
STOP_S = 15.0


def bound_socket(host: str, port: int) -> socket.socket:
    """A socket that is bound and not yet listening; ``Refused`` if the address is not to be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise Refused("bad_setting", f"cannot listen on {host}:{port}: {error}") from error
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise Refused("address_in_use", f"cannot listen on {host}:{port}: {error}") from error
    return bound


def networks(text: str) -> list[str]:
    """Addresses and networks behind commas. Raises ``Refused`` (``bad_setting``) for what is none."""
    found = [part.strip() for part in text.split(",") if part.strip()]
    try:
        return [str(ipaddress.ip_network(part)) for part in found]
    except ValueError as error:
        raise Refused("bad_setting", f"FLOTILLA_TRUSTED_PROXIES: {error}") from error


class WebServer:
    """Serves one application; signals are left to the process. ``proxies``: as ``networks`` takes them."""

    def __init__(self, app: ASGIApp, *, protocol: type[BoundedHttp] = BoundedHttp, proxies: str = "") -> None:
        trusted = networks(proxies)
        config = uvicorn.Config(
            app,
            proxy_headers=bool(trusted),
            forwarded_allow_ips=trusted,
            http=protocol,
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_S,
            timeout_graceful_shutdown=GRACE_S,
        )
        config.load()
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        self._socket: socket.socket | None = None
        self._loop_task: asyncio.Task[None] | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; the port, also when ``port`` is 0. Raises ``Refused``."""
        self._socket = bound_socket(host, port)
        await self._server.startup(sockets=[self._socket])
        self._loop_task = asyncio.create_task(self._server.main_loop(), name="http")
        bound: int = self._socket.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Accept nothing more and let answers end, ``GRACE_S`` at most."""
        if self._loop_task is None or self._socket is None:
            return
        self._server.should_exit = True
        await self._loop_task
        async with asyncio.timeout(STOP_S):
            await self._server.shutdown(sockets=[self._socket])
        self._loop_task = self._socket = None
