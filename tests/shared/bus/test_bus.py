"""What both transports promise: one suite over ``local`` and ``amqp``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from nameko.events import BROADCAST, SINGLETON, EventDispatcher, event_handler
from nameko.extensions import DependencyProvider
from nameko.rpc import ServiceRpc, rpc
from nameko.timer import timer
from nameko.web.handlers import http

from shared import errors
from shared.bus import wire
from shared.bus.contexts import context_of
from shared.bus.errors import CROSSING, RemoteError
from shared.bus.host import ServiceHost
from shared.bus.parking import discard, resend
from shared.context import Context
from shared.errors import Conflict, NotFound, Refused, Unavailable, Unknown
from shared.store.port import Position

Unique = Callable[[str], str]
Bed = Any
Heard = Any


class WorkerContext(DependencyProvider):
    """The context of the worker, as ``EventStreams`` sees it."""

    def get_dependency(self, worker_ctx: Any) -> Context:
        return context_of(worker_ctx)


# RPC


def test_a_method_answers_with_what_it_returns(bed: Bed, unique: Unique) -> None:
    class Service:
        name = unique("orgs")

        @rpc
        def double(self, number: int, words: list[str]) -> dict[str, Any]:
            return {"number": number * 2, "words": words, "none": None}

    bed.host(Service)
    answer = bed.call(Service.name, "double", number=21, words=["ä", "€"])
    assert answer == {"number": 42, "words": ["ä", "€"], "none": None}


ARGUMENTS = {Refused: ("slug_taken", "That slug is taken.", '{"slug": "a"}'), Conflict: ("device-1", "3", "5")}


@pytest.mark.parametrize("kind", CROSSING)
def test_an_error_crosses_as_its_own_class_with_its_fields(bed: Bed, unique: Unique, kind: type[Exception]) -> None:
    sent = kind(*ARGUMENTS.get(kind, ("in words",)))

    class Service:
        name = unique("orgs")

        @rpc(expected_exceptions=Refused)
        def fail(self) -> None:
            raise sent

    bed.host(Service)
    with pytest.raises(kind) as raised:
        bed.call(Service.name, "fail")
    assert type(raised.value) is kind
    assert raised.value.args == sent.args
    assert vars(raised.value) == vars(sent)


def test_an_unexpected_error_is_a_remote_error_that_names_it(bed: Bed, unique: Unique) -> None:
    class Service:
        name = unique("orgs")

        @rpc
        def fail(self) -> None:
            raise ZeroDivisionError("no way")

    bed.host(Service)
    with pytest.raises(RemoteError) as raised:
        bed.call(Service.name, "fail")
    assert (raised.value.exc_type, raised.value.value) == ("ZeroDivisionError", "no way")
    assert not isinstance(raised.value, Unavailable)


def test_a_method_that_is_not_there_or_takes_other_arguments_is_a_remote_error(bed: Bed, unique: Unique) -> None:
    class Service:
        name = unique("orgs")

        @rpc
        def only(self, one: int) -> int:
            return one

    bed.host(Service)
    with pytest.raises(RemoteError, match="MethodNotFound"):
        bed.call(Service.name, "other")
    with pytest.raises(RemoteError, match="IncorrectSignature"):
        bed.call(Service.name, "only", two=2)


def test_a_result_that_json_cannot_hold_is_a_remote_error(bed: Bed, unique: Unique) -> None:
    class Service:
        name = unique("orgs")

        @rpc
        def odd(self) -> object:
            return {1, 2}.__iter__()

    bed.host(Service)
    with pytest.raises(RemoteError, match="UnserializableValueError"):
        bed.call(Service.name, "odd")


def test_a_service_that_does_not_exist_is_unavailable_at_once(bed: Bed, unique: Unique) -> None:
    with pytest.raises(Unavailable) as raised:
        bed.call(unique("nobody"), "ping")
    assert not isinstance(raised.value, Unknown)


def test_no_answer_in_time_is_unknown(bed: Bed, unique: Unique) -> None:
    go = threading.Event()

    class Service:
        name = unique("orgs")

        @rpc
        def slow(self) -> None:
            go.wait(10)

    bed.host(Service)
    with pytest.raises(Unknown):
        bed.loop.run(bed.bus.call(Service.name, "slow", Context.new("anonymous", "test"), timeout_s=0.2))
    go.set()


def test_the_context_of_the_caller_reaches_the_method_and_the_methods_that_it_calls(bed: Bed, unique: Unique) -> None:
    class Inner:
        name = unique("billing")
        context = WorkerContext()

        @rpc
        def show(self) -> dict[str, str]:
            return self.context.headers()

    class Outer:
        name = unique("orgs")
        context = WorkerContext()
        billing = ServiceRpc(Inner.name)

        @rpc
        def show(self) -> list[dict[str, str]]:
            return [self.context.headers(), self.billing.show()]

    bed.host(Inner)
    bed.host(Outer)
    sent = Context(uuid4(), "account:abc", "chain", str(uuid4()), source="gateway a", after=Position(77))
    assert bed.call(Outer.name, "show", context=sent) == [sent.headers(), sent.headers()]


def test_the_call_id_stack_grows_with_each_hop(bed: Bed, unique: Unique) -> None:
    class CallIds(DependencyProvider):
        def get_dependency(self, worker_ctx: Any) -> list[str]:
            return list(worker_ctx.call_id_stack)

    class Inner:
        name = unique("billing")
        stack = CallIds()

        @rpc
        def show(self) -> list[str]:
            return self.stack

    class Outer:
        name = unique("orgs")
        stack = CallIds()
        billing = ServiceRpc(Inner.name)

        @rpc
        def show(self) -> list[list[str]]:
            return [self.stack, self.billing.show()]

    bed.host(Inner)
    bed.host(Outer)
    outer, inner = bed.call(Outer.name, "show")
    assert [call.split(".")[0] for call in outer] == ["test-client", Outer.name]
    assert inner[:2] == outer
    assert inner[2].startswith(f"{Inner.name}.show.")


def test_a_nested_call_raises_what_the_other_service_raised(bed: Bed, unique: Unique) -> None:
    class Inner:
        name = unique("firmware")

        @rpc
        def get_version(self, version: int) -> None:
            raise NotFound(f"Firmware {version} not found.")

    class Outer:
        name = unique("devices")
        firmware = ServiceRpc(Inner.name)

        @rpc
        def lock(self) -> str:
            try:
                self.firmware.get_version(version=7)
            except NotFound as missing:
                return missing.reason
            return "found"

    bed.host(Inner)
    bed.host(Outer)
    assert bed.call(Outer.name, "lock") == "Firmware 7 not found."


def test_a_nested_call_that_gets_no_answer_ends_with_unknown(bed: Bed, unique: Unique) -> None:
    go = threading.Event()

    class Inner:
        name = unique("firmware")

        @rpc
        def slow(self) -> None:
            go.wait(10)

    class Outer:
        name = unique("devices")
        firmware = ServiceRpc(Inner.name)

        @rpc
        def lock(self) -> None:
            self.firmware.slow()

    bed.host(Inner)
    bed.host(Outer, call_timeout_s=0.2)
    with pytest.raises(Unknown):
        bed.call(Outer.name, "lock")
    go.set()


def test_dependencies_live_as_in_nameko(bed: Bed, unique: Unique, heard: Heard) -> None:
    class Tracer(DependencyProvider):
        def setup(self) -> None:
            heard.put("setup")

        def start(self) -> None:
            heard.put("start")

        def stop(self) -> None:
            heard.put("stop")

        def worker_setup(self, worker_ctx: Any) -> None:
            heard.put("worker_setup")

        def get_dependency(self, worker_ctx: Any) -> str:
            heard.put("get_dependency")
            return worker_ctx.service_name

        def worker_result(self, worker_ctx: Any, result: Any = None, exc_info: Any = None) -> None:
            heard.put(("worker_result", result, exc_info))

        def worker_teardown(self, worker_ctx: Any) -> None:
            heard.put("worker_teardown")

    class Service:
        name = unique("orgs")
        tracer = Tracer()

        @rpc
        def who(self) -> str:
            return self.tracer

    host = bed.host(Service)
    assert bed.call(Service.name, "who") == Service.name
    host.stop()
    life = ["setup", "start", "get_dependency", "worker_setup", ("worker_result", Service.name, None)]
    assert heard.many(7) == [*life, "worker_teardown", "stop"]


def test_a_provider_that_fails_fails_this_call_and_no_other(bed: Bed, unique: Unique) -> None:
    class Moody(DependencyProvider):
        def get_dependency(self, worker_ctx: Any) -> str:
            if worker_ctx.kwargs.get("bad"):
                raise Unavailable("the store is away")
            return "fine"

    class Service:
        name = unique("orgs")
        moody = Moody()

        @rpc
        def ask(self, bad: bool) -> str:
            return self.moody

    bed.host(Service)
    with pytest.raises(Unavailable, match="the store is away"):
        bed.call(Service.name, "ask", bad=True)
    assert bed.call(Service.name, "ask", bad=False) == "fine"


def test_a_provider_can_be_replaced_by_name(bed: Bed, unique: Unique) -> None:
    class Service:
        name = unique("orgs")
        clock = WorkerContext()

        @rpc
        def now(self) -> str:
            return self.clock

    class Fixed:
        def get_dependency(self, worker_ctx: Any) -> str:
            return "noon"

    bed.host(Service, provide={"clock": Fixed()})
    assert bed.call(Service.name, "now") == "noon"
    with pytest.raises(TypeError, match="no dependency watch"):
        ServiceHost(Service, bed.transport, provide={"watch": Fixed()})


def test_entry_points_and_dependencies_of_nameko_s_runtime_are_refused(bed: Bed, unique: Unique) -> None:
    class Web:
        name = unique("web")

        @http("GET", "/")
        def get(self, request: Any) -> str:
            return ""

    class Dispatching:
        name = unique("dispatching")
        dispatch = EventDispatcher()

    with pytest.raises(TypeError, match=r"\.get: @HttpRequestHandler is not hosted"):
        ServiceHost(Web, bed.transport)
    with pytest.raises(TypeError, match="append an event"):
        ServiceHost(Dispatching, bed.transport)


# events


def our_message(stream: str = "org-1", version: int = 0, **data: Any) -> dict[str, Any]:
    meta = {"correlation": "the-first-command", "actor": "account:x", "command": str(uuid4()), "schema": 1}
    return {"id": str(uuid4()), "type": "Happened", "stream": stream, "version": version, "data": data, "meta": meta}


def test_an_event_reaches_every_service_that_handles_it(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")

    class Billing:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(("billing", message))

    class Devices:
        name = unique("devices")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(("devices", message))

        @event_handler(source, "SomethingElse")
        def on_something_else(self, message: dict[str, Any]) -> None:
            heard.put(("wrong", message))

    bed.host(Billing)
    bed.host(Devices)
    message = our_message(name="Fleet ä")
    bed.publish(source, "Happened", message)
    assert sorted(heard.many(2)) == [("billing", message), ("devices", message)]


def test_instances_of_a_service_share_its_events_and_each_hears_a_broadcast(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    source = unique("orgs")

    class Service:
        name = unique("billing")

        @event_handler(source, "Shared")
        def on_shared(self, message: dict[str, Any]) -> None:
            heard.put("shared")

        @event_handler(source, "Once", handler_type=SINGLETON)
        def on_once(self, message: dict[str, Any]) -> None:
            heard.put("once")

        @event_handler(source, "ForAll", handler_type=BROADCAST, reliable_delivery=False)
        def on_for_all(self, message: dict[str, Any]) -> None:
            heard.put("for all")

    bed.host(Service)
    bed.host(Service)
    for event_type in ("Shared", "Once", "ForAll"):
        bed.publish(source, event_type, our_message())
    assert sorted(heard.many(4)) == ["for all", "for all", "once", "shared"]
    assert heard.is_empty


def test_an_event_handler_s_command_is_the_same_at_every_delivery(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")
    tries = []

    class Service:
        name = unique("billing")
        context = WorkerContext()

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(self.context)
            tries.append(1)
            if len(tries) == 1:
                raise RuntimeError("once")

    bed.host(Service)
    message = our_message()
    bed.publish(source, "Happened", message)
    first, second = heard.many(2)
    assert first == second
    assert first.command_id == uuid5(UUID(message["id"]), f"{Service.name}.on_happened")
    assert first.causation_id == message["id"]
    assert first.correlation_id == "the-first-command"
    assert first.actor == f"system:{Service.name}"


def test_a_failing_handler_is_tried_again_then_its_message_is_parked_and_can_be_sent_again(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    source = unique("orgs")
    healed = threading.Event()

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(message["version"])
            if not healed.is_set():
                raise RuntimeError("broken tariff")

    host = bed.host(Service)
    message = our_message(version=5)
    bed.publish(source, "Happened", message)
    assert heard.many(3) == [5, 5, 5]
    (parked,) = bed.wait_for_parked(Service.name)
    assert parked.handler == f"{Service.name}.on_happened"
    assert parked.queue == f"evt-{source}-Happened--{Service.name}.on_happened"
    assert parked.error == "RuntimeError: broken tariff"
    assert wire.decode(parked.original) == message
    assert message["id"] in parked.message
    assert host.status()["events"][parked.handler]["parked"] == 1

    healed.set()
    resend(bed.parking, parked.id)
    assert heard.take() == 5
    assert bed.parked_of(Service.name) == []


def test_a_parked_message_can_be_discarded_and_one_that_is_not_there_is_not_found(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    source = unique("orgs")

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            raise RuntimeError("never")

    bed.host(Service)
    for version in range(3):
        bed.publish(source, "Happened", our_message(version=version))
    first, second, third = bed.wait_for_parked(Service.name, 3)
    discard(bed.parking, second.id)
    assert [message.id for message in bed.parked_of(Service.name)] == [first.id, third.id]
    for act in (discard, resend):
        with pytest.raises(NotFound):
            act(bed.parking, second.id)


def test_a_refusal_is_parked_without_another_try(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(1)
            raise Refused("no_such_plan", "There is no such plan.")

    bed.host(Service)
    bed.publish(source, "Happened", our_message())
    (parked,) = bed.wait_for_parked(Service.name)
    assert parked.error == "Refused: no_such_plan: There is no such plan."
    assert heard.take() == 1
    assert heard.is_empty


def test_what_is_unavailable_is_tried_beyond_the_usual_number(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")
    tries: list[int] = []

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            tries.append(1)
            if len(tries) < 8:
                raise Unavailable("the store is away")
            heard.put(len(tries))

    bed.host(Service)
    bed.publish(source, "Happened", our_message())
    assert heard.take() == 8
    assert bed.parked_of(Service.name) == []


def test_events_of_a_stream_stay_in_order_when_one_is_tried_again_and_other_streams_do_not_wait(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    source = unique("devices")
    other_done = threading.Event()

    class Service:
        name = unique("firmware")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            if message["stream"] == "slow" and message["version"] == 0 and not other_done.is_set():
                raise Unavailable("not yet")
            heard.put((message["stream"], message["version"]))
            if message["stream"] == "quick" and message["version"] == 3:
                other_done.set()

    bed.host(Service, workers=4)
    for version in range(4):
        bed.publish(source, "Happened", our_message("slow", version))
        bed.publish(source, "Happened", our_message("quick", version))
    everything = heard.many(8)
    for stream in ("slow", "quick"):
        assert [item for item in everything if item[0] == stream] == [(stream, version) for version in range(4)]
    assert everything.index(("quick", 3)) < everything.index(("slow", 0))


def test_many_events_of_many_streams_arrive_once_and_in_order(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("devices")

    class Service:
        name = unique("firmware")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put((message["stream"], message["version"]))

    bed.host(Service, workers=4)
    futures = [
        bed.transport.publish(source, "Happened", wire.encode(our_message(f"s{number % 7}", number)), {}, handled=True)
        for number in range(500)
    ]
    everything = heard.many(500)
    for future in futures:
        future.result(10)
    assert heard.is_empty
    for stream in range(7):
        assert [number for name, number in everything if name == f"s{stream}"] == list(range(stream, 500, 7))


def test_a_malformed_event_is_parked_and_the_next_one_is_handled(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(message["version"])

    bed.host(Service)
    bad = [
        b"\xff\xfe",
        b"{",
        b'{"__type__": "pickle", "__value__": 1}',
        b'{"__type__": "uuid", "__value__": {"hex": 1}}',
    ]
    for body in bad:
        bed.transport.publish(source, "Happened", body, {}).result(10)
    bed.publish(source, "Happened", our_message(version=9))
    assert heard.take() == 9
    parked = bed.wait_for_parked(Service.name, len(bad))
    assert sorted(message.original.body for message in parked) == sorted(bad)
    assert all(message.error.startswith("Malformed: ") for message in parked)


def test_a_malformed_request_is_answered_and_parked(bed: Bed, unique: Unique, heard: Heard) -> None:
    class Service:
        name = unique("orgs")

        @rpc
        def ping(self) -> str:
            return "pong"

    bed.host(Service)
    for body in (b"no json", b"[]", b'{"args": []}', b'{"args": {}, "kwargs": []}'):
        bed.transport.request(Service.name, "ping", body, {}, 10.0, heard.put)
        with pytest.raises(Exception, match=r"JSON|args") as raised:
            wire.decode_reply(heard.take())
        assert type(raised.value).__name__ == "MalformedRequest"
    assert len(bed.wait_for_parked(f"rpc-{Service.name}", 4)) == 4
    assert bed.call(Service.name, "ping") == "pong"


def test_a_request_with_a_bad_context_is_answered_with_an_error(bed: Bed, unique: Unique, heard: Heard) -> None:
    class Service:
        name = unique("orgs")
        context = WorkerContext()

        @rpc
        def ping(self) -> str:
            return "pong"

    bed.host(Service)
    body = wire.encode_request((), {})
    bed.transport.request(Service.name, "ping", body, {"nameko.command_id": "not a uuid"}, 10.0, heard.put)
    with pytest.raises(Exception, match="context headers"):
        wire.decode_reply(heard.take())


def test_an_event_that_was_published_before_its_service_started_is_handled_when_it_does(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    source = unique("orgs")

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            heard.put(message["version"])

    host = ServiceHost(Service, bed.transport)
    bed.publish(source, "Happened", our_message(version=1))
    assert heard.is_empty
    host.start()
    assert heard.take() == 1
    host.stop()
    bed.publish(source, "Happened", our_message(version=2))
    host.start()
    assert heard.take() == 2
    host.stop()


def test_what_a_stopped_host_had_not_begun_is_handled_after_its_start(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")
    began, go = threading.Event(), threading.Event()

    class Service:
        name = unique("billing")

        @event_handler(source, "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            began.set()
            go.wait(10)
            heard.put(message["version"])

    host = bed.host(Service)
    for version in range(4):
        bed.publish(source, "Happened", our_message(version=version))
    assert began.wait(10)
    bed.until(lambda: sum(lanes["open"] for lanes in host.status()["events"].values()) == 4)  # decision 13 says why
    stopping = threading.Thread(target=host.stop)
    stopping.start()
    go.set()
    stopping.join(15)
    host.start()
    assert heard.many(4) == [0, 1, 2, 3]
    assert heard.is_empty


def test_a_listener_hears_the_events_of_a_source_from_then_on(bed: Bed, unique: Unique, heard: Heard) -> None:
    source, other = unique("orgs"), unique("devices")
    bed.publish(source, "Early", our_message())
    bed.loop.run(bed.bus.listen(source, lambda message: heard.put(("all", message["version"]))))
    bed.loop.run(bed.bus.listen(source, lambda message: heard.put(("one", message["version"])), types=["Wanted"]))
    bed.publish(other, "Wanted", our_message(version=1))
    bed.publish(source, "Wanted", our_message(version=2))
    bed.publish(source, "Unwanted", our_message(version=3))
    assert sorted(heard.many(3)) == [("all", 2), ("all", 3), ("one", 2)]


def test_a_listener_that_fails_hears_the_next_event(bed: Bed, unique: Unique, heard: Heard) -> None:
    source = unique("orgs")

    def handler(message: dict[str, Any]) -> None:
        heard.put(message["version"])
        raise RuntimeError("oops")

    bed.loop.run(bed.bus.listen(source, handler))
    bed.transport.publish(source, "Happened", b"{", {}).result(10)
    for version in (1, 2):
        bed.publish(source, "Happened", our_message(version=version))
    assert heard.many(2) == [1, 2]


# timers


def test_a_timer_ticks_and_an_eager_one_at_once_with_a_command_of_its_own(
    bed: Bed, unique: Unique, heard: Heard
) -> None:
    class Service:
        name = unique("devices")
        context = WorkerContext()

        @timer(interval=0.05, eager=True)
        def tick(self) -> None:
            heard.put(self.context)
            raise RuntimeError("the next tick comes all the same")

        @timer(interval=600)
        def rarely(self) -> None:
            heard.put("too early")

    host = bed.host(Service)
    first, second = heard.many(2)
    assert first.actor == second.actor == f"system:{Service.name}"
    assert first.command_id != second.command_id
    host.stop()


def test_every_error_that_may_cross_is_in_the_tree() -> None:
    raised = {kind for kind in vars(errors).values() if isinstance(kind, type) and kind is not errors.FlotillaError}
    assert raised == set(CROSSING)
