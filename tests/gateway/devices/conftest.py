"""What the device tests share: packets as a client writes them, and a directory, facts and a log in memory."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from services.gateway.devices.calls import Question, VariableRead
from services.gateway.devices.effects import Ack, Answer, Close, Now, Record, Store
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.mqtt.admission import Admitted
from services.gateway.devices.mqtt.certificates import Authorities
from services.gateway.devices.mqtt.effects import Effect, Serve
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import decode_connect
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.devices.mqtt.session import Session, Surroundings
from services.gateway.entries import AuthorityEntry, DesiredEntry, DeviceEntry, ImageEntry, ProductEntry
from shared.context import Context
from shared.errors import NotFound, Unavailable
from shared.events.gateway import DevicePublished, UsageCounted
from shared.ids import digest
from shared.targets import Membership
from shared.times import iso

DEVICE = "0123456789abcdef01234567"
TOKEN = "token-of-the-first-device"
PRODUCT = 1000


class ClientWire:
    """Packets that a client sends, as bytes."""

    @staticmethod
    def text(value: str | bytes) -> bytes:
        data = value.encode() if isinstance(value, str) else value
        return len(data).to_bytes(2, "big") + data

    @staticmethod
    def packet(first: int, body: bytes) -> bytes:
        size, length = len(body), bytearray()
        while True:
            size, low = divmod(size, 128)
            length.append(low | (0x80 if size else 0))
            if not size:
                return bytes([first]) + bytes(length) + body

    @classmethod
    def connect(
        cls,
        username: str | None = TOKEN,
        *,
        password: str | bytes | None = None,
        client_id: str = "client",
        level: int = 4,
        clean: bool = True,
        keep_alive_s: int = 60,
        will: tuple[str, bytes] | None = None,
        properties: bytes = b"",
    ) -> bytes:
        flags = 2 * clean + 4 * (will is not None) + 0x40 * (password is not None) + 0x80 * (username is not None)
        body = cls.text("MQIsdp" if level == 3 else "MQTT") + bytes([level, flags]) + keep_alive_s.to_bytes(2, "big")
        if level == 5:
            body += bytes([len(properties)]) + properties
        body += cls.text(client_id)
        if will is not None:
            body += (b"\0" if level == 5 else b"") + cls.text(will[0]) + cls.text(will[1])
        for part in (username, password):
            if part is not None:
                body += cls.text(part)
        return cls.packet(0x10, body)

    @classmethod
    def publish(
        cls, topic: str, payload: bytes = b"", qos: int = 0, packet_id: int = 1, level: int = 4, properties: bytes = b""
    ) -> bytes:
        body = cls.text(topic) + (packet_id.to_bytes(2, "big") if qos else b"")
        if level == 5:
            body += bytes([len(properties)]) + properties
        return cls.packet(0x30 | qos << 1, body + payload)

    @classmethod
    def subscribe(cls, *filters: str, qos: int = 1, packet_id: int = 1, level: int = 4) -> bytes:
        body = packet_id.to_bytes(2, "big") + (b"\0" if level == 5 else b"")
        return cls.packet(0x82, body + b"".join(cls.text(entry) + bytes([qos]) for entry in filters))


class FakeDirectory:
    """A directory in memory."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceEntry] = {}
        self.tokens: dict[str, str] = {}
        self.images: dict[tuple[int, int], ImageEntry] = {}
        self.intelligent = False
        self.away = False
        self.firmware_name = ""
        self.version_width = 0
        self.programs_at_setup = False
        self.reports: dict[str, dict[str, tuple[Any, int]]] = {}
        self.wishes: dict[str, DesiredEntry] = {}
        self.access: dict[str, Any] = {}
        """What was configured of the product's ``ProductEntry``."""
        self.certificates: dict[str, str] = {}
        self.copied: set[str] = set()
        """Certificates that a device of another organization has on record, too."""
        self.trusted: list[AuthorityEntry] = []
        self.authorities_revision = 0

    def trust(self, *entries: AuthorityEntry) -> None:
        """These authorities and no others sign certificates now."""
        self.trusted = list(entries)
        self.authorities_revision += 1

    def authorities(self) -> list[AuthorityEntry]:
        return self.trusted

    def device_by_certificate(self, fingerprint: str, org_id: str | None = None) -> DeviceEntry | None:
        if org_id not in (None, "org"):
            return None
        if org_id is None and fingerprint in self.copied:
            return None
        return self.devices.get(self.certificates.get(fingerprint, ""))

    def admit_device(self, device_id: str) -> DeviceEntry | None:
        return self.device(device_id)

    def product_by_provisioning_key(self, key: str) -> ProductEntry | None:
        return self.product(str(PRODUCT)) if key == self.access.get("provisioning_key") else None

    def device_by_token(self, token_digest: str) -> DeviceEntry | None:
        if self.away:
            raise Unavailable("the directory is away")
        return self.devices.get(self.tokens.get(token_digest, ""))

    def device(self, device_id: str) -> DeviceEntry | None:
        return self.devices.get(device_id)

    def product(self, ref: str) -> ProductEntry | None:
        released = next((entry.released_version for entry in self.devices.values()), None)
        return ProductEntry(
            int(ref),
            "org",
            "brewer",
            "Brewer",
            "mqtt",
            65_535,
            released,
            self.intelligent,
            firmware_name=self.firmware_name,
            version_width=self.version_width,
            programs_at_setup=self.programs_at_setup,
            **self.access,
        )

    def product_by_firmware_name(self, name: str) -> ProductEntry | None:
        return self.product(str(PRODUCT)) if self.firmware_name and name == self.firmware_name else None

    def reported(self, device_id: str) -> dict[str, tuple[Any, int]]:
        return self.reports.get(device_id, {})

    def desired(self, device_id: str) -> DesiredEntry:
        return self.wishes.get(device_id, DesiredEntry())

    def desired_revision(self, device_id: str) -> int:
        return self.desired(device_id).revision

    def desire(self, values: dict[str, Any], removed: Sequence[str] = (), device_id: str = DEVICE) -> None:
        """The platform desires these attributes."""
        before = self.desired(device_id)
        revision = before.revision + 1
        kept = {**before.values, **{name: (value, revision) for name, value in values.items()}}
        gone = {**before.removed, **dict.fromkeys(removed, revision)}
        self.wishes[device_id] = DesiredEntry(
            revision,
            {name: entry for name, entry in kept.items() if name not in removed},
            {name: number for name, number in gone.items() if name not in values},
        )

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        return self.images.get((product_id, version))

    def add(self, device_id: str = DEVICE, token: str = TOKEN, **changes: Any) -> DeviceEntry:
        entry = DeviceEntry(
            device_id=device_id,
            membership=Membership(PRODUCT),
            reported_product=None,
            reported_version=None,
            reported_title="",
            reported_text="",
            ever_reported=False,
            released_version=None,
            attempt_version=None,
            attempts=0,
            failures=0,
        )
        self.devices[device_id] = replace(entry, **changes)
        self.tokens[digest(token)] = device_id
        return self.devices[device_id]

    def change(self, device_id: str = DEVICE, *, member: Any = None, **changes: Any) -> None:
        entry = self.devices[device_id]
        if member is not None:
            changes["membership"] = replace(entry.membership, **member)
        self.devices[device_id] = replace(entry, **changes)

    def put_image(self, version: int, data: bytes, product_id: int = PRODUCT) -> ImageEntry:
        image = ImageEntry(product_id, version, f"v{version}", len(data), hashlib.sha256(data).hexdigest())
        self.images[product_id, version] = image
        return image


