"""Events of transfers: somebody asks the owner of a device for it (service ``orgs``; contract 8, CUS-5). Stream
``transfers-<owner id>``.
"""

from __future__ import annotations

from typing import Annotated

from shared.events.fields import Count, Event, Hex24, Moment, ProductNumber, Text


class TransferAsked(Event, frozen=True):
    """Until then the owner may hand the device over by a link that is mailed. ``claim``: the how-manieth claim of the
    device made it theirs. ``claimant_id`` is whose it would be, ``customer_id`` as whom of a company's customers;
    ``invitee_id``: whose activation code opens a private beta. The same ``transfer_id`` again: its link is a new one.
    """

    transfer_id: Hex24
    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24
    claim: Count
    claimant_id: Hex24
    customer_id: Hex24 | None
    invitee_id: Hex24 | None
    device_name: Annotated[str, Text(128)]
    nonce: Hex24
    asked_at: Moment
    expires_at: Moment


class TransferAccepted(Event, frozen=True):
    """The owner followed the link and hands the device over, if it is theirs still by the same claim. What else is
    asked of them for it is over."""

    transfer_id: Hex24
    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24
    claim: Count
    claimant_id: Hex24
    customer_id: Hex24 | None
    invitee_id: Hex24 | None


class TransferDeclined(Event, frozen=True):
    """The owner followed the link and keeps the device; the same claimant cannot ask again before the request would
    have lapsed."""

    transfer_id: Hex24
    device_id: Hex24
    product_id: ProductNumber
    owner_id: Hex24
    claimant_id: Hex24
    customer_id: Hex24 | None
