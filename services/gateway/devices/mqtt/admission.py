"""Who a CONNECT is from, decided from the directory alone (MQC-2 to 4)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from services.gateway.devices.mqtt import properties as p
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


@dataclass(frozen=True, slots=True)
class Admitted:
    """A device, and the digest of the token that it showed."""

    entry: DeviceEntry
    token_digest: str


def admit(connect: Connect, directory: Directory) -> Admitted | Refusal:
    """The device that connects. Raises what the directory raises."""
    if connect.authentication_method:
        return Refusal(RETURN_CODES["not_authorized"], BAD_AUTHENTICATION)
    if connect.username is None:
        if connect.client_id in ("", PROVISION):
            return Refusal(RETURN_CODES["not_authorized"], NOT_AUTHORIZED)
        return Refusal(RETURN_CODES["client_id"], BAD_CLIENT_ID)
    if connect.username == PROVISION:
        return Refusal(RETURN_CODES["not_authorized"], NOT_AUTHORIZED)
    if connect.level != V5 and not connect.client_id and not connect.clean:  # MQC-3
        return Refusal(RETURN_CODES["client_id"], BAD_CLIENT_ID)
    if connect.level == V5 and connect.will is not None and connect.will.qos > 1:
        return Refusal(RETURN_CODES["not_authorized"], BAD_QOS)
    return _by_token(connect, directory) or Refusal(RETURN_CODES["not_authorized"], BAD_LOGIN)


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
    if not _TOKEN.fullmatch(token):
        return None
    token_digest = digest(token)
    entry = directory.device_by_token(token_digest)
    return Admitted(entry, token_digest) if entry is not None and welcome(entry) else None


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