@dataclass
class FakeBlobs:
    """Blobs in memory."""

    data: dict[str, bytes] = field(default_factory=dict)

    def put(self, data: bytes) -> None:
        self.data[hashlib.sha256(data).hexdigest()] = data

    def read(self, sha256: str, offset: int, length: int) -> bytes:
        if sha256 not in self.data:
            raise NotFound("no such blob")
        return self.data[sha256][offset : offset + length]


class Recorder:
    """Facts and log at once; with ``waits``, events become durable when the test says so. What is told of usage, at the
    end of each server too, is kept apart."""

    def __init__(self) -> None:
        self.facts: list[object] = []
        self.usage: list[UsageCounted] = []
        self.contexts: list[Context | None] = []
        self.published: list[DevicePublished] = []
        self.waits = False
        self.fails = False
        self.open: list[asyncio.Future[None]] = []
        self._changed = asyncio.Event()

    def record(self, event: object, *, actor: str, context: Context | None = None) -> asyncio.Future[None]:
        if isinstance(event, UsageCounted):
            self.usage.append(event)
        else:
            self.facts.append(event)
            self.contexts.append(context)
        return self._future()

    def publish(self, event: DevicePublished) -> asyncio.Future[None]:
        self.published.append(event)
        return self._future()

    def _future(self) -> asyncio.Future[None]:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._changed.set()
        if self.fails:
            done.set_exception(Unavailable("the store is away"))
        elif self.waits:
            self.open.append(done)
        else:
            done.set_result(None)
        return done

    def store(self) -> None:
        """What was recorded so far is durable."""
        waiting, self.open = self.open, []
        for done in waiting:
            done.set_result(None)

    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.facts]

    async def until(self, holds: Callable[[Recorder], bool]) -> None:
        async with asyncio.timeout(10):
            while not holds(self):
                self._changed.clear()
                await self._changed.wait()


