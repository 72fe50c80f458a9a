"""Calls that something secret could be guessed with: those that fail are counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from services.gateway.http.calls import Call
from services.gateway.http.limits import network
from shared.comparing import comparable
from shared.errors import Unavailable
from shared.ids import digest


@asynccontextmanager
async def hashing(call: Call) -> AsyncIterator[None]:
    """Calls that hash a password, which take a worker of the service some 40 ms: few at once, so that whoever floods
    them holds up nobody who is logged in. Raises ``Unavailable`` when it is not its turn in time."""
    wait_s = call.services.limits.hashing_wait_s
    try:
        await asyncio.wait_for(call.edge.hashing.acquire(), wait_s)
    except TimeoutError:
        raise Unavailable("too many log in at once") from None
    try:
        yield
    finally:
        call.edge.hashing.release()


@contextmanager
def guessing(call: Call, name: str = "", *, proves: bool = False, at: str = "") -> Iterator[None]:
    """What is refused inside counts against the address, and against the name that it was tried with, in whatever form
    it was written, so that many addresses do not guess one password. Where the name was logged in with before it
    is counted apart: who guesses elsewhere keeps nobody out of their account. ``proves``: what is not refused has said
    the name's password. ``at``: the client that it was said to; a company gives its customers whatever names it likes,
    so that shows nothing at another client. Raises ``Refused`` ``too_many_requests``."""
    limits = [(call.edge.logins, call.address)]
    known_as = digest(comparable(name))
    seen_as = f"{known_as} {digest(at)}" if at else known_as
    if name:
        limits.append((call.edge.names, _counted_as(call, known_as, seen_as)))
    for limit, who in limits:
        limit.take(who)
    try:
        yield
    except Unavailable:  # nobody has said whether it was right
        for limit, who in limits:
            limit.give_back(who)
        raise
    for limit, who in limits:
        limit.give_back(who)
    if name and proves:
        call.edge.familiar.add(seen_as, call.address)


def _counted_as(call: Call, known_as: str, seen_as: str) -> str:
    is_familiar = call.edge.familiar.has(seen_as, call.address)
    return f"name {seen_as} at {network(call.address)}" if is_familiar else f"name {known_as}"
