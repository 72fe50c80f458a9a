"""Wires a gateway: directory, log, hub, devices and HTTP in one loop. Longer than most modules: one place wires."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, cast

from services.gateway.calls import Calls, service_of
from services.gateway.devices.kept_images import KeptImages
from services.gateway.devices.ports import Blobs as Images
from services.gateway.devices.server import DeviceServer
from services.gateway.devices.throttle import AdmissionLimits
from services.gateway.devices.transfers import TransferLimits
from services.gateway.directory import Directory
from services.gateway.epochs import END_S, Epochs, Listener, end_logged
from services.gateway.facts import Facts
from services.gateway.gate import Gate
from services.gateway.history import History
from services.gateway.hook_feed import HookFeed
from services.gateway.http.app import build_app
from services.gateway.http.ports import Bus, Limits, Services
from services.gateway.hub import Hub
from services.gateway.latest import LatestValues
from services.gateway.life import Life
from services.gateway.log import TelemetryLog
from services.gateway.protocols import Protocols, ports
from services.gateway.provisioning import Provisioner
from services.gateway.rollout_progress import RolloutProgress
from services.gateway.stream_ids import Ids
from services.gateway.web import WebServer
from shared.blobs import Blobs, FileBlobs, open_blobs
from shared.bus.client import AsyncBus
from shared.bus.messages import to_event
from shared.bus.open import open_bus, open_transport
from shared.bus.relay import Relay
from shared.bus.server import Server
from shared.bus.transport import Lock, Transport
from shared.clock import Clock, system_clock
from shared.errors import Refused, Unavailable
from shared.events import gateway as g
from shared.events.contracts import CONTRACTS
from shared.people.addresses import Addresses
from shared.people.open import PeopleKeys
from shared.projections.history import open_history
from shared.settings import Settings
from shared.store.open import open_store
from shared.store.port import EventStore
from shared.threaded import Threaded

log = logging.getLogger(__name__)

CATCH_UP_S = 1_800.0
"""How long the directory may take to catch up before the gateway gives up starting."""
CATCH_UP_TOLD_S = 10.0
STOP_S = 60.0
ANSWER_S = 5.0
STREAM_IDS = "ids of event streams"
"""The name of the secret that they are sealed with."""
STATUS_S = 2.0
"""How old the directory's part of the status may be."""

BusSource = Transport | str


