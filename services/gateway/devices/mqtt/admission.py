"""Who a CONNECT is from, decided from the directory alone (MQC-2 to 4). The first form that applies decides; nothing
falls through to a weaker one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

import msgspec

from services.gateway.devices.mqtt import properties as p
from services.gateway.devices.mqtt.certificates import Authorities, Certificate, Unproven, device_of, still_admits
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.packets import V5, Connect
from services.gateway.devices.mqtt.violations import (
    BAD_AUTHENTICATION,
    BAD_CLIENT_ID,
    BAD_LOGIN,
    BAD_QOS,
    NOT_AUTHORIZED,
)
from services.gateway.devices.mqtt.writer import connack
from services.gateway.devices.ports import Directory
from services.gateway.entries import DeviceEntry
from shared.ids import device_id, digest

PROVISION = "provision"

_TOKEN = re.compile(r"[A-Za-z0-9_-]{20,64}")

RETURN_CODES = {
    "level": 1,
    "client_id": 2,
    "unavailable": 3,
    "not_authorized": 5,
}
"""Return codes of 3.1 and 3.1.1."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody is let in: the return code for 3.1.1 and the reason for 5.0."""

    code: int
    reason: int

    def packet(self, level: int) -> bytes:
        """The CONNACK that says so."""
        return connack(level, self.reason if level == V5 else self.code)


NOT_LET_IN = Refusal(RETURN_CODES["not_authorized"], NOT_AUTHORIZED)


class Form(Enum):
    """Ways to connect without being a device."""

    PROVISIONING = "provisioning"


Proof = bytes | Certificate
"""What a device has shown: the digest of its token, or its certificate."""


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A device, and what it showed."""

    entry: DeviceEntry
    proof: Proof


class Surface(msgspec.Struct, frozen=True, gc=False):
    """What is known of the connection below MQTT: whether it has TLS, and the client's certificate in DER."""

    secure: bool
    certificate: bytes | None = None


def admit(
    connect: Connect, surface: Surface, directory: Directory, authorities: Authorities, at: datetime
) -> Admitted | Refusal | Form:
    """The device that connects, or a connection for provisioning. Raises what the directory raises."""
    if connect.authentication_method:
        return Refusal(RETURN_CODES["not_authorized"], BAD_AUTHENTICATION)
    if connect.level != V5 and not connect.client_id and not connect.clean:  # MQC-3
        return Refusal(RETURN_CODES["client_id"], BAD_CLIENT_ID)
    if connect.username == PROVISION or (connect.username is None and connect.client_id == PROVISION):
        return Form.PROVISIONING
    if connect.level == V5 and connect.will is not None and connect.will.qos > 1:
        return Refusal(RETURN_CODES["not_authorized"], BAD_QOS)
    found = _known(connect, surface, directory, authorities, at)
    if isinstance(found, Admitted) and not surface.secure and _needs_tls(found.entry, directory):
        return NOT_LET_IN
    return found


def _known(
    connect: Connect, surface: Surface, directory: Directory, authorities: Authorities, at: datetime
) -> Admitted | Refusal:
    if surface.certificate is not None:
        found = device_of(surface.certificate, directory, authorities, at)
        if isinstance(found, Unproven):
            return NOT_LET_IN
        if found is not None:
            return _by_certificate(connect, *found, directory)
    if connect.username is None:
        if surface.certificate is not None or not connect.client_id:
            return NOT_LET_IN
        return Refusal(RETURN_CODES["client_id"], BAD_CLIENT_ID)
    return _by_token(connect, directory) or Refusal(RETURN_CODES["not_authorized"], BAD_LOGIN)


def _by_certificate(
    connect: Connect, entry: DeviceEntry, certificate: Certificate, directory: Directory
) -> Admitted | Refusal:
    """With a user name as well, both must name the same device; one that is its ID names it without a password."""
    if not welcome(entry):
        return NOT_LET_IN
    if connect.username is not None and device_id(connect.username) != entry.device_id:
        other = _by_token(connect, directory)
        if other is None or other.entry.device_id != entry.device_id:
            return Refusal(RETURN_CODES["not_authorized"], BAD_LOGIN)
    return Admitted(entry, certificate)


def _by_token(connect: Connect, directory: Directory) -> Admitted | None:
    username = connect.username or ""
    admitted = _holder(username, directory)
    if admitted is not None:
        return admitted
    stated = device_id(username)
    if stated is None or connect.password is None:
        return None
    admitted = _holder(connect.password.decode(errors="replace"), directory)
    return admitted if admitted is not None and admitted.entry.device_id == stated else None


def _holder(token: str, directory: Directory) -> Admitted | None:
    if not is_token(token):
        return None
    token_digest = digest(token)
    entry = directory.device_by_token(token_digest)
    return Admitted(entry, bytes.fromhex(token_digest)) if entry is not None and welcome(entry) else None


def is_token(text: str) -> bool:
    """Whether it could be one: 20 to 64 URL-safe characters."""
    return _TOKEN.fullmatch(text) is not None


def still_admitted(
    proof: Proof, device: str, secure: bool, directory: Directory, authorities: Authorities
) -> DeviceEntry | None:
    """The device as it is now, if what it showed lets it in now; what else would be asked of a new connection, too."""
    if isinstance(proof, Certificate):
        entry = still_admits(proof, device, directory, authorities)
    else:
        entry = directory.device_by_token(proof.hex())
    if entry is None or entry.device_id != device or not welcome(entry):
        return None
    return None if not secure and _needs_tls(entry, directory) else entry


def _needs_tls(entry: DeviceEntry, directory: Directory) -> bool:
    product = directory.product(str(entry.membership.product_id))
    return product is not None and product.tls_only


def welcome(entry: DeviceEntry) -> bool:
    """Whether a device may be connected at all: a member, and not denied."""
    return entry.membership.product_id is not None and not entry.membership.denied


def granted(connect: Connect, limits: MqttLimits, assigned_id: str) -> p.Properties:
    """What CONNACK tells a client of 5.0 about this server (MQC-5)."""
    if connect.level != V5:
        return {}
    found: p.Properties = {
        p.SESSION_EXPIRY: 0,
        p.RECEIVE_MAXIMUM: limits.unacknowledged_up,
        p.MAXIMUM_QOS: 1,
        p.RETAIN_AVAILABLE: 0,
        p.MAXIMUM_PACKET_SIZE: limits.packet_bytes,
        p.TOPIC_ALIAS_MAXIMUM: limits.topic_aliases,
        p.SUBSCRIPTION_IDS_AVAILABLE: 0,
        p.SHARED_SUBSCRIPTIONS_AVAILABLE: 0,
    }
    if not connect.client_id:
        found[p.ASSIGNED_CLIENT_ID] = assigned_id
    if not 0 < connect.keep_alive_s <= limits.keep_alive_s:
        found[p.SERVER_KEEP_ALIVE] = limits.keep_alive_s
    return found
