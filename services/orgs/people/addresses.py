"""E-mail addresses as names: whose one is, without the address standing anywhere that a forgotten person is not.

An address is guessed from a plain digest of it, so its stream is named by a digest with a secret of the installation,
which is kept with the keys. What was reserved before that is found under the plain digest still.
"""

from __future__ import annotations

from datetime import datetime

from services.orgs import names
from services.orgs.names import NAMES, comparable
from services.orgs.people.accounts import ACCOUNTS, Account
from services.orgs.reservations import carries, reserve
from shared.context import Context
from shared.streams import Streams

DIGESTS = "names"
"""Under which the key table keeps the secret of the digests."""


def reserve_address(streams: Streams, context: Context, now: datetime, email: str, holder_stream: str) -> bool:
    """Whether the address is this account's now. Raises ``Conflict`` when others keep coming in between."""
    older = streams.load(NAMES, names.stream_of("email", email)).state.holder_stream
    if older is not None and older != holder_stream and carries(streams, "email", email, older):
        return False
    return reserve(streams, context, now, "email", email, holder_stream, secret=_secret(streams))


def account_of(streams: Streams, email: str) -> Account:
    """The account that has this address and was not forgotten; else one that does not exist."""
    for stream in (names.stream_of("email", email, _secret(streams)), names.stream_of("email", email)):
        holder = streams.load(NAMES, stream).state.holder_stream
        account = streams.load(ACCOUNTS, holder).state if holder is not None else ACCOUNTS.initial
        if comparable(account.email) == comparable(email):
            return account
    return ACCOUNTS.initial


def _secret(streams: Streams) -> bytes:
    return streams.contracts.keys.secret(DIGESTS)
