"""Who a client certificate lets in (MQC-6), without TLS."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.gateway.devices.mqtt import certificates
from services.gateway.devices.mqtt.admission import NOT_LET_IN, Admitted, Form, Refusal, Surface, admit, still_admitted
from services.gateway.devices.mqtt.certificates import Authorities, Certificate, fingerprint_of
from services.gateway.devices.mqtt.packets import decode_connect
from services.gateway.devices.mqtt.reader import FrameReader
from services.gateway.entries import AuthorityEntry
from shared.ids import digest
from tests.certificates import authority, der_of, device_certificate, new_key
from tests.gateway.devices.conftest import ClientWire, FakeDirectory

DEVICE = "0123456789abcdef01234567"
OTHER = "ffffffffffffffffffffffff"
TOKEN = "token-of-the-first-device"
OTHER_TOKEN = "token-of-the-other-device"
AT = datetime(2026, 6, 1, tzinfo=UTC)
KEY, FOREIGN_KEY = new_key(), new_key()
ACME, FOREIGN = authority("Acme", KEY), authority("Foreign", FOREIGN_KEY)
BAD_LOGIN = Refusal(5, 0x86)


def entry(certificate: str = ACME, org: str = "org", authority_id: str = "1", names: bool = False) -> AuthorityEntry:
    return AuthorityEntry(authority_id, org, certificate, digest(certificate), names)


class Door:
    """Admission by a directory in memory, in which Acme signs for the organization of the product."""

    def __init__(self, directory: Any) -> None:
        self.directory = directory
        self.authorities = Authorities(directory)
        self.trust(entry())

    def trust(self, *entries: AuthorityEntry) -> None:
        self.directory.trust(*entries)
        assert self.authorities.refresh()

    def opens(self, certificate: str | None, at: datetime = AT, **connect: Any) -> Admitted | Refusal | Form:
        reader = FrameReader(1 << 16)
        reader.feed(ClientWire.connect(**{"username": None, **connect}))
        frame = reader.take()
        assert frame is not None
        surface = Surface(True, None if certificate is None else der_of(certificate))
        return admit(decode_connect(frame), surface, self.directory, self.authorities, at)

    def still(self, admitted: Any) -> bool:
        return still_admitted(admitted.proof, DEVICE, True, self.directory, self.authorities) is not None


@pytest.fixture
def door(directory: Any) -> Door:
    directory.add(OTHER, OTHER_TOKEN)
    directory.add(DEVICE, TOKEN)
    return Door(directory)


def known(door: Door, certificate: str) -> str:
    """The certificate, on record as the device's."""
    door.directory.certificates[hashlib.sha256(der_of(certificate)).hexdigest()] = DEVICE
    return certificate


def test_a_device_is_known_by_the_fingerprint_of_its_certificate(door: Door) -> None:  # MQC-6
    shown = known(door, device_certificate(ACME, KEY, "anything"))
    admitted = door.opens(shown)
    assert isinstance(admitted, Admitted)
    assert admitted.entry.device_id == DEVICE
    assert isinstance(admitted.proof, Certificate)
    assert door.still(admitted)


@pytest.mark.parametrize("named", [True, False])
def test_no_organization_shuts_a_device_out_by_putting_its_certificate_on_record_elsewhere(
    named: bool, door: Door
) -> None:
    shown = device_certificate(ACME, KEY, DEVICE)
    if named:
        door.trust(entry(names=True), entry(FOREIGN, "foreign", "2"))
    else:
        door.trust(entry(), entry(FOREIGN, "foreign", "2"))
        known(door, shown)
    door.directory.copied.add(hashlib.sha256(der_of(shown)).hexdigest())
    admitted = door.opens(shown)
    assert isinstance(admitted, Admitted)
    assert door.still(admitted)


def test_a_common_name_that_is_the_device_id_is_enough_where_the_organization_says_so(door: Door) -> None:  # MQC-6
    shown = device_certificate(ACME, KEY, DEVICE.upper())
    assert door.opens(shown) == NOT_LET_IN
    door.trust(entry(names=True))
    admitted = door.opens(shown)
    assert isinstance(admitted, Admitted)
    assert door.still(admitted)
    door.trust(entry(names=False))
    assert not door.still(admitted)


def test_no_authority_speaks_for_another_organizations_devices(door: Door) -> None:  # MQC-6
    door.trust(entry(), entry(FOREIGN, "elsewhere", "2", names=True))
    assert door.opens(device_certificate(FOREIGN, FOREIGN_KEY, DEVICE)) == NOT_LET_IN
    assert door.opens(known(door, device_certificate(FOREIGN, FOREIGN_KEY))) == NOT_LET_IN


