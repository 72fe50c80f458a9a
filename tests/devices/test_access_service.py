from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec

from services.devices.claiming import Claiming
from services.devices.claims import CLAIM, UseCode
from services.devices.claims import stream_of as stream_of_claim
from shared.bus.calls import blocking_client
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.events.contracts import CONTRACTS
from shared.events.devices import (
    AttributesDesired,
    ClaimCodeUsed,
    ClaimSecretRefused,
    ClaimWindowClosed,
    ClaimWindowOpened,
    DeviceCertificateSet,
    DeviceClaimed,
    DeviceImported,
    DeviceKeySet,
    DeviceProvisioned,
    DeviceTokenReplaced,
)
from shared.events.gateway import (
    AttributesReported,
    ClaimOpened,
    ClaimPresented,
    DescribedVariable,
    DescriptionReported,
    DeviceConnected,
    DeviceMisbehaved,
    KeyPresented,
)
from shared.ids import digest
from shared.streams import Streams

P, OTHER = 1000, 2000
A, B, C = (f"{number:024x}" for number in (10, 11, 12))
ADA, BOB = "a" * 24, "b" * 24
STREAM = "connection-a.1-1"
SESSION = ("a", 1, 1)
KEY = ec.generate_private_key(ec.SECP256R1()).public_key()
PEM = KEY.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
DER = base64.b64encode(KEY.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)).decode()


def code(call: Any, *args: Any, **arguments: Any) -> str:
    with pytest.raises(Refused) as refusal:
        call(*args, **arguments)
    return refusal.value.code


def types(platform: Any, stream: str) -> list[str]:
    return [type(event).__name__ for event in platform.events(stream)]


@pytest.fixture
def fleet(platform: Any) -> Any:
    platform.call("import_lines", product_id=P, lines=[A, B])
    platform.call("import_lines", product_id=OTHER, lines=[C])
    return platform


def test_the_team_sets_a_key_and_a_certificate(fleet: Any) -> None:
    answer = fleet.call("set_key", product_id=P, device_id=A.upper(), algorithm="ecc", public_key=PEM)
    assert answer["algorithm"] == "ecc"
    fleet.call("set_certificate", product_id=P, device_id=A, fingerprint="c" * 64)
    assert fleet.events(f"device-{A}")[1:] == [
        DeviceKeySet(A, P, "ecc", DER, first_use=False),
        DeviceCertificateSet(A, P, "c" * 64),
    ]


@pytest.mark.parametrize(("algorithm", "key"), [("rsa", PEM), (None, "no key"), (None, None), ("ecc", "")])
def test_a_key_that_is_none_or_of_another_kind_is_refused(fleet: Any, algorithm: Any, key: Any) -> None:
    refused = code(fleet.call, "set_key", product_id=P, device_id=A, algorithm=algorithm, public_key=key)
    assert refused == "invalid_key"


def test_nothing_of_another_products_device_can_be_set(fleet: Any) -> None:
    for method, arguments in (
        ("set_key", {"public_key": PEM}),
        ("set_certificate", {"fingerprint": "c" * 64}),
        ("desire_attributes", {"values": {"a": 1}}),
        ("get_attributes", {}),
        ("list_misbehaviours", {}),
        ("unclaim", {}),
    ):
        with pytest.raises(NotFound):
            fleet.call(method, product_id=P, device_id=C, **arguments)
    assert len(fleet.events(f"device-{C}")) == 1


def test_the_first_key_that_a_device_brings_is_trusted_and_no_other(fleet: Any) -> None:
    fleet.record(STREAM, KeyPresented(A, P, "ecc", DER, *SESSION))
    fleet.wait_for_event(f"device-{A}", DeviceKeySet)
    fleet.record(STREAM, KeyPresented(A, P, "ecc", "AAAA", *SESSION), KeyPresented(B, P, "ecc", DER, *SESSION))
    fleet.wait_for_event(f"device-{B}", DeviceKeySet)
    assert fleet.events(f"device-{A}")[1:] == [DeviceKeySet(A, P, "ecc", DER, first_use=True)]


