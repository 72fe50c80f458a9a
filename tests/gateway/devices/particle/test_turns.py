"""Handshakes in turn: bounded, in order, nobody starved, nothing left behind."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle.handshakes import Handshakes


@dataclass(eq=False)
class Peer:
    address: str


def test_those_for_whom_there_is_no_room_begin_in_order() -> None:
    handshakes: Handshakes[Peer] = Handshakes(2, 2)
    peers = [Peer("a") for _ in range(4)]
    assert [handshakes.enter(peer) for peer in peers] == [True, True, False, False]
    assert handshakes.next() is None
    handshakes.leave(peers[1])
    assert handshakes.next() is peers[2]
    assert handshakes.next() is None
    assert (handshakes.going, handshakes.waiting) == (2, 1)


def test_an_address_with_very_many_connections_holds_up_only_itself() -> None:
    handshakes: Handshakes[Peer] = Handshakes(4, 2)
    many = [Peer("many") for _ in range(10)]
    assert [handshakes.enter(peer) for peer in many].count(True) == 2
    others = [Peer("x"), Peer("y")]
    assert [handshakes.enter(peer) for peer in others] == [True, True]
    third = Peer("z")
    assert not handshakes.enter(third)
    handshakes.leave(many[0])
    begun = {handshakes.next(), handshakes.next()}
    assert third in begun or handshakes.waiting
    handshakes.leave(others[0])
    assert third in begun | {handshakes.next()}


def test_who_leaves_while_it_waits_is_not_begun() -> None:
    handshakes: Handshakes[Peer] = Handshakes(1, 1)
    first, second, third = Peer("a"), Peer("a"), Peer("b")
    assert handshakes.enter(first)
    assert not handshakes.enter(second)
    assert not handshakes.enter(third)
    handshakes.leave(second)
    handshakes.leave(third)
    handshakes.leave(first)
    assert handshakes.next() is None
    assert (handshakes.going, handshakes.waiting) == (0, 0)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=60))
def test_everybody_begins_or_leaves_and_the_bounds_hold(steps: list[tuple[str, int]]) -> None:
    handshakes: Handshakes[Peer] = Handshakes(3, 2)
    going: list[Peer] = []
    waiting: list[Peer] = []

    def let_in() -> None:
        while (peer := handshakes.next()) is not None:
            waiting.remove(peer)
            going.append(peer)

    for address, step in steps:
        if step < 3:
            peer = Peer(address)
            (going if handshakes.enter(peer) else waiting).append(peer)
        elif going and step < 5:
            handshakes.leave(going.pop(0))
            let_in()
        elif waiting:
            handshakes.leave(waiting.pop())
        assert handshakes.going == len(going) <= 3
        assert handshakes.waiting == len(waiting)
        assert all(sum(peer.address == one for peer in going) <= 2 for one in "abc")
    while going:
        handshakes.leave(going.pop(0))
        let_in()
    assert not waiting