class Gateway:
    """Everything of one gateway; all methods belong to one loop. Ports are -1 while nothing listens."""

    def __init__(
        self,
        settings: Settings,
        store: EventStore,
        bus_source: BusSource,
        *,
        clock: Clock = system_clock,
        limits: Limits | None = None,
    ) -> None:
        self.settings = settings
        self._limits = limits or Limits(
            streams_per_token=settings.streams_per_token, streams_per_organization=settings.streams_per_organization
        )
        self.http_port = -1
        self._store = store
        self._bus_source = bus_source
        self._clock = clock
        self._running = contextlib.AsyncExitStack()
        self.device_server: DeviceServer | None = None
        self._protocols: Protocols | None = None
        self._served: Server | None = None
        self._epochs: Epochs | None = None
        self._kinds: list[str] = []
        self._views: list[dict[str, Any]] = []
        self._status: dict[str, Callable[[], Mapping[str, Any]]] = {}

    def port(self, kind: str) -> int:
        """Where devices connect that speak this kind of protocol (``protocols.ports``)."""
        if self._epochs is None or kind not in self._kinds:
            return -1
        return self._epochs.ports[self._kinds.index(kind)]

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
        hub = Hub(directory, devices=lambda: None if self.device_server is None else self.device_server.subscriptions)
        await hub.listen(bus)
        log_store = await self._open_log()
        telemetry, latest = await self._start_log(log_store, directory, folder)
        ids = Ids(await asyncio.to_thread(keys.secret, STREAM_IDS))
        missed = History(name, directory, bus, self._store, log_store, ids)
        feed = HookFeed(missed, telemetry, self._clock)
        calls = Calls(name, bus, lambda: self.device_server)
        served = await bus.serve(service_of(name), {**calls.methods(), **missed.methods(), **feed.methods()})
        self._at_end("calls", served.stop)  # behind the devices, whose end is an answer to whoever waits for one
        self._served = served
        self._status["calls"] = served.status
        images = blobs if self.settings.blobs.startswith("file:") else KeptImages(blobs, FileBlobs(folder / "images"))
        await self._start_devices(directory, telemetry, latest, images, Provisioner(name, bus, directory))
        await bus.listen("gateway", self._connected, types=[g.DeviceConnected.__name__, g.SessionReplaced.__name__])
        await self._start_http(bus, directory, hub, missed, telemetry, calls, blobs, Addresses(keys))

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

    async def _open_log(self) -> EventStore:
        store = await asyncio.to_thread(open_store, self.settings.log)
        self._at_end("log store", lambda: asyncio.to_thread(store.close))
        return store

    async def _start_log(
        self, store: EventStore, directory: Directory, folder: Path
    ) -> tuple[TelemetryLog, LatestValues]:
        name = self.settings.gateway
        latest = await asyncio.to_thread(LatestValues, folder, store, clock=self._clock)
        self._at_end("latest values", lambda: asyncio.to_thread(latest.stop))
        latest.start()
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
        return telemetry, latest

    async def _start_devices(
        self,
        directory: Directory,
        telemetry: TelemetryLog,
        latest: LatestValues,
        images: Images,
        provisioner: Provisioner,
    ) -> None:
        protocols = Protocols(self.settings, provisioner, self._clock)
        await protocols.open()
        self._at_end("protocols", protocols.close)
        self._protocols = protocols

        def listen(life: Life, facts: Facts) -> Listener:
            gate = Gate(directory, life)
            server = DeviceServer(
                directory=gate,
                facts=facts,
                log=telemetry,
                blobs=images,
                gateway=self.settings.gateway,
                epoch=life.epoch,
                clock=self._clock,
                latest=latest,
                transfer_limits=TransferLimits(
                    self.settings.update_transfers,
                    self.settings.update_bytes_per_s,
                    self.settings.update_device_bytes_per_s,
                ),
                admission_limits=AdmissionLimits(connections_an_address=self.settings.connections_per_address),
                behind=lambda: max(facts.batcher.behind_s, telemetry.batcher.behind_s),
            )
            gate.inside = server.sessions
            protocols.serve(server)
            self.device_server = server
            return server

        listening = ports(self.settings)
        self._epochs = epochs = Epochs(
            self._store,
            self.settings.gateway,
            self.settings.lease_s,
            listen,
            directory.on_change,
            host=self.settings.host,
            ports=listening,
            drain_s=self.settings.drain_s,
            clock=self._clock,
            on_superseded=self._served.stop if self._served is not None else None,
        )
        self._at_end("epochs", epochs.stop, self.settings.drain_s + 3 * END_S)
        try:
            await epochs.start()
        except OSError as error:
            raise Refused("address_in_use", f"cannot listen on {error.strerror or error}") from error
        self._kinds = [port.kind for port in listening]
        self._status["epoch"] = epochs.status

    def _connected(self, message: dict[str, Any]) -> None:
        """A gateway has told that a device connected to it."""
        if self.device_server is None or message["data"]["gateway"] == self.settings.gateway:
            return
        fact: Any = to_event(message, CONTRACTS)
        self.device_server.connected_elsewhere(fact)
        if self._protocols is not None:
            self._protocols.connected_elsewhere(fact.device_id, fact.connected_at)

    async def _start_http(
        self,
        bus: AsyncBus,
        directory: Directory,
        hub: Hub,
        missed: History,
        telemetry: TelemetryLog,
        calls: Calls,
        blobs: Blobs,
        addresses: Addresses,
    ) -> None:
        if self.settings.http_port < 0:
            return
        rollouts = RolloutProgress(self.settings.gateway)
        await rollouts.listen(bus)
        app = build_app(
            Services(
                bus=cast(Bus, bus),
                directory=directory,
                hub=hub,
                history=missed,
                log=telemetry,
                calls=calls,
                blobs=blobs,
                rollouts=rollouts,
                addresses=addresses,
                clock=self._clock,
                status=self.status,
                gateway=self.settings.gateway,
                limits=self._limits,
            )
        )
        web = WebServer(app, proxies=self.settings.trusted_proxies)
        self._at_end("http", web.stop)
        self.http_port = await web.start(self.settings.host, self.settings.http_port)
        self._running.callback(hub.close)  # first of all: event streams never end by themselves
        self._status["live"] = lambda: {"readers": hub.readers, "strange": hub.strange}

    def _at_end(self, what: str, end: Callable[[], Awaitable[None]], within_s: float | None = None) -> None:
        async def ended() -> None:
            await end_logged(what, end(), within_s)

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


def build(
    settings: Settings,
    store: EventStore,
    bus_source: BusSource,
    *,
    clock: Clock = system_clock,
    limits: Limits | None = None,
) -> Gateway:
    """A gateway that is not started. ``bus_source`` is the process's local transport or an ``amqp://`` URL."""
    return Gateway(settings, store, bus_source, clock=clock, limits=limits)


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
        self,
        settings: Settings,
        store: EventStore,
        bus_source: BusSource,
        *,
        clock: Clock = system_clock,
        limits: Limits | None = None,
    ) -> None:
        self._gateway = gateway = build(settings, store, bus_source, clock=clock, limits=limits)
        name = f"gateway {settings.gateway}"
        super().__init__(name, gateway.start, gateway.stop, start_s=CATCH_UP_S + 60, stop_s=STOP_S + settings.drain_s)

    def ask_status(self) -> dict[str, Any]:
        """As ``Gateway.status``, from any thread. Raises ``Unavailable`` if the loop does not answer."""
        return self.ask(self._gateway.status, ANSWER_S)

    @property
    def http_port(self) -> int:
        """The bound port; -1 while it does not listen."""
        return self._gateway.http_port

    def port(self, kind: str) -> int:
        """As ``Gateway.port``."""
        return self._gateway.port(kind)
