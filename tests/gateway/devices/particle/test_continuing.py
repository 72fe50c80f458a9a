"""What is stored of a session beside its keys: comes back as it was, and is refused when it is something else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.particle import continuing
from services.gateway.devices.particle.continuing import Continuation
from services.gateway.devices.particle.describe import Description, read_description
from services.gateway.devices.particle.events import Subscription
from services.gateway.devices.particle.hello import Hello, HelloSystem
from services.gateway.devices.particle.told import Told
from tests.gateway.devices.particle.desk import DESCRIPTION, DEVICE

HELLO = Hello(1000, 1, 0x36, 10, DEVICE, HelloSystem(3302, 960, 131_072, 512))
MODULES = b'{"p":10,"m":[{"s":1,"l":"m","vc":1,"vv":1,"u":"ab","f":"u","n":"0","v":2,"d":[{"f":"s","n":"1","v":7}]}]}'

continuations = st.builds(
    Continuation,
    hello=st.sampled_from([HELLO, Hello(1, 2, 0, 6)]),
    last_id=st.integers(0, 0xFFFF),
    subscriptions=st.lists(st.builds(Subscription, st.text(max_size=8), st.booleans()), max_size=3).map(tuple),
    description=st.sampled_from([Description(), read_description(DESCRIPTION), read_description(MODULES)]),
    told=st.sampled_from([{}, {"safe_mode": True, "ident": "x", "chunk_bytes": 512, "claim_shown": True}]),
    answered=st.lists(st.tuples(st.integers(0, 0xFFFF), st.tuples(st.binary(max_size=9))), max_size=3).map(tuple),
)


@settings(max_examples=30)
@given(continuations)
def test_it_comes_back_as_it_was(continuation: Continuation) -> None:
    assert continuing.decode(continuing.encode(continuation)) == continuation


@settings(max_examples=50)
@given(st.binary(max_size=60))
def test_anything_else_is_none(data: bytes) -> None:
    assert continuing.decode(data) is None


def test_what_a_device_said_of_itself_is_known_again() -> None:
    told, again = Told(), Told()
    told.max_binary_bytes, told.safe_mode, told.ident = 131_072, True, "abc"
    continuing.tell_again(again, continuing.told_values(told))
    assert continuing.told_values(again) == continuing.told_values(told)
    assert again.safe_mode


def test_what_no_release_ever_said_is_left_out() -> None:
    told = Told()
    continuing.tell_again(told, {"unheard_of": 1, "ident": "x"})
    assert told.ident == "x"
