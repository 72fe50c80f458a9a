"""What comes in and goes out about accounts and teams (contract 3 and 5)."""

from __future__ import annotations

import marshmallow as ma

from services.gateway.http.documents import NamedOrg, User
from services.gateway.http.fields import Document, Flag, Line, Request, flag, list_of, of, string, time
from services.gateway.http.requests import AccountInfo


class UserChanges(Request):
    """One of: ``account_info``; a new ``password`` or a new ``username``, each with ``current_password``."""

    account_info = ma.fields.Nested(AccountInfo)
    current_password = Line(4_096)
    password = Line(4_096)
    username = Line(1_024)
    invalidate_tokens = Flag(load_default=False, metadata={"description": "let no token of before work any more"})


class UserChanged(User):
    ok = flag()
    message = string()


class Password(Request):
    password = Line(4_096, required=True)


class Done(Document):
    ok = flag()
    message = string()


class Identity(Document):
    id = string()
    email = string()


class Verification(Request):
    token = Line(256, required=True, metadata={"description": "of the mailed link"})


class ResetRequest(Request):
    username = Line(1_024, required=True)


class Reset(Request):
    username = Line(1_024, load_default=None, allow_none=True)
    token = Line(256, required=True, metadata={"description": "of the mailed link"})
    password = Line(4_096, required=True)


class OrganizationChanges(Request):
    name = Line(128, 1, required=True)


class Invite(Request):
    """A person; programs, which Particle's contract also takes here, are refused."""

    username = Line(1_024, load_default=None)
    friendly_name = ma.fields.Raw(load_default=None, metadata={"description": "of a program: not supported"})
    scopes = ma.fields.Raw(load_default=None, metadata={"description": "of a program: not supported"})
    role = Line(32, allow_none=True, load_default=None, metadata={"description": "full access if nothing is said"})


class NewRole(Request):
    role = Line(32, required=True, metadata={"description": "administrator, owner, developer, support or readonly"})


class Role(Document):
    id = string()
    name = string()


class Member(Document):
    _id = string()
    username = string()
    role = of(Role)
    is_programmatic = flag()
    joined_at = time()


class OpenInvitation(Document):
    id = string()
    username = string()
    role = of(Role)
    invited_by = string()
    created_at = time()
    expires_at = time()


class Team(Document):
    ok = flag()
    team = list_of(of(Member))
    invites = list_of(of(OpenInvitation))


class Invitee(Document):
    username = string()


class Invited(Document):
    ok = flag()
    invited = of(Invitee)


class Invitation(Document):
    id = string()
    status = string(metadata={"description": "pending, accepted or declined"})
    organization = of(NamedOrg)
    role = of(Role)
    invited_by = string()
    created_at = time()
    expires_at = time()


class Invitations(Document):
    ok = flag()
    invitations = list_of(of(Invitation))


class Answer(Request):
    status = Line(16, required=True, metadata={"description": "accepted or declined"})


class Answered(Document):
    ok = flag()
    invitation = of(Invitation)
