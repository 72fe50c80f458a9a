"""A file that is flashed to one device over HTTP (contract 9.5), by both paths."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.calls import FlashFile
from services.gateway.entries import FlashEntry
from services.gateway.http.firmware import MAX_MODULE_BYTES
from shared.auth.permissions import Thing, judge
from shared.errors import Refused
from tests.gateway.http.test_device_calls import BOTH, DEVICE, OF_PRODUCT, OWN, asked, belongs
from tests.gateway.http.test_permission_walk import CALLERS, KEEPER, OURS, known, name_of, outcome

IMAGE = bytes(range(256)) * 16
SHA = hashlib.sha256(IMAGE).hexdigest()
REFUSALS = ("busy", "updates_disabled", "too_large_for_device", "product_mismatch", "device_offline", "timeout")


@pytest.fixture(autouse=True)
def photons(api: Any) -> None:
    """The product is one of Photons, whose firmware carries version 9."""
    api.directory.products = {
        key: replace(entry, device_type="Photon", platform_id=6) for key, entry in api.directory.products.items()
    }
    api.bus.answers["firmware.check_file"] = {"version": 9}
    api.calls.answer = True


def flash(api: Any, path: str = OWN, name: str = "kettle.bin", content: bytes = IMAGE, **sent: Any) -> Any:
    return api.put(path, files={"file": (name, content)}, **sent)


@BOTH
def test_a_file_is_kept_checked_and_given_to_the_gateway_that_holds_the_device(api: Any, base: str) -> None:
    answer = flash(api, base, "/home/ada/sources/kettle.bin")
    assert (answer.status_code, answer.json()) == (200, {"id": DEVICE, "status": "Update started"})
    question = asked(api)
    assert isinstance(question, FlashFile)
    assert question.file_name == "kettle.bin"
    flash_id = question.flash.flash_id
    assert question.flash == FlashEntry(flash_id, 1000, 9, len(IMAGE), SHA)
    assert api.blobs.read(SHA, 0, len(IMAGE)) == IMAGE
    ((_, _, _, context),) = api.calls.asked
    assert (context.token, context.about) != (None, None)


def test_a_repeated_command_wants_the_same_file(api: Any) -> None:
    for _ in range(2):
        flash(api, headers={"Idempotency-Key": "once"})
    first, second = (question.flash.flash_id for _, question, _, _ in api.calls.asked)
    assert first == second
    flash(api)
    assert api.calls.asked[-1][1].flash.flash_id != first


@pytest.mark.parametrize(
    ("name", "fields", "status"),
    [
        ("kettle.bin", {"latest": "true"}, 200),
        ("KETTLE.BIN", {"build_target_version": "0.6.3"}, 200),
        ("kettle", {"file_type": "binary"}, 200),
        ("kettle.ino", {}, 400),
        ("kettle.cpp", {"file_type": "source"}, 400),
    ],
)
def test_compiled_files_are_taken_and_sources_are_not(api: Any, name: str, fields: Any, status: int) -> None:
    answer = flash(api, name=name, data=fields)
    assert answer.status_code == status
    assert status == 200 or answer.json()["error"] == "not_supported"
    assert len(api.calls.asked) == (status == 200)


@BOTH
@pytest.mark.parametrize("code", REFUSALS)
def test_what_the_device_refuses_is_said(api: Any, base: str, code: str) -> None:
    api.calls.answer = Refused(code, "It does not.")
    assert flash(api, base).json()["error"] == code


def test_what_the_module_says_otherwise_is_refused_before_the_device_is_asked(api: Any, world: Any) -> None:
    api.bus.answers["firmware.check_file"] = Refused("platform_mismatch", "the binary is for platform 8")
    assert world.error_of(flash(api))[:2] == (400, "platform_mismatch")
    assert api.calls.asked == []


def test_whoever_is_offline_is_sent_nothing_to_keep(api: Any, world: Any) -> None:
    api.calls.online = False
    assert world.error_of(flash(api))[:2] == (400, "device_offline")
    assert not api.blobs.exists(SHA)


@pytest.mark.parametrize("state", [{"quarantined": True}, {"denied": True}])
def test_a_device_in_quarantine_is_flashed_nothing(api: Any, world: Any, state: Any) -> None:  # DEV-3
    belongs(api, 1000, **state)
    assert world.error_of(flash(api, OF_PRODUCT))[:2] == (400, "device_quarantined")
    assert api.calls.asked == []


def test_no_file_an_empty_one_several_and_one_that_is_too_large(api: Any, world: Any) -> None:
    assert world.error_of(flash(api, content=b""))[:2] == (400, "invalid_request")
    two = [("file", ("a.bin", b"1")), ("file2", ("b.bin", b"2"))]
    assert "2" in world.error_of(api.put(OWN, files=two))[2]
    most = MAX_MODULE_BYTES["Photon"]
    assert flash(api, content=bytes(most)).status_code == 200
    assert flash(api, content=bytes(most + 1)).json()["error"] == "too_large"
    assert len(api.calls.asked) == 1


@pytest.mark.parametrize(
    ("base", "asked_first", "asked_then"),
    [(OF_PRODUCT, "devices.update", "devices.flash"), (OWN, "own_devices.update", "own_devices.flash")],
)
@pytest.mark.parametrize("who", CALLERS, ids=name_of)
def test_who_may_change_a_device_may_not_therefore_flash_it(
    api: Any, world: Any, who: str, base: str, asked_first: str, asked_then: str
) -> None:
    caller, token = known(api, world, who)
    if caller is None or caller.kind == "anonymous":
        assert outcome(flash(api, base, token=token)) == "no token"
        return
    thing = Thing(OURS, 1000, KEEPER if base == OWN else None)
    first = judge(asked_first, caller, thing)
    then = "yes" if judge(asked_then, caller, thing) == "yes" else "forbidden"
    assert outcome(flash(api, base, token=token)) == (then if first == "yes" else first)


def test_the_signature_of_a_file_is_checked_with_it(api: Any) -> None:
    api.put(OWN, files={"file": ("kettle.bin", IMAGE), "signature": ("kettle.sig", b"\xff" * 64)})
    assert api.bus.last("check_file").arguments["signature"] == "/" * 85 + "w=="
    api.bus.answers["firmware.check_file"] = Refused("signature_required", "only signed firmware")
    answer = flash(api)
    assert (answer.status_code, answer.json()["error"]) == (400, "signature_required")
    assert "signature" not in api.bus.last("check_file").arguments
    assert len(api.calls.asked) == 1
