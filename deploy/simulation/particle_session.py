"""One session of a simulated Particle device, on TCP or UDP: messages and moments in, messages out, ``end`` at the end.

Sans-I/O; what the device is goes on in its ``Unit``. Protocol sections 5 and 7, device's view. On UDP whatever the
device wants acknowledged is repeated, and a request that comes twice is answered the same twice. Longer than most
modules because it is one machine; the receiving half of updates is ``device_updates``.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal

from deploy.simulation.application import Unit, application_json, system_json, whole_json
from deploy.simulation.chance import Chance
from deploy.simulation.conditions import BREAKS_AFTER_S, OUT_S, Conditions, UpdateFate
from deploy.simulation.counts import Counts, note
from services.firmware.modules import read_module
from services.gateway.devices.particle import coap, describe, device_messages, device_reading, messages
from services.gateway.devices.particle.blocks import Block
from services.gateway.devices.particle.coap import ACK, CON, Message
from services.gateway.devices.particle.device_updates import Habits, Receiver
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.goodbye import Goodbye
from services.gateway.devices.particle.hello import GOODBYE, UPDATE_APPLIED, Hello, HelloSystem
from services.gateway.devices.particle.update_messages import CHUNK_BYTES, Chunk, UpdateBegin
from services.gateway.devices.particle.update_v3 import NumberedChunk, Start
from services.gateway.devices.particle.violations import BadMessage
from shared.errors import Refused

HELLO_S = 4.0
"""How long a device on TCP waits for the server's Hello."""
PING_S = 15.0
UDP_PING_S = 23 * 60.0
PONG_S = 10.0
AGAIN_S = 4.0
REPEATS = 3
"""On UDP a message that is not acknowledged is repeated after 4 s, 8 s and 16 s; 32 s later the session is over."""
UPDATE_S = 300.0
"""How long an update may stand still before the device gives it up and restarts."""
REMEMBERED = 16
BLOCK_SZX = 5
BLOCK_BYTES = 16 << BLOCK_SZX
MAX_BINARY_BYTES = 131_072
PUBLIC_EVERY = 5
"""Of so many readings one is public, and acknowledged."""
DFU_S = 30.0
"""How long a device is out that was sent into the mode in which it is flashed by cable."""
IDS_OF_AN_UPDATE = 0x4000
MAX_UNANSWERED = 64
NEVER = float("inf")

_ETAG = b"\x01"

EndKind = Literal["restart", "drops", "goes half-open", "lost"]


@dataclass(frozen=True, slots=True)
class End:
    """How a session ended by the device's doing: it restarts and is out for a while, its link breaks as it was to, or
    it gives the server up. ``meant``: the fleet was asked to suffer this, or the server asked for it."""

    kind: EndKind
    reason: str
    meant: bool
    out_s: float = 0.0


