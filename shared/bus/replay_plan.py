"""What a replay is to send: which events of the store, to which handlers of a service, and who is left out (EVT-3)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from nameko.events import SERVICE_POOL

from shared.bus import declarations
from shared.bus.declarations import Method
from shared.bus.reactions import reaction_of
from shared.errors import Refused
from shared.events.contracts import Registry
from shared.store.port import EventStore, Only, Position, Recorded

PAGE = 500


@dataclass(frozen=True, slots=True)
class Range:
    """Events from one to another, both included, by position, by time, or by both; None: from the first, to the last
    that there is when the replay begins."""

    first: Position | None = None
    last: Position | None = None
    since: datetime | None = None
    until: datetime | None = None

    def is_before(self, event: Recorded) -> bool:
        """Whether the event lies before the range."""
        early = self.since is not None and event.at < self.since
        return early or (self.first is not None and event.position < self.first)

    def is_within(self, event: Recorded) -> bool:
        """Whether the event, which does not lie before the range, belongs to it."""
        late = self.until is not None and event.at > self.until
        return not late and (self.last is None or event.position <= self.last)


def bounds(store: EventStore, wanted: Range) -> tuple[Position | None, Position] | None:
    """The positions of the last event before the range and of the last one within it; None for a range without events.
    Looks through the store from its beginning, because positions are opaque and times have no index."""
    head = store.head()
    after: Position | None = None
    until: Position | None = None
    looked: Position | None = None
    while head is not None and (looked is None or looked < head):
        page = store.read_all(looked, PAGE)
        looked = page.looked
        for event in page.events[-1:] if page.events and wanted.is_before(page.events[-1]) else page.events:
            if event.position > head:
                break
            if wanted.is_before(event):
                after = event.position
            elif wanted.is_within(event):
                until = event.position
            else:
                return None if until is None else (after, until)
        if page.end:
            break
    return None if until is None else (after, until)


@dataclass(frozen=True, slots=True)
class Target:
    """A handler that gets the events of one type."""

    handler: str
    event_type: str
    queue: str


@dataclass(frozen=True, slots=True)
class Plan:
    """Who gets what; ``left_out`` says of each other handler why not."""

    service: str
    targets: Sequence[Target]
    left_out: Sequence[tuple[str, str]]

    @property
    def types(self) -> frozenset[str]:
        return frozenset(target.event_type for target in self.targets)

    def of(self, event_type: str) -> list[Target]:
        return [target for target in self.targets if target.event_type == event_type]


@dataclass(slots=True)
class Done:
    """How far a replay is: events read, messages sent by handler, the position behind it."""

    events: int = 0
    sent: dict[str, int] = field(default_factory=dict)
    position: Position | None = None


def plan(
    service_class: type,
    contracts: Registry,
    *,
    types: Collection[str] = (),
    handlers: Collection[str] = (),
    reactions: Collection[str] = (),
) -> Plan:
    """All handlers of the service, or those of these types and names; reactions only if they are named. Raises
    ``Refused`` for names that the service does not have."""
    declared = declarations.read(service_class, service_class)
    methods = [method for method in declared.events if not handlers or method.name in handlers]
    methods = [method for method in methods if not types or method.entrypoint.event_type in types]
    _check(declared, service_class, types, handlers, reactions)
    targets: list[Target] = []
    left_out: list[tuple[str, str]] = []
    for method in methods:
        why = _unfit(method, contracts, reaction_of(service_class, method.name), reactions)
        if why is None:
            queue = declarations.event_queue(declared.service, method).name
            targets.append(Target(method.name, method.entrypoint.event_type, queue))
        else:
            left_out.append((method.name, why))
    return Plan(declared.service, targets, left_out)


def _check(
    declared: declarations.Declarations,
    service_class: type,
    types: Collection[str],
    handlers: Collection[str],
    reactions: Collection[str],
) -> None:
    known = {
        "handler": (handlers, {method.name for method in declared.events}),
        "event type": (types, {method.entrypoint.event_type for method in declared.events}),
        "reaction": (reactions, {reaction_of(service_class, method.name) for method in declared.events}),
    }
    for what, (given, there) in known.items():
        unknown = sorted(set(given) - there)
        if unknown:
            has = ", ".join(sorted(name for name in there if name)) or "none"
            raise Refused("nothing_to_replay", f"{declared.service} has no {what} {', '.join(unknown)}; it has {has}")


def _unfit(method: Method, contracts: Registry, acts_by: str | None, reactions: Collection[str]) -> str | None:
    handler = method.entrypoint
    if handler.event_type not in contracts.of_service(handler.source_service):
        return f"{handler.event_type} of {handler.source_service} is not an event of the store"
    if handler.handler_type != SERVICE_POOL or not handler.reliable_delivery:
        return "its queue is not of this service alone, or does not last"
    if acts_by is not None and acts_by not in reactions:
        return f"it acts on the world ({acts_by}): add `--with {acts_by}` to let it do so again"
    return None


def between(
    store: EventStore, only: Only, after: Position | None, until: Position
) -> Iterator[tuple[list[Recorded], Position | None, bool]]:
    """Pages of the events of a range, each with how far the store has looked, and whether it was the last one."""
    is_over = False
    while not is_over:
        page = store.read_all(after, PAGE, only)
        events = [event for event in page.events if event.position <= until]
        after = page.looked
        is_over = page.end or len(events) < len(page.events) or (after is not None and after >= until)
        yield events, min(after, until) if after is not None else None, is_over


def count(store: EventStore, wanted: Plan, after: Position | None, until: Position) -> Done:
    """What a replay would send; nothing is sent."""
    done = Done()
    for events, looked, _ in between(store, Only(types=wanted.types), after, until):
        done.events += len(events)
        done.position = looked
        for event in events:
            for target in wanted.of(event.type):
                done.sent[target.handler] = done.sent.get(target.handler, 0) + 1
    return done
