"""``flotilla replay``: stored events once more, for the handlers of one service or for the rows of one view (EVT-3)."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from deploy import wishes
from deploy.bars import bar, event_bars
from deploy.messages_command import broker_of
from deploy.replays import Answer, Order, replays_folder
from deploy.running import DataFolder
from deploy.views import find_view, projectors
from shared.bus.open import open_transport
from shared.bus.replay import Replay
from shared.bus.replay_plan import Done, Plan, Range, bounds, count
from shared.errors import Refused, Unavailable
from shared.projections.past_moments import parse
from shared.settings import Settings
from shared.store.open import open_existing
from shared.store.port import EventStore, Position

app = typer.Typer(help="Send stored events again, to one service or one view.", no_args_is_help=True)
console = Console()

SILENCE_S = 15.0
LOOK_S = 0.1

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
First = Annotated[int | None, typer.Option("--from", min=1, help="Position of the first event.")]
Last = Annotated[int | None, typer.Option("--to", min=1, help="Position of the last event.")]
Since = Annotated[str | None, typer.Option(help="Time of the first event: ISO 8601 with zone.")]
Until = Annotated[str | None, typer.Option(help="Time of the last event: ISO 8601 with zone.")]
Types = Annotated[list[str] | None, typer.Option("--type", help="Only this event type; may be repeated.")]
Handlers = Annotated[list[str] | None, typer.Option("--handler", help="Only this handler; may be repeated.")]
Reactions = Annotated[list[str] | None, typer.Option("--with", help="Let this reaction act again; may be repeated.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Count only; nothing is sent.")]


@app.command()
def service(
    name: str,
    first: First = None,
    last: Last = None,
    since: Since = None,
    until: Until = None,
    types: Types = None,
    handlers: Handlers = None,
    reactions: Reactions = None,
    data: Data = None,
    dry_run: DryRun = False,
) -> None:
    """Send the events of a range again to the handlers of a service, and to nobody else; what acts on the world (mail,
    charges, …) is left out unless it is named by --with."""
    from deploy.composition import by_name  # deferred: takes a second that other commands need not pay

    settings = Settings.load(data=data)
    wanted = _range(first, last, since, until)
    chosen = Order(name, types or [], handlers or [], reactions or [])
    plan = chosen.plan(by_name())
    _show(plan)
    if not plan.targets:
        return
    with closing(open_existing(settings.store)) as store:
        after, end = _bounds(store, wanted)
        began = time.monotonic()
        if dry_run:
            done = count(store, plan, after, end)
        else:
            done = _send(settings, store, plan, msgspec.structs.replace(chosen, after=after, until=end))
    _sum_up(done, time.monotonic() - began, "would be sent" if dry_run else "sent")


@app.command()
def view(
    name: str,
    first: First = None,
    last: Last = None,
    since: Since = None,
    until: Until = None,
    data: Data = None,
) -> None:
    """Fold again the rows that the events of a range touch, each from its whole history; a healthy view stays as it
    is, so nothing is applied twice."""
    settings = Settings.load(data=data)
    wanted = _range(first, last, since, until)
    with closing(open_existing(settings.store)) as store:
        after, end = _bounds(store, wanted)
    with projectors(settings) as found, event_bars() as told:
        projector, known = find_view(found, name)
        refolded = projector.refold(known, after, end, told(name))
    console.print(
        f"{refolded.events} events touch {refolded.rows} rows of {name}; {refolded.changed} of them changed",
        highlight=False,
    )


def _range(first: int | None, last: int | None, since: str | None, until: str | None) -> Range:
    lowest, highest = (None if found is None else Position(found) for found in (first, last))
    return Range(lowest, highest, _moment("--since", since), _moment("--until", until))


def _bounds(store: EventStore, wanted: Range) -> tuple[Position | None, Position]:
    found = bounds(store, wanted)
    if found is None:
        raise Refused("nothing_to_replay", "there is no event in this range; `flotilla events tail` shows positions")
    return found


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    moment = parse(text, option)
    if moment.at is None:
        raise Refused("invalid_request", f"{option} must be a time; positions are for --from and --to")
    return moment.at


def _send(settings: Settings, store: EventStore, plan: Plan, order: Order) -> Done:
    bus = broker_of(settings)
    with bar(f"replaying for {plan.service}", order.until) as moved:

        def tell(done: Done) -> None:
            moved(done.position or 0, done.events)

        if bus is None:
            return _asked(settings, order, tell)
        transport = open_transport(bus, name="replay")
        transport.start()
        try:
            return Replay(store, transport, plan).run(*order.bounds(), tell)
        finally:
            transport.stop()


def _asked(settings: Settings, order: Order, tell: Callable[[Done], None]) -> Done:
    """Let the embedded platform do it, and watch."""
    folder, name = replays_folder(settings), uuid4().hex
    _must_run(settings)
    wishes.ask(folder, name, msgspec.json.encode(order))
    seen: bytes | None = None
    heard_at = time.monotonic()
    try:
        while True:
            said = wishes.answer(folder, name)
            if said is not None and said != seen:
                seen, heard_at = said, time.monotonic()
                answer = msgspec.json.decode(said, type=Answer)
                done = Done(answer.events, answer.sent, None if answer.position is None else Position(answer.position))
                tell(done)
                if answer.error:
                    raise Unavailable(f"after {answer.events} events: {answer.error}")
                if answer.is_over:
                    return done
            if time.monotonic() - heard_at > SILENCE_S:
                _must_run(settings)
                heard_at = time.monotonic()
            time.sleep(LOOK_S)
    finally:
        wishes.withdraw(folder, name)


def _must_run(settings: Settings) -> None:
    if not any(process.name == "flotilla" for process in DataFolder(settings.data).processes()):
        raise Refused(
            "not_running",
            f"no platform runs on {settings.data}, and without a broker only a running one can take a replay: start it "
            "with `flotilla run`, or set FLOTILLA_BUS to the broker of a distributed one",
        )


def _show(plan: Plan) -> None:
    table = Table(title=f"replay for {plan.service}")
    for heading in ("handler", "gets", "left out because"):
        table.add_column(heading, overflow="fold")
    for target in plan.targets:
        table.add_row(target.handler, target.event_type, "")
    for handler, why in plan.left_out:
        table.add_row(handler, "[yellow]left out[/yellow]", why)
    console.print(table)


def _sum_up(done: Done, took_s: float, what: str) -> None:
    rate = done.events / took_s if took_s > 0 else 0.0
    console.print(f"{done.events} events in {took_s:.1f} s ({rate:,.0f} a second)", highlight=False)
    for handler, number in sorted(done.sent.items()):
        console.print(f"  {handler}: {number} {what}", highlight=False)
