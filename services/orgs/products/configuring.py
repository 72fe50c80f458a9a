"""Commands on how devices get in that take more than one stream, or a secret; each may be repeated.

First a name is reserved, then one append decides (decision 7).
"""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from services.orgs.names import Kind
from services.orgs.people.creation import organization_row
from services.orgs.products import authorities, products
from services.orgs.products.authorities import AUTHORITIES, AddAuthority, RemoveAuthority
from services.orgs.products.certificates import read_authority
from services.orgs.products.device_access import ConfigureDeviceAccess, at_first, firmware_name
from services.orgs.products.products import PRODUCTS, IssueProvisioningKey
from services.orgs.reservations import reserve
from services.orgs.views import access_row, authority_row
from shared.context import Context
from shared.errors import NotFound, Refused
from shared.ids import digest, record_id
from shared.projections.view import Row
from shared.store.port import Position
from shared.streams import Streams

SECRET_BYTES = 15
"""Of randomness in a key and in its secret; shown as 24 letters and digits."""


@dataclass(frozen=True, slots=True)
class Configuring:
    """One command about a product or an organization."""

    streams: Streams
    context: Context
    now: datetime

    def access(self, product_id: int, changes: ConfigureDeviceAccess) -> tuple[Row, Position | None]:
        """Configure how devices get in; the answer is all of it as the view will have it. Refuses with ``name_taken``
        if another product has, or had, the firmware name."""
        stream = products.stream_of(product_id)
        self._must_exist(stream)
        if changes.firmware_name is not None:
            name = firmware_name(product_id, changes.firmware_name)
            if name != str(product_id) and not self._reserve("firmware_name", name, stream):
                raise Refused("name_taken", "Another product's firmware has, or had, this name.")
        handled = self.streams.handle(PRODUCTS, stream, changes, self.context)
        access, issued = handled.state.access or at_first(product_id), handled.state.issued
        return access_row(access, issued.key if issued else None), handled.position

    def provisioning_key(self, product_id: int) -> dict[str, Any]:
        """A new key and its secret, which is shown this once, in place of those before."""
        key, secret = _secret(), _secret()
        # A repeated command would find the digest of a secret that nobody has any more; so every run is one of its own.
        context = self.context.step(key)
        command = IssueProvisioningKey(key, digest(secret))
        position = self.streams.handle(PRODUCTS, products.stream_of(product_id), command, context).position
        return {"key": key, "secret": secret, "position": position}

    def add_authority(self, org_id: str, text: object, *, names_devices: bool) -> tuple[Row, Position | None]:
        """Trust what signs with this certificate; the answer is the authority as the view will have it. Refuses with
        ``invalid_certificate``, ``authority_taken`` if another organization has its key or its subject,
        ``authority_exists`` and ``too_many_authorities``."""
        organization_row(self.streams, org_id)
        found = read_authority(text, self.now)
        stream = authorities.stream_of(org_id)
        if not self._reserve("device_authority", found.key_digest, stream):
            raise Refused("authority_taken", "Another organization has the authority with this key.")
        if not self._reserve("authority_subject", found.subject_digest, stream):
            raise Refused("authority_taken", "Another organization has an authority with this subject.")
        authority_id = record_id(self.context.command_id, "authority")
        command = AddAuthority(org_id, authority_id, found.pem, found.fingerprint, names_devices)
        handled = self.streams.handle(AUTHORITIES, stream, command, self.context)
        stored = next(one for one in self.streams.load(AUTHORITIES, stream).recorded if one.version == handled.version)
        return authority_row(self.streams.contracts.decode(stored), stored), handled.position

    def remove_authority(self, org_id: str, authority_id: str) -> Position | None:
        """Trust it no more. Raises ``NotFound``."""
        command = RemoveAuthority(org_id, authority_id)
        return self.streams.handle(AUTHORITIES, authorities.stream_of(org_id), command, self.context).position

    def _must_exist(self, product_stream: str) -> None:
        if self.streams.load(PRODUCTS, product_stream).state.created is None:
            raise NotFound("Product not found.")

    def _reserve(self, kind: Kind, name: str, holder_stream: str) -> bool:
        return reserve(self.streams, self.context, self.now, kind, name, holder_stream)


def _secret() -> str:
    return base64.b32encode(secrets.token_bytes(SECRET_BYTES)).decode().lower()
