"""Hosts unmodified nameko classes on plain threads: the same declarations, the same worker life, another runtime.

A worker is a fresh instance of the class with its dependencies set, as in nameko: ``get_dependency``, ``worker_setup``,
the method, ``worker_result``, ``worker_teardown``. Other than in nameko the reply is sent, or the event settled, after
that; an error of a provider fails this one worker and not the service; a failed event handler is tried again
(``lanes``); nothing runs on eventlet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from time import monotonic
from typing import Any

from nameko.exceptions import MalformedRequest, MethodNotFound
from nameko.extensions import DependencyProvider, iter_extensions

from shared.bus import declarations, incoming, wire
from shared.bus.calls import CALL_TIMEOUT_S, RpcClients
from shared.bus.contexts import HostedWorker, adopt
from shared.bus.declarations import Method
from shared.bus.errors import Malformed
from shared.bus.lanes import PATIENT, Lanes, Retry
from shared.bus.transport import Consumption, Delivery, Transport
from shared.bus.workers import Alarm, Workers
from shared.errors import FlotillaError

log = logging.getLogger(__name__)

STOP_TIMEOUT_S = 20.0
"""How long ``stop`` waits for workers that run."""
BUSY = "too many requests wait"


class ServiceHost:
    """One service. ``provide`` replaces declared providers by attribute name: an object with
    ``get_dependency(worker_ctx)``, used as it is, with the rest of a provider's life if it is a provider."""

    serializer = "json"
    accept = ("json",)

    def __init__(
        self,
        service_class: type,
        transport: Transport,
        *,
        workers: int = 8,
        provide: Mapping[str, Any] | None = None,
        retry: Retry = PATIENT,
        call_timeout_s: float = CALL_TIMEOUT_S,
    ) -> None:
        self.service_cls = service_class
        self.shared_extensions: dict[Any, Any] = {}
        self.max_workers = workers
        self._transport = transport
        self._retry = retry
        self._declared = declarations.read(service_class, self)
        self.service_name = self._declared.service
        self._providers = self._bind(provide or {}, call_timeout_s)
        self._consumptions: list[Consumption] = []
        self._lanes: list[Lanes] = []
        for queue in declarations.lasting_queues(self._declared):
            transport.declare(queue)
        self._stopped = True
        self._rpc_workers, self._event_workers, self._alarm = self._threads()

    @property
    def name(self) -> str:
        return f"service {self.service_name}"

    @property
    def interface(self) -> ServiceHost:
        """What nameko's extensions bind to."""
        return self

    def start(self) -> None:
        """Set up and start the providers, then the timers, handlers and methods."""
        self._rpc_workers, self._event_workers, self._alarm = self._threads()
        self._stopped = False
        try:
            for extension in self._extensions():
                extension.setup()
            for extension in self._extensions():
                extension.start()
            self._attach()
        except BaseException:
            self.stop()
            raise
        for method in self._declared.timers:
            first_s = 0.0 if method.entrypoint.eager else method.entrypoint.interval
            self._alarm.after(first_s, partial(self._tick, method, monotonic() + first_s))

    def stop(self) -> None:
        """Take nothing more, finish what runs (20 s at most), give back the rest, stop the providers."""
        if self._stopped:
            return
        self._stopped = True
        for consumption in self._consumptions:
            consumption.pause()
        self._alarm.stop()
        for lanes in self._lanes:
            lanes.stop()
        deadline = monotonic() + STOP_TIMEOUT_S
        finished = [pool.stop(max(0.1, deadline - monotonic())) for pool in (self._rpc_workers, self._event_workers)]
        if not all(finished):
            log.error("%s: workers still run after %g s", self.name, STOP_TIMEOUT_S)
        for consumption in self._consumptions:
            consumption.close()
        self._consumptions.clear()
        for extension in self._extensions():
            extension.stop()

    def status(self) -> dict[str, Any]:
        """Requests and events in work and waiting, and parked by this host since it started."""
        return {
            "service": self.service_name,
            "requests": {"running": self._rpc_workers.busy, "waiting": self._rpc_workers.waiting},
            "events": {lanes.handler: {"open": lanes.waiting, "parked": lanes.parked} for lanes in self._lanes},
        }

    def _threads(self) -> tuple[Workers, Workers, Alarm]:
        name, size = self.service_name, self.max_workers
        return Workers(f"{name}-rpc", size), Workers(f"{name}-events", size), Alarm(name)

    def _bind(self, provide: Mapping[str, Any], call_timeout_s: float) -> list[tuple[str, Any]]:
        unknown = set(provide) - set(self._declared.providers)
        if unknown:
            raise TypeError(f"{self.service_name} declares no dependency {', '.join(sorted(unknown))}")
        bound: list[tuple[str, Any]] = []
        for name, provider in self._declared.providers.items():
            if name in provide:
                bound.append((name, provide[name]))
            elif declarations.is_rpc_client(provider):
                bound.append((name, RpcClients(provider, self._transport, call_timeout_s)))
            else:
                bound.append((name, provider.bind(self, name)))
        return bound

    def _lively(self) -> list[Any]:
        return [provider for _, provider in self._providers if isinstance(provider, DependencyProvider)]

    def _extensions(self) -> list[Any]:
        found: list[Any] = []
        for provider in self._lively():
            found += [extension for extension in iter_extensions(provider) if extension not in found]
            found.append(provider)
        return found

    def _attach(self) -> None:
        self._lanes = []
        for method in self._declared.events:
            lanes = Lanes(
                f"{self.service_name}.{method.name}",
                partial(self._handle_event, method),
                transport=self._transport,
                workers=self._event_workers,
                alarm=self._alarm,
                retry=self._retry,
            )
            self._lanes.append(lanes)
            queue = declarations.event_queue(self.service_name, method)
            self._consumptions.append(self._transport.consume(queue, lanes.put, prefetch=max(10, self.max_workers)))
        if self._declared.rpc:
            served = self._transport.serve(self.service_name, self._take_request, prefetch=self.max_workers)
            self._consumptions.append(served)

    def _take_request(self, delivery: Delivery) -> None:
        if not self._rpc_workers.submit(partial(self._answer, delivery), extra=delivery.nested):
            delivery.refuse(f"{self.service_name}: {BUSY}")

    def _answer(self, delivery: Delivery) -> None:
        """Every request gets a reply; one that cannot be understood is parked as well."""
        if delivery.lost():
            return
        message = delivery.message
        name = incoming.method_of(message)
        try:
            args, kwargs = incoming.arguments_of(message)
        except Malformed as problem:
            self._park_request(delivery, name, problem)
            return
        method = self._declared.rpc.get(name)
        try:
            if method is None:
                raise MethodNotFound(name)
            method.check(args, kwargs)
        except Exception as problem:  # noqa: BLE001 - the caller is told
            delivery.respond(wire.encode_reply(None, problem)[0])
            return
        self._work(method, args, kwargs, message, delivery.respond)

    def _park_request(self, delivery: Delivery, name: str, problem: Malformed) -> None:
        log.error("%s.%s: malformed request is parked: %s", self.service_name, name, problem)
        parked = self._transport.park(delivery, f"{self.service_name}.{name}", f"Malformed: {problem}")

        def answer(done: Any) -> None:
            if done.exception() is not None:
                log.error("%s: could not be parked: %s", self.service_name, done.exception())
            incoming.answer_malformed(delivery, problem)

        parked.add_done_callback(answer)

    def _handle_event(self, method: Method, delivery: Delivery, value: Any) -> None:
        problem = self._work(method, [value], {}, delivery.message, None)
        if problem is not None:
            raise problem

    def _tick(self, method: Method, due: float) -> None:
        """Every interval from the start on, or at once if the worker took longer."""

        def run() -> None:
            self._work(method, [], {}, None, None)
            following = max(due + method.entrypoint.interval, monotonic())
            self._alarm.after(following - monotonic(), partial(self._tick, method, following))

        if not self._event_workers.submit(run):
            self._alarm.after(method.entrypoint.interval, partial(self._tick, method, due))

    def _work(
        self,
        method: Method,
        args: list[Any],
        kwargs: dict[str, Any],
        message: wire.Message | None,
        respond: Callable[[bytes], None] | None,
    ) -> Exception | None:
        """Run one worker from its first provider to its last; what it failed with."""
        data = wire.from_headers(message.headers if message else None)
        service = self.service_cls()
        worker = HostedWorker(self, service, method.entrypoint, args, kwargs, data=data)
        worker.request_id = message.correlation_id if message else None
        result: Any = None
        problem: Exception | None = None
        try:
            self._prepare(worker)
            result = getattr(service, method.name)(*args, **kwargs)
        except Exception as raised:  # noqa: BLE001 - told to the caller, or tried again
            problem = raised
        body = b""
        if respond is not None:
            body, problem = wire.encode_reply(result, problem)
        late = self._finish(worker, result, problem)
        if late is not None and respond is not None:
            body = wire.encode_reply(None, late)[0]
        problem = late or problem
        self._report(worker, problem, retried=respond is None and message is not None)
        if respond is not None:
            respond(body)
        return problem

    def _prepare(self, worker: HostedWorker) -> None:
        adopt(worker)
        for name, provider in self._providers:
            setattr(worker.service, name, provider.get_dependency(worker))
        for provider in self._lively():
            provider.worker_setup(worker)

    def _finish(self, worker: HostedWorker, result: Any, problem: Exception | None) -> Exception | None:
        exc_info = None if problem is None else (type(problem), problem, problem.__traceback__)
        late: Exception | None = None
        for provider in self._lively():
            for step, arguments in ((provider.worker_result, (result, exc_info)), (provider.worker_teardown, ())):
                try:
                    step(worker, *arguments)
                except Exception as raised:
                    log.exception("%s: a provider failed after %s", self.name, worker.entrypoint.method_name)
                    late = raised
        return late

    def _report(self, worker: HostedWorker, problem: Exception | None, *, retried: bool) -> None:
        """Log an error where it stops: what callers expect is theirs, what is tried again is the lanes'."""
        if problem is None or retried:
            return
        if isinstance(problem, (FlotillaError, MalformedRequest, *_expected(worker.entrypoint))):
            log.info("%s.%s: %s", self.service_name, worker.entrypoint.method_name, problem)
        else:
            log.error("%s.%s failed", self.service_name, worker.entrypoint.method_name, exc_info=problem)


def _expected(entrypoint: Any) -> tuple[type[Exception], ...]:
    expected = entrypoint.expected_exceptions
    return expected if isinstance(expected, tuple) else (expected,)


def declare_queues(transport: Transport, service_classes: Iterable[type]) -> None:
    """Let the event queues of these services exist, whether or not the services run: what is published before a
    service has ever started waits for it. Raises ``Unavailable``."""
    for service_class in service_classes:
        for queue in declarations.lasting_queues(declarations.read(service_class, service_class)):
            transport.declare(queue)
