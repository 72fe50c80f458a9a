"""RPC from within services: nameko's ``ServiceRpc`` and ``ClusterRpc`` over a transport, with a timeout."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from nameko.extensions import DependencyProvider
from nameko.rpc import Client, ServiceRpc

from shared.bus import wire
from shared.bus.errors import Malformed, RemoteError
from shared.bus.transport import Transport
from shared.bus.wire import Message
from shared.errors import Unknown

CALL_TIMEOUT_S = 10.0


class Waiter:
    """One call and the thread that waits for its outcome."""

    def __init__(self, what: str, timeout_s: float) -> None:
        self._what = what
        self._timeout_s = timeout_s
        self._done = threading.Event()
        self._outcome: Message | Exception | None = None

    def set(self, outcome: Message | Exception) -> None:
        """The outcome is there; the first one counts."""
        if self._outcome is None:
            self._outcome = outcome
            self._done.set()

    def result(self) -> Any:
        """What the method returned; raises what it raised, ``Unavailable``, and ``Unknown`` when time is over."""
        self._done.wait(self._timeout_s)
        return unpack(self._outcome, self._what, self._timeout_s)


def unpack(outcome: Message | Exception | None, what: str, timeout_s: float) -> Any:
    """What a call came to; no outcome is a timeout."""
    if outcome is None:
        raise Unknown(f"{what} gave no answer in {timeout_s:g} s")
    if isinstance(outcome, Exception):
        raise outcome
    try:
        return wire.decode_reply(outcome)
    except Malformed as problem:
        raise RemoteError("Malformed", str(problem)) from problem


def blocking_client(transport: Transport, context_data: Mapping[str, Any], timeout_s: float) -> Any:
    """Nameko's client, ``client.service.method(…)``, whose calls go through the transport."""
    waiters: dict[str, Waiter] = {}

    def register_for_reply(correlation_id: str) -> Callable[[], dict[str, Any]]:
        def wait() -> dict[str, Any]:
            return {"result": waiters.pop(correlation_id).result(), "error": None}

        return wait

    def publish(  # nameko passes ``mandatory``; every request of ours is
        payload: dict[str, Any],
        *,
        routing_key: str,
        correlation_id: str,
        extra_headers: Mapping[str, Any],
        mandatory: bool,
    ) -> None:
        service, method = routing_key.split(".", 1)
        waiter = waiters[correlation_id] = Waiter(routing_key, timeout_s)
        body = wire.encode_request(payload["args"], payload["kwargs"])
        transport.request(service, method, body, extra_headers, timeout_s, waiter.set, nested=True)

    return Client(publish, register_for_reply, context_data)


class PatientRpc(ServiceRpc):  # type: ignore[misc]
    """A ``ServiceRpc`` for methods that take their time: its calls wait for so long. Nameko's own runtime waits for
    ever, as it always does."""

    def __init__(self, target_service: str, timeout_s: float) -> None:
        self.timeout_s = timeout_s
        super().__init__(target_service)


class RpcClients(DependencyProvider):  # type: ignore[misc]
    """Stands in for a declared ``ServiceRpc`` or ``ClusterRpc``."""

    def __init__(self, declared: Any, transport: Transport, timeout_s: float) -> None:
        self._target: str | None = declared.target_service if isinstance(declared, ServiceRpc) else None
        self._transport = transport
        self._timeout_s = declared.timeout_s if isinstance(declared, PatientRpc) else timeout_s
        super().__init__()

    def get_dependency(self, worker_ctx: Any) -> Any:
        client = blocking_client(self._transport, worker_ctx.context_data, self._timeout_s)
        return client if self._target is None else getattr(client, self._target)
