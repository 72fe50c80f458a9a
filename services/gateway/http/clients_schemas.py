"""What comes in and goes out about OAuth clients and logging in at them (contract 2.2 and 4)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.fields import Document, Line, Request, flag, list_of, of, string, whole

SCOPE = {"description": "customers:create, *:* or none; a text, words with spaces between them, or a list"}


class NewClient(Request):
    name = Line(128, 1, required=True)
    type = Line(16, required=True, metadata={"description": "installed or web"})
    redirect_uri = Line(2_048, allow_none=True, load_default=None)
    scope = ma.fields.Raw(allow_none=True, load_default=None, metadata=SCOPE)
    organization = Line(64, metadata={"description": "of 2015: for all products of the organization with this slug"})


class ClientChanges(Request):
    name = Line(128, 1)
    scope = ma.fields.Raw(metadata=SCOPE)


class Client(Document):
    id = string()
    name = string()
    type = string()
    redirect_uri = string(required=False)
    scope = string(required=False)
    org_id = string(required=False)
    product_id = whole(required=False)


class NewlyMade(Client):
    secret = string(metadata={"description": "shown this once"})


class Clients(Document):
    ok = flag()
    clients = list_of(of(Client))


class ClientCreated(Document):
    ok = flag()
    client = of(NewlyMade)


class ClientChanged(Document):
    ok = flag()
    client = of(Client)


class Consent(Request):
    """What ``GET /oauth/authorize`` had in its query, and who says what."""

    response_type = Line(64)
    client_id = Line(128)
    redirect_uri = Line(2_048)
    state = Line(2_048)
    scope = Line(256)
    code_challenge = Line(128)
    code_challenge_method = Line(16)
    username = Line(1_024)
    password = Line(4_096)
    decision = Line(16, metadata={"description": "allow or deny"})


class LinkQuery(Request):
    token = Line(256, load_default="")
    product = Line(64, load_default="", metadata={"description": "whose customer it is for"})


class TransferForm(Request):
    token = Line(256, required=True)
    decision = Line(16, load_default="", metadata={"description": "accept or decline"})


class ResetForm(Request):
    token = Line(256, required=True)
    password = Line(4_096, required=True)
    product = Line(64, load_default="")
