"""What a nameko class declares, read without binding it to nameko's runtime."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from nameko.containers import get_service_name
from nameko.events import BROADCAST, SERVICE_POOL, EventHandler
from nameko.extensions import ENTRYPOINT_EXTENSIONS_ATTR, DependencyProvider, is_dependency
from nameko.messaging import Publisher
from nameko.rpc import ClusterRpc, Rpc
from nameko.timer import Timer

from shared.bus import incoming, wire
from shared.bus.transport import EventQueue


@dataclass(frozen=True, slots=True)
class Method:
    """An entry point: nameko's own object, named as if bound, and the signature behind it."""

    name: str
    entrypoint: Any
    signature: inspect.Signature

    def check(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        """Raises nameko's ``IncorrectSignature`` if the method does not take these arguments."""
        incoming.check_arguments(self.name, self.signature, args, kwargs)


@dataclass(frozen=True, slots=True)
class Declarations:
    """All entry points and dependencies of a service class."""

    service: str
    rpc: Mapping[str, Method]
    events: list[Method]
    timers: list[Method]
    providers: Mapping[str, DependencyProvider]


def read(service_class: type, container: Any) -> Declarations:
    """Raises ``TypeError`` for an entry point or dependency that belongs to nameko's runtime, such as ``@http``,
    ``@consume`` and ``EventDispatcher``, and nameko's ``ConfigurationError`` for a class without a name."""
    service = get_service_name(service_class)
    rpc: dict[str, Method] = {}
    events: list[Method] = []
    timers: list[Method] = []
    for method in _methods(service_class, container):
        kind = type(method.entrypoint)
        if issubclass(kind, Rpc):
            rpc[method.name] = method
        elif issubclass(kind, EventHandler):
            events.append(method)
        elif issubclass(kind, Timer):
            timers.append(method)
        else:
            raise TypeError(
                f"{service}.{method.name}: @{kind.__name__} is not hosted here; rpc, event_handler, timer are"
            )
    return Declarations(service, rpc, events, timers, _providers(service, service_class))


def _methods(service_class: type, container: Any) -> Iterator[Method]:
    for name, function in inspect.getmembers(service_class, inspect.isfunction):
        for declared in getattr(function, ENTRYPOINT_EXTENSIONS_ATTR, ()):
            entrypoint = copy.copy(declared)
            entrypoint.method_name = name
            entrypoint.container = weakref.proxy(container)
            yield Method(name, entrypoint, inspect.signature(function))


def _providers(service: str, service_class: type) -> dict[str, DependencyProvider]:
    found = dict(inspect.getmembers(service_class, is_dependency))
    for name, provider in found.items():
        if isinstance(provider, Publisher):
            raise TypeError(
                f"{service}.{name}: {type(provider).__name__} publishes beside the store; "
                "append an event and let the relay publish it"
            )
    return found


def event_queue(service: str, method: Method) -> EventQueue:
    """The queue that nameko would consume for this handler."""
    handler = method.entrypoint
    source, event_type = handler.source_service, handler.event_type
    if handler.handler_type == BROADCAST:
        unique = handler.broadcast_identifier or uuid4().hex
        name = wire.broadcast_queue(source, event_type, service, method.name, unique)
        return EventQueue(name, source, [event_type], handler.reliable_delivery, not handler.reliable_delivery)
    if handler.handler_type == SERVICE_POOL:
        name = wire.pool_queue(source, event_type, service, method.name)
    else:
        name = wire.singleton_queue(source, event_type)
    return EventQueue(name, source, [event_type], handler.reliable_delivery)


def lasting_queues(declared: Declarations) -> list[EventQueue]:
    """The queues that must exist before the first event is published."""
    shared_ones = [method for method in declared.events if method.entrypoint.handler_type != BROADCAST]
    queues = [event_queue(declared.service, method) for method in shared_ones]
    return [queue for queue in queues if queue.lasting]


def is_rpc_client(provider: object) -> bool:
    """Whether this is ``ServiceRpc`` or ``ClusterRpc``, which the host replaces by its own client."""
    return isinstance(provider, ClusterRpc)
