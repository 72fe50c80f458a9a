"""A simulated Particle device without a socket: what it says to what, by generation and transport."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from itertools import count

import msgspec
import pytest

from deploy.simulation.application import FUNCTIONS, VARIABLES, Unit
from deploy.simulation.chance import Chance
from deploy.simulation.conditions import OUT_S, Conditions
from deploy.simulation.counts import Counts
from deploy.simulation.generations import NEW, NEW_GEN_3, OLD, Generation, generations_of
from deploy.simulation.modules import build_module
from deploy.simulation.particle_session import (
    BLOCK_BYTES,
    DFU_S,
    HELLO_S,
    MAX_UNANSWERED,
    PING_S,
    PONG_S,
    PUBLIC_EVERY,
    REMEMBERED,
    UDP_PING_S,
    UPDATE_S,
    ParticleSession,
)
from services.gateway.devices.particle import coap, messages, server_messages
from services.gateway.devices.particle.blocks import Assembly
from services.gateway.devices.particle.coap import ACK, CON, NON, POST, Message
from services.gateway.devices.particle.describe import APPLICATION, SYSTEM, Description, read_description
from services.gateway.devices.particle.events import Event, Subscription
from services.gateway.devices.particle.goodbye import Goodbye
from services.gateway.devices.particle.hello import Hello
from services.gateway.devices.particle.messages import Answer, DescribePost, TimeRequest
from services.gateway.devices.particle.update_messages import UpdateBegin
from services.gateway.devices.particle.values import read_result, read_value

DEVICE, PRODUCT, PHOTON = "0123456789abcdef01234567", 1000, 6
IMAGE = build_module(PRODUCT, 2, bytes(2_000))
QUIET = Conditions(telemetry_every_s=1e9)


class Bench:
    """One session, and the server's side of the talk."""

    def __init__(
        self, generation: Generation = OLD, *, reliable: bool = True, conditions: Conditions = QUIET, seed: int = 0
    ) -> None:
        self.unit = Unit(DEVICE, PRODUCT, 1, PHOTON, generation)
        self.counts = Counts()
        self.now = 1_000.0
        self.reliable = reliable
        self.conditions = conditions
        self.seed = seed
        self._ids = count(500)
        self.connect()

    def connect(self) -> Hello:
        self.session = ParticleSession(
            self.unit, self.conditions, Chance(self.seed), self.counts, 1, reliable=self.reliable
        )
        [self.hello] = self.session.start(self.now)
        read = messages.read(self.hello)
        assert isinstance(read, Hello)
        return read

    def say(self, message: Message) -> list[Message]:
        return self.session.receive(coap.encode(message), self.now)

    def id(self) -> int:
        return next(self._ids)

    def welcome(self) -> list[Message]:
        """The server's Hello; what the device says by itself then."""
        if not self.reliable:
            return self.say(server_messages.acknowledgement(self.hello.id))
        return self.say(server_messages.hello(self.id()))

    def acknowledge(self, said: Sequence[Message]) -> list[Message]:
        """All that asks for it; what comes of that."""
        return [
            further
            for message in said
            if message.type == CON
            for further in self.say(server_messages.acknowledgement(message.id))
        ]

    def wait(self, seconds: float) -> list[Message]:
        said, end = [], self.now + seconds
        while self.session.end is None and self.session.wake_at() <= end:
            self.now = max(self.now, self.session.wake_at())
            said += self.session.tick(self.now)
        self.now = end
        return said

    def update(self, image: bytes = IMAGE) -> list[Message]:
        """The whole of an update in fast mode."""
        said = self.say(server_messages.update_begin(self.id(), 1, UpdateBegin(len(image), 512, fast=True)))
        for index in range(-(-len(image) // 512)):
            piece = image[index * 512 : (index + 1) * 512]
            said += self.say(server_messages.chunk(self.id(), 2, piece, index))
        return said + self.say(server_messages.update_done(self.id(), 3))


def kinds(said: Sequence[Message]) -> list[object]:
    return [messages.read(message) for message in said]


def events(said: Sequence[Message]) -> dict[str, bytes | None]:
    return {read.name: read.data for read in kinds(said) if isinstance(read, Event)}


@pytest.fixture(params=[OLD, NEW], ids=lambda generation: generation.name)
def bench(request: pytest.FixtureRequest) -> Bench:
    return Bench(request.param)


def test_hellos_are_those_of_real_firmware() -> None:
    assert (Bench(OLD).hello.payload or b"").hex() == "03e8000100000006"
    assert (Bench(OLD, reliable=False).hello.payload or b"").hex() == f"03e8000100000006000c{DEVICE}"
    later = messages.read(Bench(NEW).hello)
    assert isinstance(later, Hello)
    assert (later.flags, later.device_id) == (0x36, "")
    assert later.system is not None
    assert later.system.message_bytes == 927
    assert Bench(OLD).hello.type == NON
    assert Bench(OLD, reliable=False).hello.type == CON


def test_platforms_run_the_generations_that_exist_for_them() -> None:
    assert generations_of(PHOTON) == (OLD, NEW)
    assert generations_of(13) == (NEW_GEN_3,)


def test_it_tells_of_itself_once_it_is_welcome(bench: Bench) -> None:
    bench.unit.claim_code = "c" * 64
    said = bench.welcome()
    assert bench.session.online
    told = events(said)
    assert told["spark/device/claim/code"] == b"c" * 63
    assert told["spark/device/last_reset"] == b"power_down"
    assert sum(isinstance(read, TimeRequest) for read in kinds(said)) == 1
    wanted = [read for read in kinds(said) if isinstance(read, Subscription)]
    assert tuple(wanted) == bench.unit.generation.subscriptions
    assert bench.welcome() == []


def test_old_firmware_describes_itself_when_asked() -> None:
    bench = Bench(OLD)
    assert not any(isinstance(read, DescribePost) for read in kinds(bench.welcome()))
    [answer] = bench.say(server_messages.describe_request(bench.id(), 9))
    assert (answer.type, answer.code, answer.token) == (ACK, coap.CONTENT, b"\x09")
    described = read_description(answer.payload)
    assert described.functions == FUNCTIONS
    assert dict(described.variables) == VARIABLES
    assert described.modules
    assert len(answer.payload or b"") < 700


def test_later_firmware_posts_its_description_block_by_block() -> None:
    bench = Bench(NEW)
    assembly, found = Assembly(), Description()
    said, posts = bench.welcome(), 0
    while posted := [message for message in said if isinstance(messages.read(message), DescribePost)]:
        [message] = posted
        post = messages.read(message)
        assert isinstance(post, DescribePost)
        posts += 1
        assert len(post.data) <= BLOCK_BYTES
        whole = post.data if post.block is None else assembly.add(post.flags, post.block, post.data)
        if whole is not None:
            found = found.merged(read_description(whole))
        said = bench.acknowledge([message])
    assert posts == 3
    assert found.functions == FUNCTIONS
    assert [module.version for module in found.modules if module.function == "u"] == [1]


def test_later_firmware_refuses_to_describe_everything_at_once() -> None:
    bench = Bench(NEW)
    bench.welcome()
    [refusal] = bench.say(server_messages.describe_request(bench.id(), 9))
    assert (refusal.type, refusal.code) == (ACK, coap.BAD_REQUEST)
    acknowledgement, answer = bench.say(server_messages.describe_request(bench.id(), 9, APPLICATION))
    assert (acknowledgement.type, answer.type, answer.code) == (ACK, CON, coap.CONTENT)
    assert read_description(answer.payload).functions == FUNCTIONS
    _, block = bench.say(server_messages.describe_request(bench.id(), 9, SYSTEM))
    assert coap.option(block, coap.BLOCK2) is not None


def test_functions_are_called(bench: Bench) -> None:
    bench.welcome()
    bench.say(server_messages.function_call(bench.id(), 1, "brew", b"tea"))
    acknowledgement, answer = bench.say(server_messages.function_call(bench.id(), 2, "brew", b"tea"))
    assert (acknowledgement.type, acknowledgement.code) == (ACK, coap.EMPTY)
    assert (answer.code, answer.token, read_result(answer.payload)) == (coap.CHANGED, b"\x02", 2)
    assert len(bench.say(server_messages.function_call(bench.id(), 3, "grind"))) == 1
    assert bench.counts.functions_called == 2


def test_an_argument_that_is_too_long_is_refused(bench: Bench) -> None:
    bench.welcome()
    long = b"x" * (bench.unit.generation.argument_bytes + 1)
    [refusal] = bench.say(server_messages.function_call(bench.id(), 1, "brew", long))
    assert (refusal.type, refusal.code) == (ACK, coap.BAD_REQUEST)
    assert len(bench.say(server_messages.function_call(bench.id(), 1, "brew", long[1:]))) == 2


def test_variables_are_read_as_their_generation_answers(bench: Bench) -> None:
    bench.welcome()
    for name, kind in VARIABLES.items():
        said = bench.say(server_messages.variable_request(bench.id(), 7, name))
        assert len(said) == (1 if bench.unit.generation is OLD else 2)
        assert (said[-1].code, said[-1].token) == (coap.CONTENT, b"\x07")
        assert read_value(kind, said[-1].payload) == getattr(bench.unit.application, name)
    [unknown] = bench.say(server_messages.variable_request(bench.id(), 7, "weight"))
    assert unknown.code == coap.NOT_FOUND


def test_signals_and_pings_are_answered(bench: Bench) -> None:
    bench.welcome()
    signal = server_messages.signal(bench.id(), 5, True)
    [answer] = bench.say(signal)
    assert (answer.type, answer.code, answer.token) == (ACK, coap.CHANGED, b"\x05")
    assert answer.id != signal.id  # protocol section 4.2
    ping = server_messages.ping(bench.id())
    assert bench.say(ping) == [Message(ACK, coap.EMPTY, ping.id)]


def test_it_gives_up_without_a_hello(bench: Bench) -> None:
    bench.wait(HELLO_S - 0.1)
    assert bench.session.end is None
    bench.wait(0.2)
    assert bench.session.end is not None
    assert bench.session.end.kind == "lost"


def test_it_pings_after_silence_and_later_firmware_gives_up_without_an_answer(bench: Bench) -> None:
    bench.welcome()
    [ping] = bench.wait(PING_S)
    assert (ping.type, ping.code) == (CON, coap.EMPTY)
    bench.acknowledge([ping])
    assert len(bench.wait(PING_S)) == 1
    bench.wait(PONG_S)
    assert (bench.session.end is not None) is bench.unit.generation.gives_up


def test_on_udp_it_pings_rarely() -> None:
    bench = Bench(OLD, reliable=False)
    bench.acknowledge(bench.welcome())
    assert bench.wait(UDP_PING_S - 1) == []
    [ping] = bench.wait(1)
    assert (ping.type, ping.code) == (CON, coap.EMPTY)


def test_readings_are_published_and_some_are_public_and_acknowledged() -> None:
    bench = Bench(OLD, conditions=Conditions(telemetry_every_s=1.0))
    bench.welcome()
    said = [message for message in bench.wait(12.0) if messages.read(message) != messages.Ping()]
    published = [read for read in kinds(said) if isinstance(read, Event)]
    assert len(published) == bench.counts.events_sent >= 2 * PUBLIC_EVERY - 2
    assert msgspec.json.decode(published[0].data or b"").keys() == {"temperature"}
    public = [message for message, event in zip(said, published, strict=True) if event.public]
    assert [message.type for message in public] == [CON] * (len(published) // PUBLIC_EVERY)
    bench.say(server_messages.acknowledgement(public[0].id, coap.BAD_REQUEST))
    assert bench.counts.events_refused == 1


@pytest.mark.parametrize(
    ("word", "out_s", "safe"), [("reboot", 0.3, False), ("dfu", DFU_S, False), ("safe mode", 0.3, True)]
)
def test_it_restarts_when_told(bench: Bench, word: str, out_s: float, safe: bool) -> None:
    bench.welcome()
    bench.unit.application.counter = 5
    said = bench.say(server_messages.event(bench.id(), Event("spark/device/reset", word.encode())))
    end = bench.session.end
    assert end is not None
    assert (end.kind, end.meant, end.out_s) == ("restart", True, out_s)
    assert any(isinstance(read, Goodbye) for read in kinds(said)) is (bench.unit.generation is NEW)
    assert bench.unit.application.counter == 0
    bench.connect()
    told = events(bench.welcome())
    assert told["spark/device/last_reset"] == b"user"
    assert ("spark/device/safemode" in told) is safe


def test_a_claim_code_is_erased_when_it_was_honoured(bench: Bench) -> None:
    bench.unit.claim_code = "c" * 63
    bench.welcome()
    bench.say(server_messages.event(bench.id(), Event("spark/device/claim/success")))
    assert bench.unit.claim_code is None


def test_it_comes_back_from_an_update_with_the_version_that_it_took(bench: Bench) -> None:
    bench.welcome()
    said = bench.update()
    assert [read.code for read in kinds(said) if isinstance(read, Answer)][-1] == coap.CHANGED
    assert bench.session.end is not None
    assert bench.counts.updates_done == 0
    hello = bench.connect()
    assert (hello.product_version, hello.flags & 1) == (2, 1)
    assert events(bench.welcome())["spark/device/last_reset"] == b"update"
    assert (bench.counts.updates_done, bench.unit.updates, bench.unit.trouble) == (1, 1, "")
    assert bench.connect().flags & 1 == 0


@pytest.mark.parametrize(
    ("image", "reason"),
    [(b"no module" * 100, "invalid_binary"), (build_module(PRODUCT + 1, 2, bytes(900)), "of product 1001")],
)
def test_what_it_cannot_run_it_does_not_run(bench: Bench, image: bytes, reason: str) -> None:
    bench.welcome()
    bench.update(image)
    assert reason in bench.unit.trouble
    assert bench.connect().product_version == 1
    assert events(bench.welcome())["spark/device/last_reset"] == b"update_error"
    assert bench.counts.failed.total() == 1


def fated(fate: str) -> Bench:
    """A device whose first update has this fate."""
    conditions = Conditions(telemetry_every_s=1e9, failing_updates=1.0)
    for seed in range(100):
        bench = Bench(NEW, conditions=conditions, seed=seed)
        bench.welcome()
        bench.update()
        if bench.counts.failed_on_purpose[fate]:
            return bench
    raise AssertionError(f"no update of a hundred {fate}")


def test_updates_that_are_to_fail_fail_and_are_no_trouble() -> None:
    refused, died, old = fated("refused"), fated("dies"), fated("old version")
    assert refused.session.end is None
    assert died.session.end is not None
    assert (died.session.end.kind, died.session.end.out_s) == ("drops", OUT_S)
    assert old.connect().product_version == 1
    assert {bench.unit.trouble for bench in (refused, died, old)} == {""}


def test_an_update_that_stands_still_is_given_up(bench: Bench) -> None:
    bench.welcome()
    bench.say(server_messages.update_begin(bench.id(), 1, UpdateBegin(len(IMAGE), 512, fast=True)))
    for _ in range(int(UPDATE_S) // 5 - 1):
        bench.say(server_messages.ping(bench.id()))
        bench.wait(5.0)
        assert bench.session.end is None
    bench.wait(10.0)
    assert bench.session.end is not None
    assert bench.session.end.kind == "restart"
    assert bench.unit.trouble == "the server stopped sending"


def test_on_udp_what_is_not_acknowledged_is_repeated_and_then_given_up() -> None:
    bench = Bench(OLD, reliable=False)
    assert bench.wait(30.0) == [bench.hello] * 3
    bench.wait(40.0)
    assert bench.session.end is not None
    assert bench.session.end.reason == "no acknowledgement"


def test_on_udp_a_request_that_comes_twice_is_answered_the_same_and_done_once() -> None:
    bench = Bench(NEW, reliable=False)
    bench.acknowledge(bench.welcome())
    call = server_messages.function_call(bench.id(), 1, "brew")
    assert bench.say(call) == bench.say(call)
    assert bench.unit.application.counter == 1
    for _ in range(REMEMBERED):
        bench.say(server_messages.ping(bench.id()))
    bench.say(call)
    assert bench.unit.application.counter == 2


def test_a_link_that_is_to_break_breaks() -> None:
    ends = set()
    for seed in range(20):
        bench = Bench(NEW, conditions=Conditions(telemetry_every_s=1e9, flaky=1.0), seed=seed)
        bench.welcome()
        for _ in range(16):
            bench.acknowledge(bench.wait(2.0))
        assert bench.session.end is not None
        assert bench.session.end.meant
        ends.add(bench.session.end.kind)
    assert ends == {"drops", "goes half-open"}


def test_reboots_are_planned_over_connections() -> None:
    bench = Bench(NEW, conditions=Conditions(telemetry_every_s=1e9, reboot_every_s=10.0))
    at = bench.unit.reboot_at
    bench.connect()
    assert at is not None
    assert bench.unit.reboot_at == at
    bench.welcome()
    said = bench.wait(16.0)
    assert bench.session.end is not None
    assert bench.session.end.kind == "restart"
    assert isinstance(messages.read(said[-1]), Goodbye)
    assert bench.unit.reboot_at is None


def test_events_that_wait_for_an_answer_are_bounded() -> None:
    bench = Bench(OLD, reliable=True, conditions=Conditions(telemetry_every_s=0.01))
    bench.welcome()
    bench.wait(5.0)
    assert bench.counts.events_sent // PUBLIC_EVERY > MAX_UNANSWERED
    assert len(bench.session._answered or ()) == MAX_UNANSWERED


@pytest.mark.parametrize("nonsense", [b"", b"\x00\x00\x00\x00", b"\x40\x02\x00\x01\xff\xff\xff" * 3])
def test_a_server_that_makes_no_sense_is_left_or_ignored(bench: Bench, nonsense: bytes) -> None:
    bench.welcome()
    said = bench.session.receive(nonsense, bench.now)
    assert said == [] or said[0].type == ACK


def test_a_chunk_that_was_damaged_is_not_taken(bench: Bench) -> None:
    bench.welcome()
    bench.say(server_messages.update_begin(bench.id(), 1, UpdateBegin(600, 512, fast=True)))
    bad = (
        (coap.URI_PATH, b"c"),
        (coap.URI_QUERY, (zlib.crc32(b"x") ^ 1).to_bytes(4, "big")),
        (coap.URI_QUERY, b"\0\0"),
    )
    assert bench.say(Message(NON, POST, bench.id(), b"\2", bad, b"x")) == []
    said = bench.say(server_messages.update_done(bench.id(), 3))
    assert said[0].code == coap.BAD_REQUEST
