"""Passwords as argon2id hashes. Takes some 40 ms and 19 MiB a call: for worker threads."""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import VerifyMismatchError

from services.orgs.requests import refused

SHORTEST = 8
LONGEST = 1_024
"""Characters."""

_hasher = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)
NOBODYS = "$argon2id$v=19$m=19456,t=2,p=1$469JUnGJqi7hf2tciLq8hw$u1Yc7j45MbNC3XINPLvBSrvFSle1Sql4sMbJYGUBB2E"
"""Compared with when there is no such account, so that the answer takes the same time; never accepted."""


def hashed(password: str) -> str:
    """The hash to keep, in PHC form. Raises ``Refused`` (``invalid_password``) for a password of another length than
    ``SHORTEST`` to ``LONGEST``."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise refused("invalid_password", f"A password has {SHORTEST} to {LONGEST} characters.")
    return _hasher.hash(_bytes(password))


def matches(password_hash: str | None, password: str) -> bool:
    """Whether this is the password; None stands for an account that does not exist."""
    tried = password if len(password) <= LONGEST else ""
    try:
        _hasher.verify(password_hash or NOBODYS, _bytes(tried))
    except VerifyMismatchError:
        return False
    return password_hash is not None


def _bytes(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # JSON can carry half a surrogate pair
