"""Wires a gateway: directory, log, hub, devices and HTTP in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

from services.gateway.devices.mqtt.listener import MqttListener
from services.gateway.directory import Directory
from services.gateway.epochs import Epochs, Listener, Port, end_logged
from services.gateway.facts import Facts
from services.gateway.gate import Gate
from services.gateway.http.app import build_app
from services.gateway.http.ports import Bus, Services
from services.gateway.hub import Hub
from services.gateway.life import Life
from services.gateway.log import TelemetryLog
from services.gateway.threaded import Threaded
from services.gateway.web import WebServer
from shared.blobs import Blobs, open_blobs
from shared.bus.client import AsyncBus
from shared.bus.open import open_bus, open_transport
from shared.bus.relay import Relay
from shared.bus.transport import Lock, Transport
from shared.clock import Clock, system_clock
from shared.errors import Refused, Unavailable
from shared.events.contracts import CONTRACTS
from shared.people.open import PeopleKeys
from shared.projections.history import open_history
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore

log = logging.getLogger(__name__)

DRAIN_S = 5.0
"""Over how long the sessions are closed when the gateway stops."""
CATCH_UP_S = 1_800.0
"""How long the directory may take to catch up before the gateway gives up starting."""
CATCH_UP_TOLD_S = 10.0
STOP_S = 60.0
ANSWER_S = 5.0
STATUS_S = 2.0
"""How old the directory's part of the status may be."""

BusSource = Transport | str


class Gateway:
    """Everything of one gateway; all methods belong to one loop. Ports are -1 while nothing listens."""

    def __init__(
        self, settings: Settings, store: EventStore, bus_source: BusSource, *, clock: Clock = system_clock
    ) -> None:
        self.settings = settings
        self.http_port = -1
        self._store = store
        self._bus_source = bus_source
        self._clock = clock
        self._running = contextlib.AsyncExitStack()
        self._epochs: Epochs | None = None
        self._protocols: list[str] = []
        self._views: list[dict[str, Any]] = []
        self._status: dict[str, Callable[[], Mapping[str, Any]]] = {}

    @property
    def mqtt_port(self) -> int:
        """Where MQTT devices connect."""
        return self._bound("mqtt")

    @property
    def mqtts_port(self) -> int:
        """Where MQTT devices connect with TLS."""
        return self._bound("mqtts")

    async def start(self) -> None:
        """Returns when devices and HTTP are served, not before the directory is up to date. Raises ``Unavailable``,
        and ``Refused`` for settings that do not work, such as a port in use; then nothing of it runs any more."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accept nothing more, close the sessions, store the facts, end the epoch, close the rest; safe to repeat."""
        await self._running.aclose()
        self.http_port = -1

    def status(self) -> dict[str, Any]:
        """The parts and their lag; ``ok`` while devices are served and every view follows."""
        parts = {name: dict(part()) for name, part in self._status.items()}
        well = bool(parts.get("epoch", {}).get("ok")) and all(view["error"] is None for view in self._views)
        return {"ok": well, "gateway": self.settings.gateway, "directory": self._views, **parts}

    async def _start(self) -> None:
        name, folder = self.settings.gateway, self.settings.data / f"gateway-{self.settings.gateway}"
        blobs = await asyncio.to_thread(open_blobs, self.settings.blobs)
        keys = await asyncio.to_thread(PeopleKeys, self.settings.keys, self._store)
        self._at_end("keys of people", lambda: asyncio.to_thread(keys.close))
        contracts = CONTRACTS.with_keys(keys)
        history = await asyncio.to_thread(open_history, self.settings.mirror, self._store)
        self._at_end("mirror of the events", lambda: asyncio.to_thread(history.close))
        directory = await asyncio.to_thread(
            Directory, folder, self._store, contracts, clock=self._clock, history=history
        )
        self._at_end("directory", lambda: asyncio.to_thread(directory.stop))
        await asyncio.to_thread(directory.start)
        await self._up_to_date(directory)
        self._watch(directory)
        bus = open_bus(self._bus_source, name=f"gateway-{name}")
        self._at_end("bus", bus.stop)
        await bus.start()
        hub = Hub(directory)
        await hub.listen(bus)
        telemetry = await self._start_log(directory)
        await self._start_devices(directory, telemetry, blobs)
        await self._start_http(bus, directory, hub, blobs)

    async def _up_to_date(self, directory: Directory) -> None:
        head = await asyncio.to_thread(self._store.head)
        for _ in range(int(CATCH_UP_S / CATCH_UP_TOLD_S)):
            if await directory.wait_for(head, CATCH_UP_TOLD_S):
                return
            log.warning("the directory of gateway %r is not up to date yet", self.settings.gateway)
        raise Unavailable(f"the directory of gateway {self.settings.gateway!r} does not catch up")

    def _watch(self, directory: Directory) -> None:
        """Keep the directory's status at hand, for asking takes more than the loop should wait."""

        async def ask() -> None:
            while True:
                self._views = await asyncio.to_thread(_view_status, directory)
                await asyncio.sleep(STATUS_S)

        self._at_end("status", _cancelling(asyncio.create_task(ask(), name="status")))

    async def _start_log(self, directory: Directory) -> TelemetryLog:
        name = self.settings.gateway
        store = await asyncio.to_thread(open_store, self.settings.log)
        self._at_end("log store", lambda: asyncio.to_thread(store.close))
        transport = self._bus_source
        if isinstance(transport, str):
            transport = open_transport(transport, name=f"gateway-{name}-log")
            self._at_end("log transport", lambda: asyncio.to_thread(transport.stop))
            await asyncio.to_thread(transport.start)
        relay = Relay(
            "telemetry",
            store,
            cast(Transport, _OwnLocks(transport, name)),
            directory.database.checkpoints(),
            CONTRACTS.of_service("telemetry"),
            contracts=CONTRACTS,
        )
        self._at_end("log relay", lambda: asyncio.to_thread(relay.stop))
        await asyncio.to_thread(relay.start)
        telemetry = TelemetryLog(store, name)
        self._at_end("log", telemetry.stop)
        telemetry.start()
        self._status["log"] = telemetry.batcher.status
        return telemetry

    async def _start_devices(self, directory: Directory, telemetry: TelemetryLog, blobs: Blobs) -> None:
        def listen(life: Life, facts: Facts) -> Listener:
            gate = Gate(directory, life)
            listener = MqttListener(
                directory=gate,
                facts=facts,
                log=telemetry,
                blobs=blobs,
                gateway=self.settings.gateway,
                epoch=life.epoch,
                clock=self._clock,
            )
            gate.inside = listener.sessions
            return listener

        ports = _ports(self.settings)
        self._epochs = epochs = Epochs(
            self._store,
            self.settings.gateway,
            self.settings.lease_s,
            listen,
            directory.on_change,
            host=self.settings.host,
            ports=list(ports.values()),
            drain_s=DRAIN_S,
            clock=self._clock,
        )
        self._at_end("epochs", epochs.stop)
        try:
            await epochs.start()
        except OSError as error:
            wanted = ", ".join(str(port.number) for port in ports.values())
            raise Refused("address_in_use", f"cannot listen on {self.settings.host}:{wanted}: {error}") from error
        self._protocols = list(ports)
        self._status["epoch"] = epochs.status

    async def _start_http(self, bus: AsyncBus, directory: Directory, hub: Hub, blobs: Blobs) -> None:
        if self.settings.http_port < 0:
            return
        app = build_app(
            Services(
                bus=cast(Bus, bus),
                directory=directory,
                hub=hub,
                blobs=blobs,
                clock=self._clock,
                status=self.status,
                gateway=self.settings.gateway,
            )
        )
        web = WebServer(app)
        self._at_end("http", web.stop)
        self.http_port = await web.start(self.settings.host, self.settings.http_port)
        self._running.callback(hub.close)  # first of all: event streams never end by themselves
        self._status["live"] = lambda: {"readers": hub.readers, "strange": hub.strange}

    def _bound(self, protocol: str) -> int:
        if self._epochs is None or protocol not in self._protocols:
            return -1
        return self._epochs.ports[self._protocols.index(protocol)]

    def _at_end(self, what: str, end: Callable[[], Awaitable[None]]) -> None:
        async def ended() -> None:
            await end_logged(what, end())

        self._running.push_async_callback(ended)