class Desk:
    """A session without a socket: packets in, effects sorted by kind out; events are durable at once."""

    def __init__(self, directory: FakeDirectory, limits: MqttLimits | None = None) -> None:
        self.directory = directory
        self.limits = limits or MqttLimits()
        self.around = Surroundings(directory, self.limits, "a", 1, Authorities(directory))
        self.memory = DeviceMemory(DEVICE)
        self.seconds = 1_000.0
        self.sent: list[bytes] = []
        self.facts: list[Any] = []
        self.published: list[DevicePublished] = []
        self.served: list[Serve] = []
        self.answers: list[Answer] = []
        self.closed: Close | None = None
        self.waits = False
        self.acks: list[Ack] = []
        self.session: Session
        self._numbers = 0

    @property
    def now(self) -> Now:
        return Now(self.seconds, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds))

    def connect(self, packet: bytes = b"", replaced_address: str | None = None) -> Desk:
        connect = decode_connect(_frame(packet or ClientWire.connect()))
        self._numbers += 1
        entry = self.directory.devices[DEVICE]
        admitted = Admitted(entry, bytes.fromhex(digest(TOKEN)))
        self.closed = None
        self.session = Session(self.around, connect, admitted, self.memory, self._numbers, "192.0.2.1", False, self.now)
        self._sort(self.session.start(connect, replaced_address, self.now))
        return self

    def send(self, packet: bytes) -> list[bytes]:
        """What is sent in answer."""
        before = len(self.sent)
        self._sort(self.session.receive(_frame(packet), self.now))
        return self.sent[before:]

    def up(self, topic: str, payload: bytes = b"", qos: int = 1, packet_id: int = 7) -> list[bytes]:
        """Publish; what is sent in answer."""
        return self.send(ClientWire.publish(topic, payload, qos, packet_id, self.session.level))

    def wait(self, seconds: float, held: bool = False) -> list[bytes]:
        """Let time go by, waking the session whenever it wants to be; what it sends."""
        before, end = len(self.sent), self.seconds + seconds
        while self.closed is None and self.session.wake_at() <= end:
            self.seconds = max(self.seconds, self.session.wake_at())
            self._sort(self.session.tick(held, self.now))
        self.seconds = end
        return self.sent[before:]

    def news(self) -> list[bytes]:
        before = len(self.sent)
        self._sort(self.session.directory_changed(self.now))
        return self.sent[before:]

    def ask(self, question: Question, number: int = 1) -> list[bytes]:
        """Ask the device; what is sent to it."""
        before = len(self.sent)
        self._sort(self.session.ask(number, question, self.now))
        return self.sent[before:]

    def value(self, name: str) -> Any:
        """What is known of a variable."""
        self.ask(VariableRead(name))
        return self.answers[-1].outcome

    def time(self) -> str:
        """The present moment as text."""
        return iso(self.now.at)

    def replaced(self) -> None:
        """A newer connection takes over."""
        self._sort(self.session.replaced(self.now))

    def lose(self, ending: Any = "connection_lost") -> None:
        self._sort(self.session.end(ending, self.now))

    def store(self) -> list[bytes]:
        """What waited is durable; what is sent because of it."""
        before = len(self.sent)
        acks, self.acks = self.acks, []
        for ack in acks:
            self._sort(self.session.stored(ack))
        return self.sent[before:]

    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.facts]

    def last(self, kind: type) -> Any:
        return [fact for fact in self.facts if isinstance(fact, kind)][-1]

    def _sort(self, effects: Sequence[Effect]) -> None:
        acks: list[Ack] = []
        for effect in effects:
            match effect:
                case bytes():
                    self.sent += [effect] if effect else []
                case Record():
                    self.facts.append(effect.event)
                    acks += [effect.ack] if effect.ack else []
                case Store():
                    self.published.append(effect.event)
                    acks += [effect.ack] if effect.ack else []
                case Serve():
                    self.served.append(effect)
                case Answer():
                    self.answers.append(effect)
                case Close():
                    self.closed = effect
        self.acks += acks
        if not self.waits:
            self.store() if self.acks else None


def _frame(packet: bytes) -> Any:
    reader = FrameReader(1 << 20)
    reader.feed(packet)
    frame = reader.take()
    assert frame is not None
    return frame


@pytest.fixture
def wire() -> type[ClientWire]:
    return ClientWire


@pytest.fixture
def directory() -> FakeDirectory:
    made = FakeDirectory()
    made.add()
    return made


@pytest.fixture
def blobs() -> FakeBlobs:
    return FakeBlobs()


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def desk(directory: FakeDirectory) -> Desk:
    return Desk(directory)


@pytest.fixture
def make_desk(directory: FakeDirectory) -> Callable[[MqttLimits], Desk]:
    return lambda limits: Desk(directory, limits)
