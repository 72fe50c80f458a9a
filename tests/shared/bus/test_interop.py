"""Stock nameko and ours on one broker: calls, errors, events and context both ways."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nameko.events import event_handler
from nameko.rpc import ServiceRpc, rpc
from nameko.testing.services import worker_factory

from shared.bus import address, wire
from shared.bus.errors import RemoteError
from shared.bus.messages import to_message
from shared.bus.providers import ClockProvider, EventStreams
from shared.context import Context
from shared.errors import Conflict, Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.events.orgs import OrganizationCreated
from shared.store.open import open_store
from shared.store.port import Position, Recorded
from shared.streams import Streams
from tests.keys import contracts_with_keys

pytestmark = [pytest.mark.broker, pytest.mark.timeout(90)]

HERE = Path(__file__).parent
Bed = Any
Heard = Any


def plain(bed: Bed) -> str:
    """The broker's URL without what only we understand."""
    return address.parse(bed.url).nodes[0]


@contextmanager
def nameko_run(module: str, service: str, bed: Bed, suffix: str, folder: Path) -> Iterator[None]:
    """``nameko run`` in a process of its own, ready when its methods answer."""
    environment = {
        **os.environ,
        "STOCK_SUFFIX": suffix,
        "PYTHONPATH": str(HERE.parents[2]),
        "FLOTILLA_DATA": str(folder),
    }
    command = [sys.executable, "-m", "nameko", "run", module, "--define", f"AMQP_URI={plain(bed)}"]
    with (folder / "nameko.log").open("wb") as output:
        process = subprocess.Popen(command, cwd=HERE, env=environment, stdout=output, stderr=output)
        try:
            _wait_until_known(bed, service, process, folder / "nameko.log")
            yield
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)


def _wait_until_known(bed: Bed, service: str, process: subprocess.Popen[bytes], log: Path) -> None:
    waiting = threading.Event()
    for _ in range(200):
        try:
            bed.call(service, "no_such_method")
        except RemoteError:
            return
        except Unavailable:
            assert process.poll() is None, log.read_text()
            waiting.wait(0.1)
    raise AssertionError(log.read_text())


@pytest.fixture
def stock(amqp_bed: Bed, heard: Heard, tmp_path: Path) -> Iterator[tuple[Bed, str]]:
    """A stock service and one of ours that knows it."""
    suffix = uuid4().hex[:8]

    class Ours:
        name = f"ours_{suffix}"
        stock = ServiceRpc(f"stock_{suffix}")

        @rpc
        def double(self, number: int) -> int:
            return number * 2

        @rpc
        def refuse(self) -> None:
            raise Refused("slug_taken", "That slug is taken.", '{"slug": "a"}')

        @rpc
        def conflict(self) -> None:
            raise Conflict("org-1", "3", "4")

        @rpc
        def fail(self) -> None:
            raise ZeroDivisionError("no way")

        @rpc
        def ask_stock(self, value: Any) -> Any:
            return [self.stock.echo(value), self.stock.whoami()]

        @event_handler(f"stock_{suffix}", "announced")
        def on_announced(self, data: Any) -> None:
            heard.put(data)

    amqp_bed.host(Ours)
    with nameko_run("stock_service", f"stock_{suffix}", amqp_bed, suffix, tmp_path):
        yield amqp_bed, suffix


def test_a_stock_service_and_ours_talk_in_every_way(stock: tuple[Bed, str], heard: Heard) -> None:
    bed, suffix = stock
    theirs = f"stock_{suffix}"
    moment = datetime(2026, 5, 4, 3, 2, 1, tzinfo=UTC)

    # our client calls theirs: values, context, errors
    value = {"moment": moment, "text": "ä€", "list": [1, 2.5, None]}
    assert bed.call(theirs, "echo", value=value) == value
    assert bed.call(theirs, "whoami", context=Context.new("account:me", "test")) == "account:me"
    with pytest.raises(Refused) as refused:
        bed.call(theirs, "refuse")
    assert (refused.value.code, refused.value.reason) == ("no_such_plan", "There is no such plan.")
    with pytest.raises(RemoteError, match="KeyError"):
        bed.call(theirs, "fail")
    with pytest.raises(RemoteError, match="IncorrectSignature"):
        bed.call(theirs, "echo", wrong=1)

    # their service calls ours: values and errors
    assert bed.call(theirs, "ask", question="double", given={"number": 21}) == {"result": 42}
    told = bed.call(theirs, "ask", question="refuse", given={})
    assert told == {
        "class": "Refused",
        "args": ["slug_taken", "That slug is taken.", '{"slug": "a"}'],
        "code": "slug_taken",
    }
    assert bed.call(theirs, "ask", question="conflict", given={})["args"] == ["org-1", "3", "4"]
    told = bed.call(theirs, "ask", question="fail", given={})
    assert told == {"class": "ZeroDivisionError", "args": ["no way"], "code": ""}

    # our service calls theirs, the caller's context with it
    context = Context.new("account:you", "test")
    assert bed.call(f"ours_{suffix}", "ask_stock", value=[1], context=context) == [[1], "account:you"]

    # events both ways
    bed.call(theirs, "announce", data={"any": "thing"})
    assert heard.take() == {"any": "thing"}
    bed.loop.run(bed.bus.publish(f"ours_{suffix}", "Happened", {"n": 1}, context=Context.new("account:x", "test")))
    waiting = threading.Event()
    for _ in range(100):
        if bed.call(theirs, "heard"):
            break
        waiting.wait(0.05)
    assert bed.call(theirs, "heard") == [[{"n": 1}, "account:x"]]