class _OwnLocks:
    """The transport, with locks of this gateway's own: every gateway relays its own log, none stands by for another."""

    def __init__(self, transport: Transport, owner: str) -> None:
        self._transport = transport
        self._owner = owner

    def lock(self, name: str, changed: Callable[[bool], None]) -> Lock:
        return self._transport.lock(f"{name}-{self._owner}", changed)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


def build(settings: Settings, store: EventStore, bus_source: BusSource, *, clock: Clock = system_clock) -> Gateway:
    """A gateway that is not started. ``bus_source`` is the process's local transport or an ``amqp://`` URL."""
    return Gateway(settings, store, bus_source, clock=clock)


def _ports(settings: Settings) -> dict[str, Port]:
    """Where devices connect, by protocol. Raises ``Refused`` for TLS without a certificate that can be used."""
    ports: dict[str, Port] = {}
    if settings.mqtt_port >= 0:
        ports["mqtt"] = Port(settings.mqtt_port)
    if settings.mqtts_port >= 0:
        ports["mqtts"] = Port(settings.mqtts_port, _tls(settings))
    return ports


def _tls(settings: Settings) -> ssl.SSLContext:
    if not settings.tls_certificate:
        raise Refused("bad_setting", "MQTT over TLS needs FLOTILLA_TLS_CERTIFICATE and FLOTILLA_TLS_KEY")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key or None)
    except (OSError, ssl.SSLError) as error:
        raise Refused("bad_setting", f"the certificate {settings.tls_certificate!r} cannot be used: {error}") from error
    return context


def _view_status(directory: Directory) -> list[dict[str, Any]]:
    shown = ("name", "position", "lag_events", "parked", "error")
    return [{name: getattr(view, name) for name in shown} for view in directory.projector.status()]


def _cancelling(task: asyncio.Task[None]) -> Callable[[], Awaitable[None]]:
    async def cancel() -> None:
        task.cancel()
        await asyncio.wait([task])

    return cancel


class GatewayPart(Threaded):
    """A gateway as a part of a process."""

    def __init__(
        self, settings: Settings, store: EventStore, bus_source: BusSource, *, clock: Clock = system_clock
    ) -> None:
        self._gateway = gateway = build(settings, store, bus_source, clock=clock)
        name = f"gateway {settings.gateway}"
        super().__init__(name, gateway.start, gateway.stop, start_s=CATCH_UP_S + 60, stop_s=STOP_S)

    def ask_status(self) -> dict[str, Any]:
        """As ``Gateway.status``, from any thread. Raises ``Unavailable`` if the loop does not answer."""
        return self.ask(self._gateway.status, ANSWER_S)

    @property
    def http_port(self) -> int:
        """The bound port; -1 while it does not listen."""
        return self._gateway.http_port

    @property
    def mqtt_port(self) -> int:
        """The bound port; -1 while it does not listen."""
        return self._gateway.mqtt_port
