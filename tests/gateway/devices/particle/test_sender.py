"""Firmware over the air to Particle devices: against recorded devices, and against simulated ones on bad links."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import coap, device_messages, messages
from services.gateway.devices.particle.coap import Message
from services.gateway.devices.particle.device_updates import Habits
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.sender import sender_of
from services.gateway.devices.particle.sender_classic import (
    CHUNK_GAP_S,
    DAMAGED,
    LIST_S,
    MOST_FAST_CHUNKS,
    OWN_FINISH_S,
    SAME_LISTS,
    SENDINGS,
    SPARE_SENDINGS,
    chunk_bytes_of,
)
from services.gateway.devices.particle.sender_v3 import BURST_CHUNKS, BURST_GAP_S
from services.gateway.devices.particle.sender_v3 import chunk_bytes_of as chunk_bytes_v3
from services.gateway.devices.particle.sending import (
    SILENCE_S,
    STRETCH_BYTES,
    Delivered,
    Effect,
    Failed,
    Need,
    Plan,
    Progressed,
    Refused,
)
from services.gateway.devices.particle.update_v3 import ChunksReceived, Started
from tests.gateway.devices.particle.transferring import IMAGE, Counting, Fate, Link, is_chunk, plan_of
from tests.gateway.devices.particle.vectors import SESSIONS

UPDATES = [session for session in SESSIONS if "firmware update" in session["title"]]
EVERY = [
    Habits(firmware, reliable, fast)
    for firmware in ("self_finishing", "waiting")
    for reliable in (True, False)
    for fast in (True, False)
] + [Habits("v3", reliable) for reliable in (True, False)]
NAMES = [
    f"{habits.firmware}-{'tcp' if habits.reliable else 'udp'}-{'fast' if habits.fast else 'slow'}" for habits in EVERY
]
every_device = pytest.mark.parametrize("habits", EVERY, ids=NAMES)


# -- recorded devices ---------------------------------------------------------------------------------------------


def recorded(session: dict[str, Any]) -> list[tuple[str, Message]]:
    """From the offer on."""
    said = [(message["from"], coap.decode(bytes.fromhex(message["coap"]))) for message in session["messages"]]
    first = next(
        place for place, (who, message) in enumerate(said) if who == "server" and coap.path(message) == (b"u",)
    )
    return said[first:]


def image_of(said: Iterable[tuple[str, Message]]) -> bytes:
    chunks: dict[int, bytes] = {}
    for who, message in said:
        if who == "server" and is_chunk(message):
            _, *index = coap.queries(message)
            chunks[int.from_bytes(index[0], "big") if index else len(chunks)] = message.payload or b""
    return b"".join(data for _, data in sorted(chunks.items()))


@pytest.mark.parametrize("session", UPDATES, ids=lambda session: session["title"])
def test_the_sender_sends_byte_for_byte_what_recorded_devices_were_sent(session: dict[str, Any]) -> None:
    said = recorded(session)
    image = image_of(said)
    assert len(image) == 1_300
    loss = "loss" in session["title"]
    ours = [message for who, message in said if who == "server" and message.type != coap.ACK]
    numbers = [(message.id, message.token[0]) for message in ours]
    if loss:
        numbers.insert(2, (999, 99))  # chunk 1 never reached the recorded device
    counting = Counting(iter([number for number, _ in numbers]), iter([token for _, token in numbers]))
    sender = sender_of(Plan("00", len(image), fast="slow" not in session["title"]), counting)
    now, sent, ends = 0.0, [], []

    def done(effects: list[Effect] | None) -> None:
        for effect in effects or []:
            if isinstance(effect, Need):
                done(sender.supply(effect.offset, image[effect.offset :][: effect.length], now))
            elif isinstance(effect, Message):
                sent.extend([coap.encode(effect)] if effect.id != 999 else [])
            elif not isinstance(effect, Progressed):
                ends.append(effect)

    done(sender.start(now))
    for who, message in said:
        if who == "device":
            done(sender.receive(message, now))
            continue
        if not sent:
            now = sender.wake_at() or now
            done(sender.tick(now))
        assert sent.pop(0) == coap.encode(message)
    assert sent == []
    assert ends == [Delivered()]


# -- every kind of device -----------------------------------------------------------------------------------------


@every_device
@pytest.mark.parametrize("size", [1, 511, 512, 513, 10_040, 33_000])
def test_every_device_gets_the_image_as_it_is(habits: Habits, size: int) -> None:
    image = (IMAGE * 4)[:size]
    link = Link(image, habits)
    assert link.run() == Delivered()
    assert link.device.image == image
    assert link.progress == sorted(link.progress)
    assert link.progress[-1] == size
    assert len([message for message in link.sent if is_chunk(message)]) == -(-size // 512)


@every_device
@pytest.mark.parametrize("code", [coap.BAD_REQUEST, coap.UNAVAILABLE])
def test_a_refusal_is_a_refusal(habits: Habits, code: int) -> None:
    outcome = Link(IMAGE, Habits(habits.firmware, habits.reliable, habits.fast, refuses=code)).run()
    assert isinstance(outcome, Refused)
    assert coap.code_text(code) in outcome.text


@every_device
def test_a_device_that_does_not_agree_within_a_minute_has_refused(habits: Habits) -> None:
    link = Link(IMAGE, Habits(habits.firmware, habits.reliable, habits.fast, disabled=True))
    assert isinstance(link.run(), Refused)
    assert link.now == SILENCE_S


@every_device
def test_an_image_that_the_device_finds_broken_has_failed(habits: Habits) -> None:
    link = Link(IMAGE, Habits(habits.firmware, habits.reliable, habits.fast, verdict=-160))
    link.run()
    assert isinstance(link.ends[-1], Failed)
    assert link.ends[-1].reason == "device_failed"
    assert link.ends[:-1] == ([Delivered()] if habits.firmware == "self_finishing" else [])  # it says so afterwards
    assert link.device.image is None


# -- bad links ----------------------------------------------------------------------------------------------------

FATES = st.lists(st.sampled_from(["arrives", "lost", "twice", "late"]), max_size=80)


def fates(drawn: list[Fate], habits: Habits) -> Any:
    """On TCP nothing is lost; at most chunks are damaged on their way into the device's memory."""
    left = iter(drawn)

    def fate(who: str, message: Message) -> Fate:
        if not habits.reliable:
            return next(left, "arrives")
        if who == "server" and is_chunk(message) and habits.firmware != "v3":
            return "arrives" if next(left, "arrives") == "arrives" else "damaged"
        return "arrives"

    return fate


