"""How a device comes to belong to an account or a company's customer, and ceases to (CUS-5, MQU-7, PRD-4).

Two streams take part in a claim, one after the other: the code's or the window's first, then the device's. The ids of
both commands follow from the same message, so that a redelivery finishes what was begun and repeats nothing. The
``orgs`` service is asked whether there is such an owner, before and after: whose owner was deleted in between belongs
to nobody, whether the deletion saw the claim or the claim the deletion. An activation code is taken after the claim and
before it is asked again: of several devices that were claimed with it at once one stays claimed.
"""

from __future__ import annotations

import base64
import logging
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from msgspec.structs import replace

from services.devices import claim_window, claims
from services.devices.claim_window import WINDOW, OpenWindow, StateSecret
from services.devices.claims import CLAIM, Claimant, EndCode, IssueCode, UseCode
from services.devices.device import (
    DEVICE,
    NOT_A_MEMBER,
    ClaimDevice,
    Device,
    HandOver,
    ReleaseDevice,
    UnclaimDevice,
    decide,
    stream_of,
)
from services.devices.fleet import FLEET
from services.devices.members import change, known_id
from shared.bus.providers import WorkerStreams, WorkerViews
from shared.errors import NotFound, Refused
from shared.events.devices import ClaimSecretRefused
from shared.events.gateway import ClaimOpened, ClaimPresented
from shared.events.transfers import TransferAccepted
from shared.ids import digest
from shared.streams import Handled

