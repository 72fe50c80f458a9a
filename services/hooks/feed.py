"""The gateways as webhooks see them: their logs are read from, and told what came of deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from services.hooks.attempts import Place
from services.hooks.heard import Heard
from services.hooks.known_hooks import Hook
from services.hooks.writing import Published
from shared.context import Context
from shared.errors import FlotillaError, Unavailable

READ_S = 5.0
ACTOR = "system:hooks"
SOURCE = "hooks"


class Bus(Protocol):
    """Calls to services."""

    async def call(
        self, service: str, method: str, context: Context, *, timeout_s: float = 10.0, **arguments: Any
    ) -> Any: ...


@dataclass(frozen=True, slots=True)
class Stretch:
    """Events of a gateway's log; ``looked`` is the position up to which these are all, None in an empty log; ``end``:
    nothing lay behind; ``gap``: older ones are forgotten."""

    events: Sequence[Heard]
    looked: int | None
    end: bool
    gap: bool


class _Answer(msgspec.Struct):
    events: list[Heard]
    looked: int | None
    end: bool
    gap: bool


class Feed:
    """In one loop."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def read(self, hook: Hook, gateway: str, place: Place, most: int) -> Stretch:
        """What this webhook may have of what lies behind its place. Raises ``Unavailable``."""
        asked = {"wanted": hook.wanted, "after": place.position, "since": place.since.isoformat(), "most": most}
        try:
            found = await self._call(gateway, "read_for_hook", asked)
            answer = msgspec.convert(found, _Answer)
        except (FlotillaError, msgspec.ValidationError) as error:
            raise Unavailable(f"the log of gateway {gateway} cannot be read: {error}") from error
        return Stretch(answer.events, answer.looked, answer.end, answer.gap)

    async def publish(
        self, gateway: str, product_id: int | None, owner_id: str | None, events: Sequence[Published]
    ) -> None:
        """Tell what came of deliveries. Raises ``FlotillaError``."""
        said = [{"name": one.name, "data": one.data} for one in events]
        whose = {"product_id": product_id, "owner_id": None if product_id is not None else owner_id}
        await self._call(gateway, "publish_for_hook", {**whose, "events": said})

    async def _call(self, gateway: str, method: str, asked: dict[str, Any]) -> Any:
        context = Context.new(ACTOR, SOURCE)
        return await self._bus.call(f"gateway-{gateway}", method, context, timeout_s=READ_S, **asked)
