"""``flotilla billing``: what waits, what is odd, what happened to a subscription; trying again, voiding, giving back,
crediting; and billing's clock. It works on the streams: a platform that runs on them does what follows within a second,
one that is stopped when it starts."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.table import Table

from deploy import billing_lists as lists
from deploy.billing_simulate_command import simulate
from deploy.billing_words import happened, stands
from deploy.durations import duration_s
from deploy.wide import people_console
from services.billing.clock import BillingClock
from services.billing.mail.wording import dollars
from services.billing.operating import GrantCredit, RequestRefund, RetryCharge, VoidInvoice
from services.billing.payments import is_live
from services.billing.subscriptions import Command, Policy, stream_of, subscriptions
from shared.context import Context
from shared.errors import Refused
from shared.events.contracts import CONTRACTS
from shared.events.metadata import metadata
from shared.settings import Settings
from shared.store.open import open_existing
from shared.store.port import Recorded
from shared.streams import Streams
from shared.times import iso

app = typer.Typer(help="Subscriptions: what waits, what happened, and what an operator does.", no_args_is_help=True)
app.command()(simulate)
console = people_console(markup=False)

ACTOR = "system:operator"
PATIENCE_S = 60.0
"""So long ``advance`` waits for what came due."""
MOST_CENTS = 100_000_000
_AMOUNT = re.compile(r"(\d{1,9})(?:\.(\d{2}))?")

Data = Annotated[Path | None, typer.Option(help="Data folder (default: ./data).")]
Json = Annotated[bool, typer.Option("--json", help="As JSON.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
Org = Annotated[str, typer.Argument(metavar="ORG", help="The organization's ID or slug.")]


def cents(text: str) -> int:
    """Of an amount in US dollars, "49" or "49.00"."""
    found = _AMOUNT.fullmatch(text.strip())
    amount = 0 if found is None else 100 * int(found[1]) + int(found[2] or 0)
    if not 0 < amount <= MOST_CENTS:
        raise typer.BadParameter(f"{text!r} is no amount in US dollars; write 49 or 49.00")
    return amount


Amount = Annotated[int, typer.Argument(parser=cents, metavar="AMOUNT", help="In US dollars, as 49 or 49.00.")]


@app.command()
def parked(as_json: Json = False, data: Data = None) -> None:
    """Charges and refunds whose fate is not known, and why; `retry` has a charge tried at once."""
    with _opened(Settings.load(data=data)) as (streams, _):
        found, names = lists.parked(streams), lists.slugs(streams)
    if as_json:
        return _print_json(found)
    rows = [
        (
            names.get(one.org_id, "-"),
            one.org_id,
            one.kind,
            one.number,
            dollars(one.amount_cents),
            _time(one.since),
            one.tries,
            one.why,
            "-" if one.next_try_at is None else _time(one.next_try_at),
        )
        for one in found
    ]
    _print(("slug", "organization", "what", "invoice", "amount", "since", "tries", "why", "next try"), rows)
    return None


@app.command()
def strays(as_json: Json = False, data: Data = None) -> None:
    """Payments at the provider that pay no invoice, and disputes: a person must look at them."""
    with _opened(Settings.load(data=data)) as (streams, _):
        found, names = lists.found_at_the_provider(streams), lists.slugs(streams)
    if as_json:
        return _print_json([{"kind": kind, **msgspec.to_builtins(event)} for kind, event in found])
    rows = [
        (
            _time(event.at),
            names.get(event.org_id, "-"),
            event.org_id,
            kind,
            event.provider_ref,
            dollars(event.amount_cents),
        )
        for kind, event in found
    ]
    _print(("at", "slug", "organization", "what", "payment", "amount"), rows)
    return None


@app.command()
def timeline(org: Org, as_json: Json = False, data: Data = None) -> None:
    """Everything that happened to a subscription, as of when, and who did it; and how it stands."""
    with _opened(Settings.load(data=data)) as (streams, _):
        loaded = lists.load(streams, lists.org_id_of(streams, org))
        events = [(recorded, CONTRACTS.decode(recorded)) for recorded in loaded.recorded]
    if as_json:
        return _print_json([_entry(recorded, event) for recorded, event in events])
    rows = [
        (_time(getattr(event, "at", recorded.at)), recorded.type, happened(event), metadata(recorded).actor)
        for recorded, event in events
    ]
    _print(("at (UTC)", "event", "what", "who"), rows)
    console.print(stands(loaded.state), highlight=False, soft_wrap=True)
    return None


@app.command()
def retry(org: Org, data: Data = None) -> None:
    """Have the open invoice charged now: what is held, could not be tried, or failed. It does not count as an
    attempt towards the lock."""
    _operate(data, org, "retry", RetryCharge)


@app.command()
def void(
    org: Org,
    number: Annotated[int, typer.Argument(min=1, help="Of the open invoice.")],
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Let nobody pay the open invoice: its period is free, and the subscription goes on."""
    _ask(yes, f"Void invoice {number} of {org}? Nobody will pay for its period.")
    _operate(data, org, "void", lambda now: VoidInvoice(number, now))