class ParticleSession:
    """See the module. Ids and tokens of the device's own requests count up from ``first_id``."""

    __slots__ = (
        "_answered",
        "_breaks_at",
        "_chance",
        "_chunks_left",
        "_conditions",
        "_counts",
        "_fate",
        "_hello_id",
        "_hello_until",
        "_moved_at",
        "_next_id",
        "_offered",
        "_pong_until",
        "_post_id",
        "_posts",
        "_publish_at",
        "_readings",
        "_receiver",
        "_reliable",
        "_seen",
        "_unit",
        "_update_at",
        "_waiting",
        "end",
        "online",
        "time_s",
    )

    def __init__(
        self, unit: Unit, conditions: Conditions, chance: Chance, counts: Counts, first_id: int, *, reliable: bool
    ) -> None:
        self.end: End | None = None
        self.online = False
        self.time_s: int | None = None
        self._unit = unit
        self._conditions = conditions
        self._chance = chance
        self._counts = counts
        self._reliable = reliable
        self._next_id = first_id
        self._hello_id: int | None = None
        self._hello_until = self._publish_at = self._pong_until = NEVER
        self._breaks_at: tuple[float, EndKind] = (NEVER, "drops")
        self._moved_at = self._update_at = 0.0
        self._posts: deque[tuple[int, Block | None, bytes]] = deque()
        self._post_id: int | None = None
        self._readings = 0
        self._receiver: Receiver | None = None
        self._offered: int | None = None
        self._fate: UpdateFate = "succeeds"
        self._chunks_left = 0
        self._seen: dict[int, list[Message]] | None = None
        self._waiting: dict[int, tuple[Message, float, int]] | None = None
        self._answered: set[int] | None = None

    @property
    def updating(self) -> bool:
        """Whether it is in the middle of an update."""
        return self._receiver is not None

    # -- the beginning ----------------------------------------------------------------------------------------------

    def start(self, now: float) -> list[Message]:
        """The session stands: Hello."""
        self._moved_at = now
        fate = self._conditions.link_fate(self._chance)
        if fate != "holds":
            self._breaks_at = now + self._chance.uniform(*BREAKS_AFTER_S), fate
        if self._conditions.reboot_every_s is not None and self._unit.reboot_at is None:
            self._unit.reboot_at = now + self._conditions.around(self._conditions.reboot_every_s, self._chance)
        hello = device_messages.hello(self._number(), self._hello(), confirmable=not self._reliable)
        self._hello_id = hello.id
        if self._reliable:
            self._hello_until = now + HELLO_S
        return self._out([hello], now)

    def _hello(self) -> Hello:
        unit, generation = self._unit, self._unit.generation
        flags = generation.flags | (UPDATE_APPLIED if unit.updated else 0)
        system, device_id = None, None if self._reliable else unit.device_id
        if generation.system_version is not None:
            system = HelloSystem(generation.system_version, generation.message_bytes, MAX_BINARY_BYTES, CHUNK_BYTES)
            device_id = device_id or ""
        return Hello(unit.product_id, unit.version, flags, unit.platform_id, device_id, system)

    def _welcomed(self, now: float) -> list[Message]:
        if self.online:
            return []
        unit = self._unit
        self.online, self._hello_until, self._hello_id = True, NEVER, None
        self._counts.connections += 1
        self._publish_at = now + self._conditions.around(self._conditions.telemetry_every_s, self._chance)
        if unit.updated:
            unit.updated = False
            unit.updates += 1
            unit.trouble = ""
            self._counts.updates_done += 1
        said = self._said_by_new() if unit.generation.posts else self._said_by_old()
        said += [device_messages.subscription(self._number(), wanted) for wanted in unit.generation.subscriptions]
        said.append(self._time_request())
        return self._out(said, now)

    def _said_by_old(self) -> list[Message]:
        told: list[tuple[str, str]] = []
        if self._unit.claim_code is not None:
            told.append(("spark/device/claim/code", self._unit.claim_code[:63]))
        told += [
            ("spark/device/ident/0", self._unit.device_id),
            ("spark/hardware/max_binary", str(MAX_BINARY_BYTES)),
            ("spark/hardware/ota_chunk_size", str(CHUNK_BYTES)),
        ]
        return self._system_events([*told, *self._state()])

    def _said_by_new(self) -> list[Message]:
        self._post(describe.SYSTEM, system_json(self._unit))
        self._post(describe.APPLICATION, application_json(self._unit))
        told: list[tuple[str, str]] = []
        if self._unit.claim_code is not None:
            told.append(("spark/device/claim/code", self._unit.claim_code[:63]))
        told += [("particle/device/updates/enabled", "true"), ("particle/device/updates/forced", "false")]
        return [*self._next_post(), *self._system_events([*told, *self._state()])]

    def _state(self) -> list[tuple[str, str]]:
        state = [("spark/device/safemode", "")] if self._unit.safe_mode else []
        return [*state, ("spark/device/last_reset", self._unit.reset_reason)]

    def _system_events(self, told: list[tuple[str, str]]) -> list[Message]:
        confirmable = not self._reliable
        return [device_messages.event(self._number(), Event(name, data.encode()), confirmable) for name, data in told]

    def _time_request(self) -> Message:
        number = self._number()
        return device_messages.time_request(number, bytes((number & 0xFF,)))

    def _post(self, flags: int, data: bytes) -> None:
        if len(data) <= BLOCK_BYTES:
            self._posts.append((flags, None, data))
            return
        count = -(-len(data) // BLOCK_BYTES)
        for index in range(count):
            block = Block(index, index + 1 < count, BLOCK_SZX)
            self._posts.append((flags, block, data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]))

    def _next_post(self) -> list[Message]:
        """A block is sent when the one before it is acknowledged."""
        self._post_id = None
        if not self._posts:
            return []
        flags, block, data = self._posts.popleft()
        number = self._post_id = self._number()
        return [device_messages.describe_post(number, flags, data, bytes((number & 0xFF,)), block)]

    # -- messages of the server -------------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> list[Message]:
        """What the device says to this. Nothing counts any more when ``end`` is there."""
        if self.end is not None:
            return []
        self._pong_until = NEVER
        self._moved_at = now
        try:
            message = coap.decode(data)
            return self._out(self._answers(message, now), now)
        except BadMessage as bad:
            self._over("lost", f"the server sent {bad}", meant=False)
            return []

    def _answers(self, message: Message, now: float) -> list[Message]:
        if self._reliable or message.type != CON:
            return self._handle(message, now)
        seen = self._seen = self._seen or {}
        if message.id not in seen:
            seen[message.id] = self._handle(message, now)
            if len(seen) > REMEMBERED:
                del seen[next(iter(seen))]
        return seen[message.id]

    def _handle(self, message: Message, now: float) -> list[Message]:
        if message.type == ACK:
            return self._acknowledged(message, now)
        read = device_reading.read(message)
        match read:
            case messages.Ping():
                return [self._ack(message)]
            case UpdateBegin() | Start():
                return self._offer(read, message, now)
            case _ if self._receiver is not None:
                return self._of_update(self._receiver, message, now)
            case device_reading.ServerHello():
                return [*self._ack_if(True, message), *self._welcomed(now)]
            case device_reading.DescribeRequest():
                return self._describe(read, message)
            case device_reading.FunctionCall():
                return self._call(read, message)
            case device_reading.VariableRequest():
                return self._variable(read, message)
            case device_reading.Signal():
                self._counts.signals += 1
                return [device_messages.acknowledgement(self._own_id(message), coap.CHANGED, message.token)]
            case device_reading.KeyChange(discard_session=discard):
                if discard and not self._reliable:
                    self._over("lost", "told to use new keys", meant=True)
                return [device_messages.acknowledgement(self._own_id(message))]
            case Event():
                unasked = self._heard(read)  # TCP firmware takes an event that wants an ACK, and gives none
                return [*self._ack_if(not self._reliable, message), *unasked]
        return [self._ack(message, coap.NOT_FOUND)] if message.type == CON else []

    def _own_id(self, message: Message) -> int:
        """On TCP some acknowledgements have an id of their own (section 4.2)."""
        return self._number() if self._reliable else message.id

    def _acknowledged(self, message: Message, now: float) -> list[Message]:
        if self._waiting is not None:
            self._waiting.pop(message.id, None)
        if self._receiver is not None:
            return self._of_update(self._receiver, message, now)
        if message.id == self._hello_id and not self._reliable:
            return self._welcomed(now)
        if message.id == self._post_id:
            return self._next_post()
        if message.code == coap.CONTENT and len(message.payload or b"") == 4:
            self.time_s = int.from_bytes(message.payload or b"", "big")
        if self._answered is not None and message.id in self._answered:
            self._answered.discard(message.id)
            self._counts.events_refused += message.code >> 5 in (4, 5)
        return []

    def _ack(self, message: Message, code: int = coap.EMPTY) -> Message:
        return device_messages.acknowledgement(message.id, code)

    def _ack_if(self, asked: bool, message: Message) -> list[Message]:
        return [self._ack(message)] if asked and message.type == CON else []

    def _describe(self, request: device_reading.DescribeRequest, message: Message) -> list[Message]:
        unit = self._unit
        if not unit.generation.posts:
            parts = {describe.SYSTEM: system_json, describe.APPLICATION: application_json}
            data = parts.get(request.flags or 0, whole_json)(unit)
            return [device_messages.acknowledgement(message.id, coap.CONTENT, message.token, data)]
        if request.flags is None or request.flags == describe.METRICS:
            return [self._ack(message, coap.BAD_REQUEST)]
        data = (system_json if request.flags == describe.SYSTEM else application_json)(unit)
        if len(data) <= BLOCK_BYTES:
            answer = device_messages.answer(self._number(), message.token, coap.CONTENT, data, confirmable=True)
            return [self._ack(message), answer]
        index = request.block.number if request.block is not None else 0
        piece = data[index * BLOCK_BYTES : (index + 1) * BLOCK_BYTES]
        block = Block(index, (index + 1) * BLOCK_BYTES < len(data), BLOCK_SZX)
        return [self._ack(message), device_messages.describe_block(self._number(), message.token, _ETAG, block, piece)]

    def _call(self, call: device_reading.FunctionCall, message: Message) -> list[Message]:
        argument = call.argument or b""
        if len(argument) > self._unit.generation.argument_bytes:
            return [self._ack(message, coap.BAD_REQUEST)]
        result = self._unit.application.call(call.name, argument)
        if result is None:
            return [self._ack(message)]
        self._counts.functions_called += 1
        confirmable = not self._reliable
        answer = device_messages.function_result(self._number(), message.token, result, confirmable)
        return [self._ack(message), answer]

    def _variable(self, request: device_reading.VariableRequest, message: Message) -> list[Message]:
        value = self._unit.application.read(request.name)
        if value is None:
            return [self._ack(message, coap.NOT_FOUND)]
        self._counts.variables_read += 1
        if self._unit.generation.piggybacks:
            return [device_messages.acknowledgement(message.id, coap.CONTENT, message.token, value)]
        confirmable = not self._reliable
        answer = device_messages.answer(self._number(), message.token, coap.CONTENT, value, confirmable)
        return [self._ack(message), answer]

    def _heard(self, event: Event) -> list[Message]:
        self._counts.events_heard += 1
        if event.name == "spark/device/reset":
            word = (event.data or b"").decode(errors="replace")
            self._unit.safe_mode = word == "safe mode"
            return self._restart("user", DFU_S if word == "dfu" else 0.0)
        if event.name.startswith("spark/device/claim/"):
            self._unit.claim_code = None
        return []

    # -- updates ----------------------------------------------------------------------------------------------------

    def _offer(self, offer: UpdateBegin | Start, message: Message, now: float) -> list[Message]:
        unit = self._unit
        self._update_at = now
        if self._receiver is None or self._offered != message.id:
            self._counts.updates_begun += 1
            self._offered = message.id
            self._fate = self._conditions.update_fate(self._chance)
            chunk_bytes = max(1, offer.chunk_bytes or CHUNK_BYTES)
            self._chunks_left = 1 + self._chance.below(max(1, -(-offer.size_bytes // chunk_bytes)))
            refuses = unit.generation.refusal if self._fate == "refused" else None
            self._receiver = Receiver(Habits(unit.generation.updates, self._reliable, refuses=refuses), self._next_id)
            self._next_id = (self._next_id + IDS_OF_AN_UPDATE) & 0xFFFF
            unit.trouble = ""
        answers = self._receiver.receive(message, now)
        if self._fate == "refused":
            self._receiver = None
            self._failed_on_purpose()
        return answers

    def _of_update(self, receiver: Receiver, message: Message, now: float) -> list[Message]:
        self._update_at = now
        answers = receiver.receive(message, now)
        if message.type != ACK and isinstance(device_reading.read(message), Chunk | NumberedChunk):
            self._chunks_left -= 1
            if self._fate == "dies" and self._chunks_left <= 0:
                self._failed_on_purpose()
                self._unit.restarted("power_down")
                self._over("drops", "died in the middle of an update", meant=True, out_s=OUT_S)
                return []
        if receiver.image is not None:
            self._apply(receiver.image)
        return answers

    def _apply(self, image: bytes) -> None:
        """The whole image is there: restart with it, or as if it could not be started."""
        unit = self._unit
        self._receiver = None
        try:
            module = read_module(image)
        except Refused as refused:
            self._failed(f"{refused.code}: {refused.reason}")
        else:
            if self._fate == "old version":
                self._failed_on_purpose()
            elif module.product_id != unit.product_id:
                self._failed(f"the module is of product {module.product_id}")
            else:
                unit.version, unit.updated, unit.trouble = module.version, True, ""
        unit.restarted("update" if unit.updated else "update_error")
        self._over("restart", "takes an update", meant=True, out_s=self._conditions.restart_s)

    def _failed(self, reason: str) -> None:
        self._unit.trouble = reason
        note(self._counts.failed, reason)

    def _failed_on_purpose(self) -> None:
        self._unit.trouble = ""
        self._counts.failed_on_purpose[self._fate] += 1

    # -- time -------------------------------------------------------------------------------------------------------

    def wake_at(self) -> float:
        """When ``tick`` has something to do."""
        quiet_s = PING_S if self._reliable else UDP_PING_S
        silent_at = self._moved_at + quiet_s if self.online and self._pong_until == NEVER else NEVER
        reboot_at = NEVER if self._unit.reboot_at is None or not self.online else self._unit.reboot_at
        moments = (self._hello_until, self._publish_at, reboot_at, self._pong_until, self._breaks_at[0], silent_at)
        earliest = min(moments)
        if self._receiver is not None:
            earliest = min(earliest, self._receiver.wake_at() or NEVER, self._update_at + UPDATE_S)
        if self._waiting:
            earliest = min(earliest, *(again_at for _, again_at, _ in self._waiting.values()))
        return earliest

    def tick(self, now: float) -> list[Message]:
        """What is due."""
        if self.end is not None:
            return []
        if now >= self._breaks_at[0]:
            self._over(self._breaks_at[1], "a flaky link", meant=True)
            return []
        if now >= self._hello_until:
            self._over("lost", "no answer to our Hello", meant=False)
            return []
        said = self._repeated(now)
        if self._receiver is not None:
            return said + self._update_tick(self._receiver, now)
        if self._unit.reboot_at is not None and now >= self._unit.reboot_at and self.online:
            return said + self._out(self._restart("user"), now)
        if now >= self._publish_at:
            self._publish_at = now + self._conditions.around(self._conditions.telemetry_every_s, self._chance)
            return said + self._out(self._reading(), now)
        return said + self._alive(now)

    def _update_tick(self, receiver: Receiver, now: float) -> list[Message]:
        if now >= self._update_at + UPDATE_S:
            self._failed("the server stopped sending")
            self._unit.restarted("update_timeout")
            self._over("restart", "an update that stood still", meant=False)
            return []
        self._publish_at = max(self._publish_at, now + 1.0)  # publishing fails during an update
        said = receiver.tick(now)
        return said or self._alive(now)

    def _reading(self) -> list[Message]:
        temperature = self._unit.application.measure(self._chance)
        self._readings += 1
        self._unit.published += 1
        self._counts.events_sent += 1
        public = self._readings % PUBLIC_EVERY == 0
        data = str(temperature) if public else f'{{"temperature":{temperature}}}'
        event = Event("temperature" if public else "telemetry", data.encode(), public=public)
        confirmable = public or not self._reliable
        number = self._number()
        if confirmable:
            waiting = self._answered = self._answered or set()
            if len(waiting) < MAX_UNANSWERED:
                waiting.add(number)
        return [device_messages.event(number, event, confirmable)]

    def _alive(self, now: float) -> list[Message]:
        if now >= self._pong_until:
            self._pong_until = NEVER
            if self._unit.generation.gives_up:
                self._over("lost", "no answer to our ping", meant=False)
            return []
        if not self.online or now < self._moved_at + (PING_S if self._reliable else UDP_PING_S):
            return []
        said = self._out([device_messages.ping(self._number())], now)
        if self._reliable:
            self._pong_until = now + PONG_S
        return said

    def _repeated(self, now: float) -> list[Message]:
        said: list[Message] = []
        for number, (message, again_at, tries) in list((self._waiting or {}).items()):
            if now < again_at or self._waiting is None:
                continue
            if tries > REPEATS:
                self._over("lost", "no acknowledgement", meant=False)
                return []
            self._waiting[number] = message, now + AGAIN_S * 2**tries, tries + 1
            said.append(message)
        return said

    # -- the end ----------------------------------------------------------------------------------------------------

    def carry_on(self, now: float) -> list[Message]:
        """The link that broke is there again, from another address (section 8.5): a ping and no Hello."""
        self.end = None
        self._breaks_at = NEVER, "drops"
        return self._out([device_messages.ping(self._number())], now)

    def _restart(self, reason: str, out_s: float = 0.0) -> list[Message]:
        self._unit.restarted(reason)
        self._over("restart", "restarts", meant=True, out_s=out_s or self._conditions.restart_s)
        if not self._unit.generation.flags & GOODBYE:
            return []
        return [device_messages.goodbye(self._number(), Goodbye(cloud_reason=5, network_reason=6))]

    def _over(self, kind: EndKind, reason: str, *, meant: bool, out_s: float = 0.0) -> None:
        self.end = End(kind, reason, meant, out_s)

    def _number(self) -> int:
        number = self._next_id
        self._next_id = (number + 1) & 0xFFFF
        return number

    def _out(self, said: list[Message], now: float) -> list[Message]:
        """On UDP, remember what has to be acknowledged; an update sees to its own."""
        if said:
            self._moved_at = now
        if not self._reliable and self._receiver is None:
            for message in said:
                if message.type == CON:
                    self._waiting = self._waiting or {}
                    self._waiting[message.id] = message, now + AGAIN_S, 1
        return said