def test_a_name_alone_signs_nothing(door: Door) -> None:
    door.trust(entry(names=True))
    pretender = authority("Acme", FOREIGN_KEY)
    assert door.opens(device_certificate(pretender, FOREIGN_KEY, DEVICE)) == NOT_LET_IN


@pytest.mark.parametrize(("starts", "ends"), [(-2, -1), (1, 2)], ids=["it has lapsed", "it does not hold yet"])
def test_a_certificate_lets_in_while_it_holds(starts: int, ends: int, door: Door) -> None:  # MQC-6
    day = timedelta(days=1)
    shown = known(door, device_certificate(ACME, KEY, starts_at=AT + starts * day, ends_at=AT + ends * day))
    assert door.opens(shown) == NOT_LET_IN
    assert isinstance(door.opens(shown, AT + starts * day), Admitted)


def test_a_session_is_over_with_its_certificate_and_with_its_authority(door: Door) -> None:  # MQS-6
    shown = known(door, device_certificate(ACME, KEY))
    admitted = door.opens(shown)
    door.directory.certificates.clear()
    assert not door.still(admitted)
    known(door, shown)
    assert door.still(admitted)
    door.trust()
    assert not door.still(admitted)
    assert door.opens(shown) == NOT_LET_IN


@pytest.mark.parametrize("changes", [{"denied": True}, {"product_id": None}])
def test_a_device_that_is_no_member_is_not_let_in(changes: dict[str, Any], door: Door) -> None:
    shown = known(door, device_certificate(ACME, KEY))
    admitted = door.opens(shown)
    door.directory.change(member=changes)
    assert door.opens(shown) == NOT_LET_IN
    assert not door.still(admitted)


@pytest.mark.parametrize(
    ("username", "password", "good"),
    [
        (TOKEN, None, True),
        (DEVICE, TOKEN, True),
        (DEVICE, None, True),
        (OTHER_TOKEN, None, False),
        (OTHER, None, False),
        (OTHER, OTHER_TOKEN, False),
        ("no-token-of-anybody-here", None, False),
    ],
)
def test_a_user_name_names_the_same_device(
    username: str, password: str | None, good: bool, door: Door
) -> None:  # MQC-2
    shown = known(door, device_certificate(ACME, KEY))
    admitted = door.opens(shown, username=username, password=password)
    assert isinstance(admitted, Admitted) if good else admitted == BAD_LOGIN


def test_a_certificate_of_no_device_leaves_it_to_the_token(door: Door) -> None:  # MQC-2
    shown = device_certificate(ACME, KEY, "a person")
    admitted = door.opens(shown, username=TOKEN)
    assert isinstance(admitted, Admitted)
    assert admitted.proof == bytes.fromhex(digest(TOKEN))
    assert door.opens(shown) == NOT_LET_IN


def test_provisioning_comes_before_the_certificate(door: Door) -> None:  # MQC-2
    shown = known(door, device_certificate(ACME, KEY))
    assert door.opens(shown, client_id="provision") is Form.PROVISIONING
    assert door.opens(None, username="provision") is Form.PROVISIONING


def test_a_fingerprint_is_read_from_hex_digits_and_from_a_certificate() -> None:
    shown = device_certificate(ACME, KEY)
    fingerprint = hashlib.sha256(der_of(shown)).hexdigest()
    assert fingerprint_of(shown) == fingerprint
    assert fingerprint_of(fingerprint.upper()) == fingerprint
    assert fingerprint_of(shown + " " * certificates.CERTIFICATE_CHARACTERS) is None


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda data: data.decode("latin-1")))
def test_any_other_text_is_no_certificate(text: str) -> None:
    assert fingerprint_of("-----BEGIN CERTIFICATE-----\n" + text) is None


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # read by this release of cryptography
@settings(max_examples=300)
@given(st.binary(max_size=100), st.integers(0, 400))
def test_a_certificate_that_cannot_be_read_lets_nobody_in(noise: bytes, at: int) -> None:
    directory = FakeDirectory()
    der = bytearray(der_of(CERTIFICATE))
    der[at : at + len(noise)] = noise
    found = certificates.device_of(bytes(der), directory, Authorities(directory), AT)
    assert found is None or isinstance(found, certificates.Unproven)


CERTIFICATE = device_certificate(ACME, KEY, "a person")


def test_a_name_with_a_value_of_the_wrong_kind_lets_nobody_in(door: Door) -> None:
    der = der_of(CERTIFICATE).replace(b"\x0c\x08a person", b"\x03\x08\x00 person")  # a bit string
    assert isinstance(certificates.device_of(der, door.directory, door.authorities, AT), certificates.Unproven)