@every_device
@settings(max_examples=20)
@given(drawn=FATES)
def test_on_any_link_a_transfer_ends_and_only_a_whole_image_is_delivered(habits: Habits, drawn: list[Fate]) -> None:
    link = Link(IMAGE, habits, fates(drawn, habits))
    outcome = link.run()
    assert len(link.sent) < 20 * 20 + 400
    if outcome == Delivered():
        assert link.device.image == IMAGE
    else:
        assert isinstance(outcome, Failed | Refused)
        assert drawn


@every_device
@settings(max_examples=20)
@given(data=st.data())
def test_a_transfer_outlives_two_losses_whatever_they_hit(habits: Habits, data: st.DataObject) -> None:
    hit = data.draw(st.sets(st.integers(0, 60), max_size=2))
    link = Link(IMAGE, habits, fates(["lost" if place in hit else "arrives" for place in range(61)], habits))
    assert link.run() == Delivered()
    assert link.device.image == IMAGE


@pytest.mark.parametrize("habits", [each for each in EVERY if each.fast], ids=[n for n in NAMES if "fast" in n])
@settings(max_examples=10)
@given(seed=st.randoms(use_true_random=False))
def test_fast_transfers_outlive_one_chunk_in_five_lost(habits: Habits, seed: Any) -> None:
    lost: dict[bytes, int] = {}

    def fate(who: str, message: Message) -> Fate:
        if not is_chunk(message) or seed.random() >= 0.2:
            return "arrives"
        chunk = b"".join(value for _, value in message.options)
        lost[chunk] = lost.get(chunk, 0) + 1
        return "arrives" if lost[chunk] > 2 else "damaged" if habits.reliable and habits.firmware != "v3" else "lost"

    link = Link(IMAGE, habits, fate)
    assert link.run() == Delivered()
    assert link.device.image == IMAGE


