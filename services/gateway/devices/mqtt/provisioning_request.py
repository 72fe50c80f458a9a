"""The payload of ``/provision/request`` (section 8). Pure; raises only ``Rejected``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from services.gateway.devices.mqtt.payloads import decode_json
from services.gateway.devices.mqtt.violations import Rejected

Kind = Literal["ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE"]
_KINDS: tuple[Kind, ...] = ("ACCESS_TOKEN", "MQTT_BASIC", "X509_CERTIFICATE")


@dataclass(frozen=True, slots=True)
class Credentials:
    """What the device asks for; texts are empty where it gave none. ``token`` is the one that it proposes, be it as a
    token or as the password of a user name; ``certificate`` is one, or its fingerprint."""

    kind: Kind
    token: str = ""
    username: str = ""
    client_id: str = ""
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """Key and secret are a product's."""

    key: str
    secret: str
    device_name: str | None
    credentials: Credentials


def parse(payload: bytes) -> Request:
    """What the device asks for. Members that are null are not there; those that are not named in the schema are read
    over."""
    asked = decode_json(payload, "provisioning")
    if not isinstance(asked, dict):
        raise Rejected("provisioning: not an object")
    kind = asked.get("credentialsType") or "ACCESS_TOKEN"
    if kind not in _KINDS:
        raise Rejected(f"provisioning: credentialsType is one of {', '.join(_KINDS)}")
    basic = kind == "MQTT_BASIC"
    credentials = Credentials(
        kind,
        token=_text(asked, "password" if basic else "token") or "",
        username=(_text(asked, "username") or "") if basic else "",
        client_id=(_text(asked, "clientId") or "") if basic else "",
        certificate=_text(asked, "hash") or "",
    )
    key, secret = _text(asked, "provisionDeviceKey"), _text(asked, "provisionDeviceSecret")
    if key is None or secret is None:
        raise Rejected("provisioning: provisionDeviceKey and provisionDeviceSecret are needed")
    return Request(key, secret, _text(asked, "deviceName"), credentials)


def _text(asked: dict[str, Any], name: str) -> str | None:
    value = asked.get(name)
    if value is not None and not isinstance(value, str):
        raise Rejected(f"provisioning: {name} is not text")
    return value
