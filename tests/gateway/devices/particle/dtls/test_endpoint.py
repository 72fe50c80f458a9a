"""What an endpoint does with sessions: moving, restarting, replacing, ending; and with what is none of its business."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle.dtls import p256
from services.gateway.devices.particle.dtls.client import LATER, NEW, OLD, Firmware
from services.gateway.devices.particle.dtls.events import (
    Closed,
    Established,
    Event,
    Moved,
    Received,
    Restored,
    SaveDue,
)
from services.gateway.devices.particle.dtls.limits import DtlsLimits
from services.gateway.devices.particle.dtls.pace import MAX_HOSTS, HostPace
from services.gateway.devices.particle.dtls.records import (
    APPLICATION_DATA,
    MOVED,
    RECONNECTED,
    WITH_CONNECTION_ID,
    encode,
    number_of,
    parse,
)
from services.gateway.devices.particle.dtls.session import RECEIVED_BEFORE_SAVE, SEND_JUMP
from shared.errors import Misuse
from tests.gateway.devices.particle.dtls.wire import (
    AWAY,
    DEVICE_ID,
    HOME,
    Network,
    Store,
    connected,
    intact,
    new_device,
    new_endpoint,
)

each_firmware = pytest.mark.parametrize("firmware", [OLD, NEW, LATER], ids=["2.x", "3.x", "4.x"])
MARK = {OLD: MOVED, NEW: WITH_CONNECTION_ID, LATER: RECONNECTED}


def move(network: Network) -> None:
    """The device is elsewhere now, and knows it."""
    network.address = AWAY
    network.device.move()


@each_firmware
def test_a_session_follows_its_device_to_another_address(firmware: Firmware) -> None:
    network = connected(firmware)
    move(network)
    network.events.clear()
    network.say(b"moved")
    session = network.endpoint.of_device(DEVICE_ID)
    assert session is not None
    assert network.sent[-1][1][0] == MARK[firmware]
    assert network.events == [Moved(session, HOME, AWAY), Received(session, b"moved", AWAY)]
    network.to_device(network.endpoint.send(session, b"answer").datagrams)
    network.run(network.now + 1)
    assert network.heard == [b"answer"]
    network.say(b"more")  # no mark any more: something was received
    assert network.sent[-1][1][0] == (WITH_CONNECTION_ID if firmware.connection_id else APPLICATION_DATA)
    assert network.received == [b"moved", b"more"]


@each_firmware
def test_only_the_newest_record_moves_a_session(firmware: Firmware) -> None:
    network = connected(firmware)
    network.device.move()
    older, newer = network.device.seal(b"1"), network.device.seal(b"2")
    network.endpoint.receive(newer, AWAY, 2.0)
    output = network.endpoint.receive(older, ("192.0.2.99", 1), 2.0)
    assert [type(event) for event in output.events] == [Received]
    assert network.session.address == AWAY


@each_firmware
def test_a_forged_or_replayed_record_moves_nothing(firmware: Firmware) -> None:
    network = connected(firmware)
    network.device.move()
    datagram = network.device.seal(b"real")
    network.endpoint.receive(datagram, HOME, 2.0)
    assert not network.endpoint.receive(datagram, AWAY, 2.0).events
    assert network.endpoint.refusals["replayed"] == 1
    another = bytearray(network.device.seal(b"forged"))
    another[-20] ^= 1  # before the trailer of 2.x
    assert not network.endpoint.receive(bytes(another), AWAY, 2.0).events
    assert network.endpoint.refusals["bad_record"] == 1
    assert network.session.address == HOME


@each_firmware
@pytest.mark.parametrize("elsewhere", [False, True], ids=["same address", "other address"])
def test_a_stored_session_continues_after_a_restart_of_the_gateway(firmware: Firmware, elsewhere: bool) -> None:
    network = connected(firmware)
    network.session.extra = b"subscriptions"
    store = Store(network.session.export())
    for _ in range(20):
        network.answer(b"before the restart")
    network.endpoint = new_endpoint(store=store)
    network.events.clear()
    network.heard.clear()
    if elsewhere:
        move(network)
    network.say(b"ping")
    session = network.endpoint.of_device(DEVICE_ID)
    assert session is not None
    moved: list[Event] = [Moved(session, HOME, AWAY)] if elsewhere else []
    assert network.events == [
        Restored(session, network.address),
        *moved,
        SaveDue(session),
        Received(session, b"ping", network.address),
    ]
    assert (session.extra, session.device_id) == (b"subscriptions", DEVICE_ID)
    with pytest.raises(Misuse):
        network.endpoint.send(session, b"too early: the store still has the old numbers")
    assert session.export().send_sequence == store.stored[0].send_sequence + SEND_JUMP
    network.to_device(network.endpoint.send(session, b"pong").datagrams)
    network.say(b"more")
    assert network.heard == [b"pong"]
    assert network.received == [b"ping", b"more"]
    assert store.asked == 1


@each_firmware
def test_what_was_received_before_the_restart_is_not_received_again(firmware: Firmware) -> None:
    network = connected(firmware)
    network.device.move()
    datagram = network.device.seal(b"once")
    network.endpoint.receive(datagram, HOME, 2.0)
    restarted = new_endpoint(store=Store(network.session.export()))
    assert not restarted.receive(datagram, HOME, 3.0).events
    assert restarted.refusals == {"replayed": 1}
    assert len(restarted) == 0  # nothing is taken into memory for it


@each_firmware
def test_a_device_continues_its_own_stored_session_after_a_sleep(firmware: Firmware) -> None:
    network = connected(firmware)
    assert network.device.session is not None
    stored = network.device.session.export()
    network.device = new_device(firmware)
    network.device.restore(stored)
    network.address = AWAY
    network.say(b"awake")
    assert network.received == [b"awake"]
    assert network.session.address == AWAY


def test_a_stored_session_does_not_come_back_beside_a_newer_one_of_its_device() -> None:
    network = connected(OLD)
    old_device = network.device
    store = Store(network.session.export())
    network.endpoint = new_endpoint(store=store)
    network.device = new_device(OLD)
    network.connect()
    network.run(5.0)
    old_device.move()
    assert not network.endpoint.receive(old_device.seal(b"from the past"), AWAY, 6.0).events
    assert not network.endpoint.receive(encode(APPLICATION_DATA, number_of(1, 9), bytes(30)), AWAY, 6.0).events


def test_unknown_sessions_are_not_answered_and_cost_the_store_a_bounded_number_of_questions() -> None:
    store = Store()
    endpoint = new_endpoint(store=store, limits=DtlsLimits(lookups_per_s=5))
    for mark, tail in ((APPLICATION_DATA, b""), (MOVED, DEVICE_ID + b"\x0c")):
        datagram = encode(mark, number_of(1, 1), number_of(1, 1) + bytes(20)) + tail
        for _ in range(10):
            output = endpoint.receive(datagram, HOME, 0.0)
            assert not output.datagrams
            assert not output.events
    assert store.asked == 5
    assert endpoint.refusals == {"unknown_session": 5, "too_many_unknown": 15}
    endpoint.receive(datagram, HOME, 1.0)
    assert store.asked == 6


@each_firmware
def test_a_new_handshake_runs_beside_the_session_which_stays_until_it_succeeded(firmware: Firmware) -> None:
    network = connected(firmware)
    old, old_device = network.session, network.device
    network.events.clear()
    new = new_device(firmware)
    (hello,) = new.connect(network.now)
    ((asked, _),) = network.endpoint.receive(hello, HOME, network.now).datagrams
    flight = network.endpoint.receive(new.receive(asked, 2.0).datagrams[0], HOME, 2.0).datagrams
    assert network.endpoint.handshakes == 1
    output = network.endpoint.receive(old_device.seal(b"still here"), HOME, 2.0)
    assert output.events == [Received(old, b"still here", HOME)]
    assert network.endpoint.send(old, b"you too").datagrams
    answers = [answer for datagram, _ in flight for answer in new.receive(datagram, 2.0).datagrams]
    for at, datagram in enumerate(answers):
        output = network.endpoint.receive(datagram, HOME, 2.0)
        assert [type(event) for event in output.events] == ([] if at < len(answers) - 1 else [Closed, Established])
        if at < len(answers) - 1:  # with and without keys of the new one, the old one is heard
            assert network.endpoint.receive(old_device.seal(b"old"), HOME, 2.0).events == [Received(old, b"old", HOME)]
    assert output.events[0] == Closed(old, "replaced")
    assert len(network.endpoint) == 1
    with pytest.raises(Misuse):
        network.endpoint.send(old, b"gone")


@each_firmware
def test_a_handshake_that_fails_beside_a_session_leaves_it_alone(firmware: Firmware) -> None:
    network = connected(firmware)
    (hello,) = network.device.connect(network.now)
    ((asked, _),) = network.endpoint.receive(hello, HOME, network.now).datagrams
    network.endpoint.receive(network.device.receive(asked, 2.0).datagrams[0], HOME, 2.0)
    network.fate = lambda datagram, up: []
    network.run(60.0)
    network.fate = intact
    network.device._handshake = None
    network.say(b"still here")
    assert network.received == [b"still here"]
    assert network.closed == []


def test_the_hello_that_a_session_came_from_begins_no_second_handshake() -> None:
    network = connected()
    hellos = [datagram for up, datagram in network.sent if up][:2]
    assert not network.endpoint.receive(hellos[1], HOME, 2.0).datagrams
    assert network.endpoint.refusals["replayed_hello"] == 1
    assert network.endpoint.handshakes == 0


def test_alerts_in_clear_do_not_end_a_session() -> None:
    network = connected()
    for content in (b"\x02\x0a", b"\x01\x00"):
        assert not network.endpoint.receive(encode(21, number_of(0, 99), content), HOME, 2.0).events
    assert len(network.endpoint) == 1


def test_a_goodbye_is_not_answered_with_a_number_that_could_be_used_again_after_a_crash() -> None:
    network = connected()
    network.session.export()  # and it is not on disk yet
    network.session.sends_before = network.session.send_sequence
    assert not network.endpoint.receive(network.device.close(), HOME, 2.0).datagrams
    assert len(network.endpoint) == 0


@each_firmware
def test_a_device_that_says_goodbye_is_answered_and_gone(firmware: Firmware) -> None:
    network = connected(firmware)
    session = network.session
    network.to_server([network.device.close()])
    network.run(3.0)
    assert network.closed == ["close_notify"]
    assert parse(network.sent[-1][1]).records[0].content_type == 21
    assert len(network.endpoint) == 0
    network.endpoint.forget(session)  # twice does no harm


def test_a_session_that_we_close_is_closed_for_the_device() -> None:
    network = connected()
    network.to_device(network.endpoint.close(network.session).datagrams)
    network.run(3.0)
    assert network.device.session is None
    assert len(network.endpoint) == 0


def test_a_fatal_alert_of_the_device_ends_its_session_and_other_content_does_nothing() -> None:
    network = connected()
    assert network.device.session is not None
    for content_type, content in ((22, b"\x01renegotiate?"), (21, b"\x01\x64"), (20, b"\x01")):
        output = network.endpoint.receive(network.device.session.seal(content, content_type), HOME, 2.0)
        assert not output.events
        assert not output.datagrams
    output = network.endpoint.receive(network.device.session.seal(b"\x02\x50", 21), HOME, 2.0)
    assert output.events == [Closed(network.session, "alert")]


def test_a_newer_session_of_the_same_device_replaces_the_older_wherever_it_is() -> None:
    network = connected()
    first = network.session
    network.address = AWAY
    network.device = new_device()
    network.connect()
    network.run(5.0)
    assert network.closed == ["replaced"]
    assert list(network.endpoint) == [network.session]
    assert network.endpoint.of_device(DEVICE_ID) is network.session is not first
    assert network.session.address == AWAY


def test_another_device_at_the_same_address_takes_the_address_but_not_the_session() -> None:
    network = connected(NEW)
    first, first_device = network.session, network.device
    network.device = new_device(NEW, key=ec.generate_private_key(ec.SECP256R1()))
    network.binds = False
    network.connect()
    network.run(5.0)
    assert network.closed == []
    output = network.endpoint.receive(first_device.seal(b"elsewhere"), AWAY, 6.0)
    assert output.events == [Moved(first, HOME, AWAY), Received(first, b"elsewhere", AWAY)]
    assert network.endpoint.receive(network.device.seal(b"new"), HOME, 6.0).events == [
        Received(network.session, b"new", HOME)
    ]


def test_a_session_that_nobody_is_named_for_goes() -> None:
    network = Network(new_endpoint(), new_device(), binds=False)
    network.connect()
    network.run(1.0)
    assert len(network.endpoint) == 1
    network.run(DtlsLimits().bind_s + 1)
    assert network.closed == ["unbound"]
    assert len(network.endpoint) == 0
    assert network.endpoint.wake_at() is None


def test_handshakes_are_bounded_in_all_and_for_a_host_and_by_time() -> None:
    for limits, hosts, kind in (
        (DtlsLimits(handshakes=3), ["a", "b", "c", "d"], "full"),
        (DtlsLimits(handshakes_per_host=3), ["a", "a", "a", "a"], "full_for_host"),
        (DtlsLimits(handshakes_per_s=3), ["a", "b", "c", "d"], "too_fast"),
        (DtlsLimits(handshakes_per_host_per_s=3), ["a", "a", "a", "a"], "too_fast_for_host"),
        (
            DtlsLimits(handshakes_per_host=3),
            ["2001:db8::1", "2001:db8::2", "2001:db8::3", "2001:db8::4"],
            "full_for_host",
        ),
        (DtlsLimits(handshakes_per_host_per_s=3), ["::1", "::2", "::3", "::4"], "too_fast_for_host"),
        (DtlsLimits(sessions=0), ["a"], "full"),
    ):
        endpoint = new_endpoint(limits=limits)
        begun = []
        for port, host in enumerate(hosts):
            device = new_device()
            (hello,) = device.connect(0.0)
            ((asked, _),) = endpoint.receive(hello, (host, port), 0.0).datagrams
            (again,) = device.receive(asked, 0.0).datagrams
            begun.append(bool(endpoint.receive(again, (host, port), 0.0).datagrams))
        assert begun == [True] * (len(hosts) - 1) + [False]
        assert endpoint.refusals[kind] == 1
        if limits.sessions:  # later there is room, for the same hello
            endpoint.tick(limits.handshake_s)
            assert endpoint.handshakes == 0
            assert endpoint.receive(again, (host, port), limits.handshake_s).datagrams


def test_a_device_that_begins_anew_has_one_handshake() -> None:
    network = Network(new_endpoint(limits=DtlsLimits(handshakes=1)), new_device(), fate=intact)
    for _ in range(3):
        device = new_device()
        (hello,) = device.connect(0.0)
        ((asked, _),) = network.endpoint.receive(hello, HOME, 0.0).datagrams
        assert len(network.endpoint.receive(device.receive(asked, 0.0).datagrams[0], HOME, 0.0).datagrams) == 4
    assert network.endpoint.handshakes == 1


def test_a_host_that_begins_again_and_again_takes_nothing_from_others() -> None:
    endpoint = new_endpoint(limits=DtlsLimits(handshakes_per_s=20, handshakes_per_host_per_s=5))
    begun: dict[str, int] = {"hostile": 0, "honest": 0}
    for host in ["hostile"] * 50 + ["honest"] * 3:
        device = new_device()
        (hello,) = device.connect(0.0)
        ((asked, _),) = endpoint.receive(hello, (host, 1), 0.0).datagrams
        begun[host] += bool(endpoint.receive(device.receive(asked, 0.0).datagrams[0], (host, 1), 0.0).datagrams)
    assert begun == {"hostile": 5, "honest": 3}


def test_the_pace_of_hosts_is_remembered_for_a_bounded_number_of_them() -> None:
    pace = HostPace(1)
    for number in range(MAX_HOSTS):
        assert pace.take(str(number), number / MAX_HOSTS)
    assert not pace.take("16383", 1.0)
    assert pace.take("one more", 1.75)
    assert len(pace) == MAX_HOSTS // 4  # those of the last second, and one more
    for number in range(MAX_HOSTS):
        pace.take(f"again {number}", 1.75)
    assert len(pace) <= MAX_HOSTS


def test_an_export_is_asked_for_in_time_and_forced_in_the_end() -> None:
    network = connected()
    session = network.session
    assert not network.endpoint.send(session, b"never stored").events
    session.export()
    due = [bool(network.endpoint.send(session, b"x").events) for _ in range(SEND_JUMP)]
    assert due.index(True) == SEND_JUMP // 2 - 1
    with pytest.raises(Misuse):
        network.endpoint.send(session, b"one too many")
    session.export()
    for count in range(1, RECEIVED_BEFORE_SAVE + 1):
        output = network.endpoint.receive(network.device.seal(b"y"), HOME, 2.0)
        assert (SaveDue(session) in output.events) == (count == RECEIVED_BEFORE_SAVE)


@pytest.mark.parametrize("datagram", [b"", b"\x17"])
def test_keep_alives_are_ignored(datagram: bytes) -> None:
    endpoint = new_endpoint()
    assert endpoint.receive(datagram, HOME, 0.0) == ([], [])
    assert endpoint.refusals == {"keep_alive": 1}


@settings(max_examples=200, deadline=None)
@given(
    head=st.sampled_from([b"", b"\x16\xfe\xfd", b"\x17\xfe\xfd\0\1", b"\x19\xfe\xfd\0\1", b"\xfe\xfe\xfd\0\1"]),
    rest=st.binary(max_size=100),
)
def test_garbage_does_nothing_but_be_counted(head: bytes, rest: bytes) -> None:
    endpoint = ENDPOINT
    before = endpoint.refusals.total()
    output = endpoint.receive(head + rest, AWAY, 0.0)
    assert not output.events
    assert not output.datagrams
    assert endpoint.refusals.total() > before
    assert endpoint.handshakes == 0


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_datagram_of_a_handshake_or_session_cut_or_changed_anywhere_never_raises(data: st.DataObject) -> None:
    firmware = data.draw(st.sampled_from([OLD, NEW]))
    network = Network(new_endpoint(), new_device(firmware))

    def spoilt(datagram: bytes, up: bool) -> list[float]:
        cut = datagram[: len(datagram) * data.draw(st.integers(0, 999)) // 1_000]  # signatures differ in length
        changed = cut + bytes(byte ^ 0xFF for byte in datagram[len(cut) :])
        for forged in (cut, changed):
            network.endpoint.receive(forged, AWAY, network.now)
            if up and len(parse(datagram).records) == 1 and parse(datagram).records[0].epoch:
                network.events += network.endpoint.receive(forged[:-1], network.address, network.now).events
        return [0.1]

    network.fate = spoilt
    network.connect()
    network.run(1.0)
    network.say(b"up")
    assert network.received == [b"up"]


def test_every_bit_of_a_record_is_protected() -> None:
    for firmware in (OLD, NEW):
        network = connected(firmware)
        datagram = network.device.seal(b"data")
        for at in range(8 * len(datagram)):
            forged = bytearray(datagram)
            forged[at // 8] ^= 1 << at % 8
            assert not network.endpoint.receive(bytes(forged), HOME, 2.0).events
        assert len(network.endpoint.receive(datagram, HOME, 2.0).events) == 1


def test_the_public_key_of_a_session_is_the_devices() -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    network = connected(key=key)
    (event,) = [event for event in network.events if isinstance(event, Established)]
    assert event.public_key == p256.public_key_of(key) == network.session.export().public_key


ENDPOINT = new_endpoint()