MAX_LISTED = 1_000
"""Devices of an account that are told with a new claim code."""
MAX_SECRET = 1_024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claiming:
    """Commands of one worker; ``orgs`` is the client of that service."""

    streams: WorkerStreams
    views: WorkerViews
    orgs: Any
    now: datetime

    def issue_code(self, maker: Claimant, chosen: str | None, activation_code: str | None) -> dict[str, Any]:
        """A claim code, shown this once, and the devices that its maker has. ``chosen``: one that was chosen. Refuses
        with ``invalid_activation_code`` what a private beta does not know."""
        maker = self._invited(maker, maker.product_id, activation_code)
        made = chosen or base64.b64encode(secrets.token_bytes(claims.CODE_BYTES)).decode()
        known_as = claims.code_digest(made)
        handled = self.streams.handle(CLAIM, claims.stream_of(known_as), IssueCode(known_as, maker, self.now))
        return {"claim_code": made, "device_ids": owned(self.views, maker), "position": handled.position}

    def present(self, event: ClaimPresented) -> None:
        """A device showed a claim code: if code and device are free, the device is the maker's. A code is not used up
        by a device that cannot be claimed, and ends when its maker is found gone."""
        stream = claims.stream_of(event.code_digest)
        maker = self.streams.load(CLAIM, stream).state.maker
        try:
            product_id = None
            if maker is not None:
                product_id = self._must_be_free(event.device_id, maker, self._device(event.device_id))
                self._must_be_entitled(maker, product_id, event.device_id)
            command = UseCode(event.code_digest, event.device_id, product_id, self.now)
            used = self.streams.handle(CLAIM, stream, command).state.maker
            if used is not None and product_id is not None:
                self._claim(event.device_id, product_id, used)
        except (Refused, NotFound) as refusal:
            if isinstance(refusal, Refused) and refusal.code == "claimant_gone":
                self.streams.handle(CLAIM, stream, EndCode(event.code_digest))
            log.info("device %s showed a claim code in vain: %s", event.device_id, refusal)

    def open_window(self, event: ClaimOpened) -> None:
        """A device asks to be claimed; one that has an owner stays theirs."""
        device = self._device(event.device_id)
        is_free = device.owner_id is None and not device.quarantined and not device.denied
        if event.product_id is None or device.product_id != event.product_id or not is_free:
            return
        command = OpenWindow(event.device_id, event.product_id, event.secret_digest, event.until, self.now)
        self.streams.handle(WINDOW, claim_window.stream_of(event.device_id), command)

    def claim(self, claimant: Claimant, text: object, secret: object, activation_code: str | None) -> dict[str, Any]:
        """The device is the claimant's who states its ID, and the secret that it gave if it asked to be claimed
        (MQU-7); one that speaks no MQTT must be online. Raises ``NotFound`` and ``Refused``."""
        found, stated = known_id(text), secret if isinstance(secret, str) else ""
        if len(stated) > MAX_SECRET:
            raise Refused("invalid_request", f"a secret has at most {MAX_SECRET} characters")
        device = self._device(found)
        position, product_id = None, self._must_be_free(found, claimant, device)
        if device.owner_id != claimant.owner_id:
            claimant = self._invited(claimant, product_id, activation_code)
            self._must_be_entitled(claimant, product_id, found)
            self._must_be_at_hand(claimant, found, product_id, stated)
            position = self._claim(found, product_id, claimant).position
        return {"device_id": found, "product_id": product_id, "online": self._is_online(found), "position": position}

    def ask_transfer(self, claimant: Claimant, text: object, activation_code: str | None) -> dict[str, Any]:
        """Ask the owner of a device for it, whoever could claim it if it were free. Its secret is not asked for: the
        owner's word stands for it. Raises ``NotFound`` and ``Refused``."""
        found = known_id(text)
        device = self._device(found)
        product_id = self._must_be_free(found, claimant, replace(device, owner_id=None))
        claimant = self._invited(claimant, product_id, activation_code)
        self._must_be_entitled(claimant, product_id, found)
        if device.owner_id in (None, claimant.owner_id):
            raise Refused("invalid_request", "There is nobody to ask for the device; claim it.")
        recorded: dict[str, Any] = self.orgs.record_transfer(
            device_id=found,
            product_id=product_id,
            owner_id=device.owner_id,
            claim=device.claims,
            claimant_id=claimant.owner_id,
            customer_id=claimant.customer_id,
            invitee_id=claimant.invitee_id,
            device_name=device.name,
        )
        return recorded

    def hand_over(self, event: TransferAccepted) -> None:
        """Its owner has agreed: the device is the claimant's, if it may be."""
        claimant = Claimant(event.claimant_id, event.customer_id, event.product_id, event.invitee_id)
        handed = (event.device_id, event.product_id, event.owner_id, event.claim, event.claimant_id, event.invitee_id)
        try:
            self._must_be_entitled(claimant, event.product_id, event.device_id)
            if not self._own(event.device_id, event.product_id, claimant, HandOver(*handed)).events:
                log.info("device %s was not handed over: it is not its owner's any more", event.device_id)
        except Refused as refusal:
            log.info("device %s was not handed over: %s", event.device_id, refusal)
            if refusal.code == "claimant_gone":  # found when this is repeated, too
                self._release(event.device_id, event.product_id, event.claimant_id)

    def _must_be_at_hand(self, claimant: Claimant, device_id: str, product_id: int, stated: str) -> None:
        stream = claim_window.stream_of(device_id)
        window = self.streams.load(WINDOW, stream).state
        speaks_mqtt = self.orgs.get_product(product_id=product_id)["product"]["device_type"] == "mqtt"
        if window.until is None and not stated and not speaks_mqtt:
            if not self._is_online(device_id):
                raise Refused("device_offline", "Device isn't online")
            return
        command = StateSecret(
            device_id=device_id,
            product_id=product_id,
            account_id=claimant.owner_id,
            secret_digest=digest(stated) if stated else None,
            open_to_all=window.secret_digest is None and self._is_open_to_all(product_id),
            now=self.now,
        )
        if any(isinstance(event, ClaimSecretRefused) for event in self.streams.handle(WINDOW, stream, command).events):
            raise Refused("wrong_secret", "that is not the secret which the device gave")

    def _is_open_to_all(self, product_id: int) -> bool:
        """Whether the product lets its devices be claimed without a secret."""
        access_of = self.orgs.get_device_access(product_id=product_id)["device_access"]
        return bool(access_of["claim_without_secret"])

    def _is_online(self, device_id: str) -> bool:
        fleet = self.views.table(FLEET)
        with self.views.read() as connection:
            return bool(connection.execute(sa.select(fleet.c.online).where(fleet.c.device_id == device_id)).scalar())

    def _invited(self, claimant: Claimant, product_id: int | None, code: str | None) -> Claimant:
        """The claimant with what opens the product's private beta, if it has one (PRD-4)."""
        if product_id is None or not self._needs_codes(product_id):
            return claimant
        asked = {"product_id": product_id, "customer_id": claimant.customer_id or claimant.owner_id, "code": code or ""}
        invitee_id = self.orgs.check_activation_code(**asked)["invitee_id"]
        return Claimant(claimant.owner_id, claimant.customer_id, claimant.product_id, invitee_id)

    def _needs_codes(self, product_id: int) -> bool:
        return bool(self.orgs.get_product(product_id=product_id)["product"]["requires_activation_codes"])

    def _must_be_free(self, device_id: str, claimant: Claimant, device: Device) -> int:
        """The product of a device that the claimant may claim, or has; raises what claiming it would raise. A customer
        learns nothing of a device of another product."""
        if device.product_id is None or claimant.product_id not in (None, device.product_id):
            raise NotFound(NOT_A_MEMBER)
        decide(device, ClaimDevice(device_id, claimant.owner_id))
        return device.product_id

    def _must_be_entitled(self, claimant: Claimant, product_id: int, device_id: str) -> None:
        """Raises ``Refused``: ``claimant_gone``, ``other_product``, ``activation_code_needed``."""
        self.orgs.check_claim(
            owner_id=claimant.owner_id,
            customer_id=claimant.customer_id,
            product_id=product_id,
            invitee_id=claimant.invitee_id,
            device_id=device_id,
        )

    def _claim(self, device_id: str, product_id: int, claimant: Claimant) -> Handled[Device]:
        command = ClaimDevice(device_id, claimant.owner_id, claimant.invitee_id, product_id)
        return self._own(device_id, product_id, claimant, command)

    def _own(
        self, device_id: str, product_id: int, claimant: Claimant, command: ClaimDevice | HandOver
    ) -> Handled[Device]:
        claimed = self.streams.handle(DEVICE, stream_of(device_id), command)
        if claimant.invitee_id is not None and claimed.state.owner_id == claimant.owner_id:
            taken = {"owner_id": claimant.owner_id, "device_id": device_id}
            self.orgs.take_activation_code(product_id=product_id, invitee_id=claimant.invitee_id, **taken)
        try:
            self._must_be_entitled(claimant, product_id, device_id)
        except Refused as refusal:
            if refusal.code in ("claimant_gone", "activation_code_needed"):
                self._release(device_id, product_id, claimant.owner_id)
            raise
        return claimed

    def _release(self, device_id: str, product_id: int, owner_id: str) -> None:
        self.streams.handle(DEVICE, stream_of(device_id), ReleaseDevice(device_id, product_id, owner_id), "release")

    def _device(self, device_id: str) -> Device:
        return self.streams.load(DEVICE, stream_of(device_id)).state


def holding(streams: WorkerStreams, text: object) -> dict[str, Any]:
    """Whose a device is now, and by which of its claims."""
    device = streams.load(DEVICE, stream_of(known_id(text))).state
    return {"product_id": device.product_id, "owner_id": device.owner_id, "claim": device.claims}


def owned(views: WorkerViews, maker: Claimant) -> list[str]:
    """The first of the devices that an account or customer has."""
    fleet = views.table(FLEET)
    query = sa.select(fleet.c.device_id).where(fleet.c.owner_id == maker.owner_id).order_by(fleet.c.device_id)
    if maker.product_id is not None:
        query = query.where(fleet.c.product_id == maker.product_id)
    with views.read() as connection:
        return list(connection.execute(query.limit(MAX_LISTED)).scalars())


def unclaim(streams: WorkerStreams, product_id: int, text: object) -> dict[str, Any]:
    """The device stays a member and belongs to nobody."""
    return {"position": change(streams, product_id, text, UnclaimDevice()).position}
