"""One session of a Particle device without a socket: what the device says in, what the session does out."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

from services.gateway.devices.calls import Question
from services.gateway.devices.effects import Ack, Answer, Close, Now, Record, Store
from services.gateway.devices.memory import DeviceMemory
from services.gateway.devices.particle import admission, coap, device_messages, device_reading
from services.gateway.devices.particle.admission import Admitted, Refusal
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.effects import Effect, Fetch, Listen, Once
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.limits import ParticleLimits
from services.gateway.devices.particle.session import Kept, Session, Surroundings
from services.gateway.devices.subscriptions import Wanted
from services.gateway.entries import DeviceEntry, ImageEntry, ProductEntry
from shared.errors import Refused
from shared.events.gateway import DevicePublished
from shared.targets import Membership

DEVICE = "0123456789abcdef01234567"
PRODUCT = 1000
ORG = "0123456789abcdef0123aaaa"
OWNER = "0123456789abcdef0123bbbb"
KEY = b"the key on record"
OLD = Hello(PRODUCT, 1, 0, 6)
"""A Photon of firmware 0.6, which is asked for its description."""
NEW = Hello(PRODUCT, 1, 0x36, 6)
"""A Photon of firmware 2.x, which posts it."""
DESCRIPTION = b'{"f":["Brew","stop"],"v":{"temp":9,"count":2,"Name":4,"on":1},"p":6,"m":[]}'


class ParticleDirectory:
    """A directory in memory: devices, products, images."""

    def __init__(self) -> None:
        self.devices: dict[str, DeviceEntry] = {}
        self.products: dict[int, ProductEntry] = {
            PRODUCT: ProductEntry(PRODUCT, ORG, "brewer", "Brewer", "photon", 6, None)
        }
        self.images: dict[tuple[int, int], ImageEntry] = {}
        self.away: Exception | None = None

    def add(self, device_id: str = DEVICE, **changes: Any) -> DeviceEntry:
        entry = DeviceEntry(device_id, Membership(PRODUCT), None, None, "", "", False, None, None, 0, 0)
        found = {"key_der": KEY, "key_algorithm": "rsa", **changes}
        self.devices[device_id] = dataclasses.replace(entry, **found)
        return self.devices[device_id]

    def change(self, device_id: str = DEVICE, *, member: Any = None, **changes: Any) -> None:
        entry = self.devices[device_id]
        if member is not None:
            changes["membership"] = dataclasses.replace(entry.membership, **member)
        self.devices[device_id] = dataclasses.replace(entry, **changes)

    def change_product(self, product_id: int = PRODUCT, **changes: Any) -> None:
        self.products[product_id] = dataclasses.replace(self.products[product_id], **changes)

    def admit_device(self, device_id: str) -> DeviceEntry | None:
        if self.away is not None:
            raise self.away
        return self.devices.get(device_id)

    def device(self, device_id: str) -> DeviceEntry | None:
        return self.devices.get(device_id)

    def device_by_token(self, token_digest: str) -> DeviceEntry | None:
        return None

    def device_by_key(self, key_digest: str) -> DeviceEntry | None:
        found = [one for one in self.devices.values() if hashlib.sha256(one.key_der or b"").hexdigest() == key_digest]
        return found[0] if len(found) == 1 else None

    def product(self, ref: str) -> ProductEntry | None:
        return self.products.get(int(ref))

    def image(self, product_id: int, version: int) -> ImageEntry | None:
        return self.images.get((product_id, version))

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"Particle's protocol does not ask the directory for {name}")


class Desk:
    """``waits``: what is stored becomes durable when the test says so."""

    def __init__(self, directory: ParticleDirectory, limits: ParticleLimits | None = None) -> None:
        self.directory = directory
        self.limits = limits or ParticleLimits()
        self.around = Surroundings(
            directory,  # type: ignore[arg-type]  # the whole port has more than Particle's protocol needs
            self.limits,
            "a",
            1,
            lambda size: bytes(range(size)),
        )
        self.memory = DeviceMemory(DEVICE)
        self.seconds = 1_000.0
        self.sent: list[Message] = []
        self.raw: list[bytes] = []
        self.facts: list[Any] = []
        self.vital: list[Any] = []
        self.published: list[DevicePublished] = []
        self.answers: list[Answer] = []
        self.fetches: list[Fetch] = []
        self.wanted: frozenset[Wanted] | None = None
        self.closed: Close | None = None
        self.waits = False
        self.acks: list[Ack] = []
        self.session: Session
        self._numbers = count(1)
        self._ids = count(5_000)

    @property
    def now(self) -> Now:
        return Now(self.seconds, datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=self.seconds))

    @property
    def id(self) -> int:
        """The next id of a message of the device."""
        return next(self._ids)

    def admit(self, hello: Hello, shown: bytes | None = KEY) -> Admitted | Refusal:
        algorithm: admission.Algorithm = "rsa"
        claim = admission.claimed(DEVICE, shown, algorithm, self.directory, self.memory)
        if isinstance(claim, Refusal):
            return claim
        return admission.admitted(claim, algorithm, hello, self.directory)

    def connect(
        self,
        hello: Hello = OLD,
        *,
        message: Message | None = None,
        reliable: bool = True,
        replaced_address: str | None = None,
        shown: bytes | None = KEY,
    ) -> Desk:
        found = self.admit(hello, shown)
        assert isinstance(found, Admitted)
        self.closed = None
        self.session = Session(self.around, found, self.memory, next(self._numbers), "192.0.2.1", reliable, self.now)
        message = message or device_messages.hello(self.id, hello, confirmable=not reliable)
        self._sort(self.session.start(message, replaced_address, self.now))
        return self

    def resume(self, kept: Kept, hello: Hello = OLD) -> Desk:
        found = self.admit(hello)
        assert isinstance(found, Admitted)
        self.session = Session(self.around, found, self.memory, next(self._numbers), "192.0.2.1", False, self.now)
        self._sort(self.session.resume(kept, None, self.now))
        return self

    def describe(self, payload: bytes = DESCRIPTION) -> Desk:
        """Answer the request for the description."""
        asked = [one for one in self.sent if isinstance(device_reading.read(one), device_reading.DescribeRequest)][-1]
        self.say(device_messages.acknowledgement(asked.id, coap.CONTENT, asked.token, payload))
        return self

    def say(self, message: Message) -> list[Message]:
        """What is sent in answer."""
        return self.bytes(coap.encode(message))

    def bytes(self, data: bytes) -> list[Message]:
        before = len(self.sent)
        self._sort(self.session.receive(data, self.now))
        return self.sent[before:]

    def publish(self, name: str, data: bytes | None = None, *, confirmable: bool = True, **more: Any) -> list[Message]:
        """An event of the device; what is sent in answer."""
        return self.say(device_messages.event(self.id, Event(name, data, **more), confirmable))

    def ask(self, question: Question, number: int = 7) -> list[Message]:
        before = len(self.sent)
        self._sort(self.session.ask(number, question, self.now))
        return self.sent[before:]

    def outcome(self) -> Any:
        """The answer to the newest question; for a refusal its code."""
        outcome = self.answers[-1].outcome
        return outcome.code if isinstance(outcome, Refused) else outcome

    def deliver(self, event: DevicePublished) -> list[Message]:
        before = len(self.sent)
        self._sort(self.session.deliver(event, self.now))
        return self.sent[before:]

    def wait(self, seconds: float, alive: bool = False) -> list[Message]:
        """Let time go by, waking the session whenever it wants to be; ``alive``: the device pings now and then."""
        before, end = len(self.sent), self.seconds + seconds
        while self.closed is None and self.session.wake_at() <= end:
            self.seconds = max(self.seconds, self.session.wake_at())
            if alive:
                self._sort(self.session.receive(coap.encode(device_messages.acknowledgement(1)), self.now))
            self._sort(self.session.tick(self.now))
        self.seconds = end
        return self.sent[before:]

    def news(self) -> list[Message]:
        before = len(self.sent)
        self._sort(self.session.directory_changed(self.now))
        return self.sent[before:]

    def supply(self, offset: int, data: bytes | None) -> list[Message]:
        before = len(self.sent)
        self._sort(self.session.supply(offset, data, self.now))
        return self.sent[before:]

    def lose(self, ending: Any = "connection_lost") -> None:
        self._sort(self.session.end(ending, self.now))

    def store(self, lost: bool = False) -> list[Message]:
        """What waited is durable, or could not be stored; what is sent because of it."""
        before = len(self.sent)
        acks, self.acks = self.acks, []
        for ack in acks:
            self._sort(self.session.not_stored(ack) if lost else self.session.stored(ack))
        return self.sent[before:]

    def kinds(self) -> list[str]:
        return [type(fact).__name__ for fact in self.facts]

    def last(self, kind: type) -> Any:
        return [fact for fact in self.facts if isinstance(fact, kind)][-1]

    def _sort(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            match effect:
                case bytes() | Once():
                    self.raw.append(effect if isinstance(effect, bytes) else effect.data)
                    self.sent.append(coap.decode(self.raw[-1]))
                case Record():
                    self.facts.append(effect.event)
                    self.vital += [effect.event] if effect.vital else []
                    self.acks += [effect.ack] if effect.ack else []
                case Store():
                    self.published.append(effect.event)
                    self.acks += [effect.ack] if effect.ack else []
                case Answer():
                    self.answers.append(effect)
                case Fetch():
                    self.fetches.append(effect)
                case Listen():
                    self.wanted = effect.wanted
                case Close():
                    self.closed = effect
        if not self.waits and self.acks:
            self.store()
