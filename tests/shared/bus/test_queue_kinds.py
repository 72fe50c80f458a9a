"""Classic and quorum queues at a real broker: what is declared, what clashes, what the broker parks by itself; and the
lock of relays."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import pika
import pytest
from nameko.events import event_handler
from nameko.rpc import rpc

from shared.bus import queue_kinds
from shared.bus.address import with_queues
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
from shared.bus.parking import list_parked, resend
from shared.bus.queue_kinds import MOST_DELIVERIES
from shared.errors import Refused

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]

Unique = Callable[[str], str]
Heard = Any
Broker = Any


def service(unique: Unique, heard: Heard | None = None) -> Any:
    class Service:
        name = unique("billing")

        @rpc
        def ping(self) -> str:
            return "pong"

        @event_handler(unique("orgs"), "Happened")
        def on_happened(self, message: dict[str, Any]) -> None:
            if heard is not None:
                heard.put(message)

    return Service


@pytest.mark.parametrize(("first", "second"), [("classic", "quorum"), ("quorum", "classic")])
def test_a_queue_of_the_other_kind_stops_the_start_with_what_to_do(
    rabbitmq: Broker, unique: Unique, first: str, second: str
) -> None:
    url = rabbitmq.add_vhost(unique("kinds"))
    service_class = service(unique)
    before = open_transport(with_queues(url, first), name="before")
    ServiceHost(service_class, before)
    before.start()
    before.stop()
    after = open_transport(with_queues(url, second), name="after")
    with pytest.raises(Refused) as refused:
        after.start()
    assert refused.value.code == "other_kind_of_queue"
    for part in ("flotilla.parked", "FLOTILLA_QUEUES", "rabbitmqctl delete_queue"):
        assert part in refused.value.reason


def test_a_queue_that_a_stock_nameko_program_has_declared_is_named(rabbitmq: Broker, unique: Unique) -> None:
    url = rabbitmq.add_vhost(unique("stock"))
    queue = f"rpc-{unique('billing')}"
    with pika.BlockingConnection(pika.URLParameters(url)) as stock:
        stock.channel().queue_declare(queue, durable=True)
    ours = open_transport(with_queues(url, "quorum"), name="ours")
    ours.start()
    with pytest.raises(Refused, match=f"{queue}.*quorum"):
        ServiceHost(service(unique), ours).start()
    ours.stop()


CRASHING = """
import os, sys, warnings
warnings.simplefilter("ignore")
from nameko.events import event_handler
from shared.bus.host import ServiceHost
from shared.bus.open import open_transport
class Service:
    name = sys.argv[2]
    @event_handler(sys.argv[3], "Happened")
    def on_happened(self, message):
        os._exit(7)
import threading
transport = open_transport(sys.argv[1], name="crashing")
transport.start()
ServiceHost(Service, transport).start()
threading.Event().wait(20)
"""


def test_a_message_that_ends_its_handlers_process_again_and_again_is_parked_by_the_broker_and_can_be_sent_again(
    rabbitmq: Broker, unique: Unique, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a limit of one, because every attempt costs a process."""
    url = with_queues(rabbitmq.add_vhost(unique("crash")), "quorum")
    script = f"import shared.bus.queue_kinds as kinds; kinds.QUORUM.events['x-delivery-limit'] = 1\n{CRASHING}"
    monkeypatch.setitem(queue_kinds.QUORUM.events, "x-delivery-limit", 1)  # type: ignore[arg-type]
    service_class = service(unique, heard)
    source = unique("orgs")
    transport = open_transport(url, name="test")
    ServiceHost(service_class, transport)
    transport.start()
    transport.publish(source, "Happened", b'{"id": "one", "position": 7}', {"mine": "kept"}).result(10)
    for _ in range(2):
        command = [sys.executable, "-c", script, url, service_class.name, source]
        assert subprocess.run(command, timeout=30, check=False).returncode == 7
    waiting = threading.Event()
    for _ in range(200):
        parked = list_parked(url)
        if parked:
            break
        waiting.wait(0.05)
    (message,) = parked
    assert message.queue == f"evt-{source}-Happened--{service_class.name}.on_happened"
    assert message.handler == f"{service_class.name}.on_happened"
    assert f"ended {MOST_DELIVERIES} times" in message.error
    assert (message.position, message.original.routing_key) == (7, "Happened")
    host = ServiceHost(service_class, transport)
    host.start()
    resend(url, message.id)
    assert heard.take() == {"id": "one", "position": 7}
    assert list_parked(url) == []
    host.stop()
    transport.stop()


def test_looking_at_parked_messages_does_not_wear_them_out(rabbitmq: Broker, unique: Unique) -> None:
    url = with_queues(rabbitmq.add_vhost(unique("look")), "quorum")
    transport = open_transport(url, name="test")
    transport.start()
    transport.send("flotilla.parked", json.dumps({"position": 3}).encode(), {"flotilla.parked.id": "a"}).result(10)
    for _ in range(MOST_DELIVERIES + 5):
        assert [message.id for message in list_parked(url)] == ["a"]
    transport.stop()


HOLDER = """
import sys, threading
from shared.bus.open import open_transport
transport = open_transport(sys.argv[1], name="holder")
transport.start()
transport.lock("job", lambda mine: print("mine" if mine else "gone", flush=True))
threading.Event().wait(60)
"""


def test_a_lock_is_held_by_one_connection_and_goes_to_the_next_when_its_process_is_killed(
    amqp_url: str, heard: Heard
) -> None:
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, amqp_url]
    transport = open_transport(amqp_url, name="next")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "mine\n"
        transport.start()
        lock = transport.lock("job", heard.put)
        threading.Event().wait(1.5)  # more than one attempt
        assert heard.is_empty
        os.kill(holder.pid, signal.SIGKILL)
        assert heard.take(5.0) is True
    lock.release()
    assert heard.take() is False
    again = transport.lock("job", heard.put)
    assert heard.take(5.0) is True
    again.release()
    transport.stop()
