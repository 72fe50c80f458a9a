"""Events of a device that are for the platform, not for users (protocol section 6). Does no I/O.

Those that its team wants to see (why it started anew, safe mode, its vitals) go into the log like other events; those
by which its application asks for something are answered to it alone, with the name that it used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from services.gateway.devices import errors
from services.gateway.devices.effects import Now
from services.gateway.devices.errors import Error
from services.gateway.devices.particle.events import Event
from services.gateway.devices.particle.told import FALSE, TRUE
from shared.events.gateway import ClaimPresented
from shared.ids import digest

if TYPE_CHECKING:
    from services.gateway.devices.particle.session import Session

CLAIM_CHARACTERS = 63
"""Of a claim code the device shows all but the last character."""
RANDOM_BYTES = 40
DIGITS = 10
CLAIMED = "spark/device/claim/success"
UPDATES = "particle/device/updates/"
SAFE_MODE_SEEN = "spark/status/safe-mode"


class Heard:
    """What a system event causes: facts, events for the log, events for the device; the error that it reports."""

    __slots__ = ("down", "error", "facts", "log")

    def __init__(self) -> None:
        self.error: Error | None = None
        self.facts: list[object] = []
        self.log: list[Event] = []
        self.down: list[Event] = []


def hear(session: Session, event: Event, now: Now) -> Heard:
    """Take a system event; one that nobody knows is counted."""
    heard = Heard()
    reader = _READERS.get(event.name.lower())
    if reader is None:
        session.count("unknown_system_events")
    else:
        reader(session, event, heard)
    return heard


def _text(session: Session, event: Event) -> str:
    data = (event.data or b"")[: session.around.limits.text_bytes]
    return "".join(c if c.isprintable() else " " for c in data.decode(errors="replace"))


def _number(event: Event) -> int | None:
    data = (event.data or b"").strip()
    return int(data) if data.isdigit() and len(data) <= DIGITS else None


def _claim(session: Session, event: Event, heard: Heard) -> None:
    code = (event.data or b"")[:CLAIM_CHARACTERS].decode(errors="replace")
    if len(code) < CLAIM_CHARACTERS:
        session.count("bad_claim_codes")
        return
    session.told.claim_shown = True
    entry = session.firmware.entry
    heard.facts.append(
        ClaimPresented(session.device_id, entry.membership.product_id, digest(code), *session.name),
    )
    if entry.owner_id is not None:  # it is claimed: the code is of no more use to it
        heard.down.append(claimed(session))


def claimed(session: Session) -> Event:
    """Tells the device to forget its claim code."""
    session.told.claim_shown = False
    return Event(CLAIMED, b"success")


def _ident(session: Session, event: Event, _heard: Heard) -> None:
    session.told.ident = _text(session, event)


def _max_binary(session: Session, event: Event, _heard: Heard) -> None:
    session.told.max_binary_bytes = _number(event)


def _chunk_size(session: Session, event: Event, _heard: Heard) -> None:
    session.told.chunk_bytes = _number(event)


def _safe_mode(session: Session, event: Event, heard: Heard) -> None:
    session.told.safe_mode = True
    heard.error = errors.safe_mode(_text(session, event))
    heard.log.append(Event(SAFE_MODE_SEEN, event.data))


def _shown(_session: Session, event: Event, heard: Heard) -> None:
    heard.log.append(event)


def _last_reset(session: Session, event: Event, heard: Heard) -> None:
    heard.error = errors.reset(_text(session, event))
    heard.log.append(event)


def _enabled(session: Session, event: Event, heard: Heard) -> None:
    heard.facts += session.firmware.declares(enabled=event.data == TRUE)
    session.may_have_changed()


def _forced(session: Session, event: Event, heard: Heard) -> None:
    heard.facts += session.firmware.declares(forced=event.data == TRUE)
    session.may_have_changed()


def updates_told(what: str, is_so: bool) -> Event:
    """Tells the device whether an update waits for it (``pending``), or is to come whatever its application says
    (``forced``)."""
    return Event(UPDATES + what, TRUE if is_so else FALSE)


def _counted(kind: str) -> Callable[[Session, Event, Heard], None]:
    def count(session: Session, _event: Event, _heard: Heard) -> None:
        session.count(kind)

    return count


def _name(session: Session, event: Event, heard: Heard) -> None:
    """Its name as the team gave it, else its ID; no more of it than the device takes."""
    name = session.firmware.entry.name or session.device_id
    heard.down.append(Event(event.name, name.encode()[: session.limits.event_bytes]))


def _ip(session: Session, event: Event, heard: Heard) -> None:
    heard.down.append(Event(event.name, session.address.encode()))


def _random(session: Session, event: Event, heard: Heard) -> None:
    heard.down.append(Event(event.name, session.around.entropy(RANDOM_BYTES)))


_READERS: dict[str, Callable[[Session, Event, Heard], None]] = {
    "spark/device/claim/code": _claim,
    "spark/device/ident/0": _ident,
    "spark/hardware/max_binary": _max_binary,
    "spark/hardware/ota_chunk_size": _chunk_size,
    "spark/device/safemode": _safe_mode,
    "spark/device/last_reset": _last_reset,
    "spark/device/diagnostics/update": _shown,
    "spark/device/app-hash": _shown,
    "spark/device/ota_result": _counted("late_update_results"),
    "spark/device/key/error": _counted("key_errors"),
    "spark/cc3000-patch-version": _counted("patch_versions"),
    UPDATES + "enabled": _enabled,
    UPDATES + "forced": _forced,
} | {
    f"{prefix}/device/{what}": answer
    for prefix in ("spark", "particle")
    for what, answer in (("name", _name), ("ip", _ip), ("random", _random))
}