@app.command()
def refund(
    org: Org,
    number: Annotated[int, typer.Argument(min=1, help="Of a paid invoice.")],
    amount: Annotated[
        int | None,
        typer.Option(parser=cents, metavar="AMOUNT", help="In US dollars (default: all that is left of it)."),
    ] = None,
    yes: Yes = False,
    data: Data = None,
) -> None:
    """Give money of a paid invoice back to the card; the subscription stays as it is."""
    what = "all that is left" if amount is None else dollars(amount)
    _ask(yes, f"Give {what} of invoice {number} back to {org}?")
    _operate(data, org, "refund", lambda now: RequestRefund(number, amount, now))


@app.command()
def credit(org: Org, amount: Amount, yes: Yes = False, data: Data = None) -> None:
    """Take so much off the next payment; what is left is taken off the one after it."""
    _ask(yes, f"Grant {org} a credit of {dollars(amount)}?")
    _operate(data, org, "credit", lambda now: GrantCredit(amount, now))


@app.command()
def advance(
    to: Annotated[
        str, typer.Argument(metavar="TIME|DURATION", help="2027-01-31T12:00:00Z, or 35d from billing's now.")
    ],
    data: Data = None,
) -> None:
    """Move billing's clock forward, in an installation without real money, and wait until all that came due is done."""
    settings = Settings.load(data=data)
    with _opened(settings) as (_, clock):
        moved = clock.move(_moment(to, clock.now()), _context("advance"))
        waiting = 0
        if settings.payments != "off:":
            waiting = clock.await_reached(moved.state.moves, PATIENCE_S).waiting
        _say(f"billing's clock is at {_time(clock.now())} UTC" + (f"; {waiting} charges wait" if waiting else ""))


def _entry(recorded: Recorded, event: Any) -> dict[str, Any]:
    head = {"type": recorded.type, "actor": metadata(recorded).actor, "recorded_at": iso(recorded.at)}
    return {**head, **msgspec.to_builtins(event)}


def _moment(text: str, now: datetime) -> datetime:
    if text[:4].isdigit() and "-" in text:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise Refused("bad_time", f"{text[:64]!r} is no time, as in 2027-01-31T12:00:00Z") from None
        if moment.tzinfo is None:
            raise Refused("bad_time", f"{text[:64]!r} has no time zone, as in 2027-01-31T12:00:00Z")
        return moment
    return now + timedelta(seconds=duration_s(text))


def _operate(data: Path | None, org: str, what: str, command: Callable[[datetime], Command]) -> None:
    settings = Settings.load(data=data)
    policy = Policy(is_billed=settings.payments != "off:")
    with _opened(settings) as (streams, clock):
        org_id = lists.org_id_of(streams, org)
        lists.load(streams, org_id)
        done = streams.handle(subscriptions(policy), stream_of(org_id), command(clock.now()), _context(what))
    for event in done.events:
        _say(happened(event))
    if not done.events:
        _say("it is so already")


def _context(what: str) -> Context:
    return Context.new(ACTOR, f"flotilla billing {what}")


def _ask(yes: bool, question: str) -> None:
    if not yes and not typer.confirm(question):
        _say("nothing was done")
        raise typer.Exit(1)


@contextmanager
def _opened(settings: Settings) -> Iterator[tuple[Streams, BillingClock]]:
    with closing(open_existing(settings.store)) as store:
        streams = Streams(store, CONTRACTS)
        yield streams, BillingClock(streams, is_live=is_live(settings))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _print(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*headings)
    for row in rows:
        table.add_row(*map(str, row))
    console.print(table)


def _print_json(found: Sequence[Mapping[str, Any]] | Sequence[lists.Parked]) -> None:
    typer.echo(json.dumps(msgspec.to_builtins(found), indent=2, ensure_ascii=False))


def _say(text: str) -> None:
    console.print(text, highlight=False, soft_wrap=True)
