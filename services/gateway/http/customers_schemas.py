"""What comes in and goes out about customers, private betas and claims (contract 8, 11)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import (
    NULL,
    Document,
    Flag,
    Line,
    Request,
    flag,
    list_of,
    of,
    string,
    time,
    whole,
)
from services.gateway.http.requests import Paging
from shared.bounded_list import BoundedList


class NewCustomer(Request):
    email = Line(1_024, required=True)
    password = Line(4_096, allow_none=True)
    no_password = Flag(load_default=False, metadata={"description": "no log-in with a password (two-legged)"})
    client_id = Line(128)
    client_secret = Line(256)
    grant_type = Line(64)
    response_type = Line(16, metadata={"description": "token: the answer is a redirect with the token behind #"})


class CustomerPassword(Request):
    password = Line(4_096, required=True)


class CustomerResetRequest(Request):
    email = Line(1_024, required=True)


class CustomerReset(Request):
    token = Line(256, required=True)
    password = Line(4_096, required=True)


class Customer(Document):
    id = string()
    username = string()
    devices = list_of(string())
    activation_code = string(required=False)
    last_used_at = time(**NULL)


class CustomersDevice(Document):
    id = string()
    product_id = whole()
    last_ip_address = string(**NULL)
    firmware_version = whole(**NULL)
    online = flag()


class PageMeta(Document):
    page = whole()
    per_page = whole()
    total = whole()
    total_pages = whole()


class Customers(Document):
    customers = list_of(of(Customer))
    devices = list_of(of(CustomersDevice))
    meta = of(PageMeta)


class CustomersQuery(Paging):
    pass


MOST_INVITED = 10_000
"""Addresses that are invited to a private beta by one call."""


class Invitees(Request):
    """Addresses as JSON or form; or as multipart with a part ``file``, one a line."""

    customers = BoundedList(
        Line(1_024),
        MOST_INVITED,
        1,
        load_default=None,
        metadata={"description": "addresses; may be missing where there is a file"},
    )


class ActivationCode(Document):
    email = string()
    code = string()
    used = flag()


class InviteProblem(Document):
    line = whole()
    text = string()
    reason = string()


class ActivationCodes(Document):
    ok = flag()
    activation_codes = list_of(of(ActivationCode))
    problems = list_of(of(InviteProblem))
    meta = of(PageMeta, required=False)


class Claim(Request):
    id = Line(64, load_default="")
    secret = Line(1_024, load_default="", metadata={"description": "what the device gave when it opened itself"})
    activation_code = Line(16, allow_none=True, load_default=None)
    request_transfer = Flag(load_default=False, metadata={"description": "ask the owner for one that has an owner"})
    product_id = ma.fields.Raw(load_default=None)


class Claimed(Document):
    """The device; or what its owner is asked by, if it has another and was asked for."""

    ok = flag()
    id = string(required=False)
    deviceID = string(required=False)  # noqa: N815 - the contract's word
    user_id = string(required=False)
    connected = flag(required=False)
    claimed = flag(required=False)
    transfer_id = string(required=False)
