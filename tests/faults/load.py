"""The load under which faults are inflicted: a team over HTTP and devices over MQTT, which note what is acknowledged.

Every command has a key of its own and is repeated with it until it is acknowledged, as a careful client does; so a
command may arrive many times and must happen once.
"""

from __future__ import annotations

import asyncio
import json
import random
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import aiomqtt
import httpx

from deploy.api import Api, ApiError
from deploy.simulation.device import Endpoint
from deploy.simulation.fleet import SimulatedFleet, in_turn
from deploy.simulation.mqtt import LONG, SHORT, MqttDevice, Rebooting
from deploy.story import FleetThread
from shared.ids import derived_uuid, event_id
from tests.faults.ledger import Ledger, Promise

WORKERS = 3
MOST_PENDING = 8
"""Commands that one worker repeats at most before it asks for nothing new."""
PAUSE_S = (0.05, 0.3)
CALL_TIMEOUT_S = 8.0
COME_AGAIN = (408, 409, 429, 503)
"""What a fault may be answered with; a client repeats the command."""
IMAGE_BYTES = 6_000
JOB_LINES = 1_500
PASSWORD = "correct horse battery"

Answer = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """A command, and what its acknowledgement promises."""

    method: str
    path: str
    options: dict[str, Any]
    kept: Callable[[UUID, Answer], None]
    key: str


class Device(MqttDevice):
    """Numbers what it publishes, and now and then goes away and comes again."""

    def __init__(self, ledger: Ledger, quiet: threading.Event, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self._ledger = ledger
        self._quiet = quiet
        self._number = 0

    async def _publish(self, client: aiomqtt.Client) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(0.5, 1.5))
            if self._quiet.is_set():
                continue
            if self._chance.random() < 0.05:
                raise Rebooting
            self._number += 1
            number = self._number
            await client.publish(self._dialect.telemetry, json.dumps({"number": number}), qos=1)
            self._ledger.told(self._ledger.telemetry, (self.device_id, number))

    async def _report(self, client: aiomqtt.Client, state: str, error: str = "") -> None:
        version = self.version
        await super()._report(client, state, error)
        self._ledger.told(self._ledger.reports, (self.device_id, version))


