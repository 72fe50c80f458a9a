from __future__ import annotations

import struct
import zlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.simulation.modules import build_module
from services.firmware.modules import NO_PRODUCT, Module, check_module, module_warnings, read_module
from shared.errors import Refused

SAMPLE = bytes.fromhex(
    "00000a08 64000a08 00000300 06000501 04020600 00000000"
    "00010203 04050607 08090a0b 0c0d0e0f 10111213 14151617 18191a1b 1c1d1e1f"
    "ffffffff 5e00 0100 0000"
    "26ef0e866f6ab843edd0b4343883a6a31b1e1ec0718ea93de97f4ffebcadb48c"
    "2800 a53a7ab8"
)
"""Contract 18.6: Photon, product 94, version 1."""
PHOTON, CORE = 6, 0


def build(*, product: int = 1000, version: int = 7, code: bytes = bytes(64), **odd: Any) -> bytes:
    return build_module(product, version, code, **odd)


def reason(image: bytes) -> str:
    with pytest.raises(Refused) as refusal:
        read_module(image)
    assert refusal.value.code == "invalid_binary"
    return refusal.value.reason


def said(image: bytes) -> tuple[int, int, int]:
    """What must agree with the product: platform, product, version."""
    module = read_module(image)
    return module.platform_id, module.product_id, module.version


def test_the_known_answer_is_read():
    assert len(SAMPLE) == 104
    assert read_module(SAMPLE) == Module(
        platform_id=PHOTON,
        product_id=94,
        version=1,
        function=5,
        index=1,
        module_version=3,
        dependencies=((4, 2, 6),),
        app_hash="26ef0e866f6ab843edd0b4343883a6a31b1e1ec0718ea93de97f4ffebcadb48c",
        app_hash_right=True,
    )
    assert module_warnings(read_module(SAMPLE)) == []


def test_a_wrong_hash_in_the_suffix_is_worth_a_warning():  # contract 18.3
    body = bytearray(SAMPLE[:-4])
    body[-10] ^= 1
    module = read_module(bytes(body) + struct.pack(">I", zlib.crc32(body)))
    assert not module.app_hash_right
    assert "devices report" in module_warnings(module)[0]


def test_a_module_of_a_later_platform_is_refused_by_its_name():
    with pytest.raises(Refused, match=r"platform 13 \(Boron\), the product for platform 6 \(Photon\)"):
        check_module(read_module(build(platform=13)), platform_id=PHOTON, product_id=1000)
    assert "has extensions" in reason(build(flags=0x10))
    assert "is compressed, is encrypted" in reason(build(flags=0x0A))
    assert "later platforms" in reason(build(suffix_size=52))


def test_a_module_of_the_core_has_its_prefix_behind_the_vector_table():
    image = build(platform=CORE, function=3, vector_table=b"\xff" * 0x10C)
    assert said(image) == (CORE, 1000, 7)


@given(st.integers(0, 65_535), st.integers(0, 65_535), st.binary(max_size=300))
def test_whatever_was_compiled_in_is_read_back(product: int, version: int, code: bytes):
    assert said(build(product=product, version=version, code=code)) == (PHOTON, product, version)


@given(st.integers(0, len(SAMPLE) * 8 - 1))
def test_any_flipped_bit_is_refused(bit: int):
    broken = bytearray(SAMPLE)
    broken[bit // 8] ^= 1 << bit % 8
    assert reason(bytes(broken))


@given(st.binary(max_size=400))
def test_any_other_file_is_refused(data: bytes):
    assert reason(data)


@pytest.mark.parametrize("length", [0, 1, 67, 103])
def test_a_module_that_was_cut_is_refused(length: int):
    assert f"{length} bytes" in reason(SAMPLE[:length])


def test_a_length_that_does_not_fit_the_addresses_is_refused():
    assert "it has 105 bytes, and by its addresses 104" in reason(SAMPLE + b"\0")


def test_a_wrong_crc_is_refused_and_both_are_named():
    broken = SAMPLE[:40] + b"\xff" + SAMPLE[41:]
    assert "it says a53a7ab8" in reason(broken)


@pytest.mark.parametrize("flags", [0x01, 0x02, 0x04, 0x08, 0x10])
def test_flags_of_later_platforms_are_refused(flags: int):
    assert "flags" in reason(build(flags=flags))


@pytest.mark.parametrize("function", [1, 2, 4, 6, 7, 8, 9])
def test_a_part_of_the_system_is_no_product_firmware(function: int):
    assert "part of the system" in reason(build(function=function))


def test_a_suffix_of_later_platforms_is_refused():
    assert "suffix of 48 bytes" in reason(build(suffix_size=48))


def test_a_module_without_product_fields_has_no_product():
    assert said(build(suffix_size=36)) == (PHOTON, NO_PRODUCT, NO_PRODUCT)


def test_a_module_that_agrees_is_accepted():  # FW-1
    check_module(read_module(build()), platform_id=PHOTON, product_id=1000, version=7)


@pytest.mark.parametrize(
    ("image", "code"),
    [
        (build(platform=8), "platform_mismatch"),
        (build(platform=8, product=1001, version=8), "platform_mismatch"),
        (build(product=1001, version=8), "product_mismatch"),
        (build(product=NO_PRODUCT), "product_mismatch"),
        (build(suffix_size=36), "product_mismatch"),
        (build(version=8), "version_mismatch"),
    ],
)
def test_the_first_thing_that_does_not_agree_is_told(image: bytes, code: str):  # FW-1
    with pytest.raises(Refused) as refusal:
        check_module(read_module(image), platform_id=PHOTON, product_id=1000, version=7)
    assert refusal.value.code == code
