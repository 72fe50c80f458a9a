"""Questions to devices over HTTP: what is asked of which device, and what the clients read in the answers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.gateway.devices.calls import (
    DEFAULT_TIMEOUT_S,
    LONGEST_TIMEOUT_S,
    FunctionCall,
    Probe,
    Question,
    Signal,
    VariableRead,
)
from shared.errors import Refused, Unavailable
from shared.targets import Membership

DEVICE = "0123456789abcdef01234567"
OF_PRODUCT = f"/v1/products/thermo/devices/{DEVICE}"
OWN = f"/v1/devices/{DEVICE}"
BOTH = pytest.mark.parametrize("base", [OF_PRODUCT, OWN])
NOT_OURS = (403, "Permission Denied", "I didn't recognize that device name or ID.")


@pytest.fixture(autouse=True)
def answers(api: Any, world: Any) -> None:
    api.bus.answers["devices.get_device"] = {**world.DEVICE_OBJECT, "name": "cellar"}
    api.bus.answers["devices.list_own_devices"] = {"devices": [world.DEVICE_OBJECT]}
    api.bus.answers["devices.find_own_devices"] = {"device_ids": []}
    api.bus.answers["devices.update_device"] = lambda asked: {
        "id": DEVICE,
        "updated_at": "2026-03-01T12:00:00.000Z",
        **asked["changes"],
        "position": 8,
    }


def belongs(api: Any, product_id: int | None, *, owner_id: str | None = None, **state: Any) -> None:
    """Say where the device is."""
    entry = api.directory.devices[DEVICE]
    api.directory.devices[DEVICE] = replace(entry, membership=Membership(product_id, **state), owner_id=owner_id)


def asked(api: Any) -> Question:
    """The only question that was asked."""
    ((device_id, question, _, _),) = api.calls.asked
    assert device_id == DEVICE
    found: Question = question
    return found


# functions


@BOTH
@pytest.mark.parametrize(
    ("sent", "argument"),
    [
        ({"json": {"args": "on"}}, "on"),
        ({"json": {"arg": "on"}}, "on"),
        ({"data": {"arg": "on"}}, "on"),
        ({"data": {"args": "7"}}, "7"),
        ({"json": {}}, ""),
        ({}, ""),
        ({"json": {"args": None}}, ""),
        ({"json": {"args": 7}}, "7"),
        ({"json": {"args": True}}, "true"),
        ({"json": {"args": "on", "params": {"colour": [1]}}}, {"colour": [1]}),
        ({"json": {"params": None}}, None),
    ],
    ids=str,
)
def test_a_function_gets_the_argument_however_clients_send_it(api: Any, base: str, sent: Any, argument: Any) -> None:
    answer = api.post(f"{base}/led", **sent)
    assert answer.json() == {"id": DEVICE, "name": "cellar", "last_app": None, "connected": True, "return_value": 7}
    assert asked(api) == FunctionCall("led", argument)


def test_an_argument_is_text_and_no_list_or_object(api: Any, world: Any) -> None:
    for body in ({"args": ["on"]}, {"arg": {"a": 1}}):
        assert world.error_of(api.post(f"{OWN}/led", json=body))[:2] == (400, "invalid_request")
    assert api.calls.asked == []


@pytest.mark.parametrize(
    ("returned", "value", "more"),
    [
        (-1, -1, {}),
        ({"return_value": 3}, 3, {"result": {"return_value": 3}}),
        ({"return_value": 3.5}, None, {"result": {"return_value": 3.5}}),
        ("done", None, {"result": "done"}),
        (True, None, {"result": True}),
        (None, None, {}),
        ([1], None, {"result": [1]}),
    ],
)
def test_the_return_value_is_the_integer_in_what_the_device_returned(
    api: Any, returned: Any, value: Any, more: Any
) -> None:
    api.calls.answer = returned
    answer = api.post(f"{OWN}/led").json()
    assert answer["return_value"] == value
    assert {name: answer[name] for name in answer if name == "result"} == more


@pytest.mark.parametrize(("returned", "raw"), [(7, 7), ({"return_value": 3, "more": 1}, 3), ("done", "done")])
def test_raw_is_the_number_alone_and_otherwise_all_that_it_returned(api: Any, returned: Any, raw: Any) -> None:
    api.calls.answer = returned
    assert api.post(f"{OWN}/led", params={"format": "raw"}).json() == raw


@BOTH
def test_a_function_that_the_device_does_not_have_is_404_by_its_name(api: Any, world: Any, base: str) -> None:
    api.calls.answer = Refused("unknown_function", "no such function")
    sentence = "Function led not found"
    assert world.error_of(api.post(f"{base}/led")) == (404, sentence, sentence)
    long = "x" * 65
    sentence = f"Function {'x' * 64} not found"
    assert world.error_of(api.post(f"{base}/{long}")) == (404, sentence, sentence)
    assert len(api.calls.asked) == 1


# variables


@BOTH
def test_a_variable_is_read_with_what_is_known_of_its_device(api: Any, base: str) -> None:
    api.calls.answer = {"value": 21.5}
    assert api.get(f"{base}/temp").json() == {
        "cmd": "VarReturn",
        "name": "temp",
        "result": 21.5,
        "coreInfo": {
            "name": "cellar",
            "deviceID": DEVICE,
            "connected": True,
            "last_handshake_at": None,
            "last_heard": "2026-03-01T12:00:00.000Z",
            "last_app": None,
        },
    }
    assert asked(api) == VariableRead("temp")


def test_a_value_that_was_not_asked_of_the_device_has_its_time(api: Any) -> None:
    api.calls.answer = {"value": {"a": 1}, "at": "2026-03-01T11:00:00.000Z"}
    answer = api.get(f"{OWN}/temp").json()
    assert (answer["result"], answer["at"]) == ({"a": 1}, "2026-03-01T11:00:00.000Z")


def test_fresh_asks_the_device(api: Any) -> None:
    api.calls.answer = {"value": 1}
    api.get(f"{OWN}/temp", params={"fresh": "true"})
    assert asked(api) == VariableRead("temp", fresh=True)


@pytest.mark.parametrize("value", [21.5, "text", None, {"a": [1]}])
def test_a_raw_variable_is_its_value_as_json(api: Any, value: Any) -> None:
    api.calls.answer = {"value": value}
    assert api.get(f"{OF_PRODUCT}/temp", params={"format": "raw"}).json() == value


@BOTH
def test_a_variable_that_the_device_does_not_have_is_404(api: Any, world: Any, base: str) -> None:
    api.calls.answer = Refused("unknown_variable", "no such variable")
    for name in ("temp", "x" * 65):
        assert world.error_of(api.get(f"{base}/{name}")) == (404, "Variable not found", "Variable not found")


# what goes wrong


TROUBLE = [
    (Refused("device_offline", "The device is offline."), (400, "device_offline", "Timed out. The device is offline.")),
    (Refused("timeout", "Timed out."), (408, "timeout", "Timed out.")),
    (Refused("busy", "16 calls wait."), (429, "busy", "16 calls wait.")),
    (Refused("argument_too_long", "At most 63 bytes."), (400, "argument_too_long", "At most 63 bytes.")),
    (Refused("device_not_listening", "It does not."), (400, "device_not_listening", "It does not.")),
    (Refused("call_failed", "no water"), (400, "call_failed", "no water")),
    (Refused("not_supported", "No such."), (400, "not_supported", "No such.")),
]


@pytest.mark.parametrize(("problem", "told"), TROUBLE, ids=lambda value: getattr(value, "code", ""))
@BOTH
def test_each_trouble_has_its_status_and_code(api: Any, world: Any, base: str, problem: Any, told: Any) -> None:
    api.calls.answer = problem
    assert world.error_of(api.post(f"{base}/led")) == told
    assert world.error_of(api.get(f"{base}/temp")) == told


def test_nothing_is_asked_of_a_device_while_its_service_does_not_answer(api: Any, world: Any) -> None:
    api.bus.answers["devices.get_device"] = Unavailable("no service 'devices' runs")
    assert world.error_of(api.post(f"{OWN}/led"))[:2] == (503, "unavailable")
    assert api.calls.asked == []


def test_the_device_has_ten_seconds_unless_the_caller_says_otherwise(api: Any, world: Any) -> None:
    api.post(f"{OWN}/led")
    api.post(f"{OWN}/led", params={"timeout_s": "60"})
    assert [timeout_s for _, _, timeout_s, _ in api.calls.asked] == [DEFAULT_TIMEOUT_S, LONGEST_TIMEOUT_S]
    for wrong in ("0", "61", "soon"):
        answer = api.post(f"{OWN}/led", params={"timeout_s": wrong})
        assert world.error_of(answer)[:2] == (400, "invalid_request")


def test_the_question_is_asked_for_the_account_of_the_caller(api: Any, world: Any) -> None:
    api.post(f"{OWN}/led")
    assert api.calls.asked[0][3].actor == f"account:{world.MEMBER}"


# ping and signal


@BOTH
@pytest.mark.parametrize("online", [True, False])
def test_a_ping_is_answered_from_presence(api: Any, base: str, online: bool) -> None:
    api.calls.online = online
    assert api.put(f"{base}/ping", json={}).json() == {"online": online, "ok": True}
    assert api.put(f"{base}/ping").json() == {"online": online, "ok": True}
    assert api.calls.asked == []


@pytest.mark.parametrize(
    ("answer", "online"), [(True, True), (Refused("timeout", ""), False), (Refused("device_offline", ""), False)]
)
def test_a_ping_with_probe_is_answered_by_the_device(api: Any, answer: Any, online: bool) -> None:
    api.calls.answer, api.calls.online = answer, True
    assert api.put(f"{OWN}/ping", json={"probe": True}).json() == {"online": online, "ok": True}
    assert asked(api) == Probe()


def test_a_probe_that_cannot_be_made_says_so(api: Any, world: Any) -> None:
    api.calls.answer = Refused("not_supported", "No.")
    assert world.error_of(api.put(f"{OWN}/ping", json={"probe": True}))[:2] == (400, "not_supported")


@BOTH
@pytest.mark.parametrize(("sent", "on"), [("1", True), ("0", False), (1, True), (0, False)])
def test_a_device_signals_and_stops_it(api: Any, base: str, sent: Any, on: bool) -> None:
    answer = api.put(base, json={"signal": sent}).json()
    assert answer == {"id": DEVICE, "updated_at": "2026-03-01T12:00:00.000Z", "connected": True, "signaling": on}
    assert asked(api) == Signal(on)
    assert api.bus.asked == []


@BOTH
def test_a_change_beside_a_signal_is_made_if_the_device_signals(api: Any, world: Any, base: str) -> None:
    answer = api.put(base, json={"signal": "1", "name": "attic"})
    assert (answer.json()["signaling"], answer.json()["name"]) == (True, "attic")
    api.calls.answer = Refused("device_offline", "The device is offline.")
    assert world.error_of(api.put(base, json={"signal": "1", "name": "loft"}))[:2] == (400, "device_offline")
    assert api.bus.count("update_device") == 1


# whose devices


def test_a_device_of_another_product_is_none_of_this_one(api: Any, world: Any) -> None:
    belongs(api, 1001)
    for method, path in (("POST", "/led"), ("GET", "/temp"), ("PUT", "/ping")):
        answer = api.request(method, OF_PRODUCT + path)
        assert world.error_of(answer)[:2] == (404, "Device not found for this product")
    assert world.error_of(api.put(OF_PRODUCT, json={"signal": "1"}))[0] == 404
    assert world.error_of(api.post("/v1/products/thermo/devices/cellar/led"))[0] == 404
    assert api.calls.asked == []


@pytest.mark.parametrize("state", [{"quarantined": True}, {"denied": True}])
def test_a_device_in_quarantine_is_seen_and_not_called(api: Any, world: Any, state: Any) -> None:
    belongs(api, 1000, **state)
    for method, path in (("POST", "/led"), ("GET", "/temp")):
        assert world.error_of(api.request(method, OF_PRODUCT + path))[:2] == (400, "device_quarantined")
    assert world.error_of(api.put(OF_PRODUCT, json={"signal": "1"}))[:2] == (400, "device_quarantined")
    assert api.put(f"{OF_PRODUCT}/ping").json()["ok"] is True
    assert world.error_of(api.post(f"{OWN}/led")) == NOT_OURS  # it only says that it is of our product
    assert api.calls.asked == []


@pytest.mark.parametrize("quarantined", [False, True])
def test_who_has_claimed_a_device_uses_it_and_no_other_customer_does(api: Any, world: Any, quarantined: bool) -> None:
    belongs(api, 1000, owner_id=world.LONER, quarantined=quarantined)
    answer = api.post(f"{OWN}/led", token=world.LONER_TOKEN).json()
    assert (answer["return_value"], answer["name"]) == (7, "cellar")
    assert api.get(OWN, token=world.LONER_TOKEN).json()["id"] == DEVICE
    assert world.error_of(api.post(f"{OWN}/led", token=world.STRANGER_TOKEN)) == NOT_OURS


def test_unknown_and_foreign_devices_look_the_same_and_say_what_was_not_recognized(api: Any, world: Any) -> None:
    for path in (OWN, f"/v1/devices/{'f' * 24}", "/v1/devices/nobody", f"/v1/devices/{'n' * 129}"):
        answer = api.get(path, token=world.STRANGER_TOKEN)
        assert world.error_of(answer) == NOT_OURS
        assert answer.json()["info"] == NOT_OURS[2]


def test_a_device_that_is_in_no_product_is_nobody_s(api: Any, world: Any) -> None:
    belongs(api, None)
    assert world.error_of(api.post(f"{OWN}/led")) == NOT_OURS


def test_a_name_is_looked_for_among_what_the_caller_has_claimed(api: Any, world: Any) -> None:
    api.bus.answers["devices.find_own_devices"] = {"device_ids": [DEVICE, "7" * 24]}
    belongs(api, 1000, owner_id=world.LONER)
    assert api.post("/v1/devices/my%20desk/led", token=world.LONER_TOKEN).json()["id"] == DEVICE
    assert api.bus.last("find_own_devices").arguments == {
        "account_id": world.LONER,
        "name": "my desk",
        "product_id": None,
    }
    assert world.error_of(api.post("/v1/devices/my%20desk/led", token=world.STRANGER_TOKEN)) == NOT_OURS


def test_a_name_that_several_devices_of_the_caller_have_is_refused(api: Any, world: Any) -> None:
    namesake = "7" * 24
    api.bus.answers["devices.find_own_devices"] = {"device_ids": [DEVICE, namesake]}
    for device_id in (DEVICE, namesake):
        entry = replace(api.directory.devices[DEVICE], device_id=device_id, membership=Membership(1000))
        api.directory.devices[device_id] = replace(entry, owner_id=world.LONER)
    status, code, text = world.error_of(api.post("/v1/devices/my%20desk/led", token=world.LONER_TOKEN))
    assert (status, code) == (400, "ambiguous_name")
    assert DEVICE in text
    assert namesake in text
    assert api.post(f"/v1/devices/{DEVICE}/led", token=world.LONER_TOKEN).json()["id"] == DEVICE


def test_an_id_in_any_case_is_no_name(api: Any) -> None:
    assert api.post(f"/v1/devices/{DEVICE.upper()}/led").json()["id"] == DEVICE
    assert api.bus.count("find_own_devices") == 0


def test_the_list_is_of_what_the_caller_has_claimed(api: Any, world: Any) -> None:
    assert api.get("/v1/devices").json() == [world.DEVICE_OBJECT]
    assert api.bus.last("list_own_devices").arguments == {"account_id": world.MEMBER}


@pytest.mark.parametrize("path", ["/v1/devices", OWN])
def test_a_device_is_shown_with_its_platform_and_the_caller_s_own_with_their_address(
    api: Any, world: Any, path: str
) -> None:
    known = {**world.DEVICE_OBJECT, "platform_id": None, "user_id": world.MEMBER, "owner": world.MEMBER}
    api.bus.answers["devices.get_device"] = known
    api.bus.answers["devices.list_own_devices"] = {"devices": [known]}
    answer = api.get(path).json()
    shown = answer[0] if isinstance(answer, list) else answer
    assert (shown["platform_id"], shown["owner"]) == (6, "member@example.org")
    known["user_id"] = known["owner"] = world.LONER
    answer = api.get(path).json()
    shown = answer[0] if isinstance(answer, list) else answer
    assert shown["owner"] == world.LONER


def test_a_claimed_device_is_renamed_in_its_product(api: Any, world: Any) -> None:
    belongs(api, 1000, owner_id=world.LONER)
    answer = api.put(OWN, json={"name": "desk"}, token=world.LONER_TOKEN)
    assert answer.json()["name"] == "desk"
    assert answer.headers["x-flotilla-position"] == "8"
    assert api.bus.last("update_device").arguments["product_id"] == 1000


def test_what_cannot_be_changed_is_said(api: Any, world: Any) -> None:
    assert world.error_of(api.put(OWN, json={}))[:2] == (400, "invalid_request")
    assert world.error_of(api.put(OWN, json={"app": "tinker"}))[:2] == (400, "not_supported")


# literal paths stay


def test_no_function_or_variable_shadows_a_path_of_the_api(api: Any) -> None:
    api.bus.answers["devices.replace_tokens"] = {"tokens": [{"id": DEVICE, "token": "t" * 40}], "position": 10}
    assert api.post(f"{OF_PRODUCT}/token").status_code == 201
    assert api.request("HEAD", f"{OF_PRODUCT}/events").headers["content-type"].startswith("text/event-stream")
    assert api.calls.asked == []
    api.post(f"{OF_PRODUCT}/why")
    assert asked(api) == FunctionCall("why", "")


def test_a_stream_of_one_s_own_device_is_no_variable(api: Any) -> None:
    assert api.request("HEAD", f"{OWN}/events").headers["content-type"].startswith("text/event-stream")
    assert api.calls.asked == []