class Load:
    """``reader`` is a session that has written nothing, so that it need not wait for views that cannot follow now.
    ``start``, then ``pause`` and ``resume`` around each look at what it has done, ``stop`` at the end."""

    def __init__(self, urls: Sequence[str], endpoints: Sequence[Endpoint], ledger: Ledger, seed: int) -> None:
        self.ledger = ledger
        self.api = Api(urls[0], timeout_s=CALL_TIMEOUT_S)
        self.reader = Api(urls[0], timeout_s=CALL_TIMEOUT_S)
        self.product = 0
        self.ids: list[str] = []
        self._urls = urls
        self._endpoints = endpoints
        self._seed = seed
        self._account = self.org = ""
        self._others: list[Api] = []
        self._stopping = threading.Event()
        self._quiet = threading.Event()
        self._idle = [threading.Event() for _ in range(WORKERS)]
        self._uploading = threading.Lock()
        self._locked: set[tuple[str, int]] = set()
        self._threads: list[threading.Thread] = []
        self._fleet: FleetThread | None = None

    def found(self, account_of: Callable[[int], str], devices: int) -> None:
        """Sign up, found a product, import the fleet. ``account_of`` says whose a product is."""
        name = f"faults-{secrets.token_hex(4)}"
        self.api.sign_up(f"{name}@example.com", PASSWORD)
        self.api.log_in(f"{name}@example.com", PASSWORD)
        self.reader.log_in(f"{name}@example.com", PASSWORD)
        self.org = self.api.create_organization(name, name)["slug"]
        self.product = self.api.create_product(self.org, "Under load", "Many faults", "mqtt")["id"]
        self._account = account_of(self.product)
        self._others = [Api.like(self.api, url) for url in self._urls]
        self.ids = [secrets.token_hex(12) for _ in range(devices)]
        self.api.import_devices(self.product, "\n".join(self.ids).encode())
        self.api.upload_firmware(self.product, 2, "First", secrets.token_bytes(IMAGE_BYTES))
        self.ledger.uploaded.add(2)

    def start(self) -> None:
        """Switch the devices on and begin to work."""
        tokens = self.api.device_tokens(self.product, self.ids)
        fleet = SimulatedFleet(
            [
                Device(
                    self.ledger,
                    self._quiet,
                    id_,
                    token,
                    self.product,
                    1,
                    in_turn(self._endpoints, n),
                    LONG if n % 2 else SHORT,
                )
                for n, (id_, token) in enumerate(tokens.items())
            ]
        )
        self._fleet = FleetThread(fleet)
        self._fleet.start()
        for number in range(WORKERS):
            thread = threading.Thread(target=self._work, args=(number,), name=f"load {number}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def pause(self) -> None:
        """Ask for nothing new and publish nothing; the devices stay connected. Returns when calls are over."""
        self._quiet.set()
        for idle in self._idle:
            if not idle.wait(4 * CALL_TIMEOUT_S):
                raise TimeoutError("a call of the load does not end")

    def resume(self) -> None:
        """Go on."""
        for idle in self._idle:
            idle.clear()
        self._quiet.clear()

    def stop(self) -> None:
        """End the work and switch the devices off."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(2 * CALL_TIMEOUT_S)
        if self._fleet is not None:
            self._fleet.stop()
            self._fleet = None

    def close(self) -> None:
        """Let go of all connections."""
        self.stop()
        for api in (self.api, self.reader, *self._others):
            api.__exit__()

    def _work(self, number: int) -> None:
        chance = random.Random(f"{self._seed}/{number}")
        pending: deque[Wish] = deque()
        while not self._stopping.is_set():
            if self._quiet.is_set():
                self._idle[number].set()
                time.sleep(0.05)
                continue
            wants_new = len(pending) < MOST_PENDING and (not pending or chance.random() < 0.7)
            wish = self._wish(chance) if wants_new else pending.popleft()
            if not self._ask(chance.choice(self._others), wish):
                pending.append(wish)
            time.sleep(chance.uniform(*PAUSE_S))

    def _ask(self, api: Api, wish: Wish) -> bool:
        """Whether the command is dealt with."""
        command = derived_uuid("idempotency", self._account, wish.method, wish.path, wish.key)
        self.ledger.asked.add(command)
        try:
            answer = api.call(wish.method, wish.path, headers={"Idempotency-Key": wish.key}, **wish.options)
        except httpx.HTTPError as problem:
            self.ledger.answered(type(problem).__name__)
            return False
        except ApiError as refusal:
            self.ledger.answered(f"{refusal.status} {refusal.code}")
            if refusal.status in COME_AGAIN:
                return False
            self.ledger.surprised(f"{wish.method} {wish.path}: {refusal}")
            return True
        self.ledger.answered("acknowledged")
        wish.kept(command, answer)
        return True

    def _wish(self, chance: random.Random) -> Wish:
        kinds = (self._describe, self._group, self._lock, self._import, self._start_job, self._upload, self._create)
        [kind] = chance.choices(kinds, weights=(30, 30, 8, 15, 0.4, 2, 2))
        return kind(chance)

    def _describe(self, chance: random.Random) -> Wish:
        return self._change(chance.choice(self.ids), {"name": secrets.token_hex(8)})

    def _group(self, chance: random.Random) -> Wish:
        return self._change(chance.choice(self.ids), {"groups": [secrets.token_hex(4), "all"]})

    def _lock(self, chance: random.Random) -> Wish:
        pair = (chance.choice(self.ids), chance.choice(sorted(self.ledger.uploaded)))
        if pair in self._locked:  # a lock that is there already would change nothing
            return self._describe(chance)
        self._locked.add(pair)
        return self._change(pair[0], {"desired_firmware_version": pair[1]})

    def _change(self, device: str, change: dict[str, Any]) -> Wish:
        stream = f"device-{device}"

        def kept(command: UUID, _answer: Answer) -> None:
            self.ledger.promise([Promise(stream, event_id(command, 0, stream))])

        return self._made("PUT", f"devices/{device}", kept, json=change)

    def _import(self, chance: random.Random) -> Wish:
        ids = [secrets.token_hex(12) for _ in range(chance.randint(1, 12))]

        def kept(command: UUID, answer: Answer) -> None:
            if sorted(answer["updatedDeviceIds"]) != sorted(ids):
                self.ledger.surprised(f"an import of {len(ids)} devices was answered with {answer}")
            self.ledger.promise([Promise(stream, event_id(command, 0, stream)) for stream in _streams(ids)])

        return self._made("POST", "devices", kept, files=_file("\n".join(ids).encode()))

    def _start_job(self, _chance: random.Random) -> Wish:
        ids = [secrets.token_hex(12) for _ in range(JOB_LINES)]

        def kept(command: UUID, answer: Answer) -> None:
            stream = f"import-{answer['import']['id']}"
            self.ledger.promise([Promise(stream, event_id(command, 0, stream))])
            self.ledger.jobs[stream] = ids

        return self._made("POST", "imports", kept, files=_file("\n".join(ids).encode()))

    def _upload(self, _chance: random.Random) -> Wish:
        """One at a time: a version must be higher than those before it."""
        if not self._uploading.acquire(blocking=False):
            return self._describe(_chance)
        version, stream = max(self.ledger.uploaded) + 1, f"firmware-{self.product}"

        def kept(command: UUID, _answer: Answer) -> None:
            self.ledger.promise([Promise(stream, event_id(command, 0, stream))])
            self.ledger.uploaded.add(version)
            self._uploading.release()

        fields = {"version": str(version), "title": f"Version {version}", "description": ""}
        return self._made("POST", "firmware", kept, data=fields, files=_file(secrets.token_bytes(IMAGE_BYTES)))

    def _create(self, _chance: random.Random) -> Wish:
        def kept(_command: UUID, answer: Answer) -> None:
            self.ledger.promise([Promise(f"product-{answer['product']['id']}", None)])

        product = {"name": f"Product {secrets.token_hex(6)}", "description": "One of many", "device_type": "mqtt"}
        body = {"json": {"product": product}}
        return Wish("POST", f"/v1/orgs/{self.org}/products", body, kept, secrets.token_hex(12))

    def _made(self, method: str, path: str, kept: Callable[[UUID, Answer], None], **options: Any) -> Wish:
        return Wish(method, f"/v1/products/{self.product}/{path}", options, kept, secrets.token_hex(12))


def _streams(ids: Iterable[str]) -> Iterable[str]:
    return (f"device-{one}" for one in ids)


def _file(content: bytes) -> dict[str, Any]:
    return {"file": ("file.bin", content, "application/octet-stream")}
