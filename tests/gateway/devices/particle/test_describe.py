"""Descriptions: of each generation, in parts, in blocks, with nonsense in them; and metrics."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.devices.particle import blocks, describe, metrics
from services.gateway.devices.particle.blocks import Assembly, Block, block_value, read_block
from services.gateway.devices.particle.describe import (
    Application,
    Dependency,
    Description,
    Module,
    System,
    read_description,
)
from services.gateway.devices.particle.metrics import Metrics, metrics_payload, read_metrics
from services.gateway.devices.particle.violations import BAD_DESCRIBE, BadMessage

MODULE = {
    "s": 262_144,
    "l": "m",
    "vc": 30,
    "vv": 30,
    "u": "ab" * 32,
    "f": "u",
    "n": "1",
    "v": 3,
    "d": [{"f": "s", "n": "2", "v": 15, "_": ""}],
}


def read(value: object) -> Description:
    return read_description(json.dumps(value).encode())


def test_everything_at_once_has_both_parts() -> None:
    found = read({"f": ["echo"], "v": {"t": 2, "name": 4}, "p": 6, "m": [MODULE]})
    module = Module("u", "1", 3, "m", 262_144, 30, 30, "ab" * 32, (Dependency("s", "2", 15),))
    assert found == Description(System(6, (module,)), Application(("echo",), {"t": 2, "name": 4}))
    assert (found.functions, found.variables, found.modules) == (("echo",), {"t": 2, "name": 4}, (module,))


def test_parts_that_come_one_by_one_make_up_the_whole() -> None:
    system, application = (
        read({"p": 10, "imei": "35", "iccid": "89", "cellfw": "x1", "m": []}),
        read({"f": [], "v": {}}),
    )
    whole = Description().merged(system).merged(application)
    assert whole == Description(System(10, (), "35", "89", "x1"), Application((), {}))
    newer = read({"f": ["new"], "v": {}})
    assert whole.merged(newer) == Description(whole.system, newer.application)


def test_a_description_of_nothing_offers_nothing() -> None:
    found = read({})
    assert found == Description()
    assert (found.functions, dict(found.variables), found.modules) == ((), {}, ())


@pytest.mark.parametrize(("checked", "passed", "valid"), [(30, 30, True), (30, 14, False), (0, 0, True), (2, 31, True)])
def test_a_module_is_valid_if_it_passed_what_was_checked(checked: int, passed: int, valid: bool) -> None:
    [module] = read({"m": [MODULE | {"vc": checked, "vv": passed}]}).modules
    assert module.valid is valid


def test_entries_that_make_no_sense_are_left_out() -> None:
    found = read(
        {
            "f": ["ok", "ok", 5, None, "", "n" * 65, "a\u0000b", ["x"]],
            "v": {"ok": 9, "text": "2", "unknown": 3, "true": True, "": 1, "n" * 65: 1},
            "p": "6",
            "m": [
                None,
                5,
                {},
                {"f": "x"},
                {"f": "uu"},
                {"f": "b", "d": [5, {}, {"f": "s", "v": -1}], "v": 2**40, "s": True},
            ],
            "imei": 5,
        }
    )
    assert found.functions == ("ok",)
    assert found.variables == {"ok": 9}
    assert found.system == System(None, (Module("b", "0", 0, "m", 0, 0, 0, None, ()),))
    assert read({"f": {}, "v": [], "m": 5}) == Description(System(None, ()), Application((), {}))


@pytest.mark.parametrize("payload", [None, b"", b"{", b"[]", b"5", b"\xff", b"null", b'{"f":["cut","of', b"[" * 5_000])
def test_what_is_no_json_object_is_refused_and_the_session_stays(payload: bytes | None) -> None:
    with pytest.raises(BadMessage) as refusal:
        read_description(payload)
    assert (refusal.value.kind, refusal.value.fatal) == (BAD_DESCRIBE, False)


def test_a_description_above_the_limit_is_refused() -> None:
    assert read_description(b"{}".ljust(describe.MAX_BYTES)) == Description()
    with pytest.raises(BadMessage, match="32769 bytes"):
        read_description(b"{}".ljust(describe.MAX_BYTES + 1))


@given(st.integers(0, 2**20 - 1), st.booleans(), st.integers(0, 6))
def test_a_block_option_is_read_as_it_was_written(number: int, more: bool, szx: int) -> None:
    assert read_block(block_value(Block(number, more, szx))) == Block(number, more, szx)


def test_block_options_are_those_of_the_specification() -> None:
    assert read_block(b"\x0d") == Block(0, True, 5)
    assert (Block(0, True, 5).size_bytes, Block(0, True, 6).size_bytes) == (512, 1_024)
    assert block_value(Block(0, False, 0)) == b""
    for value in (b"\x07", bytes(4)):
        with pytest.raises(BadMessage):
            read_block(value)


@given(st.binary(max_size=2_000), st.integers(0, 6), st.data())
def test_a_body_survives_being_cut_into_blocks_even_begun_anew(body: bytes, szx: int, data: st.DataObject) -> None:
    size = 16 << szx
    pieces = [body[at : at + size] for at in range(0, len(body), size)] or [b""]
    given_up = data.draw(st.integers(0, len(pieces) - 1))
    assembly = Assembly()
    for end in (given_up, len(pieces)):
        done = [assembly.add(2, Block(n, n < len(pieces) - 1, szx), piece) for n, piece in enumerate(pieces[:end])]
    assert done == [None] * (len(pieces) - 1) + [body]
    assert assembly.held_bytes == 0


def test_bodies_of_two_parts_can_come_at_once_and_a_whole_one_needs_no_block() -> None:
    assembly = Assembly()
    assert assembly.add(1, Block(0, True, 0), b"a" * 16) is None
    assert assembly.add(2, Block(0, True, 0), b"b" * 16) is None
    assert assembly.add(4, None, b"whole") == b"whole"
    assert assembly.add(1, Block(1, False, 0), b"!") == b"a" * 16 + b"!"
    assert assembly.add(2, Block(1, False, 0), b"?") == b"b" * 16 + b"?"


@pytest.mark.parametrize(
    ("block", "data"),
    [
        (Block(2, False, 0), b"gap"),
        (Block(0, True, 0), b"short"),
        (Block(1, True, 0), b"x" * 17),
        (Block(1, False, 1), b"another size"),
    ],
)
def test_a_gap_or_a_block_of_an_odd_size_loses_the_body(block: Block, data: bytes) -> None:
    assembly = Assembly()
    assembly.add(1, Block(0, True, 0), bytes(16))
    with pytest.raises(BadMessage) as refusal:
        assembly.add(1, block, data)
    assert refusal.value.kind == BAD_DESCRIBE
    assert assembly.held_bytes == 0


def test_a_first_block_that_is_not_the_first_is_refused() -> None:
    with pytest.raises(BadMessage):
        Assembly().add(1, Block(1, True, 0), bytes(16))


def test_unfinished_bodies_are_bounded_together() -> None:
    assembly = Assembly()
    for number in range(31):
        assembly.add(1, Block(number, True, 6), bytes(1_024))
    assembly.add(2, Block(0, True, 6), bytes(1_024))
    with pytest.raises(BadMessage, match="more than 32768"):
        assembly.add(2, Block(1, False, 6), b"x")
    assert assembly.held_bytes == 31 * 1_024
    for key in range(10, 10 + blocks.MAX_UNFINISHED - 1):
        assembly.add(key, Block(0, True, 0), bytes(16))
    with pytest.raises(BadMessage):
        assembly.add(99, Block(0, True, 0), bytes(16))


def test_metrics_are_signed_where_that_makes_sense_and_errors_apart() -> None:
    table = bytes.fromhex(
        "000400" + "02000400" + "0200" + "000000f0" + "1300" + "b5ffffff" + "2180" + "9cffffff" + "0180" + "07000000"
    )
    found = read_metrics(table)
    assert found == Metrics({2: 0xF0000000, 19: -75, metrics.FIRST_OF_APPLICATION + 1: 7}, {33: -100})
    assert metrics.NAMES[19] == "rssi"
    assert read_metrics(metrics_payload(found)) == found


@pytest.mark.parametrize(
    "payload",
    [
        None,
        bytes(6),
        bytes.fromhex("01040002000400"),
        bytes.fromhex("00050002000400"),
        bytes.fromhex("00040004000400"),
        bytes.fromhex("00040002000800"),
        bytes.fromhex("0004000200040001"),
        bytes.fromhex("00040002000400") + bytes(6) * 257,
    ],
)
def test_metrics_of_another_form_are_refused(payload: bytes | None) -> None:
    with pytest.raises(BadMessage) as refusal:
        read_metrics(payload)
    assert refusal.value.kind == BAD_DESCRIBE
