"""The main job as a story: from a sign-up to a fleet that runs the released firmware, each step checked.

Runs against a platform that is up already, as its users would: HTTP for the team, MQTT or Particle's protocol for the
devices. ``flotilla demo`` tells it; the acceptance tests run it in every mode.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Self

import httpx
from rich.console import Console
from rich.table import Table

from deploy.api import Api, ApiError
from deploy.simulation.conditions import Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.device import Endpoint
from deploy.simulation.enlisting import PHOTON, Keys, Plan, SimulatedProtocol, enlist
from deploy.simulation.fleet import SimulatedFleet
from deploy.simulation.modules import build_module
from shared.errors import FlotillaError

PATIENCE_S = 60.0
"""How long a step may take before the story has failed."""
PUBLISH_EVERY_S = 2.0
IMAGE_BYTES = 96 * 1024 + 7
"""Size of the demo's firmware: not a multiple of any chunk size."""


class NotAsPromised(FlotillaError):
    """A step did not end as the product's rules say."""


class FleetThread:
    """Simulated devices on an event loop of their own."""

    def __init__(self, fleet: SimulatedFleet) -> None:
        self.fleet = fleet
        self._loop = asyncio.new_event_loop()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        """Switch the devices on."""
        self._thread.start()

    def stop(self) -> None:
        """Switch them off; returns when all connections are closed."""
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(timeout=20)

    def power_cycle(self, off_s: float, skip: str) -> None:
        """Pull the plug of every device but one, and put it back."""

        async def all_of_them() -> None:
            devices = [device for device in self.fleet.devices if device.device_id != skip]
            await asyncio.gather(*(device.power_cycle(off_s) for device in devices))

        asyncio.run_coroutine_threadsafe(all_of_them(), self._loop).result(timeout=PATIENCE_S)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)

        async def until() -> None:
            await self._end.wait()

        self._loop.run_until_complete(self.fleet.run(until))
        self._loop.close()


