"""A session by itself: what it opens, what it stores, and that no send number comes twice."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle.dtls.key_schedule import Secrets
from services.gateway.devices.particle.dtls.messages import FINISHED, Message
from services.gateway.devices.particle.dtls.records import HANDSHAKE, parse
from services.gateway.devices.particle.dtls.refusals import Discarded
from services.gateway.devices.particle.dtls.session import SEND_JUMP, Finale, Session, StoredSession
from shared.errors import Misuse

SECRETS = Secrets(b"m" * 48, b"c" * 32, b"s" * 32)
CONNECTION_ID = b"12345678"
FINALE = Finale(Message(FINISHED, 5, b"theirs").encode(), Message(FINISHED, 5, b"ours").encode())


def pair(connection_id: bytes = b"") -> tuple[Session, Session]:
    """The server's and the device's end."""
    return (
        Session(SECRETS, connection_id=connection_id, public_key=b"key"),
        Session(SECRETS, connection_id=connection_id, is_device=True),
    )


def sequence_of(datagram: bytes) -> int:
    return parse(datagram).records[0].sequence


@pytest.mark.parametrize("connection_id", [b"", CONNECTION_ID])
def test_what_one_end_seals_the_other_opens_once(connection_id: bytes) -> None:
    server, device = pair(connection_id)
    for sender, receiver in ((server, device), (device, server)):
        (record,) = parse(sender.seal(b"content")).records
        assert receiver.open(record) == (23, b"content")
        with pytest.raises(Discarded) as discarded:
            receiver.open(record)
        assert discarded.value.kind == "replayed"
        with pytest.raises(Discarded):
            sender.open(record)  # its own, reflected


def test_an_ordinary_record_is_none_of_a_session_with_connection_id() -> None:
    plain, other = pair()[1], pair(CONNECTION_ID)[0]
    with pytest.raises(Discarded) as discarded:
        other.open(parse(plain.seal(b"content")).records[0])
    assert discarded.value.kind == "connection_id"


def test_a_record_of_another_epoch_is_discarded() -> None:
    server, device = pair()
    (record,) = parse(device.seal(b"content")).records
    with pytest.raises(Discarded) as discarded:
        server.open(record._replace(epoch=2))
    assert discarded.value.kind == "epoch"


@given(st.lists(st.sampled_from(["send", "export", "crash"]), max_size=30), st.integers(1, SEND_JUMP))
def test_no_send_number_is_used_twice_whenever_the_process_dies(acts: list[str], burst: int) -> None:
    session, stored, used = pair()[0], pair()[0].export(), set[int]()
    session.export()
    for act in acts:
        if act == "export":
            stored = session.export()
        elif act == "crash":
            session = Session.restore(stored)
            assert session.save_due
        else:
            for _ in range(min(burst, 3) if burst < SEND_JUMP else SEND_JUMP):
                if not session.may_send:
                    with pytest.raises(Misuse):
                        session.seal(b"")
                    break
                number = session.send_sequence
                assert sequence_of(session.seal(b"")) == number
                assert number not in used
                used.add(number)


def test_what_is_stored_survives_its_encoding_and_is_not_shown() -> None:
    server, device = pair(CONNECTION_ID)
    server.device_id, server.address, server.extra = bytes(12), ("192.0.2.7", 40_000), b"subscriptions"
    seen = [parse(device.seal(b"x")).records[0] for _ in range(70)]
    for record in seen[3:]:
        server.open(record)
    stored = server.export()
    assert "mmm" not in repr(stored)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(stored), type=StoredSession) == stored
    restored = Session.restore(stored)
    again = restored.export()
    assert again == msgspec.structs.replace(stored, send_sequence=stored.send_sequence + SEND_JUMP)
    for record in seen:
        with pytest.raises(Discarded):
            restored.open(record)


def test_the_last_flight_is_repeated_for_the_same_finished_only_and_until_data_came() -> None:
    server, device = pair()
    first = server.finish(FINALE, 5)
    again = server.answer_handshake(FINALE.asked_by)
    assert [sequence_of(datagram) for datagram in [*first, *again]] == [5, 0, 6, 1]
    for flight in (first, again):
        assert device.open(parse(flight[1]).records[0]) == (HANDSHAKE, FINALE.finished)
    with pytest.raises(Discarded):
        server.answer_handshake(FINALE.asked_by + b"x")
    server.export()
    for _ in range(SEND_JUMP):
        server.seal(b"")
    with pytest.raises(Discarded) as discarded:
        server.answer_handshake(FINALE.asked_by)
    assert discarded.value.kind == "unsaved"
    server.export()
    server.forget_handshake()
    with pytest.raises(Discarded) as discarded:
        server.answer_handshake(FINALE.asked_by)
    assert discarded.value.kind == "renegotiation"