def test_a_device_that_was_imported_provisions_itself_once(fleet: Any) -> None:
    context = Context.new("device:x", "tests")
    wanted = {"product_id": P, "device_name": f" {A.upper()} ", "token_digest": "0" * 64}
    first = fleet.call("provision", context=context, **wanted)
    assert first["device_id"] == A
    assert fleet.call("provision", context=context, **wanted) == first
    expected = [DeviceProvisioned(A, P, created=False), DeviceTokenReplaced(A, P, "0" * 64)]
    assert fleet.events(f"device-{A}")[1:] == expected
    assert code(fleet.call, "provision", **wanted) == "already_provisioned"
    for name in (C, "kettle", None, "f" * 24):
        with pytest.raises(NotFound):
            fleet.call("provision", **{**wanted, "device_name": name})


def test_a_device_is_created_with_a_certificate_and_an_id_that_a_repetition_finds_again(fleet: Any) -> None:
    context = Context.new("device:x", "tests")
    wanted = {"product_id": P, "device_name": "kettle", "fingerprint": "c" * 64, "create": True}
    made = fleet.call("provision", context=context, **wanted)
    assert fleet.call("provision", context=context, **wanted) == made
    device = fleet.call("get_device", product_id=P, device_id=made["device_id"])
    assert device["name"] == "kettle"
    named = fleet.call("provision", **{**wanted, "device_name": "f" * 24})
    assert fleet.events(f"device-{named['device_id']}")[0] == DeviceImported("f" * 24, P, False)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"token_digest": "0" * 64, "fingerprint": "0" * 64},
        {"token_digest": "0" * 63},
        {"fingerprint": "G" * 64},
        {"token_digest": "0" * 64, "device_name": "x" * 129},
    ],
)
def test_a_provisioning_that_makes_no_sense_is_refused(fleet: Any, arguments: dict[str, Any]) -> None:
    wanted = {"product_id": P, "device_name": A, **arguments}
    assert code(fleet.call, "provision", **wanted) == "invalid_request"


def test_a_claim_code_makes_the_device_its_makers(fleet: Any) -> None:  # CUS-5
    issued = fleet.call("issue_claim_code", account_id=ADA)
    assert (len(issued["claim_code"]), issued["device_ids"]) == (64, [])
    shown = digest(issued["claim_code"][:63])
    fleet.record(STREAM, ClaimPresented(A, P, shown, *SESSION))
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]
    assert fleet.events(f"claim-{shown}")[1:] == [ClaimCodeUsed(shown, A)]
    fleet.after = fleet.store.head()
    assert fleet.call("issue_claim_code", account_id=ADA)["device_ids"] == [A]
    device = fleet.call("get_device", product_id=P, device_id=A)
    assert (device["owner"], device["user_id"]) == ("ada@example.com", ADA)
    listed = fleet.call("list_devices", product_id=P, filters={"owner": ADA})["devices"]
    assert [(device["id"], device["owner"]) for device in listed] == [(A, "ada@example.com")]


def test_a_code_that_was_used_claims_nothing_more_and_one_shown_in_vain_stays_good(fleet: Any) -> None:
    first, second = (fleet.call("issue_claim_code", account_id=account)["claim_code"] for account in (ADA, BOB))
    first, second = digest(first[:63]), digest(second[:63])
    fleet.record(STREAM, ClaimPresented(A, P, first, *SESSION))
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    fleet.record(STREAM, ClaimPresented(A, P, second, *SESSION), ClaimPresented(B, P, first, *SESSION))
    fleet.record(STREAM, ClaimPresented(B, P, second, *SESSION))  # handled behind the others
    fleet.wait_for_event(f"device-{B}", DeviceClaimed)
    assert fleet.events(f"device-{A}")[-1] == DeviceClaimed(A, P, ADA)
    assert fleet.events(f"device-{B}")[1:] == [DeviceClaimed(B, P, BOB)]