class EventWatch:
    """Counts the product's live events by name, as a dashboard would see them."""

    def __init__(self, api: Api, product: int) -> None:
        self.counts: Counter[str] = Counter()
        self.ready = threading.Event()
        self._stop = threading.Event()
        self._api = api
        self._product = product
        self._thread = threading.Thread(target=self._run, name="events", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                with self._api.events(self._product) as events:
                    self.ready.set()
                    self._count(events)
            except (FlotillaError, httpx.HTTPError):  # lost: connect again, as every reader of event streams does
                self._stop.wait(1.0)

    def _count(self, events: Iterator[tuple[str, dict[str, Any]] | None]) -> None:
        for event in events:
            if self._stop.is_set():
                return
            if event is not None:
                name, body = event
                self.counts[f"{name} {body['data']}" if name.startswith("spark/") else name] += 1

    def stop(self) -> None:
        """Stop counting; returns when the stream is closed."""
        self._stop.set()
        self._thread.join(timeout=15)


@dataclass
class Story:
    """One run of the main job. ``api_urls`` and ``endpoints`` are those of all gateways. With ``particle``, keys of
    devices and gateways, the product is one of Photons, and ``endpoints`` are for them."""

    api_urls: Sequence[str]
    endpoints: Sequence[Endpoint]
    console: Console
    devices: int = 50
    in_the_middle: Callable[[Story], None] | None = None
    particle: Keys | None = None
    product_id: int = 0
    ids: list[str] = field(default_factory=list)
    _step: int = 0

    def __post_init__(self) -> None:
        self._apis = ExitStack()
        self.api = self.watched = self._apis.enter_context(Api(self.api_urls[0]))
        self.image = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Let go of the connections."""
        self._apis.close()

    def at(self, url: str) -> Api:
        """The same team member at another gateway."""
        return self._apis.enter_context(Api.like(self.api, url))

    def tell(self) -> None:
        """Run all of it. Raises ``NotAsPromised`` or ``ApiError`` where it is not as promised."""
        self.found()
        self.import_devices()
        fleet = FleetThread(self._simulated())
        watch = EventWatch(self.watched, self.product_id)
        watch.ready.wait(PATIENCE_S)
        fleet.start()
        try:
            self._connect()
            self._upload()
            self._flash_one()
            self._release(fleet)
            self._watch(watch)
            if self.particle is not None:
                self._call()
            self._end()
        finally:
            watch.stop()
            fleet.stop()

    def found(self) -> None:
        self._say("A team member signs up, creates an organization and a product")
        suffix = secrets.token_hex(4)
        email = f"ada+{suffix}@example.com"
        self.api.sign_up(email, "correct horse battery")
        self.api.log_in(email, "correct horse battery")
        self.watched = self.at(self.api_urls[-1])
        organization = self.api.create_organization(f"Brewers {suffix}", f"brewers-{suffix}")
        self._check(organization["subscription"]["state"] == "trialing", "the organization is in its trial")
        device_type = "mqtt" if self.particle is None else "Photon"
        product = self.api.create_product(organization["slug"], "Kettle", "A kettle that can be called", device_type)
        self.product_id = product["id"]
        code = secrets.token_bytes(IMAGE_BYTES)
        self.image = code if self.particle is None else build_module(self.product_id, 2, code)
        self._done(f"{email} · organization {organization['slug']} · product {product['name']} = {self.product_id}")

    def import_devices(self) -> None:
        self._say(f"A file of {self.devices} device IDs is imported, with a few flaws in it")
        self.ids = [secrets.token_hex(12) for _ in range(self.devices)]
        lines = [*self.ids, "", self.ids[0].upper(), "not a device"]
        report = self.api.import_devices(self.product_id, ("\ufeff" + "\r\n".join(lines)).encode())
        self._check(report["updated"] == self.devices, f"{report['updated']} imported")
        self._check(
            [problem["line"] for problem in report["problems"]] == [self.devices + 3],
            "the malformed line is named, the duplicate counted once",
        )
        problem = report["problems"][0]
        self._done(f"{report['updated']} imported · line {problem['line']} refused: {problem['reason']}")

    def _simulated(self) -> SimulatedFleet:
        counts = Counts()
        conditions = Conditions(telemetry_every_s=PUBLISH_EVERY_S)
        plan = Plan(self.product_id, 1, PHOTON, {self._protocol: self.endpoints}, conditions)
        devices = enlist(self.api, plan, {self._protocol: self.ids}, self.particle, counts, lambda what, more: None)
        return SimulatedFleet(devices, counts)

    @property
    def _protocol(self) -> SimulatedProtocol:
        return "mqtt" if self.particle is None else "particle"

    def _connect(self) -> None:
        spoken = "MQTT" if self.particle is None else "Particle's protocol"
        self._say(f"The devices connect over {spoken} and report product and version")
        self._await(lambda: self._versions() == {1: self.devices}, "every device reports version 1")
        self._await(lambda: self._online() == self.devices, "every device is online")
        self._done(f"{self._online()} online, all on version 1")

    def _upload(self) -> None:
        self._say("The team uploads version 2; releasing it before any device ran it is refused (FW-5)")
        uploaded = self.api.upload_firmware(self.product_id, 2, "Faster boiling", self.image)
        self._check(uploaded["size"] == len(self.image), "the whole file arrived")
        self._refused("firmware_not_running", lambda: self.api.release(self.product_id, 2))
        self._refused(
            "version_not_incremented", lambda: self.api.upload_firmware(self.product_id, 2, "Again", self.image)
        )
        self._done(f"version 2, {uploaded['size']} bytes · release refused: it has not run on any device yet")

    def _flash_one(self) -> None:
        test_device = self.ids[0]
        self._say(f"It is locked to a test device and flashed now (FW-3): {test_device}")
        self.api.update_device(self.product_id, test_device, {"desired_firmware_version": 2, "flash": True})
        self._await(lambda: self._versions() == {1: self.devices - 1, 2: 1}, "the test device runs version 2")
        self._await(lambda: self.api.firmware(self.product_id)[0]["releasable"], "version 2 may be released")
        self._done("the test device came back and reports version 2")

    def _release(self, fleet: FleetThread) -> None:
        self._say("Version 2 is released; every other device takes it when it next comes online (FW-4)")
        self.api.release(self.product_id, 2)
        time.sleep(2.0)
        self._check(self._versions() == {1: self.devices - 1, 2: 1}, "nobody is interrupted by the release itself")
        fleet.power_cycle(0.5, skip=self.ids[0])
        if self.in_the_middle is not None:
            self._await(lambda: self._versions().get(2, 0) > self.devices // 10, "the roll-out is under way")
            self.in_the_middle(self)
        self._await(lambda: self._versions() == {2: self.devices}, "every device runs version 2")
        self._await(lambda: self._online() == self.devices, "every device is online")
        self._done("the whole fleet took it at its next connection")

    def _watch(self, watch: EventWatch) -> None:
        self._say("The product's live event stream showed all of it")
        self._await(lambda: watch.counts["telemetry"] >= self.devices, "telemetry of the devices")
        if self.in_the_middle is None:
            self._await(lambda: watch.counts["spark/status online"] >= 2 * self.devices, "devices coming online")
            self._await(lambda: watch.counts["spark/flash/status success"] >= self.devices, "updates that succeeded")
        self._done(" · ".join(f"{name}: {count}" for name, count in sorted(watch.counts.items())))

    def _call(self) -> None:
        device = self.ids[-1]
        self._say(f"A function of a device is called, and a variable read: {device}")
        returned = self.api.call_function(self.product_id, device, "brew", "tea")
        self._check(returned == 1, f"it has brewed once, not {returned} times")
        name = self.api.read_variable(self.product_id, device, "name")
        self._check(str(name).startswith("kettle-"), f"its name is {name}")
        self._done(f"brew returned {returned} · name is {name}")

    def _end(self) -> None:
        self._say("The fleet")
        self.console.print(self.fleet_table(rows=12))

    def fleet_table(self, rows: int = 1_000) -> Table:
        """The fleet as the team sees it."""
        devices = self.api.devices(self.product_id)
        counters = self.api.statistics(self.product_id)
        caption = f"{counters['devices']['online']} of {counters['devices']['total']} online · " + ", ".join(
            f"version {entry['version']} on {entry['device_count']}" for entry in counters["firmware"]
        )
        shown = "" if len(devices) <= rows else f" (first {rows} of {len(devices)})"
        table = Table(title=f"Product {self.product_id}{shown}", caption=caption)
        for heading in ("device", "state", "version", "target", "lock", "last heard"):
            table.add_column(heading, no_wrap=True)
        for device in devices[:rows]:
            table.add_row(*(_cell(device, key) for key in _COLUMNS))
        return table

    def counters(self) -> str:
        """The fleet in one line: online, and how many run which version."""
        versions = " · ".join(f"version {version}: {count}" for version, count in sorted(self._versions().items()))
        return f"online {self._online()} of {self.devices} · {versions}"

    def _versions(self) -> dict[int, int]:
        counters = self.api.statistics(self.product_id)
        return {entry["version"]: entry["device_count"] for entry in counters["firmware"]}

    def _online(self) -> int:
        online: int = self.api.statistics(self.product_id)["devices"]["online"]
        return online

    def _refused(self, code: str, call: Callable[[], Any]) -> None:
        try:
            call()
        except ApiError as refusal:
            self._check(refusal.code == code, f"refused with {code}, not {refusal}")
            return
        raise NotAsPromised(f"should have been refused with {code}")

    def _check(self, true: bool, promise: str) -> None:
        if not true:
            raise NotAsPromised(f"not as promised: {promise}")

    def _await(self, true: Callable[[], bool], promise: str) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            if true():
                return
            time.sleep(0.2)
        raise NotAsPromised(
            f"not as promised within {PATIENCE_S:.0f} s: {promise}; "
            f"versions are {self._versions()}, {self._online()} online"
        )

    def _say(self, text: str) -> None:
        self._step += 1
        self.console.print(f"[bold]{self._step}. {text}[/bold]", highlight=False)

    def _done(self, text: str) -> None:
        self.console.print(f"   [green]✓[/green] {text}", highlight=False)


_COLUMNS = (
    "id",
    "online",
    "firmware_version",
    "targeted_firmware_release_version",
    "desired_firmware_version",
    "last_heard",
)


def _cell(device: dict[str, Any], key: str) -> str:
    value = device[key]
    if isinstance(value, bool):
        return "[green]online[/green]" if value else "[red]offline[/red]"
    if key == "last_heard" and value is not None:
        return str(value)[11:19]
    return "–" if value is None else str(value)