@every_device
@pytest.mark.parametrize("from_message", [0, 1, 5, 12])
def test_a_device_that_falls_silent_has_failed_within_two_minutes(habits: Habits, from_message: int) -> None:
    heard = iter(range(10_000))

    def fate(who: str, message: Message) -> Fate:
        return "lost" if who == "device" and next(heard) >= from_message else "arrives"

    link = Link(IMAGE * 4, habits, fate)
    outcome = link.run()
    if outcome != Delivered():
        assert isinstance(outcome, Refused if from_message < 2 else Failed | Refused)
        assert link.now <= 2 * SILENCE_S + 10


def test_a_chunk_that_arrives_damaged_is_sent_again_five_times() -> None:
    habits = Habits("waiting", fast=False)
    link = Link(IMAGE, habits, lambda who, message: "damaged" if is_chunk(message) else "arrives")
    assert link.run() == Failed("device_failed", "chunk 0 arrives damaged again and again")
    assert len([message for message in link.sent if is_chunk(message)]) == DAMAGED + 1


@pytest.mark.parametrize("firmware", ["self_finishing", "waiting"])
def test_a_list_that_comes_back_three_times_unchanged_ends_the_transfer(firmware: Any) -> None:
    def fate(who: str, message: Message) -> Fate:
        return "damaged" if is_chunk(message) and coap.queries(message)[1] == b"\0\3" else "arrives"

    link = Link(IMAGE, Habits(firmware), fate)
    outcome = link.run()
    assert isinstance(outcome, Failed)
    assert outcome.reason == "stalled"
    again = [m for m in link.sent if is_chunk(m) and coap.queries(m)[1] == b"\0\3"]
    assert len(again) == 1 + SAME_LISTS


def test_a_device_that_is_never_content_is_not_sent_chunks_for_ever() -> None:
    sender, _ = begun(Habits())
    sent = [effect for effect in sender.supply(0, IMAGE, 1.0) if isinstance(effect, Message)]
    effects: list[Effect] = []
    for turn in range(2 * SENDINGS * 20):
        missing = device_messages.missing_chunks(turn, (turn % 2,))
        effects = sender.receive(missing, 2.0) or []
        if effects and isinstance(effects[0], Need):
            effects = sender.supply(effects[0].offset, IMAGE[effects[0].offset :][:512], 2.0)
        sent += [effect for effect in effects if isinstance(effect, Message)]
        if sender.over:
            break
    assert effects == [Failed("stalled", "too many chunks get lost on the way")]
    assert len([message for message in sent if is_chunk(message)]) == SENDINGS * 20 + SPARE_SENDINGS


@pytest.mark.parametrize("firmware", ["self_finishing", "v3"])
def test_on_udp_chunks_are_paced(firmware: Any) -> None:
    link = Link(IMAGE, Habits(firmware, reliable=False))
    moments: list[float] = []

    def fate(who: str, message: Message) -> Fate:
        moments.extend([link.now] if is_chunk(message) else [])
        return "arrives"

    link._fate = fate
    assert link.run() == Delivered()
    at_once, gap_s = (1, CHUNK_GAP_S) if firmware == "self_finishing" else (BURST_CHUNKS, BURST_GAP_S)
    assert len(moments) == 20
    for first, last in zip(moments, moments[at_once:], strict=False):
        assert last - first >= gap_s - 1e-9
    assert moments[-1] - moments[0] < 20 * gap_s + 1


