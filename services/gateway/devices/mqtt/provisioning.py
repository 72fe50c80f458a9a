"""One device that has nothing to authenticate with yet and asks for it (section 8): packets and moments in, effects
out. Does no I/O; knows no socket, task or clock.

Such a connection belongs to no device: it is in no table of sessions and is never taken over. It asks one thing at a
time; nothing is read while it waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable
from hmac import compare_digest
from math import inf
from typing import Any

from services.gateway.devices.effects import Close, Ending, Now
from services.gateway.devices.mqtt import writer
from services.gateway.devices.mqtt.admission import granted, is_token
from services.gateway.devices.mqtt.certificates import fingerprint_of
from services.gateway.devices.mqtt.effects import Effect, Provision, WrongSecret
from services.gateway.devices.mqtt.inbox import Inbox
from services.gateway.devices.mqtt.limits import MqttLimits
from services.gateway.devices.mqtt.outbox import Outbox
from services.gateway.devices.mqtt.packets import (
    PUBACK,
    PUBREL,
    V5,
    Acknowledgement,
    Connect,
    Disconnect,
    Packet,
    Ping,
    Publish,
    Subscribe,
    Unsubscribe,
    decode,
)
from services.gateway.devices.mqtt.payloads import JsonObject, compact
from services.gateway.devices.mqtt.provisioning_request import Credentials, Request, parse
from services.gateway.devices.mqtt.reader import Frame
from services.gateway.devices.mqtt.violations import (
    BAD_PAYLOAD,
    DRAINING,
    KEEP_ALIVE,
    KICKED,
    NORMAL,
    OUR_ERROR,
    PROTOCOL_ERROR,
    QUOTA,
    UNKNOWN_TOPIC,
    UNSPECIFIED,
    Rejected,
    Violation,
)
from services.gateway.devices.ports import Directory
from services.gateway.devices.sessions import Dismissal
from services.gateway.entries import DeviceEntry, ProductEntry
from shared.errors import Unavailable
from shared.ids import device_id, digest

REQUEST = "/provision/request"
RESPONSE = "/provision/response"
NOT_FOUND: JsonObject = {"status": "NOT_FOUND", "errorMsg": "Provision data was not found!"}
FAILURE: JsonObject = {"status": "FAILURE", "errorMsg": "Failed to provision device!"}
"""The member ``errorMsg`` must be there: the Python SDK reads it."""
_DISMISSALS: dict[Dismissal, int] = {"kicked": KICKED, "draining": DRAINING}


class Provisioning:
    """See the module. ``new_token`` makes a token that nobody can guess; ``secure``: with TLS."""

    device_id = "(provisioning)"

    def __init__(
        self,
        connect: Connect,
        directory: Directory,
        limits: MqttLimits,
        new_token: Callable[[], str],
        secure: bool,
        now: Now,
    ) -> None:
        self.level = connect.level
        self.bytes_in = self.bytes_out = 0
        self._directory = directory
        self._limits = limits
        self._new_token = new_token
        self._secure = secure
        self._explain = connect.problem_information
        self._outbox = Outbox(connect, limits)
        self._inbox = Inbox(connect.level, connect.problem_information, limits)
        self._over_at = now.s + limits.provisioning_s
        self._heard_at = now.s
        self._silence_s = 1.5 * min(connect.keep_alive_s or limits.keep_alive_s, limits.keep_alive_s)
        self._requests = 0
        self._asked: tuple[Publish, Credentials, str] | None = None

    def start(self, connect: Connect, assigned_id: str) -> list[Effect]:
        """CONNACK."""
        return [writer.connack(self.level, NORMAL, granted(connect, self._limits, assigned_id))]

    # -- packets --------------------------------------------------------------------------------------------------

    def receive(self, frame: Frame, now: Now) -> list[Effect]:
        """One packet."""
        self._heard_at = now.s
        self.bytes_in += frame.size_bytes
        try:
            return self._handle(decode(frame, self.level), now)
        except Violation as violation:
            return self.broken(violation, frame.body, now)

    def broken(self, violation: Violation, sent: bytes, now: Now) -> list[Effect]:
        """It broke the protocol."""
        return [self._bye(violation.reason, "misbehaved", str(violation))]

    def _bye(self, reason: int, ending: Ending, text: str = "") -> Close:
        return Close(writer.disconnect(self.level, reason, text if self._explain else ""), ending)

    def _handle(self, packet: Packet, now: Now) -> list[Effect]:
        match packet:
            case Publish():
                return self._publish(packet, now)
            case Ping():
                return [writer.PINGRESP]
            case Acknowledgement():
                return self._acknowledged(packet)
            case Subscribe():
                return [self._outbox.subscribe(packet)]
            case Unsubscribe():
                return [self._outbox.unsubscribe(packet)]
            case Disconnect():
                return [Close(b"", "disconnected")]
            case Connect():
                raise AssertionError("decode makes none")

    def _acknowledged(self, packet: Acknowledgement) -> list[Effect]:
        if packet.type == PUBACK:
            return [self._outbox.acknowledged(packet.packet_id)[0]]
        if packet.type == PUBREL and self.level != V5:
            return [self._inbox.released(packet.packet_id)]
        raise Violation("acknowledgement of QoS 2", PROTOCOL_ERROR, "unexpected_packet")

    def _publish(self, packet: Publish, now: Now) -> list[Effect]:
        topic, repeated = self._inbox.receive(packet)
        if repeated:
            return self._acknowledge(packet)
        if topic != REQUEST:
            text = "this connection is for provisioning only"
            return [*self._acknowledge(packet, UNKNOWN_TOPIC, text), self._bye(UNKNOWN_TOPIC, "misbehaved", text)]
        self._requests += 1
        if self._requests > self._limits.provisioning_requests:
            return [self._bye(QUOTA, "misbehaved", "too many requests on one connection")]
        try:
            request = parse(packet.payload)
        except Rejected as rejected:
            return self._answer(packet, FAILURE, now, BAD_PAYLOAD, rejected.text)
        try:
            return self._decide(packet, request, now)
        except Unavailable:
            return self._answer(packet, FAILURE, now)

    def _acknowledge(self, packet: Publish, reason: int = NORMAL, text: str = "") -> list[Effect]:
        self._inbox.acknowledge(packet, 0, reason, text)
        return [self._inbox.ready()]

    def _answer(
        self, packet: Publish, answer: JsonObject, now: Now, reason: int = NORMAL, text: str = ""
    ) -> list[Effect]:
        self._over_at = now.s + self._limits.provisioning_s
        return [*self._acknowledge(packet, reason, text), self._outbox.message(RESPONSE, compact(answer))]

    # -- what is asked for ----------------------------------------------------------------------------------------

    def _decide(self, packet: Publish, request: Request, now: Now) -> list[Effect]:
        product = self._directory.product_by_provisioning_key(request.key)
        known = None if product is None else product.provisioning_secret_digest
        if product is None or known is None or not compare_digest(digest(request.secret), known):
            return [WrongSecret(), *self._answer(packet, NOT_FOUND, now)]
        secret = self._secret(request.credentials, product)
        refused = product.provisioning == "off" or (product.tls_only and not self._secure)
        if refused or secret is None or not _agree(request):
            return self._answer(packet, FAILURE, now)
        self._asked = (packet, request.credentials, secret)
        self._over_at = now.s + self._limits.provisioning_s  # longer than an answer takes
        certificate = request.credentials.kind == "X509_CERTIFICATE"
        name = request.credentials.username if request.credentials.kind == "MQTT_BASIC" else request.device_name
        return [
            Provision(
                product_id=product.product_id,
                device_name=name,
                token_digest=None if certificate else digest(secret),
                fingerprint=secret if certificate else None,
                create=product.provisioning == "create",
            )
        ]

    def _known(self, fingerprint: str, product: ProductEntry) -> DeviceEntry | None:
        return self._directory.device_by_certificate(fingerprint, product.org_id)

    def _secret(self, wanted: Credentials, product: ProductEntry) -> str | None:
        """The token or the fingerprint that the device is to have; None if it cannot have what it asks for."""
        if wanted.kind == "X509_CERTIFICATE":
            fingerprint = fingerprint_of(wanted.certificate)
            taken = fingerprint is not None and self._known(fingerprint, product) is not None
            return None if taken else fingerprint
        token = wanted.token
        free = is_token(token) and device_id(token) is None and self._directory.device_by_token(digest(token)) is None
        return token if free else self._new_token()

    def provisioned(self, known_as: str | None, now: Now) -> list[Effect]:
        """The answer to ``Provision``: the ID of the device that is let in; None if none is."""
        if self._asked is None:
            return []
        (packet, wanted, secret), self._asked = self._asked, None
        if known_as is None:
            return self._answer(packet, FAILURE, now)
        value: Any = secret
        if wanted.kind == "MQTT_BASIC":
            value = {"clientId": wanted.client_id, "userName": known_as, "password": secret}
        answer = {"status": "SUCCESS", "credentialsType": wanted.kind, "credentialsValue": value}
        return self._answer(packet, answer, now)

    # -- time and end ---------------------------------------------------------------------------------------------

    def hold_until(self, now: float) -> float | None:
        """``inf`` while an answer is awaited."""
        return None if self._asked is None else inf

    def resumed(self, now: float) -> None:
        """It can be heard again."""
        self._heard_at = now

    def wake_at(self) -> float:
        """When ``tick`` is to be called, if nothing happens before."""
        return min(self._over_at, self._heard_at + self._silence_s)

    def tick(self, held: bool, now: Now) -> list[Effect]:
        """What is due."""
        if held:
            self._heard_at = now.s
        if now.s >= self._over_at:
            return [self._bye(UNSPECIFIED, "kicked", "the time for provisioning is over")]
        if now.s >= self._heard_at + self._silence_s:
            return [self._bye(KEEP_ALIVE, "keepalive", "silent for 1.5 times its keep-alive")]
        return []

    def dismiss(self, ending: Dismissal, text: str) -> list[Close]:
        """The gateway ends it."""
        return [self._bye(_DISMISSALS[ending], ending, text)]

    def fault(self) -> Close:
        """An error of ours (MQE-10)."""
        return self._bye(OUR_ERROR, "kicked", "an error of the gateway")


def _agree(request: Request) -> bool:
    """Whether the name and the user name, where each has to be a device ID, are the same one."""
    if request.credentials.kind != "MQTT_BASIC":
        return True
    stated, named = device_id(request.credentials.username), device_id(request.device_name or "")
    return stated is not None and named in (None, stated)
