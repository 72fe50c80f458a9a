"""Accounts and access tokens (contract 2 and 3)."""

from __future__ import annotations

from services.gateway.http import (
    documents,
    own_account,
    people_schemas,
    requests,
    users,
)
from services.gateway.http.routes.rows import (
    TOKENS,
    delete,
    get,
    post,
    put,
)

ROUTES = [
    post("/v1/users", "users.create", "Sign up", users.create_user, documents.Ok(), request=requests.NewUser()),
    get("/v1/user", "users.read", "The caller's account", own_account.read_user, documents.User()),
    put(
        "/v1/user",
        "users.change",
        "Change the profile, the password or the address",
        own_account.change_user,
        people_schemas.UserChanged(),
        request=people_schemas.UserChanges(),
    ),
    delete(
        "/v1/user",
        "users.change",
        "Delete the account",
        own_account.delete_user,
        people_schemas.Done(),
        request=people_schemas.Password(),
        body="fields",
    ),
    get("/v1/user/identify", "users.read", "Who the caller is", own_account.identify, people_schemas.Identity()),
    post(
        "/v1/user/verify",
        "users.verify",
        "Follow the link that proves an address",
        own_account.verify,
        documents.Ok(),
        request=people_schemas.Verification(),
    ),
    post(
        "/v1/user/verification",
        "users.change",
        "Have that link mailed once more",
        own_account.ask_verification,
        documents.Ok(),
    ),
    post(
        "/v1/user/password-reset",
        "users.reset",
        "Have a link mailed that sets a new password",
        own_account.ask_reset,
        people_schemas.Done(),
        request=people_schemas.ResetRequest(),
    ),
    put(
        "/v1/user/password-reset",
        "users.reset",
        "Follow the link that sets a new password",
        own_account.reset_password,
        documents.Ok(),
        request=people_schemas.Reset(),
    ),
    get(
        TOKENS,
        "tokens.read",
        "The caller's tokens",
        users.list_tokens,
        documents.ListedToken(many=True),
        password=True,
    ),
    delete(TOKENS, "tokens.revoke_all", "Revoke all of them", users.revoke_tokens, documents.Ok()),
    get(TOKENS + "/current", "tokens.read_own", "The token in use", users.current_token, documents.CurrentToken()),
    delete(
        TOKENS + "/current", "tokens.revoke_own", "Revoke the token in use", users.revoke_current_token, documents.Ok()
    ),
    delete(TOKENS + "/{token}", "tokens.revoke", "Revoke a token", users.revoke_token, documents.Ok()),
]