def test_an_unclaimed_device_is_not_claimed_by_its_old_code_again(fleet: Any) -> None:
    shown = digest(fleet.call("issue_claim_code", account_id=ADA)["claim_code"][:63])
    other = digest(fleet.call("issue_claim_code", account_id=ADA)["claim_code"][:63])
    fleet.record(STREAM, ClaimPresented(A, P, shown, *SESSION))
    fleet.wait_for_event(f"device-{A}", DeviceClaimed)
    fleet.call("unclaim", product_id=P, device_id=A)
    fleet.record(STREAM, ClaimPresented(A, P, shown, *SESSION), ClaimPresented(B, P, other, *SESSION))
    fleet.wait_for_event(f"device-{B}", DeviceClaimed)
    assert types(fleet, f"device-{A}")[1:] == ["DeviceClaimed", "DeviceUnclaimed"]
    assert fleet.call("get_device", product_id=P, device_id=A)["owner"] is None


def worker(platform: Any, context: Context) -> WorkerStreams:
    return WorkerStreams(Streams(platform.store, CONTRACTS), context, CONTRACTS)


def again(platform: Any, context: Context) -> Claiming:
    orgs = blocking_client(platform.transport, context.headers(), 10.0).orgs
    views = WorkerViews(platform.database, platform.projector, context)
    return Claiming(worker(platform, context), views, orgs, platform.clock())


def test_a_redelivered_claim_finishes_what_was_begun_and_repeats_nothing(fleet: Any) -> None:
    shown = digest(fleet.call("issue_claim_code", account_id=ADA)["claim_code"][:63])
    once, fact = Context.new("system:devices", "devices.claim_by_code"), ClaimPresented(A, P, shown, *SESSION)
    use = UseCode(shown, A, P, fleet.clock())
    worker(fleet, once).handle(CLAIM, stream_of_claim(shown), use)  # as far as a crash let it get
    again(fleet, once).present(fact)
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]
    fleet.call("unclaim", product_id=P, device_id=A)
    again(fleet, once).present(fact)
    assert types(fleet, f"device-{A}")[1:] == ["DeviceClaimed", "DeviceUnclaimed"]
    assert types(fleet, f"claim-{shown}") == ["ClaimCodeIssued", "ClaimCodeUsed"]


def test_a_code_that_somebody_chose_is_not_given_to_another(fleet: Any) -> None:
    answer = fleet.call("issue_claim_code", account_id=ADA, code="8944501234567890123")
    assert answer["claim_code"] == "8944501234567890123"
    assert code(fleet.call, "issue_claim_code", account_id=BOB, code="8944501234567890123") == "code_taken"


def opened(platform: Any, device_id: str, secret: str | None, product_id: int = P) -> None:
    until = platform.clock() + timedelta(hours=1)
    secret_digest = None if secret is None else digest(secret)
    platform.record(STREAM, ClaimOpened(device_id, product_id, secret_digest, until, *SESSION))
    platform.wait_for_event(f"claiming-{device_id}", ClaimWindowOpened)


def test_whoever_states_id_and_secret_of_a_device_that_asks_has_it(fleet: Any) -> None:  # MQU-7
    assert code(fleet.call, "claim", account_id=ADA, device_id=A, secret="s3") == "not_open_to_claims"
    assert code(fleet.call, "claim", account_id=ADA, device_id=A) == "device_offline"
    opened(fleet, A, "s3")
    context = Context.new(f"account:{ADA}", "tests")
    claimed = fleet.call("claim", context=context, account_id=ADA, device_id=A, secret="s3")
    assert (claimed["device_id"], claimed["product_id"]) == (A, P)
    assert fleet.call("claim", context=context, account_id=ADA, device_id=A, secret="s3")["device_id"] == A
    assert fleet.call("claim", account_id=ADA, device_id=A)["device_id"] == A
    assert code(fleet.call, "claim", account_id=BOB, device_id=A, secret="s3") == "claimed_elsewhere"
    assert fleet.events(f"device-{A}")[1:] == [DeviceClaimed(A, P, ADA)]


def test_a_wrong_secret_is_counted_and_the_tenth_closes_the_window(fleet: Any) -> None:  # MQU-7
    opened(fleet, A, "s3")
    for _ in range(10):
        assert code(fleet.call, "claim", account_id=BOB, device_id=A, secret="guess") == "wrong_secret"
    assert code(fleet.call, "claim", account_id=ADA, device_id=A, secret="s3") == "not_open_to_claims"
    told = fleet.events(f"claiming-{A}")
    assert sum(isinstance(event, ClaimSecretRefused) for event in told) == 10
    assert told[-1] == ClaimWindowClosed(A, P, "wrong_secrets")