def test_protocol_3_goes_on_where_the_device_is() -> None:
    link = Link(IMAGE, Habits("v3", reliable=False, stored=IMAGE[:4_096]))
    assert link.run() == Delivered()
    assert link.device.image == IMAGE
    assert link.progress[0] == 4_096
    assert len([message for message in link.sent if is_chunk(message)]) == -(-(10_040 - 4_096) // 512)


def test_protocol_3_never_sends_more_than_a_window_ahead() -> None:
    habits = Habits("v3", reliable=False, window_chunks=5)
    link = Link(IMAGE, habits, lambda who, message: "lost" if coap.path(message) == (b"A",) else "arrives")
    assert isinstance(link.run(), Failed)
    indexes = {coap.option(message, 2049) for message in link.sent if is_chunk(message)}
    assert indexes == {bytes((index,)) for index in range(1, 6)}


# -- single steps -------------------------------------------------------------------------------------------------


def begun(habits: Habits, image: bytes = IMAGE) -> tuple[Any, list[Effect]]:
    """A sender whose device has agreed, and what it wants then."""
    sender = sender_of(plan_of(image, habits), Counting())
    [begin] = sender.start(0.0)
    assert isinstance(begin, Message)
    assert sender.receive(device_messages.acknowledgement(begin.id), 0.1) == []
    return sender, sender.receive(device_messages.update_ready(9, begin.token, habits.fast), 0.2) or []


def test_no_more_of_the_image_is_asked_for_than_a_stretch_and_nothing_while_it_is_awaited() -> None:
    sender, effects = begun(Habits())
    assert effects == [Need(0, 10_040 // 512 * 512 + 10_040 % 512)]
    assert sender.wake_at() is None
    assert sender.tick(1e6) == []
    sender, effects = begun(Habits(), IMAGE * 4)
    assert effects == [Need(0, STRETCH_BYTES)]


def test_an_image_may_come_in_pieces_of_any_length() -> None:
    sender, _ = begun(Habits())
    chunks = []
    offset, length = 0, 10_040
    while offset < 10_040:
        piece = IMAGE[offset : offset + min(700, length)]
        offset += len(piece)
        for effect in sender.supply(offset - len(piece), piece, 1.0):
            if isinstance(effect, Need):
                assert effect.offset == offset
                length = effect.length
            elif isinstance(effect, Message) and is_chunk(effect):
                chunks.append(effect.payload)
    assert b"".join(chunks) == IMAGE


def test_bytes_that_were_not_asked_for_are_not_sent() -> None:
    sender, _ = begun(Habits())
    assert sender.supply(512, IMAGE[512:1_024], 1.0) == []


@every_device
def test_an_image_that_cannot_be_read_ends_the_transfer(habits: Habits) -> None:
    link = Link(IMAGE, habits)
    link.image = b""
    sender = link.sender
    [begin] = sender.start(0.0)
    assert isinstance(begin, Message)
    effects: list[Effect] = []
    for answer in link.device.receive(begin, 0.0):
        effects += sender.receive(answer, 0.0) or []
    [need] = [effect for effect in effects if isinstance(effect, Need)]
    effects = sender.supply(need.offset, None, 0.1)
    assert isinstance(effects[-1], Failed)
    assert effects[-1].reason == "image_unreadable"
    assert [coap.path(e) for e in effects if isinstance(e, Message)] == ([(b"F",)] if habits.firmware == "v3" else [])
    assert sender.wake_at() is None


def test_an_error_with_a_code_ends_the_transfer_at_any_time() -> None:
    for code in (coap.BAD_REQUEST, coap.UNAVAILABLE):
        sender, _ = begun(Habits())
        error = device_messages.answer(77, b"\xfe", code, b"\x05", confirmable=True)
        assert sender.receive(error, 1.0) == [
            device_messages.acknowledgement(77),
            Failed("device_failed", f"the device answered {coap.code_text(code)}, error 5"),
        ]


def test_what_a_device_of_old_firmware_reports_itself_counts() -> None:
    sender, _ = begun(Habits("self_finishing"))
    sender.supply(0, IMAGE, 0.3)
    bad = device_messages.event(50, Event("spark/device/ota_result", b'{"r":"error"}'))
    assert isinstance((sender.receive(bad, 0.4) or [None])[0], Failed)
    sender, _ = begun(Habits("self_finishing"))
    sender.supply(0, IMAGE, 0.3)
    good = device_messages.event(50, Event("spark/device/ota_result", b'{"r":"ok"}'))
    assert sender.receive(good, 0.4) == [Delivered()]
    assert sender.receive(good, 0.5) is None
    assert isinstance((sender.receive(bad, 0.6) or [None])[0], Failed)
    assert sender.receive(bad, 0.7) is None


def test_a_result_of_an_earlier_update_is_no_answer_to_an_offer() -> None:
    sender = sender_of(plan_of(IMAGE, Habits()), Counting())
    sender.start(0.0)
    assert sender.receive(device_messages.event(50, Event("spark/device/ota_result", b'{"r":"ok"}')), 0.1) is None
    assert sender.receive(device_messages.update_done(51), 0.2) == []
    assert not sender.over


@pytest.mark.parametrize(
    "message",
    [
        device_messages.ping(5),
        device_messages.time_request(6, b"\1"),
        device_messages.event(7, Event("temperature", b"1")),
        device_messages.acknowledgement(60_000),
    ],
    ids=lambda message: type(messages.read(message)).__name__,
)
def test_what_is_not_of_the_update_is_left_to_the_session(message: Message) -> None:
    for habits in (Habits(), Habits(fast=False)):
        sender, _ = begun(habits)
        assert sender.receive(message, 1.0) is None


def test_duplicates_and_late_answers_change_nothing() -> None:
    sender, _ = begun(Habits(fast=False, reliable=False))
    [first, *_] = sender.supply(0, IMAGE, 0.3)
    assert isinstance(first, Message)
    stored = device_messages.chunk_stored(10, first.token, True, confirmable=True)
    effects = sender.receive(stored, 0.4) or []
    assert effects[:2] == [device_messages.acknowledgement(10), Progressed(512)]
    assert sender.receive(stored, 0.5) == [device_messages.acknowledgement(10)]
    refused = device_messages.chunk_stored(11, first.token, False, confirmable=True)
    assert sender.receive(refused, 0.6) == [device_messages.acknowledgement(11)]


def test_a_request_on_udp_is_repeated_three_times_with_the_same_bytes() -> None:
    link = Link(IMAGE, Habits(reliable=False), lambda who, message: "lost")
    assert isinstance(link.run(), Refused)
    assert len(link.sent) == 4
    assert len({coap.encode(message) for message in link.sent}) == 1


def test_the_pauses_before_a_request_is_repeated_double_and_an_acknowledgement_ends_them() -> None:
    sender = sender_of(plan_of(IMAGE, Habits(reliable=False)), Counting())
    [begin] = sender.start(0.0)
    assert isinstance(begin, Message)
    for moment in (5.0, 15.0, 35.0):
        assert sender.wake_at() == moment
        assert sender.tick(moment - 0.1) == []
        assert sender.tick(moment) == [begin]
    assert sender.wake_at() == SILENCE_S
    other = sender_of(plan_of(IMAGE, Habits(reliable=False)), Counting())
    [begin] = other.start(0.0)
    assert isinstance(begin, Message)
    assert other.receive(device_messages.acknowledgement(begin.id), 1.0) == []
    assert other.wake_at() == SILENCE_S


def sent_whole(habits: Habits) -> tuple[Any, Message]:
    """A sender that has sent every chunk, and the question whether they have all arrived."""
    sender, _ = begun(habits)
    effects = sender.supply(0, IMAGE, 1.0)
    assert coap.path(effects[-1]) == (b"u",)
    return sender, effects[-1]


def test_a_device_has_a_second_and_a_half_to_finish_by_itself() -> None:
    sender, done = sent_whole(Habits("self_finishing"))
    lacking = device_messages.acknowledgement(done.id, coap.BAD_REQUEST, done.token)
    assert sender.receive(lacking, 2.0) == []
    assert sender.receive(lacking, 2.1) == []
    [chunk] = sender.receive(device_messages.missing_chunks(40, (3, 99)), 3.0) or []
    assert coap.queries(chunk)[1] == b"\0\3"
    assert sender.wake_at() == 3.0 + OWN_FINISH_S
    assert sender.tick(4.4) == []
    [again] = sender.tick(4.5)
    assert (again.code, coap.path(again)) == (coap.PUT, (b"u",))
    own = device_messages.update_done(41, confirmable=True)
    assert sender.receive(own, 4.6) == [device_messages.acknowledgement(41), Delivered()]
    late = device_messages.missing_chunks(42, (3,), confirmable=True)
    assert sender.receive(late, 4.7) == [device_messages.acknowledgement(42)]


def test_a_device_that_lacks_chunks_and_does_not_say_which_is_asked_again_and_given_up() -> None:
    sender, done = sent_whole(Habits())
    now = 2.0
    for _ in range(SAME_LISTS - 1):
        assert sender.receive(device_messages.acknowledgement(done.id, coap.BAD_REQUEST, done.token), now) == []
        assert sender.wake_at() == now + LIST_S
        assert sender.tick(now + LIST_S - 0.1) == []
        now += LIST_S
        [done] = sender.tick(now)
        assert coap.path(done) == (b"u",)
    sender.receive(device_messages.acknowledgement(done.id, coap.BAD_REQUEST, done.token), now)
    assert sender.tick(now + LIST_S) == [Failed("stalled", "chunks are missing, and the device does not say which")]


def test_a_device_of_slow_mode_cannot_lack_chunks() -> None:
    sender, _ = begun(Habits(fast=False), IMAGE[:512])
    [chunk] = sender.supply(0, IMAGE[:512], 1.0)
    _, done = sender.receive(device_messages.chunk_stored(9, chunk.token, True), 1.1) or []
    refused = device_messages.acknowledgement(done.id, coap.BAD_REQUEST, done.token)
    assert sender.receive(refused, 1.2) == [Failed("device_failed", "the device answered 4.00")]


@pytest.mark.parametrize("code", [coap.NOT_FOUND, coap.UNAVAILABLE])
def test_another_error_than_missing_chunks_is_failure(code: int) -> None:
    sender, done = sent_whole(Habits())
    [failed] = sender.receive(device_messages.acknowledgement(done.id, code, done.token, b"no room"), 2.0) or []
    assert failed == Failed("device_failed", f"the device answered {coap.code_text(code)}, no room")


def test_a_device_that_is_ready_without_saying_for_what_has_refused() -> None:
    sender = sender_of(plan_of(IMAGE, Habits()), Counting())
    [begin] = sender.start(0.0)
    assert isinstance(begin, Message)
    [refused] = sender.receive(device_messages.answer(9, begin.token, coap.CHANGED), 0.2) or []
    assert isinstance(refused, Refused)


def test_fast_mode_is_offered_as_long_as_an_index_has_room_for_the_chunks() -> None:
    for count_, fast in ((MOST_FAST_CHUNKS, 1), (MOST_FAST_CHUNKS + 1, 0)):
        [begin] = sender_of(Plan("00", count_ * 512), Counting()).start(0.0)
        assert isinstance(begin, Message)
        assert (begin.payload or b"")[0] == fast


def started(window_chunks: int = 8, offset_bytes: int = 0) -> tuple[Any, list[Effect]]:
    """A sender of protocol 3 on TCP, where nothing is paced, whose device has agreed; what it wants then."""
    sender = sender_of(plan_of(IMAGE, Habits("v3")), Counting())
    [start] = sender.start(0.0)
    assert isinstance(start, Message)
    agreed = device_messages.started_v3(9, start.token, Started(window_chunks, offset_bytes))
    return sender, sender.receive(agreed, 0.2) or []


def received(upto: int, *beyond: int) -> Message:
    return device_messages.chunks_received_v3(60, ChunksReceived(upto, frozenset(beyond)))


def indexes(effects: list[Effect] | None) -> list[int]:
    return [
        int.from_bytes(coap.option(effect, 2049) or b"", "big")
        for effect in effects or []
        if isinstance(effect, Message) and is_chunk(effect)
    ]


def test_protocol_3_sends_a_window_and_then_as_much_as_is_acknowledged() -> None:
    sender, effects = started()
    assert effects[0] == device_messages.acknowledgement(9)
    assert effects[1:] == [Progressed(0), Need(0, 10_040)]
    assert indexes(sender.supply(0, IMAGE, 0.3)) == [1, 2, 3, 4, 5, 6, 7, 8]
    effects = sender.receive(received(2), 0.4) or []
    assert effects[0] == Progressed(1_024)
    assert indexes(effects) == [9, 10]
    assert indexes(sender.receive(received(2, 4, 5), 0.5)) == []
    assert indexes(sender.receive(received(5, 7, 8), 0.6)) == [11, 12, 13]


def test_protocol_3_believes_no_acknowledgement_that_is_old_or_cannot_be() -> None:
    sender, _ = started()
    sender.supply(0, IMAGE, 0.3)
    assert sender.receive(received(9), 0.4) == []  # chunk 9 was never sent
    assert indexes(sender.receive(received(8), 0.5)) == [9, 10, 11, 12, 13, 14, 15, 16]
    assert sender.receive(received(7), 0.6) == []
    assert sender.receive(received(8, 17, 30), 0.7) == [Progressed(4_096)]
    assert indexes(sender.receive(received(16), 0.8)) == [17, 18, 19, 20]


def test_protocol_3_sends_again_what_an_acknowledgement_lacks_a_second_later() -> None:
    sender, _ = started()
    sender.supply(0, IMAGE, 1.0)
    assert indexes(sender.receive(received(1, 3, 5), 1.9)) == [9]
    assert indexes(sender.receive(received(1, 3, 5), 2.0)) == [2, 4, 6, 7, 8]
    assert indexes(sender.receive(received(1, 3, 5), 2.5)) == []
    assert indexes(sender.receive(received(1, 3, 5), 3.0)) == [2, 4, 6, 7, 8, 9]


def test_protocol_3_probes_a_silent_device_with_growing_pauses_and_gives_up_after_a_minute() -> None:
    sender, _ = started()
    sender.supply(0, IMAGE, 0.0)
    probes = []
    while not sender.over:
        now = sender.wake_at() or 0.0
        effects = sender.tick(now)
        probes += [(now, index) for index in indexes(effects)]
    assert probes == [(1.0, 1), (2.0, 1), (4.0, 1), (8.0, 1), (16.0, 1), (32.0, 1)]
    assert now == SILENCE_S
    assert effects[1:] == [Failed("stalled", "no answer from the device (sending)")]


def test_protocol_3_gives_up_a_device_that_acknowledges_and_gets_no_further() -> None:
    sender, _ = started()
    sender.supply(0, IMAGE, 0.0)
    now, effects = 0.0, []
    while not sender.over:
        now += 2.0
        sender.receive(received(3), now)
        effects = sender.tick(now)
    assert now == 2.0 + SILENCE_S
    assert isinstance(effects[-1], Failed)


def test_protocol_3_only_ends_what_the_device_has_already() -> None:
    _, effects = started(offset_bytes=10_040)
    assert effects[1] == Progressed(10_040)
    assert coap.path(effects[2]) == (b"F",)  # type: ignore[arg-type]
    for impossible in (started(offset_bytes=10_041), started(window_chunks=0)):
        assert isinstance(impossible[1][-1], Refused)


def test_protocol_3_is_delivered_by_the_separate_answer_alone() -> None:
    sender, effects = started(offset_bytes=10_040)
    end = effects[2]
    assert isinstance(end, Message)
    assert sender.receive(device_messages.acknowledgement(end.id), 1.0) == []
    assert sender.receive(received(0), 1.1) == []
    assert not sender.over
    good = device_messages.answer(70, end.token, coap.CHANGED, b"{}", confirmable=True)
    assert sender.receive(good, 2.0) == [device_messages.acknowledgement(70), Delivered()]
    assert sender.receive(good, 2.1) == [device_messages.acknowledgement(70)]
    assert sender.receive(received(0), 2.2) == []


@pytest.mark.parametrize("when", ["sending", "ending"])
def test_protocol_3_fails_with_the_words_of_the_device(when: str) -> None:
    sender, _ = started(offset_bytes=10_040 if when == "ending" else 0)
    error = device_messages.answer(70, b"\x77", coap.INTERNAL_ERROR, b"flash is worn", confirmable=True)
    assert (sender.receive(error, 2.0) or [])[1:] == [
        Failed("device_failed", "the device answered 5.00, flash is worn")
    ]


def test_a_cancelled_transfer_is_over_and_protocol_3_is_told() -> None:
    sender, _ = begun(Habits())
    assert sender.cancel(1.0) == []
    assert sender.over
    assert sender.cancel(1.1) == []
    assert sender.supply(0, IMAGE, 1.2) == []
    sender = sender_of(plan_of(IMAGE, Habits("v3")), Counting())
    sender.start(0.0)
    [told] = sender.cancel(1.0)
    assert isinstance(told, Message)
    assert coap.path(told) == (b"F",)
    assert coap.option(told, 2073) == b""


@pytest.mark.parametrize(
    ("announced", "message_bytes", "chunk", "chunk_v3"),
    [(512, 600, 512, 512), (0, 600, 512, 512), (1_024, 600, 576, 576), (256, 607, 256, 512), (2_000, 927, 903, 900)],
)
def test_chunks_are_as_the_device_wants_them_and_fit_its_messages(
    announced: int, message_bytes: int, chunk: int, chunk_v3: int
) -> None:
    plan = Plan("00" * 32, 5_000, announced, message_bytes)
    assert chunk_bytes_of(plan) == chunk
    assert chunk_bytes_v3(plan) == chunk_v3
    for v3 in (False, True):
        link = Link(IMAGE, Habits("v3" if v3 else "waiting"), chunk_bytes=announced)
        assert link.run() == Delivered()
        assert max(len(coap.encode(message)) for message in link.sent) <= 600