PROXY = """
import json, sys
import shared.bus.errors
from nameko.exceptions import RemoteError
from nameko.standalone.rpc import ClusterRpcProxy
from nameko import config
from shared.errors import Refused
config.setup({"AMQP_URI": sys.argv[1]})
found = []
with ClusterRpcProxy(context_data={"actor": "account:cluster"}) as cluster:
    ours = cluster[sys.argv[2]]
    found.append(ours.double(4))
    for method in ("refuse", "fail", "missing"):
        try:
            getattr(ours, method)()
        except Refused as problem:
            found.append([problem.code, problem.reason])
        except RemoteError as problem:
            found.append([problem.exc_type, problem.value])
        except Exception as problem:
            found.append([type(problem).__name__, str(problem)])
    found.append(ours.whoami())
print(json.dumps(found))
"""


def test_nameko_s_standalone_proxy_calls_ours(amqp_bed: Bed, unique: Callable[[str], str]) -> None:
    class Actor(ClockProvider):
        def get_dependency(self, worker_ctx: Any) -> Any:
            return worker_ctx.data["actor"]

    class Ours:
        name = unique("ours")
        actor = Actor()

        @rpc
        def double(self, number: int) -> int:
            return number * 2

        @rpc
        def refuse(self) -> None:
            raise Refused("slug_taken", "That slug is taken.")

        @rpc
        def fail(self) -> None:
            raise ZeroDivisionError("no way")

        @rpc
        def whoami(self) -> str:
            return self.actor

    amqp_bed.host(Ours)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROXY, plain(amqp_bed), Ours.name],
        env={**os.environ, "PYTHONPATH": str(HERE.parents[2])},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [
        8,
        ["slug_taken", "That slug is taken."],
        ["ZeroDivisionError", "no way"],
        ["MethodNotFound", "missing"],
        "account:cluster",
    ]


def test_a_service_with_our_providers_runs_under_nameko_run(amqp_bed: Bed, tmp_path: Path) -> None:
    suffix, context = uuid4().hex[:8], Context.new("account:me", "test")
    org, other = "a" * 24, "b" * 24
    created = contracts_with_keys().encode(
        OrganizationCreated(other, "Fleet", "fleet", "monthly", "c" * 24, "a@b.example"), 0, context
    )
    recorded = Recorded(
        created.id, created.type, "org-b", 0, Position(1), datetime.now(UTC), created.data, created.meta
    )
    with nameko_run("hosted_by_nameko", f"billing_{suffix}", amqp_bed, suffix, tmp_path):
        answer = amqp_bed.call(f"billing_{suffix}", "start_trial", context=context, org_id=org)
        assert answer["actor"] == "account:me"
        amqp_bed.publish(f"orgs_{suffix}", "OrganizationCreated", to_message(recorded))
        store = open_store(f"sqlite:///{tmp_path / 'events.db'}")
        try:
            assert store.wait(Position(answer["position"]), 10)
            reaction = store.read(f"subscription-{other}")[0]
        finally:
            store.close()
    meta = json.loads(reaction.meta)
    assert meta["causation"] == str(created.id)
    assert meta["actor"] == f"system:billing_{suffix}"
    assert meta["correlation"] == context.correlation_id


def test_our_classes_work_with_nameko_s_worker_factory(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'events.db'}")

    class Service:
        name = "billing"
        streams = EventStreams()
        clock = ClockProvider()

        @rpc
        def head(self) -> Any:
            return self.streams.store.head(), self.clock()

    noon = datetime(2026, 5, 4, 12, tzinfo=UTC)
    service = worker_factory(Service, streams=Streams(store, CONTRACTS), clock=lambda: noon)
    assert service.head() == (None, noon)
    store.close()


def test_a_request_without_reply_to_is_parked_and_kills_nobody(amqp_bed: Bed, unique: Callable[[str], str]) -> None:
    class Ours:
        name = unique("ours")

        @rpc
        def ping(self) -> str:
            return "pong"

    amqp_bed.host(Ours)
    body = wire.encode_request((), {})
    link = amqp_bed.transport._link
    amqp_bed.transport.post(lambda: link.publish(wire.RPC_EXCHANGE, f"{Ours.name}.ping", body, {}, lambda _: None))
    (parked,) = amqp_bed.wait_for_parked(f"rpc-{Ours.name}")
    assert (parked.handler, parked.error) == (f"{Ours.name}.ping", "Malformed: a request without reply_to")
    assert amqp_bed.call(Ours.name, "ping") == "pong"