def test_the_device_id_alone_is_enough_where_the_product_says_so(fleet: Any) -> None:  # MQU-7
    opened(fleet, A, None)
    opened(fleet, C, None, OTHER)
    assert code(fleet.call, "claim", account_id=ADA, device_id=A) == "secret_needed"
    assert fleet.call("claim", account_id=ADA, device_id=C)["product_id"] == OTHER


def test_a_device_that_has_an_owner_does_not_open_itself(fleet: Any) -> None:
    opened(fleet, A, "s3")
    fleet.call("claim", account_id=ADA, device_id=A, secret="s3")
    until = fleet.clock() + timedelta(hours=2)
    fleet.record(STREAM, ClaimOpened(A, P, None, until, *SESSION), ClaimOpened(B, P, None, until, *SESSION))
    fleet.wait_for_event(f"claiming-{B}", ClaimWindowOpened)
    assert types(fleet, f"claiming-{A}") == ["ClaimWindowOpened", "ClaimWindowClosed"]


def test_attributes_are_desired_and_reported(fleet: Any) -> None:  # MQU-3, MQX-3
    fleet.call("desire_attributes", product_id=P, device_id=A, values={"rate": 5, "mode": "eco"})
    fleet.call("desire_attributes", product_id=P, device_id=A, values={"rate": 5, "mode": None})
    fleet.record(STREAM, AttributesReported(A, P, '{"serial":"S-17"}', [], *SESSION))
    assert fleet.events(f"device-{A}")[-1] == AttributesDesired(A, P, "{}", ["mode"])
    assert fleet.call("get_attributes", product_id=P, device_id=A) == {
        "reported": {"serial": "S-17"},
        "reported_at": {"serial": "2030-01-01T00:00:00.000Z"},
        "desired": {"rate": 5},
        "desired_at": {"rate": "2030-01-01T00:00:00.000Z"},
    }
    refused = code(fleet.call, "desire_attributes", product_id=P, device_id=A, values={"fw_version": 1})
    assert refused == "invalid_request"


def test_the_last_ten_misbehaviours_of_a_device_are_shown(fleet: Any) -> None:  # MQTT, section 11
    assert fleet.call("list_misbehaviours", product_id=P, device_id=A) == {"misbehaviours": []}
    fleet.record(STREAM, *[DeviceMisbehaved(A, P, "bad_payload", f"{{{n}", n) for n in range(1, 13)])
    shown = fleet.call("list_misbehaviours", product_id=P, device_id=A)["misbehaviours"]
    assert [one["count"] for one in shown] == list(range(12, 2, -1))
    told = {"kind": "bad_payload", "text": "{12", "count": 12, "at": "2030-01-01T00:00:00.000Z"}
    assert shown[0] == told


def test_one_device_is_shown_with_what_it_offers_and_a_list_without(fleet: Any) -> None:  # contract 7.1
    variables = [DescribedVariable("temp", "double")]
    fleet.record(STREAM, DescriptionReported(A, P, ["brew"], variables, 8, None, *SESSION))
    device = fleet.call("get_device", product_id=P, device_id=A)
    shown = (device["functions"], device["variables"], device["platform_id"])
    assert shown == (["brew"], {"temp": "double"}, 8)
    listed = fleet.call("list_devices", product_id=P, filters={"device_id": A})["devices"]
    assert (listed[0]["functions"], listed[0]["variables"]) == (None, None)


def test_a_device_is_located_while_it_is_online(fleet: Any) -> None:  # DEV-9
    nowhere = {"online": False, "gateway": None, "epoch": None, "session": None, "product_id": P}
    assert fleet.call("locate", device_id=A) == nowhere
    fleet.record(STREAM, DeviceConnected(A, P, "a", 1, 7, fleet.clock(), "particle/tcp", "10.0.0.7", True, ""))
    here = {"online": True, "gateway": "a", "epoch": 1, "session": 7, "product_id": P}
    assert fleet.call("locate", device_id=A.upper()) == here
    for unknown in ("f" * 24, "kettle"):
        with pytest.raises(NotFound):
            fleet.call("locate", device_id=unknown)
